#include "fc/hist.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static const fc_hist_layout layouts[] = {
    {.sub = 2, .min_log2 = 0, .max_log2 = 26}, {.sub = 0, .min_log2 = 0, .max_log2 = 1},
    {.sub = 0, .min_log2 = 0, .max_log2 = 63}, {.sub = 6, .min_log2 = 6, .max_log2 = 63},
    {.sub = 6, .min_log2 = 0, .max_log2 = 7},  {.sub = 1, .min_log2 = 6, .max_log2 = 32},
    {.sub = 3, .min_log2 = 10, .max_log2 = 11},
};

static uint64_t seed = 88172645463325252ull;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* Every bucket's first and last value come back to it, and buckets touch without a gap. */
static void check_edges(fc_hist_layout l)
{
    uint32_t n = fc_hist_buckets(l);
    CHECK(fc_hist_valid(l));
    CHECK(fc_hist_floor(l, 0) == 0);
    CHECK(fc_hist_floor(l, n - 1) == 1ull << l.max_log2);
    CHECK(fc_hist_floor(l, n) == 0);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(fc_hist_index(l, fc_hist_floor(l, i)) == i);
        CHECK(fc_hist_index(l, fc_hist_floor(l, i + 1) - 1) == i);
        if (i + 1 < n)
            CHECK(fc_hist_floor(l, i) < fc_hist_floor(l, i + 1));
    }
    CHECK(fc_hist_index(l, UINT64_MAX) == n - 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against the sorted values themselves: never below the true quantile, at most 2^-sub (and a linear step) above it. */
static void check_quantiles(fc_hist_layout l)
{
    enum { N = 2000 };
    static uint64_t values[N];
    uint64_t *cells = calloc(fc_hist_cells(l), sizeof *cells);
    uint64_t sum = 0, step = 1ull << (fc_hist_base(l) - l.sub);
    for (int i = 0; i < N; i++) {
        values[i] = next_random() >> (64 - l.max_log2 + next_random() % l.max_log2);
        sum += values[i];
        fc_hist_record(l, cells, values[i]);
    }
    CHECK(cells[FC_HIST_COUNT] == N);
    CHECK(cells[FC_HIST_SUM] == sum);
    qsort(values, N, sizeof *values, compare);
    for (int k = 1; k <= N; k += 7) {
        uint64_t truth = values[k - 1], told = fc_hist_quantile(l, cells, (double)k / N);
        CHECK(told >= truth);
        CHECK(told - truth <= (truth >> l.sub) + step);
    }
    CHECK(fc_hist_quantile(l, cells, -1) >= values[0]);
    CHECK(fc_hist_quantile(l, cells, 2) >= values[N - 1]);
    free(cells);
}

int main(void)
{
    for (size_t i = 0; i < FC_ARRAY_LEN(layouts); i++) {
        check_edges(layouts[i]);
        check_quantiles(layouts[i]);
    }

    fc_hist_layout l = FC_HIST_LATENCY_US;
    CHECK(fc_hist_buckets(l) == 101);
    for (uint32_t v = 0; v < 8; v++)
        CHECK(fc_hist_index(l, v) == v); /* the first two runs of buckets are exact */
    CHECK(fc_hist_index(l, 8) == 8 && fc_hist_index(l, 9) == 8 && fc_hist_index(l, 10) == 9);

    uint64_t cells[103] = {0};
    CHECK(fc_hist_quantile(l, cells, 0.5) == 0);
    fc_hist_record(l, cells, 1ull << 40);
    CHECK(fc_hist_quantile(l, cells, 0.5) == 1ull << 26);
    CHECK(cells[102] == 1);
    fc_hist_record(l, cells, 0);
    CHECK(fc_hist_quantile(l, cells, 0) == 0);

    CHECK(!fc_hist_valid((fc_hist_layout){.sub = 7, .min_log2 = 0, .max_log2 = 26}));
    CHECK(!fc_hist_valid((fc_hist_layout){.sub = 2, .min_log2 = 0, .max_log2 = 64}));
    CHECK(!fc_hist_valid((fc_hist_layout){.sub = 2, .min_log2 = 9, .max_log2 = 9}));
    CHECK(!fc_hist_valid((fc_hist_layout){.sub = 2, .min_log2 = 0, .max_log2 = 2}));
    return check_done("test_hist");
}
