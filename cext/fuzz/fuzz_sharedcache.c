/* Operations against a table of what was stored last. Byte 0: odd, the cache has room for everything and must agree
 * with the table; even, it has not and may know less, but nothing else. Then operations of three bytes: which, key and
 * tag, how much. "Death" leaves the lock in a dead owner's hands and nonsense in all that follows from the index:
 * nothing may be missing afterwards. */
#include <stdlib.h>
#include <string.h>

#include "cache_audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEYS = 8, TAGS = 4, VALUE_MAX = 3000, STREAMS = 2 };

typedef struct held {
    bool there, pending;
    uint32_t len, seed;
    uint64_t fresh_until, keep_until, claimed;
    int tag; /* -1: none */
    uint64_t seen;
} held;

typedef struct stream {
    bool open;
    unsigned key;
    held will;
    uint64_t epoch;
    uint32_t written;
    fc_cache_put put;
} stream;

typedef struct world {
    fc_cache c;
    bool roomy;
    uint64_t now, epoch;
    uint32_t turn;
    held table[KEYS];
    uint64_t tag_now[TAGS], tag_hard[TAGS];
    stream streams[STREAMS];
} world;

static const uint32_t key_lengths[KEYS] = {0, 1, 8, 11, 64, 176, 300, 1000};
static char key_bytes[1000], value_bytes[VALUE_MAX], out[VALUE_MAX];

static fc_slice key_of(unsigned k) { return (fc_slice){key_bytes, key_lengths[k]}; }

static fc_slice value_of(const held *h)
{
    for (uint32_t i = 0; i < h->len; i++)
        value_bytes[i] = (char)(i * 7 + h->seed * 31 + (i >> 8));
    return (fc_slice){value_bytes, h->len};
}

static void must(bool what)
{
    if (!what)
        abort();
}

static fc_cache_state model_state(const world *w, const held *h)
{
    if (!h->there || w->now >= h->keep_until)
        return FC_CACHE_MISS;
    if (h->pending)
        return FC_CACHE_PENDING;
    if (h->tag >= 0 && h->seen < w->tag_hard[h->tag])
        return FC_CACHE_MISS;
    bool stale = w->now >= h->fresh_until || (h->tag >= 0 && h->seen != w->tag_now[h->tag]);
    return stale ? FC_CACHE_STALE : FC_CACHE_FRESH;
}

static void check(world *w, unsigned k)
{
    fc_cache_item item;
    const held *h = &w->table[k];
    fc_cache_state state = fc_cache_find(&w->c, key_of(k), w->now, &item), expected = model_state(w, h);
    must(state == expected || (!w->roomy && state == FC_CACHE_MISS));
    if (state != FC_CACHE_FRESH && state != FC_CACHE_STALE)
        return;
    must(item.value_len == h->len && item.flags == h->seed && item.meta_len == h->seed % 40);
    must(item.fresh_until == h->fresh_until && item.keep_until == h->keep_until);
    must(fc_cache_read_meta(&w->c, &item, out) && memcmp(out, key_bytes, item.meta_len) == 0);
    uint32_t half = h->len / 2;
    must(fc_cache_read(&w->c, &item, half, out + half, h->len - half) && fc_cache_read(&w->c, &item, 0, out, half));
    must(h->len == 0 || memcmp(out, value_of(h).p, h->len) == 0);
}

static fc_cache_new describe(const world *w, unsigned k, const held *h, fc_cache_stamp *stamp)
{
    fc_cache_stamp_now(&w->c, stamp);
    char tag = (char)h->tag;
    if (h->tag >= 0)
        must(fc_cache_stamp_tag(&w->c, stamp, (fc_slice){&tag, 1}) == 0);
    return (fc_cache_new){.key = key_of(k), .meta = {key_bytes, h->seed % 40}, .value = value_of(h), .flags = h->seed,
                          .fresh_until = h->fresh_until, .keep_until = h->keep_until, .stamp = stamp};
}

static held new_held(world *w, uint8_t a, uint8_t b)
{
    int tag = (a >> 4) % (TAGS + 1) - 1;
    return (held){.there = true, .len = (uint32_t)b * b * b % VALUE_MAX, .seed = ++w->turn, .tag = tag,
                  .fresh_until = w->now + 1 + b % 16, .keep_until = w->now + 1 + b % 16 + (a >> 3),
                  .seen = tag >= 0 ? w->tag_now[tag] : 0};
}

static void advance_stream(world *w, stream *s, uint8_t b)
{
    const fc_slice v = value_of(&s->will);
    uint32_t n = s->will.len - s->written < b * 12u ? s->will.len - s->written : b * 12u;
    int error = fc_cache_put_write(&w->c, &s->put, v.p + s->written, n, w->now);
    must(error == 0 || (error == FC_CACHE_EFULL && !w->roomy));
    s->written += n;
    if (error) {
        fc_cache_put_abort(&w->c, &s->put);
        s->open = false;
    } else if (s->written == s->will.len) {
        int stored = fc_cache_put_commit(&w->c, &s->put, w->now);
        must(stored == (s->epoch == w->epoch));
        if (stored)
            w->table[s->key] = s->will;
        s->open = false;
    }
}

static void death(world *w)
{
    for (uint32_t no = 0; no < w->c.options.shards; no++) {
        cache_shard *s = cache_shard_of(&w->c, no);
        s->lock = (uint64_t)w->turn << 32 | CACHE_DEAD;
        s->free = s->oldest = s->newest = s->hand = w->turn;
        s->used = s->pending = s->entries = w->turn * 977;
        for (uint32_t b = 1; b <= s->top; b++)
            cache_meta_of(&w->c, s)[b].role = (uint8_t)(b % 3);
        must(cache_enter(&w->c, no) != NULL);
        cache_unlock(&w->c, no);
    }
}

