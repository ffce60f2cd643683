/* Cells between processes: one key is one cell, kill -9 at any moment leaves nothing stuck. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fc/hash.h"
#include "fc/health.h"

enum { CELLS = 8 };

static void *shared(uint64_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void test_table(void)
{
    uint64_t size = fc_health_size(CELLS);
    void *base = shared(size);
    fc_health_table t, other;
    fc_health_cell own = {0}, own2 = {0};
    CHECK(fc_health_size(0) == 0 && fc_health_size(FC_HEALTH_CELLS_MAX + 1) == 0);
    CHECK(fc_health_open(&t, base, size - 1, CELLS) == FC_HEALTH_ESIZE);
    CHECK(fc_health_open(&t, base, size, CELLS) == 0 && fc_health_open(&other, base, size, CELLS) == 0);
    CHECK(fc_health_open(&other, base, size, CELLS - 1) == FC_HEALTH_ESIZE);
    other = t;
    uint64_t now = 1000;
    fc_health_cell *a = fc_health_claim(&t, 11, now, &own);
    CHECK(a != &own && a == fc_health_claim(&other, 11, now, &own2));
    for (uint64_t key = 12; key < 11 + CELLS; key++)
        CHECK(fc_health_claim(&t, key, now, &own) != &own);
    for (uint32_t i = 0; i < CELLS; i++)
        t.cells[i].breaker = 5;
    CHECK(fc_health_claim(&t, 99, now, &own) == &own && own.key == 99); /* full: each for itself */
    now += FC_HEALTH_STALE_MS + 1;
    CHECK(fc_health_touch(a, 11, now));
    fc_health_cell *late = fc_health_claim(&t, 99, now, &own);
    CHECK(late != &own && late != a && late->breaker == 0);
    CHECK(!fc_health_touch(late, 12, now)); /* whose it was learns it */
    CHECK(a->breaker == 5);
    fc_health_table none = {0};
    CHECK(fc_health_claim(&none, 7, now, &own) == &own);
    munmap(base, size);
}

static void test_gate(void)
{
    fc_health_settings s = {.probe = {2, 3}, .outlier = {.failures = 1, .eject_ms = 100, .eject_max_ms = 100, .max_percent = 100},
                            .target_breaker = {.failures = 1, .open_ms = 50, .trials = 1, .trial_ms = 40},
                            .slow_start_ms = 1000};
    fc_health_cell c = {0};
    uint64_t now = 10000, before;
    bool opened;
    CHECK(fc_health_gate_of(&s, &c, now) == FC_GATE_FREE && fc_health_share(&s, &c, now) == 65536);
    CHECK(fc_health_probed(&s.probe, &c, now, false) == FC_PROBE_UNHEALTHY);
    CHECK(fc_health_gate_of(&s, &c, now) == FC_GATE_SICK);
    fc_health_settings unprobed = s;
    unprobed.probe.unhealthy = 0;
    CHECK(fc_health_gate_of(&unprobed, &c, now) == FC_GATE_FREE); /* no checks any more: what they said is no matter */
    fc_health_probed(&s.probe, &c, now, true);
    CHECK(fc_health_probed(&s.probe, &c, now, true) == FC_PROBE_HEALTHY);
    CHECK(fc_health_gate_of(&s, &c, now) == FC_GATE_FREE && fc_health_share(&s, &c, now) == 6554);
    CHECK(fc_health_share(&s, &c, now + 500) == 32768 && fc_health_share(&s, &c, now + 1000) == 65536);
    CHECK(fc_health_count(&s.outlier, &c, now, true) && fc_health_eject(&s.outlier, &c, now, &before));
    CHECK(!fc_health_eject(&s.outlier, &c, now, &before) && fc_health_gate_of(&s, &c, now) == FC_GATE_SICK);
    CHECK(fc_health_gate_of(&s, &c, now + 100) == FC_GATE_FREE);
    fc_health_told(&s.target_breaker, &c, now, false, FC_OUTCOME_FAILURE, &opened);
    CHECK(opened && fc_health_gate_of(&s, &c, now) == FC_GATE_BROKEN);
    CHECK(fc_health_gate_of(&s, &c, now + 100) == FC_GATE_FREE);
    CHECK(fc_health_ask(&s.target_breaker, &c, now + 100) == FC_BREAKER_TRIAL);
    CHECK(fc_health_gate_of(&s, &c, now + 101) == FC_GATE_BROKEN); /* the trial is out */
    CHECK(fc_health_gate_of(&s, &c, now + 140) == FC_GATE_FREE);   /* and was never heard of */
}

/* By rate, and closed again with the same failures still in the window. */
static void test_rate(void)
{
    fc_breaker_settings s = {.percent = 50, .volume = 10, .window_ms = 8000, .open_ms = 100, .trials = 1, .trial_ms = 100};
    fc_health_cell c = {0};
    uint64_t now = 100000;
    bool opened = false;
    for (int i = 0; i < 9; i++) {
        fc_health_told(&s, &c, now, false, FC_OUTCOME_FAILURE, &opened);
        CHECK(!opened);
    }
    fc_health_told(&s, &c, now, false, FC_OUTCOME_FAILURE, &opened);
    CHECK(opened && fc_health_ask(&s, &c, now) == FC_BREAKER_STOP);
    now += 100;
    CHECK(fc_health_ask(&s, &c, now) == FC_BREAKER_TRIAL);
    fc_health_told(&s, &c, now, true, FC_OUTCOME_SUCCESS, &opened);
    CHECK(fc_health_ask(&s, &c, now) == FC_BREAKER_GO);
    fc_health_told(&s, &c, now, false, FC_OUTCOME_FAILURE, &opened);
    CHECK(!opened && fc_health_ask(&s, &c, now) == FC_BREAKER_GO);
}

