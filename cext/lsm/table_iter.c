#include <errno.h>

#include "block.h"
#include "table_format.h"

typedef struct table_iter {
    fc_iter it;
    fc_table *t;
    const fc_read_options *how;
    fc_block *block; /* number i, or NULL */
    uint32_t i;
    bool look_below, look_above; /* the block may reach over that bound */
    block_cursor at;
} table_iter;

static const fc_read_options UNBOUNDED = {0};

static bool fail(table_iter *ti, int error)
{
    ti->it.error = error;
    ti->it.valid = false;
    return false;
}

/* Makes block i the current one. */
static bool load(table_iter *ti, uint32_t i)
{
    const fc_read_options *how = ti->how;
    const table_index *x = &ti->t->index;
    if (ti->block && ti->i == i)
        return true;
    fc_block_release(ti->block);
    ti->block = NULL;
    ti->i = i;
    int error = table_load(ti->t, i, how->memory_only, how->keep_out, false, &ti->block);
    if (error < 0)
        return fail(ti, error);
    if (block_open(&ti->at, ti->block->data, ti->block->n) != BLOCK_HERE) {
        fc_block_release(ti->block);
        ti->block = NULL;
        return fail(ti, table_damaged(ti->t, x->offsets[i], "a data block that cannot be read"));
    }
    ti->look_above = how->bounded_above && fc_key_compare(table_separator(x, i), how->upper) >= 0;
    ti->look_below = how->bounded_below && (i == 0 || fc_key_compare(table_separator(x, i - 1), how->lower) < 0);
    return true;
}

/* What the cursor found; false: nothing more in this block. */
static bool stand(table_iter *ti, block_answer answer)
{
    if (answer == BLOCK_END)
        return ti->it.valid = false;
    if (answer != BLOCK_HERE) {
        fail(ti, answer == BLOCK_NO_MEMORY
                     ? -ENOMEM
                     : table_damaged(ti->t, ti->t->index.offsets[ti->i], "a data block that cannot be read"));
        return true;
    }
    ti->it.key = bytes_slice(&ti->at.key);
    ti->it.tag = ti->at.tag;
    ti->it.value = ti->at.value;
    ti->it.valid = !(ti->look_above && fc_key_compare(ti->it.key, ti->how->upper) >= 0) &&
                   !(ti->look_below && fc_key_compare(ti->it.key, ti->how->lower) < 0);
    return true;
}

/* On from the end of the current block. */
static void go_on(table_iter *ti)
{
    const table_index *x = &ti->t->index;
    ti->it.valid = false;
    if (ti->i + 1 >= x->n)
        return;
    if (ti->how->bounded_above && fc_key_compare(table_separator(x, ti->i), ti->how->upper) >= 0)
        return;
    if (load(ti, ti->i + 1))
        stand(ti, block_first(&ti->at));
}

static void go_back(table_iter *ti)
{
    const table_index *x = &ti->t->index;
    ti->it.valid = false;
    if (ti->i == 0)
        return;
    if (ti->how->bounded_below && fc_key_compare(table_separator(x, ti->i - 1), ti->how->lower) < 0)
        return;
    if (load(ti, ti->i - 1))
        stand(ti, block_last(&ti->at));
}

static void table_seek(fc_iter *it, fc_slice user, uint64_t tag)
{
    table_iter *ti = (table_iter *)it;
    if (ti->how->bounded_below && fc_key_compare(user, ti->how->lower) < 0) {
        user = ti->how->lower;
        tag = UINT64_MAX;
    }
    it->error = 0;
    it->valid = false;
    uint32_t i = table_index_find(&ti->t->index, user, tag);
    if (i < ti->t->index.n && load(ti, i) && !stand(ti, block_seek(&ti->at, user, tag)))
        go_on(ti);
}

static void table_first(fc_iter *it)
{
    table_iter *ti = (table_iter *)it;
    if (ti->how->bounded_below) {
        table_seek(it, ti->how->lower, UINT64_MAX);
        return;
    }
    it->error = 0;
    it->valid = false;
    if (ti->t->index.n && load(ti, 0))
        stand(ti, block_first(&ti->at));
}

/* The last entry below the upper bound: in the block where the bound would be, or at the end of the one before. */
static void last_below(table_iter *ti)
{
    fc_slice upper = ti->how->upper;
    uint32_t n = ti->t->index.n, i = table_index_find(&ti->t->index, upper, UINT64_MAX);
    if (!load(ti, i < n ? i : n - 1))
        return;
    block_answer answer = i < n ? block_seek(&ti->at, upper, UINT64_MAX) : BLOCK_END;
    if (answer == BLOCK_HERE)
        answer = block_prev(&ti->at);
    else if (answer == BLOCK_END)
        answer = block_last(&ti->at);
    if (!stand(ti, answer))
        go_back(ti);
}

static void table_last(fc_iter *it)
{
    table_iter *ti = (table_iter *)it;
    uint32_t n = ti->t->index.n;
    it->error = 0;
    it->valid = false;
    if (n && ti->how->bounded_above)
        last_below(ti);
    else if (n && load(ti, n - 1))
        stand(ti, block_last(&ti->at));
}

static void table_next(fc_iter *it)
{
    table_iter *ti = (table_iter *)it;
    if (!stand(ti, block_next(&ti->at)))
        go_on(ti);
}

static void table_prev(fc_iter *it)
{
    table_iter *ti = (table_iter *)it;
    if (!stand(ti, block_prev(&ti->at)))
        go_back(ti);
}

static void table_iter_close(fc_iter *it)
{
    table_iter *ti = (table_iter *)it;
    fc_block_release(ti->block);
    bytes_free(&ti->at.key);
    free(ti);
}

static const fc_iter_ops OPS = {table_seek, table_first, table_last, table_next, table_prev, table_iter_close};

fc_iter *fc_table_iter(fc_table *t, const fc_read_options *how)
{
    table_iter *ti = calloc(1, sizeof *ti);
    if (ti == NULL)
        return NULL;
    ti->it.ops = &OPS;
    ti->t = t;
    ti->how = how ? how : &UNBOUNDED;
    return &ti->it;
}
