#include "cache_test.h"

static const fc_cache_options large = {
    .capacity = 4 << 20, .item_max = VALUE_MAX, .shards = 4, .block = 512, .tag_slots = 64, .key = {3, 4}};

static void test_open(void)
{
    static _Alignas(4096) char memory[1 << 16];
    fc_cache c;
    uint64_t size = fc_cache_size(&small);
    CHECK(size > 0 && size <= sizeof memory);
    CHECK(fc_cache_open(&c, memory, size, NULL) == FC_CACHE_ESIZE);
    CHECK(fc_cache_open(&c, memory, 64, &small) == FC_CACHE_ESIZE);
    CHECK(fc_cache_open(&c, memory, size - 1, &small) == FC_CACHE_ESIZE);
    CHECK(fc_cache_open(&c, memory, size, &small) == 0);
    fc_cache_options other = small;
    other.item_max = 100;
    CHECK(fc_cache_open(&c, memory, size, &other) == 0 && c.options.item_max == 2000);
    CHECK(fc_cache_open(&c, memory, size, NULL) == 0 && c.options.key.k1 == 2);
    memory[8] ^= 1;
    CHECK(fc_cache_open(&c, memory, size, NULL) == FC_CACHE_EVERSION);

    fc_cache_options bad[] = {small, small, small, small, small, small, small, small, small};
    bad[0].shards = 0;
    bad[1].shards = FC_CACHE_SHARDS_MAX + 1;
    bad[2].block = 128;
    bad[3].block = 300;
    bad[4].tag_slots = 0;
    bad[5].item_max = 24 * 256 / 2;
    bad[6].capacity = 0;
    bad[7].item_max = UINT64_MAX;
    bad[8].capacity = UINT64_MAX;
    for (size_t i = 0; i < FC_ARRAY_LEN(bad); i++)
        CHECK(fc_cache_size(&bad[i]) == 0);
    for (int e = FC_CACHE_ELOST; e <= FC_CACHE_ESIZE; e++)
        CHECK(strcmp(fc_cache_strerror(e), "unknown error") != 0);
}

static void test_values(void)
{
    fc_cache c = open_new(&large);
    static char value[VALUE_MAX], out[VALUE_MAX], key[1000];
    memset(key, 'k', sizeof key);
    CHECK(get(&c, S("a"), 1, out) == -1);
    for (uint32_t n = 0; n < VALUE_MAX; n = n * 3 / 2 + 1)
        for (uint32_t k = 0; k < 1000; k = k * 2 + 1) {
            fc_slice v = make_value(value, 7, n, n < 8 ? 8 : n);
            v.n = n;
            fc_slice name = {key, k};
            if (n + k > VALUE_MAX)
                continue;
            CHECK(put(&c, name, v, FC_CACHE_NEVER, 1) == 1);
            CHECK(holds(&c, name, v, 1));
            CHECK(put(&c, name, S("other"), FC_CACHE_NEVER, 1) == 1);
            CHECK(holds(&c, name, S("other"), 1));
        }
    audit(&c);
    fc_slice big = {value, VALUE_MAX};
    CHECK(put(&c, S("k"), big, FC_CACHE_NEVER, 1) == FC_CACHE_EBIG);
    big.n--;
    CHECK(put(&c, S("k"), big, FC_CACHE_NEVER, 1) == 1 && holds(&c, S("k"), big, 1));
    CHECK(put(&c, (fc_slice){value, FC_CACHE_KEY_MAX + 1}, S(""), 1, 1) == FC_CACHE_EBIG);
    CHECK(get(&c, (fc_slice){value, FC_CACHE_KEY_MAX + 1}, 1, out) == -1);

    /* Metadata, flags, and reading in pieces in any order. */
    fc_cache_item item;
    fc_cache_new n = {.key = S("meta"), .meta = {value, 700}, .value = {value, 50000}, .flags = 77, .fresh_until = 9,
                      .keep_until = 20};
    CHECK(fc_cache_set(&c, &n, false, 5) == 1);
    CHECK(fc_cache_find(&c, n.key, 6, &item) == FC_CACHE_FRESH);
    CHECK(item.flags == 77 && item.meta_len == 700 && item.value_len == 50000 && item.stored == 5 &&
          item.fresh_until == 9 && item.keep_until == 20);
    CHECK(fc_cache_read_meta(&c, &item, out) && memcmp(out, value, 700) == 0);
    for (uint32_t at = 0; at < 50000; at += 3333) {
        uint32_t piece = 50000 - at < 3333 ? 50000 - at : 3333;
        CHECK(fc_cache_read(&c, &item, at, out, piece) && memcmp(out, value + at, piece) == 0);
    }
    CHECK(fc_cache_read(&c, &item, 511, out, 3) && memcmp(out, value + 511, 3) == 0);
    CHECK(fc_cache_read_meta(&c, &item, out) && memcmp(out, value, 700) == 0 && fc_cache_same(&c, &item));
    CHECK(put(&c, n.key, S("x"), 100, 6) == 1 && !fc_cache_same(&c, &item) && !fc_cache_read(&c, &item, 0, out, 1));
    audit(&c);
    close_all(&c);
}

