/* fc/clock.h - time, read once and passed on.
 *
 * Decisions take `now` as an argument; only the event loop and the outermost callers read a clock.
 * Monotonic readings are comparable between processes of one machine since its last boot (CLOCK_MONOTONIC), which the
 * shared-memory structures rely on.
 */
#ifndef FC_CLOCK_H
#define FC_CLOCK_H

#include <stdint.h>
#include <time.h>

#define FC_NS_PER_US 1000ull
#define FC_NS_PER_MS 1000000ull
#define FC_NS_PER_S 1000000000ull

static inline uint64_t fc_monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * FC_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall clock, for logs and headers only: it may jump. */
static inline uint64_t fc_wall_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * FC_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif
