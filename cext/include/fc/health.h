/* fc/health.h - what all workers know together about an upstream and its targets.
 *
 * One cell (two cache lines) for each upstream and each target of it, found by a key in a table in shared memory. The words
 * of a cell are those of fc/probe.h, fc/outlier.h, fc/breaker.h and fc/retry_budget.h; each is changed by a
 * compare-and-swap of its own, so a process killed anywhere leaves nothing half done and nothing locked. Only claiming a
 * cell takes a lock (a pidlock), when endpoints are set.
 *
 * What picking asks stands in one cache line: probe, ejection, breaker. A derived word "blocked until" would be one load
 * instead of three from that line, and could be left wrong by a death between two stores.
 *
 * A cell whose user has not touched it for FC_HEALTH_STALE_MS may go to another key: names come and go. Should a worker
 * have slept that long, it finds the key changed at its next touch and claims anew.
 *
 * Invariants
 *   1. Two live users of one key have the same cell, or one of their own each if the table was full when they came.
 *   2. A cell begins zeroed: nothing known, nothing against it.
 */
#ifndef FC_HEALTH_H
#define FC_HEALTH_H

#include "fc/breaker.h"
#include "fc/outlier.h"
#include "fc/probe.h"
#include "fc/retry_budget.h"
#include "fc/status_set.h"

#define FC_HEALTH_VERSION 1
#define FC_HEALTH_CELLS_MAX (1u << 20)
#define FC_HEALTH_STALE_MS 60000u
/* A turn of checks is a fraction of a second's work; a stopped leader is missed for this long. */
#define FC_HEALTH_LEAD_MS 3000u

enum {
    FC_HEALTH_ESIZE = -1,    /* no cells, too many, or the memory is too small */
    FC_HEALTH_EVERSION = -2, /* not such a table, or of another layout */
    FC_HEALTH_EBUSY = -3,    /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
};

typedef struct fc_health_cell {
    uint64_t key;     /* 0: free */
    uint64_t seen_ms;
    uint64_t probe, eject, breaker;
    uint64_t lead, due; /* of an upstream: who makes its checks; when shares of failures are looked at next */
    union {
        uint64_t counts; /* of a target: fc_outlier_count */
        uint64_t budget; /* of an upstream */
    };
    uint64_t window[FC_WINDOW_BUCKETS]; /* the breaker's */
} fc_health_cell;

/* All zero: nothing is watched. */
typedef struct fc_health_settings {
    fc_probe_settings probe;
    fc_outlier_settings outlier;
    fc_breaker_settings target_breaker, upstream_breaker;
    fc_retry_budget budget;
    fc_status_set failures;  /* answers that count as failures */
    uint32_t panic_percent;  /* with a smaller share of targets well than this all are used; 0: never */
    uint32_t slow_start_ms;  /* a target that comes back gets its full share after this; 0: at once */
} fc_health_settings;

/* --- the table ---------------------------------------------------------------------------------------------------- */

typedef struct fc_health_table {
    struct fc_health_head *head; /* NULL: none, every cell is its user's own */
    fc_health_cell *cells;
    uint32_t len;
} fc_health_table;

/* Bytes for so many cells; 0 when out of range. The memory starts on a cache line, zeroed. */
uint64_t fc_health_size(uint32_t cells);
/* Prepares the table if it is new. 0 or an error. */
int fc_health_open(fc_health_table *t, void *base, uint64_t size, uint32_t cells);
/* The cell of the key (not 0), made if absent; `own`, zeroed, where the table has no room. */
fc_health_cell *fc_health_claim(const fc_health_table *t, uint64_t key, uint64_t now_ms, fc_health_cell *own);
/* Says that it is in use. False: the cell has gone to another key. */
bool fc_health_touch(fc_health_cell *cell, uint64_t key, uint64_t now_ms);

/* --- a target ----------------------------------------------------------------------------------------------------- */

typedef enum fc_health_gate {
    FC_GATE_FREE,
    FC_GATE_SICK,   /* by its checks or for its failures: used only in panic */
    FC_GATE_BROKEN, /* its breaker is open: not used whatever the rest is like */
} fc_health_gate;

fc_health_gate fc_health_gate_of(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now_ms);
/* Parts in 65536 of its share that a target gets, by how long ago it came back: at least a tenth, or it would never be
 * seen to work. */
uint32_t fc_health_share(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now_ms);

/* The breaker of either kind of cell. ask takes a trial's place; told gives it back. *opened: this call opened it. */
fc_breaker_pass fc_health_ask(const fc_breaker_settings *s, fc_health_cell *cell, uint64_t now_ms);
void fc_health_told(const fc_breaker_settings *s, fc_health_cell *cell, uint64_t now_ms, bool trial, fc_outcome outcome,
                    bool *opened);
/* Note a request for ejection. True: the target deserves it by its failures in a row. */
bool fc_health_count(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now_ms, bool failed);
/* Eject, if it is not yet; *before is what fc_health_uneject puts back if nobody has changed it since. */
bool fc_health_eject(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now_ms, uint64_t *before);
void fc_health_uneject(fc_health_cell *cell, uint64_t now_ms, uint64_t before);
/* The state after the result of a check. */
fc_probe_state fc_health_probed(const fc_probe_settings *s, fc_health_cell *cell, uint64_t now_ms, bool passed);

/* --- an upstream -------------------------------------------------------------------------------------------------- */

/* Does this process make the checks for the time to come? Renewed with every call. */
bool fc_health_lead(fc_health_cell *cell, uint32_t pid, uint64_t now_ms);
void fc_health_resign(fc_health_cell *cell, uint32_t pid);
/* True for one caller in every interval: shares of failures are to be looked at. */
bool fc_health_due(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now_ms);
void fc_health_earn(const fc_retry_budget *b, fc_health_cell *cell, uint64_t now_ms);
bool fc_health_spend(const fc_retry_budget *b, fc_health_cell *cell, uint64_t now_ms);

#endif
