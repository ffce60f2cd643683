#include <errno.h>

#include "compact_internal.h"

/* Of ranges that overlap only the newest counts at each place, as long as no snapshot lies between them. A sweep over
 * their begins, with those that may still reach on in a heap by age: n log n, and fewer than 2n pieces. */

static int by_begin(const void *a, const void *b)
{
    const fc_range *x = a, *y = b;
    return fc_key_compare(x->begin, y->begin);
}

static void swap(const fc_range **a, const fc_range **b)
{
    const fc_range *t = *a;
    *a = *b;
    *b = t;
}

/* heap[0] is the newest. */
static void push(const fc_range **heap, size_t *n, const fc_range *r)
{
    size_t i = (*n)++;
    heap[i] = r;
    for (; i > 0 && heap[(i - 1) / 2]->seq < heap[i]->seq; i = (i - 1) / 2)
        swap(&heap[i], &heap[(i - 1) / 2]);
}

static void pop(const fc_range **heap, size_t *n)
{
    heap[0] = heap[--*n];
    for (size_t i = 0, next; (next = 2 * i + 1) < *n; i = next) {
        if (next + 1 < *n && heap[next + 1]->seq > heap[next]->seq)
            next++;
        if (heap[i]->seq >= heap[next]->seq)
            break;
        swap(&heap[i], &heap[next]);
    }
}

static void add(fc_range *pieces, size_t *n, fc_slice begin, fc_slice end, uint64_t seq)
{
    if (*n && pieces[*n - 1].seq == seq && fc_key_equal(pieces[*n - 1].end, begin))
        pieces[*n - 1].end = end;
    else
        pieces[(*n)++] = (fc_range){begin, end, seq};
}

int compact_pieces(const fc_range *ranges, size_t n, fc_range **out, size_t *out_n)
{
    fc_range *sorted = malloc((n + 1) * sizeof *sorted), *pieces = malloc((2 * n + 1) * sizeof *pieces);
    const fc_range **heap = malloc((n + 1) * sizeof(fc_range *));
    size_t heap_n = 0, pieces_n = 0, next = 0;
    if (sorted == NULL || pieces == NULL || heap == NULL) {
        free(sorted);
        free(pieces);
        free(heap);
        return -ENOMEM;
    }
    memcpy(sorted, ranges, n * sizeof *ranges);
    qsort(sorted, n, sizeof *sorted, by_begin);
    fc_slice at = {"", 0};
    while (heap_n || next < n) {
        if (heap_n == 0)
            at = sorted[next].begin;
        for (; next < n && fc_key_compare(sorted[next].begin, at) <= 0; next++)
            if (fc_key_compare(sorted[next].begin, sorted[next].end) < 0)
                push(heap, &heap_n, &sorted[next]);
        while (heap_n && fc_key_compare(heap[0]->end, at) <= 0)
            pop(heap, &heap_n);
        if (heap_n == 0)
            continue;
        fc_slice until = heap[0]->end;
        if (next < n && fc_key_compare(sorted[next].begin, until) < 0)
            until = sorted[next].begin;
        add(pieces, &pieces_n, at, until, heap[0]->seq);
        at = until;
    }
    free(sorted);
    free(heap);
    *out = pieces;
    *out_n = pieces_n;
    return 0;
}
