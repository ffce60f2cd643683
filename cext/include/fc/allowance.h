/* fc/allowance.h - units of a limit that somebody else counts, handed out to this machine until a time.
 *
 * Where several machines share a limit, one place (Redis) decides, and not for each request: it charges some units at
 * once, and this machine's processes use them up here. They lie in a table of their own (fc/limiter.h), whose words are,
 * instead of a state of fc/gcra.h, a time in ns with the low 20 bits replaced: the units left, and whether the other side
 * said no. Such a word is in the past when its allowance is, so the table's rules for room hold as they are.
 *
 * Invariants
 *   1. Units are used before their time is over, or not at all, and each once.
 *   2. Every change is one compare-and-swap: a process killed anywhere loses the units it had taken, never more.
 *
 * Thread and process safety: as the table's.
 */
#ifndef FC_ALLOWANCE_H
#define FC_ALLOWANCE_H

#include "fc/limiter.h"

#define FC_ALLOWANCE_BITS 20u /* times are rounded down to 1.05 ms */
#define FC_ALLOWANCE_UNITS_MAX ((1u << (FC_ALLOWANCE_BITS - 1)) - 1)

typedef enum fc_allowance_answer {
    FC_ALLOWANCE_NONE,    /* ask for more */
    FC_ALLOWANCE_TAKEN,
    FC_ALLOWANCE_REFUSED, /* the other side said no, until *until_ns */
} fc_allowance_answer;

/* Use `cost` units. *left: what remains of them. */
fc_allowance_answer fc_allowance_take(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t cost, uint64_t *left,
                                      uint64_t *until_ns);
/* Give units back that were taken; they are lost when their time is over. */
void fc_allowance_give_back(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t cost);
/* `units` more until then. What is left of an earlier allowance keeps whichever time ends first. False: no room. */
bool fc_allowance_grant(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t units, uint64_t until_ns);
/* No until then, unless units have come meanwhile. */
void fc_allowance_refuse(fc_limiter *l, uint64_t print, uint64_t now_ns, uint64_t until_ns);

#endif
