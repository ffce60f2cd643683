/* Any sequence of set, add, cancel and pop does to the wheel what it does to a list searched from end to end. */
#include <stdlib.h>

#include "fc/wheel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TIMERS 32

typedef struct twin {
    fc_timer timer;
    bool armed;
    uint64_t at, order; /* order: settings before this one */
} twin;

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static twin *earliest(twin *twins)
{
    twin *best = NULL;
    for (int i = 0; i < TIMERS; i++) {
        twin *t = &twins[i];
        if (t->armed && (best == NULL || t->at < best->at || (t->at == best->at && t->order < best->order)))
            best = t;
    }
    return best;
}

/* Each step is three bytes: what, which timer, and a distance of any magnitude: one bit, moved by a few. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    twin twins[TIMERS] = {0};
    fc_wheel w;
    uint64_t now = size > 0 ? (uint64_t)data[0] << (data[0] % 56) : 0, orders = 0;
    fc_wheel_init(&w, now);
    for (size_t i = 1; i + 2 < size; i += 3) {
        twin *t = &twins[data[i + 1] % TIMERS];
        uint64_t far = (1ull << data[i + 2] % 64) + data[i + 1] / TIMERS, at = now > UINT64_MAX - far ? UINT64_MAX : now + far;
        switch (data[i] % 8) {
        case 0:
        case 1:
        case 2:
            fc_wheel_add(&w, &t->timer, at);
            *t = (twin){t->timer, true, at, orders++};
            break;
        case 3: {
            uint64_t past = now - (far < now ? far : now);
            bool clamped = data[i] & 8 && now < UINT64_MAX;
            (clamped ? fc_wheel_set : fc_wheel_add)(&w, &t->timer, past);
            *t = (twin){t->timer, true, clamped ? now + 1 : now, orders++};
            break;
        }
        case 4:
            fc_wheel_cancel(&w, &t->timer);
            t->armed = false;
            break;
        default: {
            uint64_t target = data[i] & 8 ? at : now;
            for (int pops = data[i] / 16; pops >= 0; pops--) {
                twin *first = earliest(twins);
                if (first != NULL && first->at > target)
                    first = NULL;
                fc_timer *got = fc_wheel_pop(&w, target);
                expect(got == (first != NULL ? &first->timer : NULL));
                if (first == NULL) {
                    now = target;
                    break;
                }
                first->armed = false;
                now = first->at;
            }
        }
        }
        size_t armed = 0;
        for (int j = 0; j < TIMERS; j++) {
            armed += twins[j].armed;
            expect(fc_timer_armed(&twins[j].timer) == twins[j].armed);
        }
        twin *first = earliest(twins);
        expect(w.now == now && w.count == armed);
        expect(fc_wheel_deadline(&w) == (first != NULL ? first->at : UINT64_MAX));
        expect(fc_wheel_next(&w) <= fc_wheel_deadline(&w));
        expect((fc_wheel_any(&w) != NULL) == (armed > 0));
    }
    return 0;
}