static void test_times(void)
{
    fc_cache c = open_new(&small);
    fc_cache_item item;
    fc_cache_new n = {.key = S("k"), .value = S("v"), .fresh_until = 10, .keep_until = 20};
    CHECK(fc_cache_set(&c, &n, true, 1) == 1 && fc_cache_set(&c, &n, true, 9) == 0);
    CHECK(fc_cache_find(&c, n.key, 9, &item) == FC_CACHE_FRESH);
    CHECK(fc_cache_find(&c, n.key, 10, &item) == FC_CACHE_STALE && item.value_len == 1);
    CHECK(fc_cache_find(&c, n.key, 20, &item) == FC_CACHE_MISS);
    CHECK(fc_cache_set(&c, &n, true, 9) == 0 && fc_cache_set(&c, &n, true, 10) == 1);
    CHECK(fc_cache_touch(&c, n.key, 30, 0, NULL, 19) == 1 && fc_cache_find(&c, n.key, 29, &item) == FC_CACHE_FRESH);
    CHECK(fc_cache_touch(&c, n.key, 40, 0, NULL, 30) == 0 && fc_cache_touch(&c, S("no"), 40, 0, NULL, 1) == 0);
    CHECK(fc_cache_delete(&c, n.key, 30) == 0 && fc_cache_delete(&c, n.key, 1) == 0);
    CHECK(fc_cache_set(&c, &n, true, 1) == 1 && fc_cache_delete(&c, n.key, 15) == 1);
    CHECK(fc_cache_find(&c, n.key, 1, &item) == FC_CACHE_MISS);

    /* Claims: of nothing, and of a stale value. */
    CHECK(fc_cache_claim(&c, n.key, 100, 50) == 1 && fc_cache_claim(&c, n.key, 100, 99) == 0);
    CHECK(fc_cache_find(&c, n.key, 99, &item) == FC_CACHE_PENDING && item.keep_until == 100);
    CHECK(fc_cache_delete(&c, S("x"), 1) == 0 && fc_cache_claim(&c, n.key, 200, 100) == 1);
    n.fresh_until = 210, n.keep_until = 300;
    CHECK(fc_cache_set(&c, &n, true, 150) == 1 && fc_cache_claim(&c, n.key, 220, 200) == 0);
    CHECK(fc_cache_claim(&c, n.key, 220, 210) == 1 && fc_cache_claim(&c, n.key, 230, 219) == 0);
    CHECK(fc_cache_claim(&c, n.key, 1000, 220) == 1); /* which touch settles */
    CHECK(fc_cache_touch(&c, n.key, 240, 300, NULL, 225) == 1 && fc_cache_claim(&c, n.key, 250, 239) == 0);
    CHECK(fc_cache_claim(&c, n.key, 260, 240) == 1);

    CHECK(put(&c, S("a"), S("1"), 10, 1) == 1 && put(&c, S("b"), S("2"), 20, 1) == 1);
    CHECK(fc_cache_expire(&c, 10) == 1 && fc_cache_expire(&c, 10) == 0);
    CHECK(!holds(&c, S("a"), S("1"), 1) && holds(&c, S("b"), S("2"), 19));
    CHECK(fc_cache_expire(&c, 1000) == 2);
    fc_cache_stats stats;
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.entries == 0 && stats.bytes == 0 && stats.removed == 3 && stats.capacity == 24 * 256);
    audit(&c);
    close_all(&c);
}

