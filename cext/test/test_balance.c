#include "fc/balance.h"

#include <math.h>

#include "check.h"

static void test_bounds(void)
{
    static fc_balance_target targets[FC_BALANCE_TARGETS_MAX + 1];
    fc_balance_options options = FC_BALANCE_OPTIONS;
    CHECK(fc_balancer_new(&options, targets, 0) == NULL);
    CHECK(fc_balancer_new(&options, targets, FC_BALANCE_TARGETS_MAX + 1) == NULL);
    targets[0].weight = FC_BALANCE_WEIGHT_MAX + 1;
    CHECK(fc_balancer_new(&options, targets, 1) == NULL);
    targets[0].weight = 1;
    options.policy = FC_BALANCE_HASH;
    CHECK(fc_balancer_new(&options, targets, 2) == NULL); /* equal ids */
    options.load_factor = 0.99;
    CHECK(fc_balancer_new(&options, targets, 1) == NULL);
    options.load_factor = NAN;
    CHECK(fc_balancer_new(&options, targets, 1) == NULL);
    options.load_factor = 0;
    options.tau_ns = 0;
    CHECK(fc_balancer_new(&options, targets, 1) == NULL);
    fc_balancer_free(NULL);
}

static void test_every_policy_skips_what_is_not_available(void)
{
    fc_balance_target targets[130];
    for (uint32_t i = 0; i < 130; i++)
        targets[i] = (fc_balance_target){.weight = i % 3, .id = i * 0x9E3779B97F4A7C15ull};
    for (int policy = 0; policy < FC_BALANCE_POLICY_COUNT; policy++) {
        fc_balance_options options = FC_BALANCE_OPTIONS;
        options.policy = (fc_balance_policy)policy;
        options.load_factor = policy == FC_BALANCE_HASH ? 1.25 : 0;
        fc_balancer *b = fc_balancer_new(&options, targets, 130);
        uint64_t random = 1, now = 1;
        for (int round = 0; round < 2000; round++) {
            uint64_t available[FC_BALANCE_WORDS(130)];
            for (int word = 0; word < 3; word++) /* a third of the time hardly anybody */
                available[word] = (random = random * 6364136223846793005ull + 1) & (round % 3 ? UINT64_MAX : 0x100000001ull);
            now += random >> 40;
            int picked = fc_balancer_pick(b, now, random, available);
            if (picked < 0)
                continue;
            CHECK(picked < 130 && targets[picked].weight > 0 && (available[picked / 64] >> picked % 64 & 1));
            fc_balancer_started(b, (uint32_t)picked);
            if (round % 2)
                fc_balancer_finished(b, (uint32_t)picked, now, random >> 44, round % 7 == 0);
        }
        uint64_t none[FC_BALANCE_WORDS(130)] = {0};
        CHECK(fc_balancer_pick(b, now, 0, none) == -1);
        fc_balancer_free(b);
    }
}

static void test_extreme_times(void)
{
    fc_balance_target targets[2] = {{1, 1}, {1, 2}};
    fc_balance_options options = FC_BALANCE_OPTIONS;
    options.policy = FC_BALANCE_P2C_EWMA;
    fc_balancer *b = fc_balancer_new(&options, targets, 2);
    fc_balancer_finished(b, 0, UINT64_MAX, UINT64_MAX, true);
    CHECK(fc_balancer_pick(b, 0, 0, NULL) == 1);
    CHECK(isfinite(fc_balancer_latency_ns(b, 0, 0)) && fc_balancer_active(b, 0) == 0);
    fc_balancer_finished(b, 1, 0, 0, false);
    CHECK(fc_balancer_latency_ns(b, 1, UINT64_MAX) == 0);
    fc_balancer_free(b);
}

int main(void)
{
    test_bounds();
    test_every_policy_skips_what_is_not_available();
    test_extreme_times();
    return check_done("test_balance");
}
