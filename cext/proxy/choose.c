/* Which endpoints a request may go to now: untried ones with room, by how well they are. */
#include <string.h>

#include "fc/hash.h"
#include "upstream_internal.h"

/* Best first; a worse one is looked at only if no untried endpoint is better. */
enum tier {
    TIER_WELL,
    TIER_STARTING, /* it came back a short time ago, and this request is not among its share */
    TIER_DOWN,     /* it could not be connected to just now */
    TIER_COUNT
};

static bool has_room(const fc_endpoint *e)
{
    uint32_t max = e->upstream->settings.connections_max;
    return !max || e->in_use < max;
}

/* A target that starts slowly takes part in a share of the picks. By the key where keys have a place, so that each moves
 * there once and stays; else by chance. */
static bool rests(fc_upstream *u, const fc_endpoint *e, const fc_lease *lease, uint64_t now)
{
    if (!u->health->settings.slow_start_ms)
        return false;
    uint32_t share = fc_health_share(&u->health->settings, e->cell, now);
    if (share >= 65536)
        return false;
    uint64_t draw = u->settings.balance == FC_BALANCE_HASH ? (lease->hash ^ e->key) * 0x9E3779B97F4A7C15ull >> 32
                                                           : fc_hash_next(&u->health->random);
    return (draw & 0xffff) >= share;
}

/* Too few are well: better to spread the load over the ill than to bury the rest under it. */
static bool panics(const fc_upstream *u, uint64_t now)
{
    uint32_t all = 0, well = 0;
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        const fc_endpoint *e = u->endpoints[i];
        all += e->spec.weight > 0;
        well += e->spec.weight > 0 && fc_health_gate_of(&u->health->settings, e->cell, now) != FC_GATE_SICK;
    }
    return (uint64_t)well * 100 < (uint64_t)all * u->health->settings.panic_percent;
}

typedef struct sets {
    uint64_t set[TIER_COUNT][FC_BALANCE_WORDS_MAX];
    bool untried[TIER_COUNT], room[TIER_COUNT];
    bool sick, broken; /* some were left out for it */
} sets;

static void sort(fc_upstream *u, const fc_lease *lease, bool use_sick, sets *s)
{
    uint64_t now = fc_loop_now_ms(u->loop);
    uint32_t words = FC_BALANCE_WORDS(u->endpoints_len);
    memset(s->untried, 0, sizeof s->untried);
    memset(s->room, 0, sizeof s->room);
    s->sick = s->broken = false;
    for (int t = 0; t < TIER_COUNT; t++)
        memset(s->set[t], 0, words * sizeof s->set[t][0]);
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        const fc_endpoint *e = u->endpoints[i];
        uint64_t bit = 1ull << (i % 64);
        if ((lease->tried[i / 64] & bit) || e->spec.weight == 0)
            continue;
        enum tier tier = TIER_WELL;
        if (u->health) {
            fc_health_gate gate = fc_health_gate_of(&u->health->settings, e->cell, now);
            s->broken |= gate == FC_GATE_BROKEN;
            s->sick |= gate == FC_GATE_SICK;
            if (gate == FC_GATE_BROKEN || (gate == FC_GATE_SICK && !use_sick))
                continue;
            if (rests(u, e, lease, now))
                tier = TIER_STARTING;
        }
        if (e->down_until_ms > now)
            tier = TIER_DOWN;
        s->untried[tier] = true;
        if (has_room(e)) {
            s->room[tier] = true;
            s->set[tier][i / 64] |= bit;
        }
    }
}

fc_choice fc_upstream_candidates(fc_upstream *u, const fc_lease *lease, uint64_t from[FC_BALANCE_WORDS_MAX])
{
    sets s;
    sort(u, lease, false, &s);
    if (s.sick && panics(u, fc_loop_now_ms(u->loop)))
        sort(u, lease, true, &s);
    for (int t = 0; t < TIER_COUNT; t++) {
        if (!s.untried[t])
            continue;
        if (t == TIER_WELL && !s.room[t] && s.room[TIER_STARTING])
            continue; /* more than its share is better than a queue */
        if (!s.room[t])
            return FC_CHOICE_WAIT;
        memcpy(from, s.set[t], FC_BALANCE_WORDS(u->endpoints_len) * sizeof from[0]);
        return FC_CHOICE_SOME;
    }
    return s.broken ? FC_CHOICE_BROKEN : s.sick ? FC_CHOICE_SICK : FC_CHOICE_NONE;
}
