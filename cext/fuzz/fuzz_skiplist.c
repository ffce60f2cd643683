/* Any sequence of operations gives what a sorted array gives, within a bound so small that the list is often full; now
 * and then the writer "dies" (nothing is released) and the list is recovered, which must change nothing.
 *
 * An operation is a byte of what, a byte of which key, and a byte of how long the value is. Key n is n % 7 bytes of a
 * beginning repeated, then n: so that first words, first two words or all but the last byte are often equal. */
#include <stdlib.h>
#include <string.h>

#include "fc/skiplist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES = 24 << 10, KEYS = 256 };

typedef struct twin {
    bool there;
    uint8_t fill;
    size_t value_n;
} twin;

static fc_slice key_of(char *buf, unsigned n)
{
    size_t length = n % 7 * 5;
    memset(buf, n % 7 < 3 ? 0 : 'k', length);
    buf[length] = (char)n;
    return (fc_slice){buf, length + 1};
}

static int compare(fc_slice a, fc_slice b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_numbers(const void *a, const void *b)
{
    char one[48], two[48];
    return compare(key_of(one, *(const unsigned *)a), key_of(two, *(const unsigned *)b));
}

static void expect(bool right)
{
    if (!right)
        abort();
}

static bool is_item(const fc_skiplist_item *item, unsigned n, const twin *t)
{
    char buf[48];
    if (!t->there || compare(item->key, key_of(buf, n)) != 0 || item->value.n != t->value_n)
        return false;
    for (size_t i = 0; i < t->value_n; i++)
        if ((uint8_t)item->value.p[i] != t->fill)
            return false;
    return true;
}

static void check_all(const fc_skiplist *l, const twin *twins, const unsigned *sorted)
{
    char buf[1024];
    fc_skiplist_cursor c;
    expect(fc_skiplist_check(l) == NULL);
    int found = fc_skiplist_read(l, (fc_slice){0}, FC_SKIPLIST_FIRST, &c, buf, sizeof buf);
    uint64_t count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        char key[48];
        expect(fc_skiplist_rank(l, key_of(key, sorted[i])) == count);
        if (!twins[sorted[i]].there)
            continue;
        expect(found == 1 && is_item(&c.item, sorted[i], &twins[sorted[i]]));
        found = fc_skiplist_read_next(l, &c, false, buf, sizeof buf);
        count++;
    }
    expect(found == 0 && fc_skiplist_count(l) == count);
}

static void operate(fc_skiplist *l, twin *twins, const unsigned *sorted, const uint8_t *op)
{
    char buf[48], value[600];
    unsigned n = op[1];
    twin *t = &twins[n];
    fc_slice key = key_of(buf, n);
    fc_skiplist_item item;
    fc_skiplist_cursor c;
    switch (op[0] % 8) {
    case 0:
    case 1:
    case 2:
    case 3: {
        twin next = {true, op[2], op[2] * (op[0] % 8 == 3 ? 2u : 0u)};
        memset(value, next.fill, sizeof value);
        int made = fc_skiplist_put(l, key, (fc_slice){value, next.value_n});
        expect(made == FC_SKIPLIST_EFULL || made == !t->there);
        if (made >= 0)
            *t = next;
        break;
    }
    case 4:
    case 5:
        expect(fc_skiplist_remove(l, key, &item) == t->there);
        if (t->there)
            expect(is_item(&item, n, t));
        t->there = false;
        break;
    case 6: {
        unsigned i = 0;
        bool last = op[2] % 2;
        while (i < KEYS && !twins[sorted[last ? KEYS - 1 - i : i]].there)
            i++;
        expect(fc_skiplist_pop(l, last, &item) == (i < KEYS));
        if (i < KEYS) {
            n = sorted[last ? KEYS - 1 - i : i];
            expect(is_item(&item, n, &twins[n]));
            twins[n].there = false;
        }
        break;
    }
    default:
        expect(fc_skiplist_seek(l, key, FC_SKIPLIST_EQ, &c) == t->there && (!t->there || is_item(&c.item, n, t)));
        if (op[2] == 255)
            expect(fc_skiplist_lock(l, 0) == 0); /* dirty since the first time, so this recovers */
        else if (op[2] == 254) {
            fc_skiplist_clear(l);
            memset(twins, 0, KEYS * sizeof *twins);
        } else if (op[2] % 8 == 0)
            check_all(l, twins, sorted);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static twin twins[KEYS];
    static unsigned sorted[KEYS];
    fc_skiplist l;
    if (size > 1 << 16)
        return 0;
    if (sorted[1] == 0) {
        for (unsigned i = 0; i < KEYS; i++)
            sorted[i] = i;
        qsort(sorted, KEYS, sizeof *sorted, compare_numbers);
    }
    memset(twins, 0, sizeof twins);
    char *memory = calloc(1, BYTES);
    expect(fc_skiplist_share(&l, memory, BYTES, 0) == 0 && fc_skiplist_lock(&l, 0) == 0);
    for (; size >= 3; data += 3, size -= 3)
        operate(&l, twins, sorted, data);
    check_all(&l, twins, sorted);
    free(memory);
    return 0;
}
