#include "fc/probe.h"

static uint64_t make(fc_probe_state state, uint32_t run, uint64_t since)
{
    return (uint64_t)state | (uint64_t)run << 2 | since << 22;
}

uint64_t fc_probe_told(const fc_probe_settings *s, uint64_t word, uint64_t now, bool passed)
{
    fc_probe_state state = fc_probe_state_of(word);
    if (state == FC_PROBE_UNKNOWN)
        return passed ? make(FC_PROBE_HEALTHY, 0, 0) : make(FC_PROBE_UNHEALTHY, 0, now);
    if (passed == (state == FC_PROBE_HEALTHY))
        return make(state, 0, fc_probe_since_ms(word));
    uint32_t run = ((uint32_t)(word >> 2) & ((1u << 20) - 1)) + 1;
    if (run >= (passed ? s->healthy : s->unhealthy))
        return make(passed ? FC_PROBE_HEALTHY : FC_PROBE_UNHEALTHY, 0, now);
    return make(state, run, fc_probe_since_ms(word));
}

uint64_t fc_lead_take(uint64_t word, uint32_t pid, uint64_t now, uint32_t term_ms, bool dead)
{
    bool free = fc_lead_pid(word) == 0 || fc_lead_pid(word) == pid || dead || now >= fc_lead_until_ms(word);
    return free ? (uint64_t)pid | (now + term_ms) << 22 : 0;
}
