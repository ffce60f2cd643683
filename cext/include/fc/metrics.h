/* fc/metrics.h - counters, gauges and histograms of all workers, in one piece of shared memory.
 *
 * A directory of families (name, type, help) and series (label text, cell number), and a matrix: one row of 64-bit cells
 * per worker process, one column per cell. A counter or gauge is one cell, a histogram fc_hist_cells(layout) in a row.
 * Every worker writes only its own row, so counting is a plain addition to memory; a reader adds the rows up. That is
 * prometheus_client's multiprocess idea (one file per process, merged by readers) without its files: rows are claimed by
 * pid and reused, so that neither disk nor scrape time grows with every worker that ever lived.
 *
 * The C data plane keeps `uint64_t *row` (fc_metrics.row, valid after fc_metrics_claim, which each process calls once
 * after fork) and the cell numbers it got at configuration time, and counts with
 *     fc_metrics_add(row, cell, 1);    fc_hist_record(layout, row + cell, microseconds);
 *
 * Sizes are fixed when the section is made. A family that cannot be added is an error (somebody is starting up and can
 * read it); a series that cannot be added is not: its label values may come from outside, so its counts go to the family's
 * own overflow series, exposed as {overflow="true"}. Nothing is lost, nothing grows. Series are never removed; a route
 * that went away keeps its last totals until the region is made anew.
 *
 * Invariants
 *  1. One writer per row: the process whose pid the slot holds. Cells are read and written as relaxed 64-bit atomics.
 *  2. Counter and histogram cells never go backwards: a slot that changes hands keeps its row and its new owner counts on.
 *     Gauge cells are set to zero by whoever frees a slot, before anyone else can own it.
 *  3. Cells are handed out upwards and never returned, so an unclaimed cell is zero in every row.
 *  4. Families and series are appended under a pidlock and published by one release store of their count. What follows
 *     (chain of the family, hash index) is redone by the next to take the lock if its owner died in between: `indexed`
 *     says how far that has got, and doing it twice does no harm. The chain comes before the index, so a series found by
 *     anybody is also seen by every scrape.
 *  5. Readers and counters take no lock. Only defining something new does.
 *
 * Threads: one thread per process defines and claims (see pidlock.h); the row belongs to one thread.
 */
#ifndef FC_METRICS_H
#define FC_METRICS_H

#include <stdbool.h>

#include "fc/base.h"
#include "fc/hist.h"

#define FC_METRICS_VERSION 1
#define FC_METRICS_ALIGN 4096 /* of the section: rows start on pages, so an unclaimed row costs no memory */
#define FC_METRICS_NAME 128   /* longest family name */
#define FC_METRICS_UNIT 32    /* longest unit */
#define FC_METRICS_HELP 1024  /* longest help text */
#define FC_METRICS_LABELS 4096 /* longest label text of one series */
#define FC_METRICS_OVERFLOW "overflow=\"true\""

enum {
    FC_METRICS_ESIZE = -1,    /* limits out of range, or memory smaller than they need */
    FC_METRICS_EVERSION = -2, /* prepared by another version of this code */
    FC_METRICS_EBUSY = -3,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
    FC_METRICS_ENAME = -4,    /* not [a-zA-Z_:][a-zA-Z0-9_:]*, too long, or ending in what expositions append */
    FC_METRICS_EUNIT = -5,    /* unit is no word, the family's name does not end with it, or the scale is not one */
    FC_METRICS_ETEXT = -6,    /* help or label text too long */
    FC_METRICS_EKIND = -7,    /* the family exists with another type, unit, scale or layout */
    FC_METRICS_EFULL = -8,    /* no room for another family and its overflow series */
    FC_METRICS_ESLOTS = -9,   /* every slot belongs to a live process */
    FC_METRICS_ELAYOUT = -10, /* histogram layout not valid */
};

typedef enum fc_metrics_type { FC_METRICS_COUNTER = 1, FC_METRICS_GAUGE, FC_METRICS_HISTOGRAM } fc_metrics_type;

typedef struct fc_metrics_limits {
    uint32_t slots;    /* worker processes at one time, old and new generation of a reload together */
    uint32_t families; /* metric names */
    uint32_t series;   /* name and labels */
    uint32_t cells;    /* 64-bit words per worker */
    uint32_t text;     /* bytes of names, help and labels */
} fc_metrics_limits;

/* Limits for `series` series: cells for one latency histogram in five series (a route has four counters and one), 128
 * bytes of labels each. */
fc_metrics_limits fc_metrics_limits_for(uint32_t series, uint32_t slots);

/* Where things lie in the section, in bytes from its start; follows from the limits. */
typedef struct fc_metrics_layout {
    uint64_t slots, families, series, index, text, rows, stride, size;
    uint32_t index_mask;
} fc_metrics_layout;

