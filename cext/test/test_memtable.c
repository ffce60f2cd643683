/* The memtable against a list of all that was written to it, and readers beside its writer. */
#include "fc/memtable.h"

#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "lsm_model.h"

static void check_gets(const fc_memtable *m, uint64_t snapshot)
{
    char buf[48];
    for (unsigned key = 0; key < KEYS; key++) {
        fc_lookup l = fc_lookup_of(key_of(key, buf), snapshot, 50, &HASH);
        fc_found found;
        bool known;
        uint64_t seq = model_get(key, snapshot, 50, &known);
        int answer = fc_memtable_get(m, &l, &found);
        CHECK(answer == (seq ? FC_FOUND : known ? FC_DELETED : FC_NOT_HERE));
        if (answer == FC_FOUND && seq) {
            operation *o = &history[seq];
            size_t skip = o->type == FC_KEY_EXPIRING ? 8 : 0;
            CHECK(fc_tag_seq(found.tag) == seq && found.value.n == o->value_n - skip);
            CHECK(memcmp(found.value.p, o->value + skip, found.value.n) == 0);
            CHECK(found.expires_ms == (skip ? fc_get64(o->value) : 0));
        }
    }
}

/* All versions in internal key order, by sequence number. */
static size_t model_order(uint64_t last, unsigned from, unsigned to, uint64_t *out)
{
    size_t n = 0;
    for (unsigned key = from; key < to; key++)
        for (uint64_t seq = last; seq > 0; seq--)
            if (history[seq].type != FC_KEY_RANGE_DELETE && history[seq].key == key)
                out[n++] = seq;
    return n;
}

static bool stands_on(const fc_iter *it, uint64_t seq)
{
    char buf[48];
    operation *o = &history[seq];
    return it->valid && it->error == 0 && fc_tag_seq(it->tag) == seq && fc_tag_type(it->tag) == o->type &&
           fc_key_equal(it->key, key_of(o->key, buf)) && it->value.n == o->value_n &&
           memcmp(it->value.p, o->value, o->value_n) == 0;
}

static void check_walks(const fc_memtable *m, uint64_t last, uint64_t *chance)
{
    uint64_t order[OPERATIONS];
    unsigned from = (unsigned)(fc_hash_next(chance) % KEYS);
    unsigned to = from + (unsigned)(fc_hash_next(chance) % (KEYS - from));
    char a[48], b[48], c[48];
    fc_read_options how = {.bounded_below = from > 0, .bounded_above = to > from};
    how.lower = key_of(from, a);
    how.upper = key_of(to, b);
    size_t n = model_order(last, from, to > from ? to : KEYS, order), i = 0;
    fc_iter *it = fc_memtable_iter(m, &how);
    for (fc_iter_first(it); it->valid && i < n; fc_iter_next(it), i++)
        CHECK(stands_on(it, order[i]));
    CHECK(!it->valid && i == n);
    for (fc_iter_last(it); it->valid && i > 0; fc_iter_prev(it))
        CHECK(stands_on(it, order[--i]));
    CHECK(!it->valid && i == 0);
    for (int turn = 0; turn < 20; turn++) {
        unsigned key = (unsigned)(fc_hash_next(chance) % KEYS);
        uint64_t snapshot = fc_hash_next(chance) % (last + 2);
        fc_iter_seek(it, key_of(key, c), fc_tag_seek(snapshot));
        for (i = 0; i < n; i++) {
            operation *o = &history[order[i]];
            if (o->key > key || (o->key == key && order[i] <= snapshot))
                break;
        }
        for (int step = 0; step < 5; step++) { /* to and fro */
            CHECK(i < n ? stands_on(it, order[i]) : !it->valid);
            if (!it->valid || i >= n)
                break;
            if (fc_hash_next(chance) % 2 && i > 0) {
                fc_iter_prev(it);
                i--;
            } else {
                fc_iter_next(it);
                i++;
            }
        }
    }
    fc_iter_close(it);
}

