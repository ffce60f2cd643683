/* Walking over a keyspace. */
#include <errno.h>
#include <stdlib.h>

#include "store_internal.h"

struct fc_scan {
    fc_read read;
    fc_read_options how; /* the sources keep pointers to it */
    fc_view *view;
    char bounds[];       /* lower, upper */
};

static size_t sources_of(const store_version *v, const fc_read_options *how, fc_source *out)
{
    size_t n = 0;
    for (size_t i = 0; i < v->mems_n; i++)
        out[n++] = fc_source_memtable(v->mems[i]->table, how);
    for (size_t i = 0; i < v->at[1]; i++)
        out[n++] = fc_source_table(v->handles[i], how);
    for (unsigned level = 1; level < FC_STORE_LEVELS; level++)
        if (v->levels[level].n)
            out[n++] = fc_source_level(&v->levels[level], how);
    return n;
}

static fc_view *view_of(const fc_scan *scan, uint32_t skip_max)
{
    const store_version *v = scan->read.version;
    fc_source *sources = calloc(v->mems_n + v->at[1] + FC_STORE_LEVELS, sizeof *sources);
    if (sources == NULL)
        return NULL;
    fc_view_options options = {scan->read.seq, scan->read.now_ms, skip_max};
    fc_view *view = fc_view_open(sources, sources_of(v, &scan->how, sources), &options);
    free(sources);
    return view;
}

int fc_scan_open(fc_store *s, uint32_t keyspace, const fc_scan_options *o, fc_scan **out)
{
    size_t lower = o->bounded_below ? o->lower.n : 0, upper = o->bounded_above ? o->upper.n : 0;
    fc_scan *scan = calloc(1, sizeof *scan + lower + upper);
    if (scan == NULL)
        return -ENOMEM;
    int error = fc_read_begin(s, keyspace, o->snapshot, &scan->read);
    if (error < 0) {
        free(scan);
        return error;
    }
    if (lower)
        memcpy(scan->bounds, o->lower.p, lower);
    if (upper)
        memcpy(scan->bounds + lower, o->upper.p, upper);
    scan->how = (fc_read_options){.keep_out = !o->fill_cache,
                                  .bounded_below = o->bounded_below,
                                  .bounded_above = o->bounded_above,
                                  .lower = {scan->bounds, lower},
                                  .upper = {scan->bounds + lower, upper}};
    scan->view = view_of(scan, o->skip_max);
    if (scan->view == NULL) {
        fc_scan_close(scan);
        return -ENOMEM;
    }
    *out = scan;
    return 0;
}

void fc_scan_close(fc_scan *scan)
{
    if (scan == NULL)
        return;
    fc_view_close(scan->view);
    fc_read_end(&scan->read);
    free(scan);
}

void fc_scan_memory_only(fc_scan *scan, bool memory_only) { scan->how.memory_only = memory_only; }

fc_view *fc_scan_view(fc_scan *scan) { return scan->view; }