/* A process's own view; nothing of it is shared. */
typedef struct fc_metrics {
    char *base;
    fc_metrics_limits limits;
    fc_metrics_layout at;
    uint64_t *row; /* this process's, or NULL before fc_metrics_claim; after fork the child sets it to NULL */
    int slot;
} fc_metrics;

/* Bytes needed for these limits; 0 when one of them is out of range. */
uint64_t fc_metrics_size(const fc_metrics_limits *limits);
/* Prepares zeroed memory, or attaches to what another process prepared there, whose limits then count. `limits` NULL: the
 * memory is known to be prepared. `base` is aligned to FC_METRICS_ALIGN. 0 or an error. */
int fc_metrics_open(fc_metrics *m, void *base, uint64_t size, const fc_metrics_limits *limits);

typedef struct fc_metrics_family_def {
    fc_metrics_type type;
    fc_slice name; /* without _total */
    fc_slice help, unit; /* may be empty */
    uint32_t scale; /* recorded units in one exposed: 1; histograms also 10^3, 10^6 (microseconds to seconds), 10^9 */
    fc_hist_layout layout; /* histograms only */
} fc_metrics_family_def;

/* Number of the family, made if absent. The first help text stays. */
int fc_metrics_family(fc_metrics *m, const fc_metrics_family_def *def);
/* Cell of the series, made if absent. `labels` is exposition text, names sorted and values escaped: a="x",b="y". Answers
 * fc_metrics_overflow(m, family) when there is no room. */
int64_t fc_metrics_series(fc_metrics *m, int family, fc_slice labels);
uint32_t fc_metrics_overflow(const fc_metrics *m, int family);

/* Takes a row for this process (getpid): the one it has, else the first that is free after all dead processes' slots have
 * been freed, as fc_metrics_release does. Slot or an error. */
int fc_metrics_claim(fc_metrics *m);
/* For the parent that reaped `pid`: frees its slot and the lock, should it have died with it. Its counters stay. */
void fc_metrics_release(fc_metrics *m, uint32_t pid);
/* Whether this process's slot is the lowest of all live processes'. */
bool fc_metrics_leads(const fc_metrics *m);
/* Pid in a slot, 0 when free. */
uint32_t fc_metrics_slot_pid(const fc_metrics *m, uint32_t slot);

static inline void fc_metrics_add(uint64_t *row, uint32_t cell, uint64_t n)
{
    __atomic_store_n(&row[cell], __atomic_load_n(&row[cell], __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* Gauges are two's complement: one worker may add what another takes away, only the sum has a meaning. */
static inline void fc_metrics_set(uint64_t *row, uint32_t cell, int64_t value)
{
    __atomic_store_n(&row[cell], (uint64_t)value, __ATOMIC_RELAXED);
}

uint64_t fc_metrics_sum(const fc_metrics *m, uint32_t cell);
/* sums[i] = sum of cell + i over all rows. */
void fc_metrics_sum_range(const fc_metrics *m, uint32_t cell, uint32_t n, uint64_t *sums);

typedef struct fc_metrics_family_info {
    fc_metrics_type type;
    fc_slice name, help, unit;
    uint32_t scale;
    fc_hist_layout layout;
    uint32_t overflow; /* cell */
    uint32_t cells;    /* per series */
    uint32_t first;    /* first series, counted from 1; 0 when none */
} fc_metrics_family_info;

typedef struct fc_metrics_series_info {
    fc_slice labels;
    uint32_t cell;
    uint32_t next; /* next series of the family, counted from 1; 0 at the end */
} fc_metrics_series_info;

uint32_t fc_metrics_family_count(const fc_metrics *m);
uint32_t fc_metrics_series_count(const fc_metrics *m);
void fc_metrics_family_get(const fc_metrics *m, uint32_t family, fc_metrics_family_info *info);
/* `series` counted from 1, as in first and next. */
void fc_metrics_series_get(const fc_metrics *m, uint32_t series, fc_metrics_series_info *info);

/* The exposition, for OpenMetrics 1.0 or the classic Prometheus text format 0.0.4. Ask for the bound, give that much
 * memory; the answer is the length written. Series defined in between are left for the next scrape. A histogram is exposed
 * with one bucket an octave; `le` is the largest recorded value the bucket can hold. Its _count is the sum of its buckets,
 * so the two always agree, and _sum may be short of values recorded during the scrape. */
typedef enum fc_metrics_format { FC_METRICS_OPENMETRICS, FC_METRICS_PROMETHEUS } fc_metrics_format;

typedef struct fc_metrics_scrape {
    uint32_t families, series;
    size_t bound;
} fc_metrics_scrape;

void fc_metrics_scrape_begin(const fc_metrics *m, fc_metrics_scrape *scrape);
size_t fc_metrics_scrape_write(const fc_metrics *m, const fc_metrics_scrape *scrape, fc_metrics_format format, char *out);

const char *fc_metrics_strerror(int64_t error);

#endif
