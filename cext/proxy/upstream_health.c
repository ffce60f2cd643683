/* An upstream's part in fc/health.h: what becomes of its tries goes into the cells that all workers share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/hash.h"
#include "upstream_internal.h"

/* Which places of a half-open breaker a lease holds. */
enum { TRIAL_ENDPOINT = 1, TRIAL_UPSTREAM = 2 };

static const fc_hash_key cell_key = {0x6865616c74680000ull, 0x63656c6c73000000ull}; /* fixed: all workers agree */

static uint64_t now_of(const fc_upstream *u) { return fc_loop_now_ms(u->loop); }

static uint64_t key_of(const char *upstream, const char *endpoint)
{
    uint64_t parts[2] = {fc_hash(&cell_key, upstream, strlen(upstream)), fc_hash(&cell_key, endpoint, strlen(endpoint))};
    uint64_t key = fc_hash(&cell_key, parts, sizeof parts);
    return key ? key : 1;
}

int fc_upstream_watch(fc_upstream *u, const fc_health_settings *settings, const fc_health_table *table, uint32_t pid)
{
    fc_upstream_health *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->settings = *settings;
    h->table = *table;
    h->pid = pid;
    h->random = u->seed;
    h->key = key_of(u->name, "");
    h->cell = fc_health_claim(&h->table, h->key, now_of(u), &h->own);
    u->health = h;
    return 0;
}

void fc_endpoint_claim(fc_endpoint *e)
{
    fc_upstream_health *h = e->upstream->health;
    uint64_t key = key_of(e->upstream->name, e->spec.label);
    if (!h || (e->cell && e->key == key))
        return;
    e->key = key;
    e->cell = fc_health_claim(&h->table, key, now_of(e->upstream), &e->own);
}

void fc_upstream_touch(fc_upstream *u)
{
    fc_upstream_health *h = u->health;
    uint64_t now = now_of(u);
    if (!h)
        return;
    if (!fc_health_touch(h->cell, h->key, now))
        h->cell = fc_health_claim(&h->table, h->key, now, &h->own);
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        fc_endpoint *e = u->endpoints[i];
        if (!fc_health_touch(e->cell, e->key, now))
            e->cell = fc_health_claim(&h->table, e->key, now, &e->own);
    }
}

/* --- breakers ------------------------------------------------------------------------------------------------------ */

bool fc_lease_ask_upstream(fc_lease *lease)
{
    fc_upstream *u = lease->upstream;
    const fc_breaker_settings *s = &u->health->settings.upstream_breaker;
    lease->trials = 0;
    if (!fc_breaker_used(s))
        return true;
    fc_breaker_pass pass = fc_health_ask(s, u->health->cell, now_of(u));
    lease->trials = pass == FC_BREAKER_TRIAL ? TRIAL_UPSTREAM : 0;
    u->health->stopped += pass == FC_BREAKER_STOP;
    return pass != FC_BREAKER_STOP;
}

bool fc_upstream_stops(const fc_upstream *u)
{
    if (!u->health || !fc_breaker_used(&u->health->settings.upstream_breaker))
        return false;
    uint64_t word = __atomic_load_n(&u->health->cell->breaker, __ATOMIC_RELAXED);
    return fc_breaker_ask(&u->health->settings.upstream_breaker, &word, now_of(u)) == FC_BREAKER_STOP;
}

bool fc_lease_ask_endpoint(fc_lease *lease, fc_endpoint *e)
{
    const fc_breaker_settings *s = &e->upstream->health->settings.target_breaker;
    lease->told = false;
    lease->trials &= (uint8_t)~TRIAL_ENDPOINT;
    if (!fc_breaker_used(s))
        return true;
    fc_breaker_pass pass = fc_health_ask(s, e->cell, now_of(e->upstream));
    if (pass == FC_BREAKER_TRIAL)
        lease->trials |= TRIAL_ENDPOINT;
    return pass != FC_BREAKER_STOP;
}

uint64_t fc_upstream_wait_ms(const fc_upstream *u)
{
    const fc_upstream_health *h = u->health;
    if (!h)
        return 0;
    uint64_t now = now_of(u), least = UINT64_MAX;
    if (fc_breaker_used(&h->settings.upstream_breaker)) {
        uint64_t wait = fc_breaker_wait_ms(&h->settings.upstream_breaker, h->cell->breaker, now);
        if (wait)
            return wait;
    }
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        uint64_t wait = fc_breaker_wait_ms(&h->settings.target_breaker, u->endpoints[i]->cell->breaker, now);
        least = wait < least ? wait : least;
    }
    return least == UINT64_MAX ? 0 : least;
}

/* --- ejection ------------------------------------------------------------------------------------------------------ */

