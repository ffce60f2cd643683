#include "fc/health.h"

#include <string.h>

#include "fc/pidlock.h"
#include "fc/region.h"

#define MAGIC 0x31687461656866ull /* stored last: zero means not prepared */

struct fc_health_head {
    uint64_t magic;
    uint32_t version;
    fc_pidlock lock;
    uint32_t cells;
    char pad[FC_CACHE_LINE - 20];
};

_Static_assert(sizeof(struct fc_health_head) == FC_CACHE_LINE, "one line");
_Static_assert(sizeof(fc_health_cell) == 2 * FC_CACHE_LINE, "what picking asks is the first line");

/* --- the table ---------------------------------------------------------------------------------------------------- */

uint64_t fc_health_size(uint32_t cells)
{
    if (cells == 0 || cells > FC_HEALTH_CELLS_MAX)
        return 0;
    return sizeof(struct fc_health_head) + (uint64_t)cells * sizeof(fc_health_cell);
}

int fc_health_open(fc_health_table *t, void *base, uint64_t size, uint32_t cells)
{
    struct fc_health_head *h = base;
    uint64_t needed = fc_health_size(cells);
    if (needed == 0 || needed > size)
        return FC_HEALTH_ESIZE;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) == 0) {
        if (fc_pidlock_acquire(&h->lock, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_HEALTH_EBUSY;
        if (__atomic_load_n(&h->magic, __ATOMIC_RELAXED) == 0) {
            h->version = FC_HEALTH_VERSION;
            h->cells = cells;
            __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
        }
        fc_pidlock_release(&h->lock);
    }
    if (h->magic != MAGIC || h->version != FC_HEALTH_VERSION)
        return FC_HEALTH_EVERSION;
    if (h->cells != cells)
        return FC_HEALTH_ESIZE;
    *t = (fc_health_table){.head = h, .cells = (fc_health_cell *)(void *)(h + 1), .len = cells};
    return 0;
}

static uint64_t load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

static bool swap(uint64_t *word, uint64_t *was, uint64_t becomes)
{
    return __atomic_compare_exchange_n(word, was, becomes, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Under the lock, so two claims of one key cannot both find it absent. The key goes first and comes last: who dies in
 * between leaves a free cell, which the next to take it empties again. */
static fc_health_cell *find_or_take(const fc_health_table *t, uint64_t key, uint64_t now)
{
    fc_health_cell *free = NULL;
    for (uint32_t i = 0; i < t->len; i++) {
        fc_health_cell *c = &t->cells[i];
        if (c->key == key)
            return c;
        if (!free && (c->key == 0 || load(&c->seen_ms) + FC_HEALTH_STALE_MS < now))
            free = c;
    }
    if (!free)
        return NULL;
    __atomic_store_n(&free->key, 0, __ATOMIC_RELEASE);
    memset((char *)free + sizeof free->key, 0, sizeof *free - sizeof free->key);
    free->seen_ms = now;
    __atomic_store_n(&free->key, key, __ATOMIC_RELEASE);
    return free;
}

fc_health_cell *fc_health_claim(const fc_health_table *t, uint64_t key, uint64_t now, fc_health_cell *own)
{
    fc_health_cell *cell = NULL;
    if (t->head && fc_pidlock_acquire(&t->head->lock, FC_PIDLOCK_WAIT_NS) == 0) {
        cell = find_or_take(t, key, now);
        fc_pidlock_release(&t->head->lock);
    }
    if (!cell) {
        memset(own, 0, sizeof *own);
        own->key = key;
        cell = own;
    }
    fc_health_touch(cell, key, now);
    return cell;
}

bool fc_health_touch(fc_health_cell *cell, uint64_t key, uint64_t now)
{
    __atomic_store_n(&cell->seen_ms, now, __ATOMIC_RELAXED);
    return load(&cell->key) == key;
}

/* --- a target ----------------------------------------------------------------------------------------------------- */

fc_health_gate fc_health_gate_of(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now)
{
    uint64_t breaker = load(&cell->breaker);
    if (breaker && fc_breaker_used(&s->target_breaker) &&
        fc_breaker_ask(&s->target_breaker, &breaker, now) == FC_BREAKER_STOP)
        return FC_GATE_BROKEN;
    if (s->probe.unhealthy && fc_probe_state_of(load(&cell->probe)) == FC_PROBE_UNHEALTHY)
        return FC_GATE_SICK;
    return fc_outlier_used(&s->outlier) && fc_outlier_ejected(load(&cell->eject), now) ? FC_GATE_SICK : FC_GATE_FREE;
}

uint32_t fc_health_share(const fc_health_settings *s, const fc_health_cell *cell, uint64_t now)
{
    uint64_t since = s->probe.unhealthy ? fc_probe_since_ms(load(&cell->probe)) : 0;
    uint64_t others[] = {fc_outlier_used(&s->outlier) ? fc_outlier_until_ms(load(&cell->eject)) : 0,
                         fc_breaker_used(&s->target_breaker) ? fc_breaker_closed_since_ms(load(&cell->breaker)) : 0};
    for (unsigned i = 0; i < FC_ARRAY_LEN(others); i++)
        since = others[i] > since ? others[i] : since;
    uint64_t passed = now > since ? now - since : 0;
    if (since == 0 || passed >= s->slow_start_ms)
        return 65536;
    uint64_t share = passed * 65536 / s->slow_start_ms;
    return share < 6554 ? 6554 : (uint32_t)share;
}

fc_breaker_pass fc_health_ask(const fc_breaker_settings *s, fc_health_cell *cell, uint64_t now)
{
    uint64_t was = load(&cell->breaker), becomes;
    fc_breaker_pass pass;
    do {
        becomes = was;
        pass = fc_breaker_ask(s, &becomes, now);
    } while (becomes != was && !swap(&cell->breaker, &was, becomes));
    return pass;
}

static void count_in_window(const fc_breaker_settings *s, fc_health_cell *cell, uint64_t now, bool failed)
{
    uint64_t *bucket = &cell->window[fc_window_bucket(s->window_ms, now)], was = load(bucket);
    while (!swap(bucket, &was, fc_window_add(was, s->window_ms, now, failed)))
        ;
}

void fc_health_told(const fc_breaker_settings *s, fc_health_cell *cell, uint64_t now, bool trial, fc_outcome outcome,
                    bool *opened)
{
    uint64_t was = load(&cell->breaker), becomes;
    if (s->percent && outcome != FC_OUTCOME_NONE)
        count_in_window(s, cell, now, outcome == FC_OUTCOME_FAILURE);
    do {
        becomes = fc_breaker_told(s, was, now, trial, outcome);
        if (s->percent && outcome == FC_OUTCOME_FAILURE &&
            fc_window_trips(s, fc_window_total(cell->window, s->window_ms, now, fc_breaker_closed_since_ms(was))))
            becomes = fc_breaker_trip(s, becomes, now);
    } while (becomes != was && !swap(&cell->breaker, &was, becomes));
    *opened = becomes != was && fc_breaker_state_at(becomes, now) == FC_BREAKER_OPEN;
}

bool fc_health_count(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now, bool failed)
{
    uint64_t was = load(&cell->eject), becomes;
    if (s->percent)
        __atomic_fetch_add(&cell->counts, fc_outlier_count(failed), __ATOMIC_RELAXED);
    do {
        becomes = fc_outlier_told(was, now, failed);
    } while (becomes != was && !swap(&cell->eject, &was, becomes));
    return fc_outlier_deserves(s, becomes, now);
}

bool fc_health_eject(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now, uint64_t *before)
{
    uint64_t becomes;
    *before = load(&cell->eject);
    do {
        becomes = fc_outlier_eject(s, *before, now);
        if (becomes == *before)
            return false;
    } while (!swap(&cell->eject, before, becomes));
    return true;
}

void fc_health_uneject(fc_health_cell *cell, uint64_t now, uint64_t before)
{
    uint64_t was = load(&cell->eject);
    if (fc_outlier_ejected(was, now))
        swap(&cell->eject, &was, before);
}

fc_probe_state fc_health_probed(const fc_probe_settings *s, fc_health_cell *cell, uint64_t now, bool passed)
{
    uint64_t was = load(&cell->probe), becomes;
    do {
        becomes = fc_probe_told(s, was, now, passed);
    } while (becomes != was && !swap(&cell->probe, &was, becomes));
    return fc_probe_state_of(becomes);
}

/* --- an upstream -------------------------------------------------------------------------------------------------- */

bool fc_health_lead(fc_health_cell *cell, uint32_t pid, uint64_t now)
{
    uint64_t was = load(&cell->lead);
    uint32_t holder = fc_lead_pid(was);
    bool dead = holder && holder != pid && !fc_pid_alive(holder);
    uint64_t becomes = fc_lead_take(was, pid, now, FC_HEALTH_LEAD_MS, dead);
    return becomes && swap(&cell->lead, &was, becomes);
}

void fc_health_resign(fc_health_cell *cell, uint32_t pid)
{
    uint64_t was = load(&cell->lead);
    if (fc_lead_pid(was) == pid)
        swap(&cell->lead, &was, 0);
}

bool fc_health_due(const fc_outlier_settings *s, fc_health_cell *cell, uint64_t now)
{
    uint64_t was = load(&cell->due);
    return s->percent && now >= was && swap(&cell->due, &was, now + s->interval_ms) && was != 0;
}

void fc_health_earn(const fc_retry_budget *b, fc_health_cell *cell, uint64_t now)
{
    uint64_t was = load(&cell->budget);
    while (!swap(&cell->budget, &was, fc_retry_earn(b, was, now)))
        ;
}

bool fc_health_spend(const fc_retry_budget *b, fc_health_cell *cell, uint64_t now)
{
    uint64_t was = load(&cell->budget), becomes;
    bool may;
    do {
        becomes = was;
        may = fc_retry_spend(b, &becomes, now);
    } while (!swap(&cell->budget, &was, becomes));
    return may;
}
