/* The skip list alone: against a sorted array, at its limits, and its memory. Readers beside it:
 * test_skiplist_shared. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/skiplist.h"

static uint64_t seed = 88172645463325252ull;

static uint64_t random_word(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static fc_slice text(const char *s) { return (fc_slice){s, strlen(s)}; }

static int compare(fc_slice a, fc_slice b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* The model: a sorted array. */
enum { MODEL_MAX = 4096 };
typedef struct pair {
    char key[48];
    size_t key_n;
    uint64_t value;
} pair;
static pair model[MODEL_MAX];
static size_t model_n;

static fc_slice key_of(size_t i) { return (fc_slice){model[i].key, model[i].key_n}; }

static size_t model_rank(fc_slice key)
{
    size_t i = 0;
    while (i < model_n && compare(key_of(i), key) < 0)
        i++;
    return i;
}

static bool model_has(fc_slice key, size_t i) { return i < model_n && compare(key_of(i), key) == 0; }

static void model_put(fc_slice key, uint64_t value)
{
    size_t i = model_rank(key);
    if (!model_has(key, i)) {
        memmove(model + i + 1, model + i, (model_n++ - i) * sizeof(pair));
        memcpy(model[i].key, key.p, key.n);
        model[i].key_n = key.n;
    }
    model[i].value = value;
}

static void model_remove(size_t i) { memmove(model + i, model + i + 1, (--model_n - i) * sizeof(pair)); }

static bool is_pair(const fc_skiplist_item *item, size_t i)
{
    return i < model_n && compare(item->key, key_of(i)) == 0 && item->value.n == 8 &&
           (uintptr_t)item->value.p % 8 == 0 && memcmp(item->value.p, &model[i].value, 8) == 0;
}

/* Keys that are short, long, alike in their first 8, 16 or 24 bytes, or with zeros at the end. */
static fc_slice make_key(char *buf, uint64_t range)
{
    uint64_t word = random_word() % range, kind = random_word() % 4;
    size_t n = kind * 8;
    memset(buf, 'a', 24);
    switch (random_word() % 3) {
    case 0:
        for (int i = 0; i < 8; i++)
            buf[n++] = (char)(word >> (56 - 8 * i));
        break;
    case 1: n += (size_t)sprintf(buf + n, "%lu", word); break;
    default:
        for (uint64_t zeros = word % 10; zeros > 0; zeros--)
            buf[n++] = 0;
    }
    return (fc_slice){buf, n};
}

static void check_place(const fc_skiplist *l, fc_slice key)
{
    fc_skiplist_cursor c, d;
    size_t i = model_rank(key);
    bool has = model_has(key, i);
    CHECK(fc_skiplist_seek(l, key, FC_SKIPLIST_EQ, &c) == has && (!has || is_pair(&c.item, i)));
    bool found = fc_skiplist_seek(l, key, FC_SKIPLIST_GE, &c);
    CHECK(found == (i < model_n) && (!found || is_pair(&c.item, i)));
    d = c;
    if (found)
        CHECK(fc_skiplist_prev(l, &d) == (i > 0) && (i == 0 || is_pair(&d.item, i - 1)));
    if (found)
        CHECK(fc_skiplist_next(l, &c) == (i + 1 < model_n) && (i + 1 >= model_n || is_pair(&c.item, i + 1)));
    found = fc_skiplist_seek(l, key, FC_SKIPLIST_GT, &c);
    CHECK(found == (i + has < model_n) && (!found || is_pair(&c.item, i + has)));
    found = fc_skiplist_seek(l, key, FC_SKIPLIST_LE, &c);
    CHECK(found == (i + has > 0) && (!found || is_pair(&c.item, i + has - 1)));
    found = fc_skiplist_seek(l, key, FC_SKIPLIST_LT, &c);
    CHECK(found == (i > 0) && (!found || is_pair(&c.item, i - 1)));
    CHECK(fc_skiplist_rank(l, key) == i);
    CHECK(fc_skiplist_at(l, i, &c) == (i < model_n) && (i == model_n || is_pair(&c.item, i)));
}

static void check_all(const fc_skiplist *l)
{
    fc_skiplist_cursor c;
    const char *wrong = fc_skiplist_check(l);
    if (wrong)
        fprintf(stderr, "%s\n", wrong);
    CHECK(wrong == NULL);
    CHECK(fc_skiplist_count(l) == model_n);
    size_t i = 0;
    for (bool on = fc_skiplist_seek(l, (fc_slice){0}, FC_SKIPLIST_FIRST, &c); on; on = fc_skiplist_next(l, &c), i++)
        CHECK(is_pair(&c.item, i));
    CHECK(i == model_n);
    for (bool on = fc_skiplist_seek(l, (fc_slice){0}, FC_SKIPLIST_LAST, &c); on; on = fc_skiplist_prev(l, &c))
        CHECK(is_pair(&c.item, --i));
    CHECK(i == 0);
}

