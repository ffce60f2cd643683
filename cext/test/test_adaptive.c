#include "fc/adaptive.h"

#include <math.h>

#include "check.h"

#define MS 1000000ull
#define S 1000000000ull

static fc_adaptive made(fc_adaptive_options o)
{
    fc_adaptive a;
    CHECK(fc_adaptive_init(&a, &o));
    return a;
}

/* A server that answers in 10 ms up to `capacity` at once, and beyond it in proportion: the caller always wants more.
 * Returns the limit after so many windows. */
static uint32_t drive(fc_adaptive *a, uint64_t *now, double capacity, double base_ms, int windows)
{
    for (int w = 0; w < windows; w++) {
        uint32_t n = 0;
        while (fc_adaptive_acquire(a, *now))
            n++;
        double ms = n > capacity ? base_ms * n / capacity : base_ms;
        CHECK(n > 0 && n == a->inflight);
        for (; n > 1; n--)
            fc_adaptive_release(a, *now + S / 2, (uint64_t)(ms * MS), false);
        fc_adaptive_release(a, *now += S, (uint64_t)(ms * MS), false); /* ends the window */
    }
    return fc_adaptive_limit(a);
}

static fc_adaptive_options options(void)
{
    fc_adaptive_options o = FC_ADAPTIVE_OPTIONS;
    o.window_samples = 1;
    return o;
}

static void test_options(void)
{
    fc_adaptive a;
    fc_adaptive_options o = FC_ADAPTIVE_OPTIONS;
    CHECK(fc_adaptive_init(&a, &o) && fc_adaptive_limit(&a) == 20);
#define REFUSED(field, value)               \
    do {                                    \
        fc_adaptive_options bad = o;        \
        bad.field = value;                  \
        CHECK(!fc_adaptive_init(&a, &bad)); \
    } while (0)
    REFUSED(minimum, 0);
    REFUSED(minimum, 21);
    REFUSED(maximum, 19);
    REFUSED(smoothing, 0);
    REFUSED(smoothing, 1.1);
    REFUSED(smoothing, NAN);
    REFUSED(tolerance, 0.9);
    REFUSED(tolerance, NAN);
    REFUSED(baseline_windows, 0);
    REFUSED(window_samples, 0);
}

static void test_one_window(void)
{
    fc_adaptive_options o = options();
    fc_adaptive a = made(o);
    uint64_t now = S;
    drive(&a, &now, 1000, 10, 1); /* the baseline is this window itself: gradient 1 */
    CHECK(fabs(a.limit - (20 * 0.8 + (20 + sqrt(20)) * 0.2)) < 1e-9);
    double before = a.limit;
    drive(&a, &now, 1000, 30, 1); /* 30 ms, baseline (10 + 30) / 2: gradient 1.5 * 20 / 30 = 1 */
    CHECK(fabs(a.limit - (before * 0.8 + (before + sqrt(before)) * 0.2)) < 1e-9);
    before = a.limit;
    drive(&a, &now, 1000, 300, 1); /* far slower: as low as a window may go */
    double baseline = 20 + 280.0 / 3, gradient = 1.5 * baseline / 300;
    CHECK(fabs(a.baseline_ns / MS - baseline) < 1e-6);
    CHECK(fabs(a.limit - (before * 0.8 + (before * gradient + sqrt(before)) * 0.2)) < 1e-9);
}

static void test_it_finds_capacity(void)
{
    fc_adaptive_options o = options();
    o.probe_ns = 60 * S;
    fc_adaptive a = made(o);
    uint64_t now = S;
    drive(&a, &now, 100, 10, 300);
    CHECK(a.limit > 100 && a.limit < 250); /* capacity, and the queue that a tolerance of 1.5 allows */
    drive(&a, &now, 30, 10, 120);
    CHECK(a.limit > 30 && a.limit < 90);
    drive(&a, &now, 400, 10, 600);
    CHECK(a.limit > 400 && a.limit <= 1000);
}

static void test_unused_limits_do_not_grow(void)
{
    fc_adaptive a = made(options());
    uint64_t now = S;
    for (int i = 0; i < 100; i++) {
        fc_adaptive_acquire(&a, now);
        fc_adaptive_release(&a, now += S, 10 * MS, false);
    }
    CHECK(fc_adaptive_limit(&a) == 20);
    for (int i = 0; i < 100; i++) { /* but they fall, as far as the minimum */
        fc_adaptive_acquire(&a, now);
        fc_adaptive_release(&a, now += S, 10 * MS, true);
    }
    CHECK(fc_adaptive_limit(&a) < 10 && a.limit >= 3 && a.inflight == 0);
}

static void test_probe(void)
{
    fc_adaptive_options o = options();
    o.probe_ns = 10 * S;
    fc_adaptive a = made(o);
    CHECK(fc_adaptive_acquire(&a, S) && a.probing && fc_adaptive_limit(&a) == 3);
    CHECK(fc_adaptive_acquire(&a, S) && fc_adaptive_acquire(&a, S) && !fc_adaptive_acquire(&a, S));
    fc_adaptive_release(&a, 3 * S, 0, true); /* a drop measures nothing */
    CHECK(a.probing);
    fc_adaptive_release(&a, 5 * S, 7 * MS, false);
    CHECK(!a.probing && a.baseline_ns == 7 * MS && fc_adaptive_limit(&a) == 20);
    CHECK(fc_adaptive_acquire(&a, 14 * S) && !a.probing);
    CHECK(!fc_adaptive_acquire(&a, 4 * S) || !a.probing); /* the clock stepped back */
    fc_adaptive_acquire(&a, 15 * S);
    CHECK(a.probing);
}

static void test_hostile(void)
{
    fc_adaptive a = made(options());
    uint64_t state = 1;
    for (int i = 0; i < 200000; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t time = state >> 62 ? state >> 20 : state;
        if (state >> 40 & 1)
            fc_adaptive_acquire(&a, time);
        else if (state >> 41 & 1)
            fc_adaptive_release(&a, time, state << 7, state >> 42 & 1);
        else
            fc_adaptive_forget(&a);
        CHECK(a.limit >= 3 && a.limit <= 1000 && a.baseline_ns >= 0 && a.inflight <= 1000);
    }
}

int main(void)
{
    test_options();
    test_one_window();
    test_it_finds_capacity();
    test_unused_limits_do_not_grow();
    test_probe();
    test_hostile();
    return check_done("test_adaptive");
}
