/* A script of requests against a table and against an unbounded array of states: the same answers, whatever the keys and
 * the clock do, except that a table says when it is full; and then nobody who was in it has lost anything. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fc/limiter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEYS = 48, TABLE = 8 }; /* 16 entries for 48 keys */

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static bool same(const fc_gcra_answer *a, const fc_gcra_answer *b)
{
    return a->allowed == b->allowed && a->limit == b->limit && a->remaining == b->remaining &&
           a->retry_ns == b->retry_ns && a->reset_ns == b->reset_ns && a->stepped == b->stepped;
}

/* Bytes 0..3 choose the quota and what a full table does; then four bytes a step: what, key, cost, time. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) char memory[128 + 16 * 16];
    static uint64_t states[KEYS];
    const fc_hash_key key = {1, 2};
    fc_limiter l;
    fc_gcra q;
    fc_gcra_answer a, expected;
    uint64_t now = 1ull << 40, now_max = FC_GCRA_TIME_MAX - 1;
    if (size < 8 || size > 1024)
        return 0;
    if (!fc_gcra_init(&q, 1 + data[0], 1ull << data[1] % 62, 1 + (uint64_t)data[2] * data[2] * data[2]))
        return 0;
    memset(memory, 0, sizeof memory);
    memset(states, 0, sizeof states);
    demand(fc_limiter_size(TABLE) == sizeof memory);
    demand(fc_limiter_open(&l, memory, sizeof memory, TABLE, &key, data[3] & 1) == 0);
    for (size_t i = 4; i + 4 <= size; i += 4) {
        uint32_t k = data[i + 1] % KEYS;
        uint64_t print = fc_hash_mix(k + 1), cost = data[i + 2] < 200 ? data[i + 2] : UINT64_MAX >> data[i + 2] % 64;
        uint64_t step = 1ull << data[i + 3] % 64;
        if (data[i + 3] & 64)
            now = step < now ? now - step : 0;
        else if (!(data[i + 3] & 128))
            now = step < now_max - now ? now + step : now_max;
        switch (data[i] % 8) {
        case 0:
            demand(fc_limiter_reset(&l, print, now) == (states[k] > now));
            states[k] = 0;
            break;
        case 1:
            fc_gcra_peek(&q, states[k], now, cost, &expected);
            fc_limiter_peek(&l, &q, print, now, cost, &a);
            demand(same(&a, &expected));
            break;
        default: {
            uint64_t after = fc_gcra_decide(&q, states[k], now, cost, &expected);
            if (fc_limiter_hit(&l, &q, print, now, cost, &a)) {
                demand(same(&a, &expected));
                demand(a.remaining <= a.limit && (a.allowed || a.stepped || after == states[k]));
                states[k] = after;
            } else {
                demand(a.allowed == (l.when_full == FC_LIMITER_FULL_OPEN) && (a.allowed || a.retry_ns > 0));
            }
        }
        }
        /* An entry in the past may have been taken over: then a clock that steps back finds nothing. */
        for (uint32_t n = 0; n < KEYS; n++)
            if (states[n] < now)
                fc_limiter_reset(&l, fc_hash_mix(n + 1), now), states[n] = 0;
    }
    return 0;
}
