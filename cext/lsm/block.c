#include "block.h"

/* Three lengths and the tag; key and value follow. */
#define HEADER_MAX (3 * FC_VARINT32_MAX + FC_TAG_BYTES)

void block_builder_free(block_builder *b)
{
    bytes_free(&b->out);
    bytes_free(&b->key);
    free(b->restarts);
}

void block_reset(block_builder *b)
{
    b->out.n = b->key.n = 0;
    b->restart_n = b->since_restart = 0;
}

static bool add_restart(block_builder *b)
{
    if (b->restart_n == b->restart_cap) {
        uint32_t cap = b->restart_cap ? b->restart_cap * 2 : 64;
        uint32_t *grown = realloc(b->restarts, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        b->restarts = grown;
        b->restart_cap = cap;
    }
    b->restarts[b->restart_n++] = (uint32_t)b->out.n;
    b->since_restart = 0;
    return true;
}

static size_t shared_bytes(fc_slice a, fc_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n, i = 0;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

bool block_add(block_builder *b, fc_slice user, uint64_t tag, fc_slice value)
{
    bool restart = b->restart_n == 0 || b->since_restart == b->interval;
    if (!bytes_reserve(&b->out, HEADER_MAX + user.n + value.n) || (restart && !add_restart(b)))
        return false;
    size_t shared = restart ? 0 : shared_bytes(bytes_slice(&b->key), user);
    if (!bytes_set(&b->key, user.p, user.n))
        return false;
    bytes_put_varint(&b->out, shared);
    bytes_put_varint(&b->out, user.n - shared);
    bytes_put_varint(&b->out, value.n);
    fc_put64(b->out.p + b->out.n, tag);
    b->out.n += FC_TAG_BYTES;
    bytes_put(&b->out, user.p + shared, user.n - shared);
    bytes_put(&b->out, value.p, value.n);
    b->since_restart++;
    return true;
}

bool block_finish(block_builder *b)
{
    if (!bytes_reserve(&b->out, 4 * (size_t)b->restart_n + 4))
        return false;
    bytes_put(&b->out, b->restarts, 4 * (size_t)b->restart_n);
    fc_put32(b->out.p + b->out.n, b->restart_n);
    b->out.n += 4;
    return true;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

typedef struct entry {
    uint32_t shared, key_n, value_n;
    uint64_t tag;
    const char *key; /* the value follows */
    uint32_t next;
} entry;

static bool parse(const block_cursor *c, uint32_t at, entry *e)
{
    const char *p = c->p + at, *end = c->p + c->end;
    if (FC_LIKELY(end - p >= 3 && ((p[0] | p[1] | p[2]) & 0x80) == 0)) {
        e->shared = (uint8_t)p[0];
        e->key_n = (uint8_t)p[1];
        e->value_n = (uint8_t)p[2];
        p += 3;
    } else if (!(p = fc_get_varint32(p, end, &e->shared)) || !(p = fc_get_varint32(p, end, &e->key_n)) ||
               !(p = fc_get_varint32(p, end, &e->value_n))) {
        return false;
    }
    if (FC_TAG_BYTES + (uint64_t)e->key_n + e->value_n > (uint64_t)(end - p))
        return false;
    e->tag = fc_get64(p);
    e->key = p + FC_TAG_BYTES;
    e->next = (uint32_t)(e->key + e->key_n + e->value_n - c->p);
    return fc_type_is_point(e->tag & 0xFF);
}

static uint32_t restart(const block_cursor *c, uint32_t i) { return fc_get32(c->p + c->end + 4 * (size_t)i); }

block_answer block_open(block_cursor *c, const char *p, size_t n)
{
    if (n < 4 || n > UINT32_MAX)
        return BLOCK_DAMAGED;
    uint32_t restarts = fc_get32(p + n - 4);
    if (restarts == 0 || restarts > (n - 4) / 4)
        return BLOCK_DAMAGED;
    c->p = p;
    c->restart_n = restarts;
    c->end = (uint32_t)(n - 4 - 4 * (size_t)restarts);
    c->at = c->next = c->end;
    return BLOCK_HERE;
}

block_answer block_next(block_cursor *c)
{
    entry e;
    c->at = c->next;
    if (c->at >= c->end)
        return BLOCK_END;
    if (!parse(c, c->at, &e) || e.shared > c->key.n || e.shared + (uint64_t)e.key_n > FC_KEY_MAX)
        return BLOCK_DAMAGED;
    c->key.n = e.shared;
    if (!bytes_reserve(&c->key, e.key_n))
        return BLOCK_NO_MEMORY;
    bytes_put(&c->key, e.key, e.key_n);
    c->tag = e.tag;
    c->value = (fc_slice){e.key + e.key_n, e.value_n};
    c->next = e.next;
    return BLOCK_HERE;
}

bool block_restarts_sound(const block_cursor *c)
{
    entry e;
    uint32_t i = 0;
    if (restart(c, 0) != 0)
        return false;
    for (uint32_t at = 0; at < c->end; at = e.next) {
        if (!parse(c, at, &e))
            return false;
        if (i < c->restart_n && restart(c, i) == at) {
            if (e.shared != 0)
                return false;
            i++;
        }
    }
    return i == c->restart_n;
}

static block_answer go(block_cursor *c, uint32_t offset)
{
    if (offset >= c->end)
        return BLOCK_DAMAGED;
    c->key.n = 0;
    c->next = offset;
    return block_next(c);
}

block_answer block_first(block_cursor *c) { return go(c, restart(c, 0)); }

/* The entry that ends at `end`, from a restart before it on. */
static block_answer walk_to(block_cursor *c, uint32_t from, uint32_t end)
{
    block_answer answer = go(c, from);
    while (answer == BLOCK_HERE && c->next < end)
        answer = block_next(c);
    return answer == BLOCK_HERE && c->next != end ? BLOCK_DAMAGED : answer;
}

block_answer block_last(block_cursor *c) { return walk_to(c, restart(c, c->restart_n - 1), c->end); }

block_answer block_prev(block_cursor *c)
{
    uint32_t at = c->at, from = 0, to = c->restart_n;
    while (from < to) { /* restarts before the entry */
        uint32_t middle = from + (to - from) / 2;
        if (restart(c, middle) < at)
            from = middle + 1;
        else
            to = middle;
    }
    if (from == 0) {
        c->at = c->next = c->end;
        return BLOCK_END;
    }
    return walk_to(c, restart(c, from - 1), at);
}

#define LINE 64u
#define FETCH_MAX 2048u /* an interval of 16 entries of 120 bytes */

/* A block that was not read for a while is not in the processor's caches: all lines that a search will touch are asked
 * for at once, instead of each when the one before has come. */
static void fetch(const block_cursor *c, uint32_t from, uint32_t to)
{
    to = to < c->end ? to : c->end;
    for (uint32_t at = from; at < to && at - from < FETCH_MAX; at += LINE)
        __builtin_prefetch(c->p + at);
}

static void fetch_restarts(const block_cursor *c)
{
    for (uint32_t i = 0; i < c->restart_n && i < 16; i++)
        fetch(c, restart(c, i), restart(c, i) + 1);
}

/* The last restart whose key is below (or at, so that the entry itself is found), else the first. */
static bool find_restart(const block_cursor *c, fc_slice user, uint64_t tag, uint32_t *offset)
{
    uint32_t from = 1, to = c->restart_n;
    entry e;
    fetch_restarts(c);
    while (from < to) {
        uint32_t middle = from + (to - from) / 2, at = restart(c, middle);
        if (at >= c->end || !parse(c, at, &e) || e.shared != 0)
            return false;
        if (fc_ikey_compare((fc_slice){e.key, e.key_n}, e.tag, user, tag) <= 0)
            from = middle + 1;
        else
            to = middle;
    }
    *offset = restart(c, from - 1);
    fetch(c, *offset, from < c->restart_n ? restart(c, from) : c->end);
    return *offset < c->end;
}

block_answer block_seek(block_cursor *c, fc_slice user, uint64_t tag)
{
    uint32_t offset;
    if (!find_restart(c, user, tag, &offset))
        return BLOCK_DAMAGED;
    block_answer answer = go(c, offset);
    while (answer == BLOCK_HERE && fc_ikey_compare(bytes_slice(&c->key), c->tag, user, tag) < 0)
        answer = block_next(c);
    return answer;
}

/* `same` counts the bytes that the entry before has in common with the key looked for, which it is below. An entry that
 * shares more than those with it is below as well; one that shares fewer is above, if it is no restart; only for one
 * that shares just those do the bytes that it brings decide. */
block_answer block_get(block_cursor *c, fc_slice user, uint64_t tag)
{
    uint32_t at;
    entry e;
    size_t same = 0, before = 0;
    if (!find_restart(c, user, tag, &at))
        return BLOCK_DAMAGED;
    for (; at < c->end; at = e.next) {
        if (!parse(c, at, &e) || e.shared > before)
            return BLOCK_DAMAGED;
        before = e.shared + (size_t)e.key_n;
        if (e.shared > same)
            continue;
        if (e.shared < same) {
            if (e.shared > 0)
                return BLOCK_END;
            same = 0; /* a restart says nothing of what it shares */
        }
        size_t brought = 0, n = e.key_n < user.n - same ? e.key_n : user.n - same;
        while (brought < n && e.key[brought] == user.p[same + brought])
            brought++;
        same += brought;
        if (brought == e.key_n && same == user.n) {
            if (e.tag > tag)
                continue;
            c->tag = e.tag;
            c->value = (fc_slice){e.key + e.key_n, e.value_n};
            return BLOCK_HERE;
        }
        if (brought < e.key_n && (same == user.n || (uint8_t)e.key[brought] > (uint8_t)user.p[same]))
            return BLOCK_END;
    }
    return BLOCK_END;
}