static void test_model(void)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t chance = seed;
        fc_memtable *m = fc_memtable_new(1 << 20, &HASH);
        CHECK(m != NULL);
        for (uint64_t seq = 1; seq <= OPERATIONS; seq++) {
            draw(&chance, seq, seed % 3 != 0);
            CHECK(apply(m, seq) == 0);
            if (seq % 150 == 0) {
                check_gets(m, seq);
                check_gets(m, fc_hash_next(&chance) % seq);
                check_walks(m, seq, &chance);
            }
        }
        fc_memtable_stats stats;
        fc_memtable_get_stats(m, &stats);
        CHECK(stats.first_seq == 1 && stats.last_seq == OPERATIONS && stats.entries + stats.ranges == OPERATIONS);
        fc_range *ranges = malloc(OPERATIONS * sizeof *ranges);
        CHECK(fc_memtable_ranges(m, ranges, OPERATIONS) == stats.ranges);
        for (size_t i = 0; i < stats.ranges; i++)
            CHECK(history[ranges[i].seq].type == FC_KEY_RANGE_DELETE);
        free(ranges);
        fc_memtable_free(m);
    }
}

/* Every answer of a set of ranges, and the piece it says it holds for, against all ranges. */
static void test_range_cover(void)
{
    uint64_t chance = 5;
    for (int round = 0; round < 200; round++) {
        fc_memtable *m = fc_memtable_new(1 << 20, &HASH);
        unsigned n = (unsigned)(fc_hash_next(&chance) % 20);
        for (uint64_t seq = 1; seq <= n; seq++) {
            do
                draw(&chance, seq, true);
            while (history[seq].type != FC_KEY_RANGE_DELETE);
            CHECK(apply(m, seq) == 0);
        }
        CHECK(fc_memtable_has_ranges(m) == (n > 0));
        uint64_t snapshot = fc_hash_next(&chance) % (n + 1);
        uint64_t expected[KEYS] = {0};
        for (unsigned key = 0; key < KEYS; key++)
            for (uint64_t seq = 1; seq <= snapshot; seq++)
                if (history[seq].key <= key && key < history[seq].end)
                    expected[key] = seq;
        for (unsigned key = 0; key < KEYS; key++) {
            char a[48], b[48];
            fc_range_cover cover;
            fc_memtable_cover(m, key_of(key, a), snapshot, &cover);
            CHECK(cover.seq == expected[key] && fc_range_cover_holds(&cover, key_of(key, a)));
            for (unsigned other = 0; other < KEYS; other++)
                CHECK(!fc_range_cover_holds(&cover, key_of(other, b)) || expected[other] == cover.seq);
        }
        fc_memtable_free(m);
    }
}

