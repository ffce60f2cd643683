/* fc/probe.h - active health checks: what their results make of a target, and which worker makes them.
 *
 * The first result decides; after that it takes `unhealthy` failures in a row to take a target out, and `healthy` passes in
 * a row to take it back. The state is one word, zero for a target nobody has looked at:
 *   bits  0..1   state
 *         2..21  passes (UNHEALTHY) or failures (HEALTHY) in a row
 *        22..63  ms: since when; 0 where the first look found it well
 *
 * Of all workers one makes the checks of an upstream: who holds its lead, a word with pid and time that is renewed while
 * its holder lives. When the time is over, or the holder is known to be dead, another takes it. Two that both believe to
 * hold it for a moment (one was stopped by a signal) do no harm: a target is looked at once more.
 *   bits  0..21  pid
 *        22..63  ms: until
 */
#ifndef FC_PROBE_H
#define FC_PROBE_H

#include "fc/base.h"

#define FC_PROBE_RUN_MAX 1000u

typedef struct fc_probe_settings {
    uint32_t healthy, unhealthy; /* results in a row; 0: there are no checks */
} fc_probe_settings;

typedef enum fc_probe_state { FC_PROBE_UNKNOWN, FC_PROBE_HEALTHY, FC_PROBE_UNHEALTHY } fc_probe_state;

static inline fc_probe_state fc_probe_state_of(uint64_t word) { return (fc_probe_state)(word & 3); }
/* When a check took it back, or out; 0: neither has happened. */
static inline uint64_t fc_probe_since_ms(uint64_t word) { return word >> 22; }

uint64_t fc_probe_told(const fc_probe_settings *s, uint64_t word, uint64_t now_ms, bool passed);

static inline uint32_t fc_lead_pid(uint64_t word) { return (uint32_t)word & ((1u << 22) - 1); }
static inline uint64_t fc_lead_until_ms(uint64_t word) { return word >> 22; }
/* The word with which `pid` holds the lead, or 0: it is another's. dead: the holder is known to be. */
uint64_t fc_lead_take(uint64_t word, uint32_t pid, uint64_t now_ms, uint32_t term_ms, bool dead);

#endif