static void operate(fc_skiplist *l, uint64_t range)
{
    char buf[48];
    fc_slice key = make_key(buf, range);
    uint64_t value = random_word();
    fc_slice bytes = {(char *)&value, 8};
    fc_skiplist_item item;
    size_t i = model_rank(key);
    bool has = model_has(key, i);
    switch (random_word() % 8) {
    case 0:
    case 1:
    case 2:
        CHECK(fc_skiplist_put(l, key, bytes) == !has);
        model_put(key, value);
        break;
    case 3:
        CHECK(fc_skiplist_insert(l, key, bytes, &item) == !has && (!has || is_pair(&item, i)));
        if (!has)
            model_put(key, value);
        break;
    case 4:
    case 5:
        CHECK(fc_skiplist_remove(l, key, &item) == has && (!has || is_pair(&item, i)));
        if (has)
            model_remove(i);
        break;
    case 6: {
        bool last = random_word() % 2, any = model_n > 0;
        CHECK(fc_skiplist_pop(l, last, &item) == any && (!any || is_pair(&item, last ? model_n - 1 : 0)));
        if (any)
            model_remove(last ? model_n - 1 : 0);
        break;
    }
    default: check_place(l, key);
    }
}

static void test_against_model(void)
{
    static const uint64_t ranges[] = {10, 300, 1 << 20};
    for (size_t r = 0; r < FC_ARRAY_LEN(ranges); r++) {
        fc_skiplist l;
        CHECK(fc_skiplist_open(&l, 0, 1 << 30) == 0);
        model_n = 0;
        for (int n = 0; n < 20000 && model_n < MODEL_MAX; n++) {
            operate(&l, ranges[r]);
            if (n % 1000 == 0)
                check_all(&l);
        }
        check_all(&l);
        fc_skiplist_item item;
        while (fc_skiplist_pop(&l, random_word() % 2, &item) == 1)
            ;
        model_n = 0;
        check_all(&l);
        fc_skiplist_close(&l);
    }
}

/* Half a million keys, down to few and up again: every level splits and merges. */
static void test_many(void)
{
    enum { N = 300000 };
    fc_skiplist l;
    CHECK(fc_skiplist_open(&l, 0, FC_SKIPLIST_MAX_BYTES) == 0);
    for (uint64_t round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < N; i++) {
            uint64_t word = __builtin_bswap64((i * 7919) % N);
            CHECK(fc_skiplist_put(&l, (fc_slice){(char *)&word, 8}, (fc_slice){(char *)&i, 8}) == 1);
        }
        CHECK(fc_skiplist_count(&l) == N && fc_skiplist_check(&l) == NULL);
        for (uint64_t i = 0; i < N; i++) {
            uint64_t word = __builtin_bswap64((i * 104729) % N);
            fc_slice key = {(char *)&word, 8};
            if (i % 100 != 0)
                CHECK(fc_skiplist_remove(&l, key, NULL) == 1);
            if (i % (N / 20) == 0)
                CHECK(fc_skiplist_check(&l) == NULL);
        }
        CHECK(fc_skiplist_count(&l) == N / 100 && fc_skiplist_check(&l) == NULL);
        fc_skiplist_clear(&l);
        CHECK(fc_skiplist_count(&l) == 0 && fc_skiplist_check(&l) == NULL);
    }
    fc_skiplist_close(&l);
}

/* A hint changes nothing, whatever is asked for: an empty list, keys that are there, more than it looks at. */
static void test_fetch(void)
{
    enum { N = 100000 };
    static uint64_t words[N];
    static fc_slice keys[N];
    fc_skiplist l;
    CHECK(fc_skiplist_open(&l, 0, 1 << 30) == 0);
    for (size_t i = 0; i < N; i++) {
        words[i] = random_word();
        keys[i] = (fc_slice){(char *)&words[i], 8};
    }
    for (size_t i = 0; i < N; i++) {
        fc_skiplist_fetch(&l, keys + i, N - i);
        CHECK(fc_skiplist_put(&l, keys[i], keys[i]) == 1);
    }
    fc_skiplist_fetch(&l, keys, 0);
    fc_skiplist_fetch(&l, keys, 7);
    CHECK(fc_skiplist_count(&l) == N && fc_skiplist_check(&l) == NULL);
    fc_skiplist_close(&l);
}

