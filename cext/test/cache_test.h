/* cache_test.h - what the tests of the shared cache share: small caches, one-line operations, values that tell whose
 * they are. */
#ifndef FC_TEST_CACHE_TEST_H
#define FC_TEST_CACHE_TEST_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache_audit.h"
#include "check.h"
#include "fc/cache.h"

#define S(text) ((fc_slice){text, sizeof(text) - 1})
#define VALUE_MAX 200000

static const fc_cache_options small = {
    .capacity = 24 * 256, .item_max = 2000, .shards = 1, .block = 256, .tag_slots = 8, .key = {1, 2}};

static inline fc_cache open_new(const fc_cache_options *o)
{
    fc_cache c = {.base = NULL};
    uint64_t size = fc_cache_size(o);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(base != MAP_FAILED && fc_cache_open(&c, base, size, o) == 0);
    return c;
}

static inline void close_all(fc_cache *c) { munmap(c->base, fc_cache_size(&c->options)); }

static inline void audit(const fc_cache *c) { CHECK(cache_faults(c) == 0); }

static inline int put(fc_cache *c, fc_slice key, fc_slice value, uint64_t until, uint64_t now)
{
    fc_cache_new n = {.key = key, .value = value, .fresh_until = until};
    return fc_cache_set(c, &n, false, now);
}

/* Length of the value, -1 when there is no fresh one. */
static inline int64_t get(const fc_cache *c, fc_slice key, uint64_t now, char *out)
{
    fc_cache_item item;
    for (int i = 0; i < 100; i++) {
        if (fc_cache_find(c, key, now, &item) != FC_CACHE_FRESH)
            return -1;
        if (fc_cache_read(c, &item, 0, out, item.value_len))
            return item.value_len;
    }
    return -2;
}

static inline bool holds(const fc_cache *c, fc_slice key, fc_slice value, uint64_t now)
{
    char *out = malloc(VALUE_MAX);
    bool same = get(c, key, now, out) == (int64_t)value.n && (value.n == 0 || memcmp(out, value.p, value.n) == 0);
    free(out);
    return same;
}

/* A value that tells whose it is: length and bytes follow from key number and round. */
static inline fc_slice make_value(char *room, uint32_t key, uint32_t round, uint32_t n)
{
    uint64_t state = (uint64_t)key << 32 | round;
    memcpy(room, &state, 8);
    for (uint32_t i = 8; i < n; i += 8) {
        uint64_t word = fc_hash_next(&state);
        memcpy(room + i, &word, n - i < 8 ? n - i : 8);
    }
    return (fc_slice){room, n};
}

static inline bool whole(const char *value, int64_t n, uint32_t key)
{
    static __thread char expected[VALUE_MAX + 8];
    uint32_t words[2];
    if (n < 8)
        return false;
    memcpy(words, value, 8);
    make_value(expected, words[1], words[0], (uint32_t)n);
    return words[1] == key && memcmp(value, expected, (size_t)n) == 0;
}

static inline void key_name(char *name, uint32_t i) { snprintf(name, 16, "key%08u", i % 100000000); }

static inline int put_tagged(fc_cache *c, fc_slice key, fc_slice tag, fc_slice other)
{
    fc_cache_stamp stamp;
    fc_cache_stamp_now(c, &stamp);
    fc_cache_stamp_tag(c, &stamp, tag);
    fc_cache_stamp_tag(c, &stamp, other);
    fc_cache_new n = {.key = key, .value = S("v"), .fresh_until = 100, .stamp = &stamp};
    return fc_cache_set(c, &n, false, 1);
}

#endif