static void test_tags(void)
{
    fc_cache_options o = small;
    o.tag_slots = 1 << 16; /* these few do not collide */
    fc_cache c = open_new(&o);
    fc_cache_item item;
    CHECK(put_tagged(&c, S("a"), S("red"), S("round")) == 1 && put_tagged(&c, S("b"), S("blue"), S("round")) == 1);
    CHECK(put(&c, S("c"), S("v"), 100, 1) == 1);
    fc_cache_invalidate(&c, S("green"), false);
    CHECK(fc_cache_find(&c, S("a"), 2, &item) == FC_CACHE_FRESH);
    CHECK(fc_cache_find(&c, S("b"), 2, &item) == FC_CACHE_FRESH);
    fc_cache_invalidate(&c, S("red"), false);
    CHECK(fc_cache_find(&c, S("a"), 2, &item) == FC_CACHE_MISS);
    CHECK(fc_cache_find(&c, S("b"), 2, &item) == FC_CACHE_FRESH);
    fc_cache_invalidate(&c, S("round"), true);
    CHECK(fc_cache_find(&c, S("b"), 2, &item) == FC_CACHE_STALE);
    CHECK(fc_cache_find(&c, S("a"), 2, &item) == FC_CACHE_MISS);

    /* Revalidated with a stamp from before and one from after. */
    fc_cache_stamp stamp;
    fc_cache_stamp_now(&c, &stamp);
    CHECK(fc_cache_stamp_tag(&c, &stamp, S("blue")) == 0 && fc_cache_stamp_tag(&c, &stamp, S("round")) == 0);
    CHECK(fc_cache_touch(&c, S("b"), 50, 90, NULL, 2) == 1 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_STALE);
    CHECK(fc_cache_touch(&c, S("b"), 50, 90, &stamp, 2) == 1 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_FRESH);
    fc_cache_invalidate(&c, S("blue"), false);
    fc_cache_invalidate(&c, S("blue"), true);
    CHECK(fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_MISS);

    /* A stamp from before an invalidation or a clear does not bring old data back. */
    fc_cache_new n = {.key = S("b"), .value = S("old"), .fresh_until = 100, .stamp = &stamp};
    CHECK(fc_cache_set(&c, &n, false, 3) == 1 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_MISS);
    stamp.len = 0;
    CHECK(fc_cache_set(&c, &n, false, 3) == 1 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_FRESH);
    fc_cache_clear(&c);
    fc_cache_stats stats;
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.entries == 0 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_MISS);
    CHECK(fc_cache_find(&c, S("c"), 3, &item) == FC_CACHE_MISS && fc_cache_set(&c, &n, false, 3) == 0);
    n.stamp = NULL;
    CHECK(fc_cache_set(&c, &n, false, 3) == 1 && fc_cache_find(&c, S("b"), 3, &item) == FC_CACHE_FRESH);
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.entries == 1 && stats.bytes == 256);
    stamp.len = FC_CACHE_TAGS_MAX;
    CHECK(fc_cache_stamp_tag(&c, &stamp, S("x")) == FC_CACHE_ETAGS);
    audit(&c);
    close_all(&c);
}

