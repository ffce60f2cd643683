#include <stdlib.h>
#include <sys/mman.h>

#include "memtable_layout.h"

#define UNIT 8u
/* Bytes of bound for one slot of the index: entries of a hundred bytes then fill two thirds of it. */
#define BYTES_PER_SLOT 128u
/* Once in a while an insertion splits a block on every level of the list. */
#define SLACK 8192u
/* Sets of range deletions have a size of two powers each; there are not 2^34 ranges in 32 GiB. */
#define RANGE_SETS_MAX 34u

static uint64_t rounded(uint64_t n) { return (n + UNIT - 1) & ~(uint64_t)(UNIT - 1); }

static void *reserve(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

fc_memtable *fc_memtable_new(uint64_t bytes_max, const fc_hash_key *hash_key)
{
    if (bytes_max < FC_MEMTABLE_MIN_BYTES || bytes_max > FC_MEMTABLE_MAX_BYTES)
        return NULL;
    fc_memtable *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->bytes_max = m->arena_size = rounded(bytes_max);
    m->hash_key = *hash_key;
    uint64_t slots = 64;
    while (slots * BYTES_PER_SLOT < bytes_max)
        slots *= 2;
    m->slot_mask = slots - 1;
    m->arena_used = UNIT; /* ref 0 is none */
    m->arena = reserve(m->arena_size);
    m->slots = reserve(slots * sizeof *m->slots);
    if (m->arena == NULL || m->slots == NULL || fc_skiplist_open(&m->list, m->bytes_max, m->bytes_max) < 0) {
        fc_memtable_free(m);
        return NULL;
    }
    return m;
}

void fc_memtable_free(fc_memtable *m)
{
    if (m == NULL)
        return;
    if (m->list.base)
        fc_skiplist_close(&m->list);
    if (m->arena)
        munmap(m->arena, m->arena_size);
    if (m->slots)
        munmap(m->slots, (m->slot_mask + 1) * sizeof *m->slots);
    free(m);
}

uint64_t fc_memtable_bytes(const fc_memtable *m)
{
    return fc_skiplist_bytes(&m->list) + LOAD(&m->arena_used);
}

/* Adding `more` ranges to n: each new one is copied once for each size of a set, each old one twice at most. */
static uint64_t range_bytes(uint64_t n, uint64_t more)
{
    uint64_t copies = 2 * n + more * RANGE_SETS_MAX;
    uint64_t lists = more * (sizeof(mem_ranges) + RANGE_SETS_MAX * sizeof(fc_range_set));
    return more ? copies * fc_range_set_bytes(1) + lists : 0;
}

bool fc_memtable_has_room(const fc_memtable *m, uint64_t operations, uint64_t ranges, uint64_t bytes)
{
    uint64_t used = fc_memtable_bytes(m) + SLACK;
    if (operations > m->bytes_max / FC_MEMTABLE_OPERATION_BYTES || ranges > operations || bytes > m->bytes_max)
        return false;
    used += operations * FC_MEMTABLE_OPERATION_BYTES + bytes + range_bytes(m->stats.ranges, ranges);
    return used <= m->bytes_max;
}

/* Room in the arena, or NULL: the arena or the bound is full. `list_bytes`: what will be asked of the list besides. */
static void *take(fc_memtable *m, uint64_t bytes, uint64_t list_bytes, uint32_t *ref)
{
    bytes = rounded(bytes);
    if (bytes > m->arena_size - m->arena_used || fc_memtable_bytes(m) + bytes + list_bytes > m->bytes_max)
        return NULL;
    void *p = m->arena + m->arena_used;
    if (ref)
        *ref = (uint32_t)(m->arena_used / UNIT);
    STORE(&m->arena_used, m->arena_used + bytes);
    return p;
}

/* --- the hash index --------------------------------------------------------------------------------------------- */

static uint64_t *slot_head(const fc_memtable *m, uint64_t slot)
{
    return (uint64_t *)(void *)(m->list.base + (slot & UINT32_MAX) * UNIT);
}

static fc_slice head_key(const uint64_t *head)
{
    uint32_t n = mem_key_n(LOAD(head));
    return (fc_slice){(const char *)head - rounded(n), n};
}

/* The head word of a key. NULL: not in the index; *at is then the slot it would have. */
static uint64_t *find_head(const fc_memtable *m, fc_slice key, uint64_t hash, uint64_t *at)
{
    uint64_t i = hash & m->slot_mask, upper = hash >> 32;
    for (uint64_t slot; (slot = LOAD(&m->slots[i])) != 0; i = (i + 1) & m->slot_mask) {
        if (slot >> 32 != upper)
            continue;
        uint64_t *head = slot_head(m, slot);
        if (fc_key_equal(head_key(head), key))
            return head;
    }
    *at = i;
    return NULL;
}

static void index_head(fc_memtable *m, uint64_t hash, uint64_t at, const uint64_t *head)
{
    if (m->indexed >= m->slot_mask - m->slot_mask / 4) {
        STORE(&m->index_full, 1);
        return;
    }
    m->indexed++;
    STORE(&m->slots[at], hash >> 32 << 32 | (uint64_t)((const char *)head - m->list.base) / UNIT);
}

/* For readers: from the index, or from the list where that may know more. */
static uint64_t *look_up_head(const fc_memtable *m, fc_slice key, uint64_t hash)
{
    uint64_t at;
    uint64_t *head = find_head(m, key, hash, &at);
    if (head || !LOAD(&m->index_full))
        return head;
    fc_skiplist_cursor c;
    return fc_skiplist_seek(&m->list, key, FC_SKIPLIST_EQ, &c) ? mem_head(c.item.value) : NULL;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void link_version(const fc_memtable *m, mem_version *v, uint32_t ref, uint32_t older)
{
    v->older = older;
    v->jump = older ? older : ref;
    v->depth = 0;
    if (older == 0)
        return;
    const mem_version *o = mem_at(m, older), *j = mem_at(m, o->jump), *k = mem_at(m, j->jump);
    v->depth = o->depth + 1;
    if (o->depth - j->depth == j->depth - k->depth)
        v->jump = j->jump;
}

static void count(fc_memtable *m, uint64_t seq, uint64_t data_bytes)
{
    if (m->stats.first_seq == 0)
        STORE(&m->stats.first_seq, seq);
    STORE(&m->stats.last_seq, seq);
    STORE(&m->stats.data_bytes, m->stats.data_bytes + data_bytes);
}

static int check_order(const fc_memtable *m, uint64_t seq)
{
    return seq == 0 || seq > FC_SEQ_MAX || seq <= m->stats.last_seq ? FC_MEMTABLE_EORDER : 0;
}

int fc_memtable_add(fc_memtable *m, uint64_t seq, fc_key_type type, fc_slice key, fc_slice value)
{
    if (check_order(m, seq) < 0)
        return FC_MEMTABLE_EORDER;
    if (key.n > FC_KEY_MAX || value.n > FC_VALUE_MAX || !fc_type_is_point(type) ||
        (type == FC_KEY_EXPIRING && value.n < FC_EXPIRY_BYTES))
        return FC_MEMTABLE_ESIZE;
    uint64_t hash = fc_hash(&m->hash_key, key.p, key.n), at = 0, used = m->arena_used;
    uint64_t *head = find_head(m, key, hash, &at);
    uint32_t ref;
    mem_version *v = take(m, sizeof *v + value.n, head ? 0 : key.n + FC_MEMTABLE_OPERATION_BYTES, &ref);
    if (v == NULL)
        return FC_MEMTABLE_EFULL;
    v->tag = fc_tag(seq, type);
    v->value_n = (uint32_t)value.n;
    if (value.n)
        memcpy(v->value, value.p, value.n);
    uint64_t word = ref | (uint64_t)key.n << 32;
    if (head == NULL) {
        fc_skiplist_item item;
        link_version(m, v, ref, 0);
        int answer = fc_skiplist_insert(&m->list, key, (fc_slice){(const char *)&word, sizeof word}, &item);
        if (answer < 0) {
            STORE(&m->arena_used, used);
            return FC_MEMTABLE_EFULL;
        }
        if (answer == 0) /* known to the list alone */
            head = mem_head(item.value);
        else
            index_head(m, hash, at, mem_head(item.value));
    }
    if (head) {
        link_version(m, v, ref, mem_newest(*head));
        STORE(head, word);
    } else {
        STORE(&m->stats.keys, m->stats.keys + 1);
    }
    STORE(&m->stats.entries, m->stats.entries + 1);
    if (type == FC_KEY_DELETE)
        STORE(&m->stats.deletes, m->stats.deletes + 1);
    count(m, seq, key.n + value.n);
    return 0;
}

void fc_memtable_expect_much(fc_memtable *m)
{
    madvise(m->arena, m->arena_size, MADV_HUGEPAGE); /* where there are none nothing is lost */
    madvise(m->list.base, m->list.size, MADV_HUGEPAGE);
    madvise(m->slots, (m->slot_mask + 1) * sizeof *m->slots, MADV_HUGEPAGE);
}

void fc_memtable_fetch(const fc_memtable *m, const fc_slice *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(&m->slots[fc_hash(&m->hash_key, keys[i].p, keys[i].n) & m->slot_mask], 1);
    fc_skiplist_fetch(&m->list, keys, n);
}

/* Ranges of the smallest sets move into the new one while they are not more than it has already. */
static size_t carried(const mem_ranges *old, size_t *kept)
{
    size_t n = 1;
    for (*kept = old ? old->n : 0; *kept > 0 && old->set[*kept - 1].n <= n; --*kept)
        n += old->set[*kept - 1].n;
    return n;
}

int fc_memtable_delete_range(fc_memtable *m, uint64_t seq, fc_slice begin, fc_slice end)
{
    if (check_order(m, seq) < 0)
        return FC_MEMTABLE_EORDER;
    if (begin.n > FC_KEY_MAX || end.n > FC_KEY_MAX)
        return FC_MEMTABLE_ESIZE;
    const mem_ranges *old = m->ranges;
    size_t kept, n = carried(old, &kept);
    uint64_t sets = sizeof *old + (kept + 1) * sizeof(fc_range_set);
    fc_range *ranges = malloc(n * sizeof *ranges);
    char *p = ranges ? take(m, sets + fc_range_set_bytes(n) + begin.n + end.n, 0, NULL) : NULL;
    if (p == NULL) {
        free(ranges);
        return FC_MEMTABLE_EFULL;
    }
    mem_ranges *fresh = (mem_ranges *)(void *)p;
    char *bytes = p + sets + fc_range_set_bytes(n);
    if (begin.n)
        memcpy(bytes, begin.p, begin.n);
    if (end.n)
        memcpy(bytes + begin.n, end.p, end.n);
    ranges[0] = (fc_range){{bytes, begin.n}, {bytes + begin.n, end.n}, seq};
    size_t filled = 1;
    for (size_t i = kept; old && i < old->n; i++) {
        memcpy(ranges + filled, old->set[i].ranges, old->set[i].n * sizeof *ranges);
        filled += old->set[i].n;
    }
    if (kept)
        memcpy(fresh->set, old->set, kept * sizeof *old->set);
    fresh->n = kept + 1;
    fresh->ranges = (old ? old->ranges : 0) + 1;
    fc_range_set_init(&fresh->set[kept], p + sets, ranges, n);
    STORE(&m->ranges, fresh);
    free(ranges);
    STORE(&m->stats.ranges, fresh->ranges);
    count(m, seq, begin.n + end.n);
    return 0;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

bool fc_memtable_has_ranges(const fc_memtable *m)
{
    return LOAD(&m->ranges) != NULL;
}

static uint64_t covering_seq(const fc_memtable *m, fc_slice key, uint64_t snapshot)
{
    const mem_ranges *r = LOAD(&m->ranges);
    uint64_t seq = 0;
    for (size_t i = 0; r && i < r->n; i++) {
        uint64_t one = fc_range_set_seq(&r->set[i], key, snapshot);
        seq = one > seq ? one : seq;
    }
    return seq;
}

void fc_memtable_cover(const fc_memtable *m, fc_slice key, uint64_t snapshot, fc_range_cover *out)
{
    const mem_ranges *r = LOAD(&m->ranges);
    *out = (fc_range_cover){.from_open = true, .until_open = true, .known = true};
    for (size_t i = 0; r && i < r->n; i++) {
        fc_range_cover one;
        fc_range_set_cover(&r->set[i], key, snapshot, &one);
        fc_range_cover_meet(out, &one);
    }
}

size_t fc_memtable_ranges(const fc_memtable *m, fc_range *out, size_t max)
{
    const mem_ranges *r = LOAD(&m->ranges);
    size_t filled = 0;
    for (size_t i = 0; r && i < r->n; i++)
        for (size_t k = 0; k < r->set[i].n && filled < max; k++)
            out[filled++] = r->set[i].ranges[k];
    return r ? r->ranges : 0;
}

int fc_memtable_get(const fc_memtable *m, const fc_lookup *l, fc_found *out)
{
    uint64_t *head = look_up_head(m, l->key, l->hash);
    uint32_t ref = head ? mem_version_at(m, mem_newest(LOAD(head)), fc_tag_seek(l->snapshot)) : 0;
    uint64_t covered = covering_seq(m, l->key, l->snapshot);
    *out = (fc_found){0};
    if (ref == 0)
        return covered ? FC_DELETED : FC_NOT_HERE;
    const mem_version *v = mem_at(m, ref);
    if (fc_tag_seq(v->tag) < covered)
        return FC_DELETED;
    out->tag = v->tag;
    fc_value_split(v->tag, (fc_slice){v->value, v->value_n}, &out->value, &out->expires_ms);
    return fc_value_lives(v->tag, out->expires_ms, l->now_ms) ? FC_FOUND : FC_DELETED;
}

void fc_memtable_get_stats(const fc_memtable *m, fc_memtable_stats *out)
{
    *out = (fc_memtable_stats){.entries = LOAD(&m->stats.entries),
                               .keys = LOAD(&m->stats.keys),
                               .deletes = LOAD(&m->stats.deletes),
                               .ranges = LOAD(&m->stats.ranges),
                               .first_seq = LOAD(&m->stats.first_seq),
                               .last_seq = LOAD(&m->stats.last_seq),
                               .bytes = fc_memtable_bytes(m),
                               .data_bytes = LOAD(&m->stats.data_bytes)};
}
