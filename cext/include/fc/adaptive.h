/* fc/adaptive.h - how many requests at once a server can take, found out from its latency.
 *
 * The gradient of Netflix's concurrency-limits (Gradient2) with the headroom and the probe of Envoy's adaptive
 * concurrency filter. Latencies are averaged over a window; at its end
 *
 *     gradient = tolerance * baseline / window's average, within 0.5 .. 1
 *     limit    = limit * (1 - smoothing) + (limit * gradient + sqrt(limit)) * smoothing, within minimum .. maximum
 *
 * While latency stays near the baseline the limit grows by its square root, which is the queue it allows; when latency
 * rises, requests are queueing somewhere, and the limit falls in proportion. A window in which a request was dropped
 * (timed out, refused) counts as gradient 0.5. A window in which never more than half the limit was in use says nothing
 * about a larger limit: it may lower, never raise it.
 *
 * The baseline is an average over the last `baseline_windows` windows, which forgets slowly and is let down by 10 % a
 * window once it is over twice the window's average (recovery after overload). Its weakness: overload that lasts longer
 * than that becomes the baseline, and the limit creeps up to maximum. Against it there is the probe: every probe_ns the
 * limit is `minimum` until one window has been measured, and that average is the baseline until the next probe.
 *
 * Invariants
 *   1. Pure: time and latency are arguments. Equal calls give equal limits.
 *   2. minimum <= limit <= maximum, whatever the latencies are.
 *
 * Thread and process safety: one owner.
 */
#ifndef FC_ADAPTIVE_H
#define FC_ADAPTIVE_H

#include "fc/base.h"

typedef struct fc_adaptive_options {
    uint32_t initial, minimum, maximum;
    double smoothing;          /* above 0, at most 1 */
    double tolerance;          /* at least 1: how much slower than the baseline is not yet queueing */
    uint32_t baseline_windows; /* at least 1 */
    uint32_t window_samples;   /* a window has at least so many, ... */
    uint64_t window_ns;        /* ... and lasts at least so long */
    uint64_t probe_ns;         /* 0: no probes */
} fc_adaptive_options;

/* Netflix's smoothing, tolerance, baseline and window; its limits of 20..200 suit Java thread pools, hence
 * others here. */
#define FC_ADAPTIVE_OPTIONS                         \
    ((fc_adaptive_options){.initial = 20,           \
                           .minimum = 3,            \
                           .maximum = 1000,         \
                           .smoothing = 0.2,        \
                           .tolerance = 1.5,        \
                           .baseline_windows = 600, \
                           .window_samples = 10,    \
                           .window_ns = 1000000000ull})

typedef struct fc_adaptive {
    fc_adaptive_options options;
    double limit, baseline_ns;
    uint32_t inflight;
    uint32_t windows; /* that made the baseline, up to baseline_windows */
    /* the window that is being measured */
    uint64_t begin_ns, sum_ns;
    uint32_t samples, drops, peak;
    bool started;
    /* the probe */
    bool probing;
    uint64_t probed_ns;
} fc_adaptive;

/* False: an option is out of its range. */
bool fc_adaptive_init(fc_adaptive *a, const fc_adaptive_options *options);
/* Requests that may be in flight now. */
uint32_t fc_adaptive_limit(const fc_adaptive *a);
/* One more, if the limit allows. */
bool fc_adaptive_acquire(fc_adaptive *a, uint64_t now_ns);
/* One is over, after latency_ns. `dropped`: it got no proper answer, so its latency is not counted. */
void fc_adaptive_release(fc_adaptive *a, uint64_t now_ns, uint64_t latency_ns, bool dropped);
/* One is over and says nothing about the server (the client went away). */
void fc_adaptive_forget(fc_adaptive *a);

#endif