/* SIEVE as the paper has it, one block an entry, against the shard. */
static void test_sieve(void)
{
    enum { ROOM = 24, KEYS = 60, STEPS = 4000 };
    fc_cache c = open_new(&small);
    int queue[ROOM], visited[KEYS] = {0}, length = 0, hand = 0; /* queue[0] is the oldest */
    uint64_t state = 11, evictions = 0;
    char name[16];
    for (int step = 0; step < STEPS; step++) {
        uint64_t dice = fc_hash_next(&state);
        int k = (int)((dice % KEYS) * (dice >> 32 & 0xFFFF) >> 16), at = -1; /* skewed to small numbers */
        key_name(name, (uint32_t)k);
        fc_slice key = {name, 11};
        for (int i = 0; i < length; i++)
            if (queue[i] == k)
                at = i;
        CHECK(holds(&c, key, (fc_slice){name, 11}, 1) == (at >= 0));
        if (at >= 0) {
            visited[k] = 1;
            continue;
        }
        if (length == ROOM) {
            while (visited[queue[hand]]) {
                visited[queue[hand]] = 0;
                hand = (hand + 1) % length;
            }
            memmove(&queue[hand], &queue[hand + 1], (size_t)(length - hand - 1) * sizeof *queue);
            length--;
            if (hand == length) /* was the newest: on from the oldest, not from the one that is about to come */
                hand = 0;
            evictions++;
        }
        queue[length++] = k;
        visited[k] = 0;
        CHECK(put(&c, key, (fc_slice){name, 11}, FC_CACHE_NEVER, 1) == 1);
    }
    fc_cache_stats stats;
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.evicted == evictions && evictions > 500 && stats.entries == ROOM);
    audit(&c);
    close_all(&c);
}

/* Everything was hit: an eviction still comes after a bounded walk. Expired entries go before hit ones. */
static void test_full_of_hits(void)
{
    fc_cache_options o = small;
    o.capacity = 4 * FC_CACHE_SWEEP * 256;
    fc_cache c = open_new(&o);
    char name[16], out[16];
    for (uint32_t i = 0; i < c.blocks; i++) {
        key_name(name, i);
        CHECK(put(&c, (fc_slice){name, 11}, S("v"), i == 100 ? 5 : 50, 1) == 1);
        CHECK(get(&c, (fc_slice){name, 11}, 1, out) == 1);
    }
    CHECK(put(&c, S("new"), S("v"), 50, 6) == 1);
    key_name(name, 100);
    cache_shard *s = cache_shard_of(&c, 0);
    CHECK(cache_lookup(&c, s, fc_hash(&o.key, name, 11), (fc_slice){name, 11}) == 0 && s->removed == 1);
    CHECK(put(&c, S("newer"), S("v"), 50, 6) == 1 && s->evicted == 1);
    key_name(name, 101 + FC_CACHE_SWEEP);
    CHECK(get(&c, (fc_slice){name, 11}, 6, out) == -1);
    audit(&c);
    close_all(&c);
}

/* Random sizes keep fitting, whatever came before. */
static void test_mixture(void)
{
    fc_cache c = open_new(&large);
    static char value[VALUE_MAX];
    uint64_t state = 3;
    char name[16];
    for (int i = 0; i < 3000; i++) {
        uint64_t dice = fc_hash_next(&state);
        uint32_t n = (uint32_t)(dice >> 32) % (dice % 7 == 0 ? VALUE_MAX - 11 : 900);
        key_name(name, dice % 500);
        fc_slice v = make_value(value, 1, 2, n < 8 ? 8 : n);
        CHECK(put(&c, (fc_slice){name, 11}, v, FC_CACHE_NEVER, 1) == 1);
        CHECK(holds(&c, (fc_slice){name, 11}, v, 1));
    }
    audit(&c);
    fc_cache_clear(&c);
    for (uint32_t i = 0; i < 100; i++) {
        key_name(name, i);
        CHECK(put(&c, (fc_slice){name, 11}, S("v"), FC_CACHE_NEVER, 1) == 1);
    }
    audit(&c);
    close_all(&c);
}