static uint32_t ejected(const fc_upstream *u, uint64_t now, uint32_t *targets)
{
    uint32_t n = 0;
    *targets = 0;
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        *targets += u->endpoints[i]->spec.weight > 0;
        n += fc_outlier_ejected(__atomic_load_n(&u->endpoints[i]->cell->eject, __ATOMIC_RELAXED), now);
    }
    return n;
}

/* Two workers may eject two targets at once where there is a place for one: who then sees one too many takes its own
 * back. Both may; the next failure tries again. */
static void eject(fc_endpoint *e)
{
    fc_upstream *u = e->upstream;
    const fc_outlier_settings *s = &u->health->settings.outlier;
    uint64_t now = now_of(u), before;
    uint32_t targets, out = ejected(u, now, &targets);
    if (out >= fc_outlier_places(s, targets) || !fc_health_eject(s, e->cell, now, &before))
        return;
    if (ejected(u, now, &targets) > fc_outlier_places(s, targets))
        fc_health_uneject(e->cell, now, before);
    else
        e->ejections++;
}

static void look_at_shares(fc_upstream *u)
{
    const fc_outlier_settings *s = &u->health->settings.outlier;
    if (!fc_health_due(s, u->health->cell, now_of(u)))
        return;
    for (uint32_t i = 0; i < u->endpoints_len; i++) {
        uint64_t counts = __atomic_exchange_n(&u->endpoints[i]->cell->counts, 0, __ATOMIC_RELAXED);
        if (fc_outlier_rate_deserves(s, counts))
            eject(u->endpoints[i]);
    }
}

/* --- what became of a try ------------------------------------------------------------------------------------------ */

static void tell_upstream(fc_lease *lease, fc_outcome outcome)
{
    fc_upstream_health *h = lease->upstream->health;
    bool opened = false;
    if (fc_breaker_used(&h->settings.upstream_breaker))
        fc_health_told(&h->settings.upstream_breaker, h->cell, now_of(lease->upstream), lease->trials & TRIAL_UPSTREAM,
                       outcome, &opened);
    h->opened += opened;
    lease->trials &= (uint8_t)~TRIAL_UPSTREAM;
}

static void tell_endpoint(fc_lease *lease, fc_endpoint *e, fc_outcome outcome)
{
    const fc_health_settings *s = &e->upstream->health->settings;
    bool opened = false, trial = lease->trials & TRIAL_ENDPOINT;
    lease->trials &= (uint8_t)~TRIAL_ENDPOINT;
    if (e->index < 0) /* it left the configuration, and its cell may be another's by now */
        return;
    if (fc_breaker_used(&s->target_breaker))
        fc_health_told(&s->target_breaker, e->cell, now_of(e->upstream), trial, outcome, &opened);
    e->opened += opened;
    if (!fc_outlier_used(&s->outlier) || outcome == FC_OUTCOME_NONE)
        return;
    if (fc_health_count(&s->outlier, e->cell, now_of(e->upstream), outcome == FC_OUTCOME_FAILURE))
        eject(e);
    look_at_shares(e->upstream);
}

void fc_lease_told_of(fc_lease *lease, fc_endpoint *e, fc_outcome outcome)
{
    if (!lease->upstream->health || lease->told)
        return;
    lease->told = true;
    tell_endpoint(lease, e, outcome);
    tell_upstream(lease, outcome);
}

void fc_lease_told(fc_lease *lease, fc_outcome outcome) { fc_lease_told_of(lease, lease->conn->endpoint, outcome); }

void fc_lease_told_status(fc_lease *lease, uint32_t status)
{
    fc_upstream_health *h = lease->upstream->health;
    if (h)
        fc_lease_told(lease, fc_status_has(&h->settings.failures, status) ? FC_OUTCOME_FAILURE : FC_OUTCOME_SUCCESS);
}

void fc_lease_forget_endpoint(fc_lease *lease, fc_endpoint *e)
{
    if (lease->upstream->health && !lease->told && (lease->trials & TRIAL_ENDPOINT))
        tell_endpoint(lease, e, FC_OUTCOME_NONE);
}

void fc_lease_forget_upstream(fc_lease *lease)
{
    if (lease->upstream && lease->upstream->health && (lease->trials & TRIAL_UPSTREAM))
        tell_upstream(lease, FC_OUTCOME_NONE);
}

/* --- retries ------------------------------------------------------------------------------------------------------- */

void fc_upstream_count_request(fc_upstream *u)
{
    if (u->health && u->health->settings.budget.burst)
        fc_health_earn(&u->health->settings.budget, u->health->cell, now_of(u));
}

bool fc_upstream_may_retry(fc_upstream *u)
{
    if (!u->health || !u->health->settings.budget.burst)
        return true;
    bool may = fc_health_spend(&u->health->settings.budget, u->health->cell, now_of(u));
    u->health->denied += !may;
    return may;
}
