#include "fc/adaptive.h"

#include <math.h>

#define LATENCY_MAX 3600000000000ull /* an hour: no answer is slower */
#define SAMPLES_MAX (1u << 20)       /* so many of them are a sum below 2^63 */

bool fc_adaptive_init(fc_adaptive *a, const fc_adaptive_options *o)
{
    if (o->minimum < 1 || o->initial < o->minimum || o->maximum < o->initial ||
        !(o->smoothing > 0 && o->smoothing <= 1) || !(o->tolerance >= 1 && o->tolerance <= 1000) ||
        o->baseline_windows < 1 || o->window_samples < 1)
        return false;
    *a = (fc_adaptive){.options = *o, .limit = o->initial};
    return true;
}

uint32_t fc_adaptive_limit(const fc_adaptive *a) { return a->probing ? a->options.minimum : (uint32_t)a->limit; }

static void begin_window(fc_adaptive *a, uint64_t now_ns)
{
    a->begin_ns = now_ns;
    a->sum_ns = 0;
    a->samples = 0;
    a->peak = a->inflight;
    a->drops = 0;
}

static void start(fc_adaptive *a, uint64_t now_ns)
{
    a->started = true;
    a->probed_ns = now_ns;
    a->probing = a->options.probe_ns > 0;
    begin_window(a, now_ns);
}

bool fc_adaptive_acquire(fc_adaptive *a, uint64_t now_ns)
{
    if (FC_UNLIKELY(!a->started))
        start(a, now_ns);
    uint64_t since = now_ns > a->probed_ns ? now_ns - a->probed_ns : 0;
    if (a->options.probe_ns > 0 && !a->probing && since >= a->options.probe_ns) {
        a->probing = true;
        begin_window(a, now_ns);
    }
    if (a->inflight >= fc_adaptive_limit(a))
        return false;
    if (++a->inflight > a->peak)
        a->peak = a->inflight;
    return true;
}

/* An exponential average over n windows; a plain one until there were so many, or the first would count for all. */
static void add_to_baseline(fc_adaptive *a, double average)
{
    if (a->windows < a->options.baseline_windows)
        a->windows++;
    a->baseline_ns += (average - a->baseline_ns) / a->windows;
    if (a->baseline_ns > 2 * average)
        a->baseline_ns *= 0.9;
}

static void end_window(fc_adaptive *a, uint64_t now_ns)
{
    const fc_adaptive_options *o = &a->options;
    double average = a->samples ? (double)a->sum_ns / a->samples : 0, gradient = 0.5, headroom = sqrt(a->limit);
    if (a->probing && a->samples > 0) {
        a->probing = false;
        a->probed_ns = now_ns;
        a->baseline_ns = average;
        return;
    }
    if (a->probing)
        return; /* nothing but drops: go on probing */
    if (a->samples > 0 && o->probe_ns == 0)
        add_to_baseline(a, average);
    if (a->drops == 0) {
        gradient = average > 0 ? o->tolerance * a->baseline_ns / average : 1;
        gradient = gradient < 0.5 ? 0.5 : gradient > 1 ? 1 : gradient;
    }
    double next = a->limit * (1 - o->smoothing) + (a->limit * gradient + headroom) * o->smoothing;
    if (next > a->limit && 2.0 * a->peak < a->limit)
        return;
    a->limit = next < o->minimum ? o->minimum : next > o->maximum ? o->maximum : next;
}

void fc_adaptive_forget(fc_adaptive *a)
{
    if (a->inflight > 0)
        a->inflight--;
}

void fc_adaptive_release(fc_adaptive *a, uint64_t now_ns, uint64_t latency_ns, bool dropped)
{
    fc_adaptive_forget(a);
    if (FC_UNLIKELY(!a->started))
        start(a, now_ns);
    if (dropped) {
        a->drops++;
    } else {
        a->sum_ns += latency_ns < LATENCY_MAX ? latency_ns : LATENCY_MAX;
        a->samples++;
    }
    if (now_ns < a->begin_ns)
        a->begin_ns = now_ns; /* the clock stepped back */
    uint32_t over = a->samples + a->drops;
    if (over >= SAMPLES_MAX || (over >= a->options.window_samples && now_ns - a->begin_ns >= a->options.window_ns)) {
        end_window(a, now_ns);
        begin_window(a, now_ns);
    }
}