static void operate(world *w, uint8_t op, uint8_t a, uint8_t b)
{
    unsigned k = a % KEYS;
    held *h = &w->table[k], new = new_held(w, a, b);
    fc_cache_stamp stamp;
    fc_cache_new n;
    fc_cache_state before = model_state(w, h);
    bool there = before == FC_CACHE_FRESH || before == FC_CACHE_STALE;
    char tag = (char)(a % TAGS);
    fc_cache_item item;
    int result;
    switch (op % 12) {
    case 0:
    case 1:
        n = describe(w, k, &new, &stamp);
        result = fc_cache_set(&w->c, &n, op % 12 == 1, w->now);
        if (result == FC_CACHE_EFULL) {
            must(!w->roomy);
            if (op % 12 == 0)
                h->there = false;
        } else {
            must(result == !(op % 12 == 1 && before == FC_CACHE_FRESH) || (!w->roomy && result == 1));
            if (result == 1)
                *h = new;
        }
        break;
    case 2:
        result = fc_cache_delete(&w->c, key_of(k), w->now);
        must(result == there || (!w->roomy && result == 0));
        h->there = false;
        break;
    case 3:
        result = fc_cache_touch(&w->c, key_of(k), new.fresh_until, new.keep_until, NULL, w->now);
        must(result == there || (!w->roomy && result == 0));
        if (result)
            h->fresh_until = new.fresh_until, h->keep_until = new.keep_until, h->claimed = 0;
        break;
    case 4:
        result = fc_cache_claim(&w->c, key_of(k), w->now + b, w->now);
        if (w->roomy)
            must(result == (before == FC_CACHE_MISS || (before == FC_CACHE_STALE && w->now >= h->claimed)));
        if (result == FC_CACHE_EFULL)
            break;
        if (result && before == FC_CACHE_STALE && fc_cache_find(&w->c, key_of(k), w->now, &item) == before)
            h->claimed = w->now + b;
        else if (result)
            *h = (held){.there = true, .pending = true, .keep_until = w->now + b, .tag = -1};
        break;
    case 5:
        fc_cache_invalidate(&w->c, (fc_slice){&tag, 1}, b & 1);
        w->tag_now[a % TAGS]++;
        if (!(b & 1))
            w->tag_hard[a % TAGS] = w->tag_now[a % TAGS];
        break;
    case 6:
        if (b % 8 == 0) {
            fc_cache_clear(&w->c);
            w->epoch++;
            memset(w->table, 0, sizeof w->table);
        }
        break;
    case 7:
        fc_cache_expire(&w->c, w->now);
        break;
    case 8:
        w->now += b;
        break;
    case 9: {
        stream *s = &w->streams[b % STREAMS];
        if (s->open) {
            fc_cache_put_abort(&w->c, &s->put);
            s->open = false;
        }
        n = describe(w, k, &new, &stamp);
        n.value.n = b & 2 ? new.len : 0;
        result = fc_cache_put_begin(&w->c, &s->put, &n, w->now);
        must(result == 0 || (result == FC_CACHE_EFULL && !w->roomy));
        if (result == 0) {
            *s = (stream){.open = true, .key = k, .will = new, .epoch = w->epoch, .put = s->put};
        } else {
            h->there = false;
        }
        break;
    }
    case 10:
        if (w->streams[b % STREAMS].open)
            advance_stream(w, &w->streams[b % STREAMS], b);
        break;
    case 11:
        death(w);
        break;
    default: break;
    }
}

/* Tags that share a slot share their fate (fc/cache.h), which the table knows nothing of. */
static bool tags_collide(const fc_cache *c)
{
    fc_cache_stamp stamp;
    fc_cache_stamp_now(c, &stamp);
    for (char tag = 0; tag < TAGS; tag++)
        must(fc_cache_stamp_tag(c, &stamp, (fc_slice){&tag, 1}) == 0);
    for (int i = 0; i < TAGS; i++)
        for (int j = 0; j < i; j++)
            if (stamp.tags[i] >> CACHE_TAG_BITS == stamp.tags[j] >> CACHE_TAG_BITS)
                return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(4096) char memory[512 << 10];
    if (size < 1 || size > 3000)
        return 0;
    world w = {.roomy = data[0] & 1, .now = 1000};
    fc_cache_options o = {.capacity = w.roomy ? 160 << 10 : 12 << 10, .item_max = VALUE_MAX + 1100,
                          .shards = w.roomy ? 2 : 1, .block = data[0] & 2 ? 1024 : 256, .tag_slots = 1 << 12,
                          .key = {data[0], 7}};
    uint64_t bytes = fc_cache_size(&o);
    must(bytes > 0 && bytes <= sizeof memory);
    memset(memory, 0, bytes);
    memset(key_bytes, 'k', sizeof key_bytes);
    must(fc_cache_open(&w.c, memory, bytes, &o) == 0);
    if (tags_collide(&w.c))
        return 0;
    for (size_t at = 1; at + 3 <= size; at += 3) {
        operate(&w, data[at], data[at + 1], data[at + 2]);
        check(&w, data[at + 1] % KEYS);
    }
    for (unsigned k = 0; k < KEYS; k++)
        check(&w, k);
    must(cache_faults(&w.c) == 0);
    return 0;
}