static void test_pieces(void)
{
    fc_cache c = open_new(&large);
    static char value[VALUE_MAX];
    fc_cache_put p;
    make_value(value, 1, 2, VALUE_MAX);
    fc_cache_new n = {.key = S("k"), .meta = S("meta"), .fresh_until = 10};
    CHECK(put(&c, n.key, S("before"), 10, 1) == 1);
    for (uint32_t step = 1; step < VALUE_MAX; step = step * 5 + 2)
        for (int hint = 0; hint < 2; hint++) {
            uint32_t length = step < 100 ? 3000 : VALUE_MAX - 5;
            n.value.n = hint ? length : 0;
            CHECK(fc_cache_put_begin(&c, &p, &n, 1) == 0);
            for (uint32_t at = 0; at < length; at += step)
                CHECK(fc_cache_put_write(&c, &p, value + at, length - at < step ? length - at : step, 1) == 0);
            CHECK(!holds(&c, n.key, (fc_slice){value, length}, 1));
            CHECK(fc_cache_put_commit(&c, &p, 1) == 1);
            CHECK(holds(&c, n.key, (fc_slice){value, length}, 1));
            CHECK(fc_cache_put_commit(&c, &p, 1) == FC_CACHE_ELOST); /* over; and what it does not own it hides only */
            audit(&c);
            CHECK(put(&c, n.key, S("before"), 10, 1) == 1);
        }
    fc_cache_stats stats;
    fc_cache_clear(&c);
    n.value.n = 5000; /* guessed too much: the rest is given back */
    CHECK(fc_cache_put_begin(&c, &p, &n, 1) == 0 && fc_cache_put_write(&c, &p, value, 1000, 1) == 0);
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.pending == 5120 && fc_cache_put_commit(&c, &p, 1) == 1);
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.bytes == 1536 && stats.pending == 0 && put(&c, n.key, S("before"), 10, 1) == 1);
    n.value.n = 0;
    CHECK(fc_cache_put_begin(&c, &p, &n, 1) == 0);
    CHECK(fc_cache_put_write(&c, &p, value, VALUE_MAX, 1) == 0);
    CHECK(fc_cache_put_write(&c, &p, value, 1, 1) == FC_CACHE_EBIG);
    fc_cache_put_abort(&c, &p);
    fc_cache_put_abort(&c, &p);
    CHECK(fc_cache_put_write(&c, &p, value, 1, 1) == FC_CACHE_ELOST && holds(&c, n.key, S("before"), 1));
    CHECK(fc_cache_put_begin(&c, &p, &n, 1) == 0);
    fc_cache_clear(&c);
    CHECK(fc_cache_put_write(&c, &p, value, 5000, 1) == 0 && fc_cache_put_commit(&c, &p, 1) == 0);
    audit(&c);

    /* Records run out; a half of the shard at most is reserved. */
    fc_cache_put many[FC_CACHE_INSERTIONS + 1];
    n.value.n = 0;
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++)
        CHECK(fc_cache_put_begin(&c, &many[i], &n, 1) == 0);
    CHECK(fc_cache_put_begin(&c, &p, &n, 1) == FC_CACHE_EFULL);
    uint32_t full = 0;
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++)
        full += fc_cache_put_write(&c, &many[i], value, VALUE_MAX - 10, 1) == FC_CACHE_EFULL;
    CHECK(full >= FC_CACHE_INSERTIONS - 4 && full < FC_CACHE_INSERTIONS);
    CHECK(put(&c, n.key, S("small ones still fit"), 10, 1) == 1 && holds(&c, n.key, S("small ones still fit"), 1));
    for (int i = 0; i < FC_CACHE_INSERTIONS; i++)
        fc_cache_put_abort(&c, &many[i]);
    fc_cache_stats_get(&c, &stats);
    CHECK(stats.pending == 0);
    audit(&c);
    close_all(&c);
}

int main(void)
{
    test_open();
    test_values();
    test_times();
    test_tags();
    test_sieve();
    test_full_of_hits();
    test_mixture();
    test_pieces();
    return check_done("test_sharedcache");
}