/* Two that come at the same moments for different keys never get one cell for both. */
static void test_claims_at_once(void)
{
    enum { KEYS = 2000 };
    uint64_t size = fc_health_size(2 * KEYS);
    void *base = shared(size);
    uint64_t *turn = shared(4096);
    fc_health_table t;
    CHECK(fc_health_open(&t, base, size, 2 * KEYS) == 0);
    pid_t pid = fork();
    for (uint64_t key = 1; key <= KEYS; key++) {
        fc_health_cell own;
        __atomic_fetch_add(turn, 1, __ATOMIC_ACQ_REL);
        for (int i = 0; i < 100000 && __atomic_load_n(turn, __ATOMIC_ACQUIRE) < 2 * key; i++)
            ;
        fc_health_claim(&t, pid ? key : KEYS + key, 1000, &own);
    }
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    uint32_t used = 0;
    for (uint32_t i = 0; i < t.len; i++)
        used += t.cells[i].key != 0;
    CHECK(used == 2 * KEYS);
    munmap(base, size);
    munmap(turn, 4096);
}

/* One worker's life: everything that changes words, until it is killed. */
static void live(const fc_health_table *t, const fc_health_settings *s, uint64_t seed, uint64_t *clock)
{
    for (;;) {
        uint64_t draw = fc_hash_next(&seed), now = __atomic_fetch_add(clock, 1, __ATOMIC_RELAXED);
        fc_health_cell own;
        fc_health_cell *c = fc_health_claim(t, 1 + draw % 4, now, &own);
        uint64_t before;
        bool opened;
        fc_breaker_pass pass = fc_health_ask(&s->target_breaker, c, now);
        if (pass != FC_BREAKER_STOP)
            fc_health_told(&s->target_breaker, c, now, pass == FC_BREAKER_TRIAL,
                           draw & 32 ? FC_OUTCOME_SUCCESS : FC_OUTCOME_FAILURE, &opened);
        if (fc_health_count(&s->outlier, c, now, draw & 64) && fc_health_eject(&s->outlier, c, now, &before) && draw & 128)
            fc_health_uneject(c, now, before);
        fc_health_probed(&s->probe, c, now, draw & 256);
        fc_health_lead(c, (uint32_t)getpid(), now);
        fc_health_due(&s->outlier, c, now);
    }
}

static void test_kill(void)
{
    fc_health_settings s = {.probe = {2, 2},
                            .outlier = {.failures = 2, .percent = 50, .volume = 5, .interval_ms = 20, .eject_ms = 10,
                                        .eject_max_ms = 80, .max_percent = 100},
                            .target_breaker = {.failures = 2, .percent = 50, .volume = 5, .window_ms = 80, .open_ms = 20,
                                               .trials = 2, .trial_ms = 30}};
    uint64_t size = fc_health_size(CELLS);
    void *base = shared(size);
    uint64_t *clock = shared(4096);
    fc_health_table t;
    *clock = 1000;
    CHECK(fc_health_open(&t, base, size, CELLS) == 0);
    uint64_t seed = 3;
    for (int round = 0; round < 60; round++) {
        pid_t pids[2];
        for (int i = 0; i < 2; i++)
            if ((pids[i] = fork()) == 0)
                live(&t, &s, (uint64_t)round * 2 + (uint64_t)i, clock);
        usleep(200 + fc_hash_next(&seed) % 3000);
        for (int i = 0; i < 2; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
        /* Alone now: every cell can be had, led, and brought back to normal in bounded time. */
        for (uint64_t key = 1; key <= 4; key++) {
            fc_health_cell own;
            uint64_t now = *clock;
            fc_health_cell *c = fc_health_claim(&t, key, now, &own);
            CHECK(c != &own && c->key == key);
            CHECK(fc_health_lead(c, (uint32_t)getpid(), now));
            fc_health_resign(c, (uint32_t)getpid());
            CHECK(c->lead == 0);
            uint64_t until = now + 500;
            bool opened, well = false;
            for (; !well && now < until; now++) {
                fc_health_probed(&s.probe, c, now, true);
                fc_breaker_pass pass = fc_health_ask(&s.target_breaker, c, now);
                if (pass != FC_BREAKER_STOP)
                    fc_health_told(&s.target_breaker, c, now, pass == FC_BREAKER_TRIAL, FC_OUTCOME_SUCCESS, &opened);
                well = fc_health_gate_of(&s, c, now) == FC_GATE_FREE &&
                       fc_breaker_state_at(c->breaker, now) == FC_BREAKER_CLOSED;
            }
            CHECK(well);
            *clock = now > *clock ? now : *clock;
        }
    }
    for (uint32_t i = 0, used = 0; i < CELLS; i++) {
        used += t.cells[i].key != 0;
        CHECK(used <= 4); /* no key has two cells */
    }
    munmap(base, size);
    munmap(clock, 4096);
}

int main(void)
{
    test_table();
    test_gate();
    test_rate();
    test_claims_at_once();
    test_kill();
    return check_done("health");
}