static fc_slice word_key(uint64_t *word, uint64_t n)
{
    *word = __builtin_bswap64(n);
    return (fc_slice){(char *)word, 8};
}

/* Stretches go and single keys come back into the gaps, so that blocks lose their first child, get smaller keys than they
 * began with, and merge. */
static void test_waves(void)
{
    enum { N = 1 << 16 };
    static bool there[N];
    fc_skiplist l;
    uint64_t word, count = 0, wrong = 0;
    CHECK(fc_skiplist_open(&l, 0, FC_SKIPLIST_MAX_BYTES) == 0);
    for (int wave = 0; wave < 400; wave++) {
        uint64_t begin = random_word() % N, end = begin + random_word() % 4000;
        for (uint64_t n = begin; n < end && n < N; n++) {
            int gone = fc_skiplist_remove(&l, word_key(&word, n), NULL);
            wrong += gone != there[n];
            there[n] = false;
            count -= (uint64_t)gone;
        }
        for (int i = 0; i < (wave % 50 == 0 ? 20000 : 1000); i++) {
            uint64_t n = random_word() % N;
            int made = fc_skiplist_put(&l, word_key(&word, n), text("value"));
            wrong += made != !there[n];
            there[n] = true;
            count += (uint64_t)made;
        }
        CHECK(wrong == 0 && fc_skiplist_count(&l) == count && fc_skiplist_check(&l) == NULL);
    }
    fc_skiplist_close(&l);
}

static void test_full(void)
{
    fc_skiplist l;
    char value[3000];
    memset(value, 'v', sizeof value);
    CHECK(fc_skiplist_open(&l, 1 << 20, 1 << 20) == 0);
    uint64_t n = 0;
    for (;; n++) {
        uint64_t word = random_word();
        fc_slice key = {(char *)&word, 8};
        int made = fc_skiplist_put(&l, key, (fc_slice){value, random_word() % sizeof value});
        if (made != 1) {
            CHECK(made == FC_SKIPLIST_EFULL && fc_skiplist_check(&l) == NULL && fc_skiplist_count(&l) == n);
            break;
        }
    }
    CHECK(n > 400 && fc_skiplist_bytes(&l) <= 1 << 20);
    /* What is freed is used again: a queue in a full list goes on for ever. */
    for (int i = 0; i < 100000; i++) {
        uint64_t word = random_word();
        fc_slice key = {(char *)&word, 8}, v = {value, random_word() % 500};
        int made = fc_skiplist_put(&l, key, v);
        if (made == FC_SKIPLIST_EFULL)
            CHECK(fc_skiplist_pop(&l, false, NULL) == 1);
    }
    CHECK(fc_skiplist_check(&l) == NULL && fc_skiplist_count(&l) > 400);
    fc_skiplist_close(&l);
}

static void test_limits(void)
{
    fc_skiplist l;
    CHECK(fc_skiplist_open(&l, 0, 4096) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_open(&l, 0, FC_SKIPLIST_MAX_BYTES + 1) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_open(&l, 1 << 20, 8192) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_open(&l, 0, 16 << 20) == 0);
    CHECK(fc_skiplist_put(&l, text(""), text("")) == 1 && fc_skiplist_put(&l, text(""), text("empty")) == 0);
    char *big = calloc(1, FC_SKIPLIST_KEY_MAX + 1);
    CHECK(fc_skiplist_put(&l, (fc_slice){big, FC_SKIPLIST_KEY_MAX}, text("x")) == 1);
    CHECK(fc_skiplist_put(&l, (fc_slice){big, FC_SKIPLIST_KEY_MAX + 1}, text("x")) == FC_SKIPLIST_ESIZE);
    CHECK(fc_skiplist_put(&l, text("x"), (fc_slice){big, (size_t)FC_SKIPLIST_VALUE_MAX + 1}) == FC_SKIPLIST_ESIZE);
    fc_skiplist_cursor c;
    CHECK(fc_skiplist_seek(&l, text("\1"), FC_SKIPLIST_LT, &c) && c.item.key.n == FC_SKIPLIST_KEY_MAX);
    CHECK(fc_skiplist_prev(&l, &c) && c.item.key.n == 0 && memcmp(c.item.value.p, "empty", 5) == 0);
    CHECK(fc_skiplist_check(&l) == NULL);
    free(big);
    fc_skiplist_close(&l);
    for (int e = FC_SKIPLIST_ESPACE; e < 0; e++)
        CHECK(strlen(fc_skiplist_strerror(e)) > 5);
}

int main(void)
{
    test_against_model();
    test_many();
    test_fetch();
    test_waves();
    test_full();
    test_limits();
    return check_done("test_skiplist");
}