static void test_bounds(void)
{
    static char big[FC_KEY_MAX + 1];
    fc_memtable *m = fc_memtable_new(FC_MEMTABLE_MIN_BYTES, &HASH);
    fc_slice key = {"k", 1};
    CHECK(fc_memtable_new(FC_MEMTABLE_MIN_BYTES - 1, &HASH) == NULL);
    CHECK(fc_memtable_add(m, 0, FC_KEY_VALUE, key, key) == FC_MEMTABLE_EORDER);
    CHECK(fc_memtable_add(m, FC_SEQ_MAX + 1, FC_KEY_VALUE, key, key) == FC_MEMTABLE_EORDER);
    CHECK(fc_memtable_add(m, 5, FC_KEY_VALUE, key, key) == 0);
    CHECK(fc_memtable_add(m, 5, FC_KEY_VALUE, key, key) == FC_MEMTABLE_EORDER);
    CHECK(fc_memtable_delete_range(m, 5, key, key) == FC_MEMTABLE_EORDER);
    CHECK(fc_memtable_add(m, 6, FC_KEY_VALUE, (fc_slice){big, sizeof big}, key) == FC_MEMTABLE_ESIZE);
    CHECK(fc_memtable_add(m, 6, FC_KEY_RANGE_DELETE, key, key) == FC_MEMTABLE_ESIZE);
    CHECK(fc_memtable_add(m, 6, FC_KEY_EXPIRING, key, (fc_slice){"1234567", 7}) == FC_MEMTABLE_ESIZE);
    CHECK(fc_memtable_delete_range(m, 6, key, (fc_slice){big, sizeof big}) == FC_MEMTABLE_ESIZE);
    CHECK(fc_memtable_add(m, 6, FC_KEY_VALUE, key, (fc_slice){big, 65000}) == FC_MEMTABLE_EFULL);
    CHECK(fc_memtable_add(m, 6, FC_KEY_VALUE, (fc_slice){big, 65000}, key) == FC_MEMTABLE_EFULL);
    CHECK(fc_memtable_delete_range(m, 6, (fc_slice){big, 65000}, key) == FC_MEMTABLE_EFULL);
    uint64_t seq = 6, before = fc_memtable_bytes(m);
    for (; fc_memtable_has_room(m, 10, 0, 10 * 16); seq += 10) /* what it says fits does fit */
        for (uint64_t i = seq; i < seq + 10; i++) {
            char name[16];
            fc_slice k = {name, (size_t)snprintf(name, sizeof name, "%08lx", (unsigned long)fc_hash_mix(i) >> 32)};
            CHECK(fc_memtable_add(m, i, FC_KEY_VALUE, k, (fc_slice){"12345678", 8}) == 0);
        }
    CHECK(seq > 100 && before < fc_memtable_bytes(m) && fc_memtable_bytes(m) <= FC_MEMTABLE_MIN_BYTES);
    int answer = 0;
    uint64_t last = seq;
    for (; answer == 0; last++) {
        answer = fc_memtable_add(m, last, FC_KEY_DELETE, (fc_slice){(char *)&last, 8}, (fc_slice){NULL, 0});
        CHECK(fc_memtable_bytes(m) <= FC_MEMTABLE_MIN_BYTES);
    }
    CHECK(answer == FC_MEMTABLE_EFULL);
    for (uint64_t i = seq; i < last - 1; i++) {
        fc_found found;
        fc_lookup l = fc_lookup_of((fc_slice){(char *)&i, 8}, i, 0, &HASH);
        CHECK(fc_memtable_get(m, &l, &found) == FC_DELETED);
        l.snapshot = i - 1;
        CHECK(fc_memtable_get(m, &l, &found) == FC_NOT_HERE);
    }
    fc_memtable_free(m);
}

/* Range deletions that are said to fit do fit, however many sets have to be merged. */
static void test_room_for_ranges(void)
{
    fc_memtable *m = fc_memtable_new(1 << 18, &HASH);
    uint64_t seq = 0;
    CHECK(!fc_memtable_has_room(m, 1, 2, 2) && !fc_memtable_has_room(m, UINT64_MAX, 0, 0));
    CHECK(!fc_memtable_has_room(m, 1, 0, UINT64_MAX));
    while (fc_memtable_has_room(m, 3, 3, 6))
        for (int i = 0; i < 3; i++)
            CHECK(fc_memtable_delete_range(m, ++seq, (fc_slice){"a", 1}, (fc_slice){"b", 1}) == 0);
    CHECK(seq > 300);
    while (fc_memtable_delete_range(m, seq + 1, (fc_slice){"a", 1}, (fc_slice){"b", 1}) == 0)
        seq++;
    CHECK(seq > 400); /* 256 KiB hold so many only when sets are merged */
    fc_range_cover cover;
    fc_memtable_cover(m, (fc_slice){"a", 1}, FC_SEQ_MAX, &cover);
    CHECK(cover.seq == seq && fc_memtable_ranges(m, NULL, 0) == seq);
    fc_memtable_free(m);
}

