/* Writers are slowed without a step: not at all, then ever more, never for ever. */
#include "../store/store_internal.h"
#include "check.h"

#define KB 1000u

static uint64_t pace(double memory, uint32_t level0, uint64_t debt)
{
    return store_pace(KB, &(store_pressure){memory, level0, 8, 20, debt, 2000, 10000, 0});
}

int main(void)
{
    CHECK(pace(0, 0, 0) == 0 && pace(0.5, 8, 2000) == 0);
    CHECK(store_pace(0, &(store_pressure){1, 20, 8, 20, 0, 0, 0, 0}) == 0);
    uint64_t before[3] = {0};
    for (unsigned i = 0; i <= 100; i++) {
        uint64_t now[3] = {pace(0.5 + i / 200.0, 0, 0), pace(0, 8 + i / 8, 0), pace(0, 0, 2000 + i * 80)};
        for (int k = 0; k < 3; k++) {
            CHECK(now[k] >= before[k] && now[k] <= 1000000); /* 1 MB in a second is the least */
            CHECK(before[k] == 0 || now[k] <= 2 * before[k] || k == 1 || i > 90);
            before[k] = now[k];
        }
        CHECK(pace(0.5 + i / 200.0, 8 + i / 10, 0) >= now[0]); /* the worst of them counts */
    }
    CHECK(before[0] == 1000000 && before[1] == 1000000 && before[2] == 1000000);
    CHECK(store_pace(KB, &(store_pressure){.log = 0.5}) == 0 && store_pace(KB, &(store_pressure){.log = 0.75}) == 20000);
    CHECK(pace(0.51, 0, 0) > 0 && pace(0.51, 0, 0) < 10000); /* microseconds at first */
    fc_keyspace_options o = FC_KEYSPACE_OPTIONS;
    CHECK(store_pace_round(&o) > 11 * o.level0_tables * o.memtable_bytes);
    return check_done("pace");
}
