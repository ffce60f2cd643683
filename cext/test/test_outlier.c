/* Ejection, results of checks, leads and retry budgets: words against plain models over simulated time. */
#include "check.h"
#include "fc/hash.h"
#include "fc/outlier.h"
#include "fc/probe.h"
#include "fc/retry_budget.h"

static void test_ejection(void)
{
    fc_outlier_settings s = {.failures = 3, .eject_ms = 100, .eject_max_ms = 700, .max_percent = 50};
    uint64_t word = 0, now = 1000;
    const uint64_t lasts[] = {100, 200, 400, 700, 700};
    for (unsigned i = 0; i < FC_ARRAY_LEN(lasts); i++) {
        for (int k = 0; k < 3; k++) {
            CHECK(!fc_outlier_deserves(&s, word, now));
            word = fc_outlier_told(word, now, true);
        }
        CHECK(fc_outlier_deserves(&s, word, now) && !fc_outlier_ejected(word, now));
        word = fc_outlier_eject(&s, word, now);
        CHECK(fc_outlier_until_ms(word) == now + lasts[i]);
        CHECK(fc_outlier_told(word, now, true) == word && fc_outlier_eject(&s, word, now + 1) == word);
        CHECK(fc_outlier_ejected(word, now + lasts[i] - 1) && !fc_outlier_ejected(word, now + lasts[i]));
        now += lasts[i];
        word = fc_outlier_told(word, now, true);
        word = fc_outlier_told(word, now, false); /* the row ends */
    }
    now += 300; /* three are forgotten of the five */
    CHECK(fc_outlier_until_ms(fc_outlier_eject(&s, word, now)) == now + 400);
    now += 100000;
    CHECK(fc_outlier_until_ms(fc_outlier_eject(&s, word, now)) == now + 100);
    CHECK(fc_outlier_places(&s, 1) == 0 && fc_outlier_places(&s, 2) == 1 && fc_outlier_places(&s, 3) == 1);
    s.max_percent = 100;
    CHECK(fc_outlier_places(&s, 1) == 1);
    fc_outlier_settings share = {.percent = 30, .volume = 10};
    uint64_t counts = 0;
    for (int i = 0; i < 9; i++)
        counts += fc_outlier_count(i < 3);
    CHECK(!fc_outlier_rate_deserves(&share, counts)); /* too few to tell */
    CHECK(fc_outlier_rate_deserves(&share, counts + fc_outlier_count(false)));
    CHECK(!fc_outlier_rate_deserves(&share, counts + 2 * fc_outlier_count(false)));
    CHECK(!fc_outlier_rate_deserves(&share, 0));
}

static void test_probes(uint64_t seed)
{
    fc_probe_settings s = {.healthy = 2, .unhealthy = 3};
    uint64_t word = 0, now = 0, since = 0;
    fc_probe_state state = FC_PROBE_UNKNOWN;
    uint32_t passes = 0, failures = 0;
    for (int i = 0; i < 2000; i++) {
        bool passed = fc_hash_next(&seed) % 3 > 0;
        now += 10;
        passes = passed ? passes + 1 : 0;
        failures = passed ? 0 : failures + 1;
        if (state == FC_PROBE_UNKNOWN) {
            state = passed ? FC_PROBE_HEALTHY : FC_PROBE_UNHEALTHY;
            since = passed ? 0 : now;
        } else if (state == FC_PROBE_HEALTHY && failures >= 3) {
            state = FC_PROBE_UNHEALTHY;
            since = now;
        } else if (state == FC_PROBE_UNHEALTHY && passes >= 2) {
            state = FC_PROBE_HEALTHY;
            since = now;
        }
        word = fc_probe_told(&s, word, now, passed);
        CHECK(fc_probe_state_of(word) == state && fc_probe_since_ms(word) == since);
    }
}

static void test_lead(void)
{
    uint64_t word = fc_lead_take(0, 4194303, 1000, 300, false);
    CHECK(fc_lead_pid(word) == 4194303 && fc_lead_until_ms(word) == 1300);
    CHECK(fc_lead_take(word, 8, 1299, 300, false) == 0);
    CHECK(fc_lead_pid(fc_lead_take(word, 8, 1300, 300, false)) == 8);
    CHECK(fc_lead_pid(fc_lead_take(word, 8, 1001, 300, true)) == 8); /* the holder is dead */
    CHECK(fc_lead_until_ms(fc_lead_take(word, 4194303, 1200, 300, false)) == 1500);
}

/* The bound itself, over any time since the start. */
static void test_budget(uint64_t seed)
{
    fc_retry_budget b = {.percent = 20, .per_second = 5, .burst = 30};
    uint64_t word = 0, start = 1000000, now = start, requests = 0, retries = 0, refused = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t draw = fc_hash_next(&seed);
        now += draw % 997 == 0 ? 60000 : draw % 4;
        if (draw >> 20 & 1) {
            word = fc_retry_earn(&b, word, now);
            requests++;
        } else if (fc_retry_spend(&b, &word, now)) {
            retries++;
        } else {
            refused++;
        }
        CHECK(retries * 1000 <= b.burst * 1000 + requests * 200 + (now - start) * b.per_second);
    }
    CHECK(retries && refused);
    for (int i = 0; i < 1000; i++)
        word = fc_retry_earn(&b, word, now + 100000);
    for (uint32_t i = 0; i <= b.burst; i++)
        CHECK(fc_retry_spend(&b, &word, now + 100000) == (i < b.burst)); /* no more than that is saved up */
    b = (fc_retry_budget){.percent = 20, .per_second = 0, .burst = 30};
    word = 0;
    for (int i = 0; i < 100; i++)
        word = fc_retry_earn(&b, word, now);
    for (int i = 0; i < 20; i++)
        CHECK(fc_retry_spend(&b, &word, now + i)); /* all that was earned, and not one more */
    CHECK(!fc_retry_spend(&b, &word, now + 100000));
    b.per_second = 2;
    word = 0;
    CHECK(fc_retry_spend(&b, &word, now) && fc_retry_spend(&b, &word, now) && !fc_retry_spend(&b, &word, now));
    CHECK(!fc_retry_spend(&b, &word, now + 499) && fc_retry_spend(&b, &word, now + 500));
    CHECK(!fc_retry_spend(&b, &word, now)); /* a batch that began earlier gains nothing */
}

int main(void)
{
    test_ejection();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        test_probes(seed);
        test_budget(seed);
    }
    test_lead();
    return check_done("outlier");
}
