/* Buffers: sizes, bounds, reuse, slabs given back; contents of a random population against copies. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/buf.h"

#define SLAB (256u * 1024u)

static void sizes_and_bounds(void)
{
    fc_bufpool *pool = fc_bufpool_new(2 * SLAB);
    fc_buf *a = fc_buf_get(pool, 1), *b = fc_buf_get(pool, FC_BUF_SMALL), *c = fc_buf_get(pool, FC_BUF_SMALL + 1);
    CHECK(a && a->cap == FC_BUF_SMALL && a->refs == 1 && a->used == 0);
    CHECK(b && b->cap == FC_BUF_SMALL);
    CHECK(c && c->cap == FC_BUF_MEDIUM);
    CHECK(fc_bufpool_mapped(pool) == 2 * SLAB);
    CHECK(!fc_buf_get(pool, FC_BUF_MEDIUM + 1)); /* a third slab would pass the bound */
    CHECK(!fc_buf_get(pool, FC_BUF_LARGE + 1));
    CHECK(fc_bufpool_in_use(pool) == 2 * 4096 + 16384);
    fc_buf_ref(a);
    fc_buf_unref(a);
    CHECK(fc_bufpool_in_use(pool) == 2 * 4096 + 16384);
    a->used = 100;
    fc_buf_unref(a);
    fc_buf *again = fc_buf_get(pool, 10);
    CHECK(again == a && again->used == 0 && again->refs == 1);
    fc_buf_unref(again);
    fc_buf_unref(b);
    fc_buf_unref(c);
    CHECK(fc_bufpool_in_use(pool) == 0);
    fc_bufpool_free(pool);
}

static void unused_slabs_go_after_a_whole_period(void)
{
    fc_bufpool *pool = fc_bufpool_new(64 * SLAB);
    CHECK(!fc_bufpool_has_spare(pool));
    fc_buf_unref(fc_buf_get(pool, 1));
    fc_buf_unref(fc_buf_get(pool, FC_BUF_LARGE));
    CHECK(fc_bufpool_mapped(pool) == 2 * SLAB);
    CHECK(fc_bufpool_trim(pool)); /* both were needed since the last look */
    CHECK(fc_bufpool_mapped(pool) == 2 * SLAB);
    fc_buf_unref(fc_buf_get(pool, 1)); /* only this class is needed in the next period */
    CHECK(fc_bufpool_trim(pool));
    CHECK(fc_bufpool_mapped(pool) == SLAB);
    CHECK(!fc_bufpool_trim(pool));
    CHECK(fc_bufpool_mapped(pool) == 0);
    fc_bufpool_free(pool);
}

static void a_slab_is_never_handed_out_twice(void)
{
    fc_bufpool *pool = fc_bufpool_new(64 * SLAB);
    fc_buf *all[63];
    for (int i = 0; i < 63; i++) {
        all[i] = fc_buf_get(pool, 1);
        memset(all[i]->data, i, all[i]->cap);
    }
    CHECK(fc_bufpool_mapped(pool) == SLAB); /* 64 blocks, one of them the header */
    fc_buf *more = fc_buf_get(pool, 1);
    CHECK(fc_bufpool_mapped(pool) == 2 * SLAB);
    for (int i = 0; i < 63; i++)
        CHECK(all[i]->data[0] == i && all[i]->data[all[i]->cap - 1] == i);
    for (int i = 0; i < 63; i++)
        fc_buf_unref(all[i]);
    fc_buf_unref(more);
    CHECK(fc_bufpool_mapped(pool) == 2 * SLAB);
    fc_bufpool_free(pool);
}

/* What made 64 concurrent requests map memory for every eighth request: spare memory counted with the free blocks of slabs
 * in use, and slabs unmapped the moment they were empty. */
static void steady_traffic_maps_nothing(void)
{
    fc_bufpool *pool = fc_bufpool_new(4096ull * SLAB);
    enum { N = 63 * 4 };
    static fc_buf *held[N];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < N; i++)
            held[i] = fc_buf_get(pool, 1);
        CHECK(fc_bufpool_mapped(pool) == 4 * SLAB);
        for (int i = 0; i < N; i++)
            fc_buf_unref(held[i]);
        CHECK(fc_bufpool_mapped(pool) == 4 * SLAB);
        if (round % 10 == 0)
            fc_bufpool_trim(pool);
    }
    fc_bufpool_free(pool);
}

static void random_population(void)
{
    enum { N = 500 };
    fc_bufpool *pool = fc_bufpool_new(256 * SLAB);
    fc_buf *live[N] = {0};
    unsigned char tag[N] = {0};
    srand(7);
    for (int step = 0; step < 50000; step++) {
        int i = rand() % N;
        if (live[i]) {
            CHECK((unsigned char)live[i]->data[0] == tag[i] && (unsigned char)live[i]->data[live[i]->cap - 1] == tag[i]);
            fc_buf_unref(live[i]);
            live[i] = NULL;
        } else {
            size_t n = (size_t)rand() % (FC_BUF_LARGE + 1);
            live[i] = fc_buf_get(pool, n);
            CHECK(live[i] && live[i]->cap >= n);
            tag[i] = (unsigned char)rand();
            memset(live[i]->data, tag[i], live[i]->cap);
        }
    }
    for (int i = 0; i < N; i++)
        if (live[i])
            fc_buf_unref(live[i]);
    CHECK(fc_bufpool_in_use(pool) == 0);
    fc_bufpool_trim(pool);
    fc_bufpool_trim(pool);
    CHECK(fc_bufpool_mapped(pool) == 0);
    fc_bufpool_free(pool);
}

int main(void)
{
    sizes_and_bounds();
    a_slab_is_never_handed_out_twice();
    unused_slabs_go_after_a_whole_period();
    steady_traffic_maps_nothing();
    random_population();
    return check_done("test_buf");
}