/* Tiny entries outnumber the slots of the index: all are found still. */
static void test_full_index(void)
{
    fc_memtable *m = fc_memtable_new(1 << 20, &HASH);
    uint32_t n = 0;
    while (fc_memtable_add(m, n + 1, FC_KEY_VALUE, (fc_slice){(char *)&n, 4}, (fc_slice){"", 0}) == 0)
        n++;
    CHECK(n > 8192);
    for (uint32_t i = 0; i < n; i++) {
        fc_found found;
        fc_lookup l = fc_lookup_of((fc_slice){(char *)&i, 4}, FC_SEQ_MAX, 0, &HASH);
        CHECK(fc_memtable_get(m, &l, &found) == FC_FOUND && fc_tag_seq(found.tag) == i + 1);
    }
    fc_memtable_stats stats;
    fc_memtable_get_stats(m, &stats);
    CHECK(stats.keys == n);
    fc_memtable_free(m);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

#define SHARED_KEYS 500u
#define SHARED_WRITES 20000u

typedef struct shared {
    fc_memtable *m;
    uint64_t *visible; /* released by the writer */
    uint64_t seed;
    unsigned long wrong, reads;
} shared;

/* Write number seq goes to key seq * 7 mod SHARED_KEYS with the value seq; every 1000th deletes keys 0 to 99. */
static void *read_along(void *arg)
{
    shared *own = arg;
    uint64_t chance = own->seed, visible = 0;
    while (visible < SHARED_WRITES) {
        visible = __atomic_load_n(own->visible, __ATOMIC_ACQUIRE);
        uint64_t snapshot = visible ? fc_hash_next(&chance) % visible + 1 : 0;
        uint64_t number = fc_hash_next(&chance) % SHARED_KEYS, expected = 0;
        for (uint64_t seq = snapshot; seq > 0 && seq + 2 * SHARED_KEYS > snapshot; seq--) {
            if (seq % 1000 == 0 && number < 100)
                break;
            if (seq % 1000 != 0 && seq * 7 % SHARED_KEYS == number) {
                expected = seq;
                break;
            }
        }
        uint64_t big_endian = __builtin_bswap64(number);
        fc_slice key = {(char *)&big_endian, 8};
        fc_lookup l = fc_lookup_of(key, snapshot, 0, &HASH);
        fc_found found;
        int answer = fc_memtable_get(own->m, &l, &found);
        own->wrong += (answer == FC_FOUND) != (expected != 0);
        own->wrong += answer == FC_FOUND && (found.value.n != 8 || fc_get64(found.value.p) != expected);
        if (++own->reads % 64 == 0) {
            fc_iter *it = fc_memtable_iter(own->m, NULL);
            fc_iter_seek(it, key, fc_tag_seek(snapshot));
            own->wrong += expected && (!it->valid || fc_tag_seq(it->tag) != expected);
            bool forwards = own->reads % 128 == 0;
            char last[8] = {0};
            uint64_t last_tag = 0;
            for (int i = 0; i < 50 && it->valid; i++) {
                if (i > 0) {
                    int c = fc_ikey_compare((fc_slice){last, 8}, last_tag, it->key, it->tag);
                    own->wrong += forwards ? c >= 0 : c <= 0;
                }
                memcpy(last, it->key.p, 8);
                last_tag = it->tag;
                if (forwards)
                    fc_iter_next(it);
                else
                    fc_iter_prev(it);
            }
            fc_iter_close(it);
        }
    }
    return NULL;
}

static void test_readers(void)
{
    shared all[3];
    pthread_t threads[3];
    uint64_t visible = 0;
    fc_memtable *m = fc_memtable_new(8 << 20, &HASH);
    for (uint64_t i = 0; i < 3; i++) {
        all[i] = (shared){.m = m, .visible = &visible, .seed = i};
        CHECK(pthread_create(&threads[i], NULL, read_along, &all[i]) == 0);
    }
    for (uint64_t seq = 1; seq <= SHARED_WRITES; seq++) {
        uint64_t big_endian = __builtin_bswap64(seq * 7 % SHARED_KEYS), end = __builtin_bswap64(100);
        int error = seq % 1000 == 0
                        ? fc_memtable_delete_range(m, seq, (fc_slice){"", 0}, (fc_slice){(char *)&end, 8})
                        : fc_memtable_add(m, seq, FC_KEY_VALUE, (fc_slice){(char *)&big_endian, 8},
                                          (fc_slice){(char *)&seq, 8});
        CHECK(error == 0);
        __atomic_store_n(&visible, seq, __ATOMIC_RELEASE);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(all[i].wrong == 0 && all[i].reads > 0);
    }
    fc_memtable_free(m);
}

int main(void)
{
    test_model();
    test_range_cover();
    test_bounds();
    test_room_for_ranges();
    test_full_index();
    test_readers();
    return check_done("memtable");
}
