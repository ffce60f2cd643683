/* The breaker's word against a model that keeps everything in the open, over simulated time, with owners of trials that
 * die; and the rolling window against a list of what happened. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/breaker.h"
#include "fc/hash.h"

static const fc_breaker_settings by_row = {.failures = 3, .open_ms = 1000, .trials = 2, .trial_ms = 5000};

static void test_table(void)
{
    const fc_breaker_settings *s = &by_row;
    uint64_t word = 0, t = 1000000;
    CHECK(fc_breaker_ask(s, &word, t) == FC_BREAKER_GO && word == 0);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_FAILURE);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_FAILURE);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_SUCCESS);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_FAILURE);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_NONE);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_FAILURE);
    CHECK(fc_breaker_state_at(word, t) == FC_BREAKER_CLOSED);
    word = fc_breaker_told(s, word, t, false, FC_OUTCOME_FAILURE);
    CHECK(fc_breaker_state_at(word, t) == FC_BREAKER_OPEN && fc_breaker_wait_ms(s, word, t) == 1000);
    uint64_t open = word;
    CHECK(fc_breaker_ask(s, &word, t + 999) == FC_BREAKER_STOP && word == open);
    CHECK(fc_breaker_told(s, word, t + 1, false, FC_OUTCOME_SUCCESS) == open);
    CHECK(fc_breaker_state_at(word, t + 1000) == FC_BREAKER_HALF_OPEN);
    CHECK(fc_breaker_ask(s, &word, t + 1000) == FC_BREAKER_TRIAL);
    CHECK(fc_breaker_ask(s, &word, t + 1001) == FC_BREAKER_TRIAL);
    CHECK(fc_breaker_ask(s, &word, t + 1002) == FC_BREAKER_STOP);
    CHECK(fc_breaker_wait_ms(s, word, t + 1001) == 5000);
    uint64_t half = word;
    CHECK(fc_breaker_told(s, half, t + 1003, false, FC_OUTCOME_SUCCESS) == half); /* it began before */
    CHECK(fc_breaker_state_at(fc_breaker_told(s, half, t, true, FC_OUTCOME_FAILURE), t) == FC_BREAKER_OPEN);
    word = fc_breaker_told(s, word, t + 1003, true, FC_OUTCOME_NONE); /* a client that went away: its place is free */
    CHECK(fc_breaker_ask(s, &word, t + 1004) == FC_BREAKER_TRIAL);
    word = fc_breaker_told(s, word, t + 1005, true, FC_OUTCOME_SUCCESS);
    CHECK(fc_breaker_state_at(word, t + 1005) == FC_BREAKER_HALF_OPEN);
    CHECK(fc_breaker_ask(s, &word, t + 1005) == FC_BREAKER_STOP);
    word = fc_breaker_told(s, word, t + 1006, true, FC_OUTCOME_SUCCESS);
    CHECK(fc_breaker_state_at(word, t + 1006) == FC_BREAKER_CLOSED && fc_breaker_closed_since_ms(word) == t + 1006);
}

/* --- against a model ----------------------------------------------------------------------------------------------- */

#define REQUESTS 64

typedef struct request {
    bool used, trial, forgotten;
} request;

typedef struct model {
    fc_breaker_state state;
    uint32_t row, succeeded;
    uint64_t opened, last_trial;
    request requests[REQUESTS];
} model;

static uint32_t trials_of(const model *m)
{
    uint32_t n = 0;
    for (int i = 0; i < REQUESTS; i++)
        n += m->requests[i].used && m->requests[i].trial && !m->requests[i].forgotten;
    return n;
}

static void forget_trials(model *m)
{
    for (int i = 0; i < REQUESTS; i++)
        m->requests[i].forgotten |= m->requests[i].trial;
}

static fc_breaker_pass model_ask(model *m, const fc_breaker_settings *s, uint64_t now)
{
    if (m->state == FC_BREAKER_CLOSED)
        return FC_BREAKER_GO;
    if (m->state == FC_BREAKER_OPEN) {
        if (now < m->opened + s->open_ms)
            return FC_BREAKER_STOP;
        m->state = FC_BREAKER_HALF_OPEN;
        m->succeeded = 0;
        forget_trials(m);
    } else if (trials_of(m) + m->succeeded >= s->trials) {
        if (now < m->last_trial + s->trial_ms)
            return FC_BREAKER_STOP;
        forget_trials(m);
    }
    m->last_trial = now;
    return FC_BREAKER_TRIAL;
}

static void model_open(model *m, uint64_t now)
{
    m->state = FC_BREAKER_OPEN;
    m->opened = now;
    m->row = 0;
}

static void model_told(model *m, const fc_breaker_settings *s, uint64_t now, request *r, fc_outcome outcome)
{
    bool trial = r->trial, known = !r->forgotten;
    *r = (request){0};
    if (m->state == FC_BREAKER_CLOSED && outcome != FC_OUTCOME_NONE) {
        m->row = outcome == FC_OUTCOME_FAILURE ? m->row + 1 : 0;
        if (m->row >= s->failures)
            model_open(m, now);
    } else if (m->state == FC_BREAKER_HALF_OPEN && trial) {
        if (outcome == FC_OUTCOME_FAILURE) {
            model_open(m, now);
            return;
        }
        /* the word knows numbers only: a forgotten trial that speaks frees the place of one that is known */
        for (int i = 0; !known && i < REQUESTS; i++)
            if (m->requests[i].used && m->requests[i].trial && !m->requests[i].forgotten) {
                m->requests[i].forgotten = true;
                break;
            }
        m->succeeded += outcome == FC_OUTCOME_SUCCESS;
        if (m->succeeded >= s->trials) {
            m->state = FC_BREAKER_CLOSED;
            m->row = 0;
        }
    }
}

static void test_model(uint64_t seed)
{
    fc_breaker_settings s = {.failures = 1 + (uint32_t)(fc_hash_next(&seed) % 4), .open_ms = 50,
                             .trials = 1 + (uint32_t)(fc_hash_next(&seed) % 3), .trial_ms = 200};
    model m = {.state = FC_BREAKER_CLOSED};
    uint64_t word = 0, now = 5000;
    bool healthy = true;
    for (int step = 0; step < 4000; step++) {
        uint64_t draw = fc_hash_next(&seed);
        now += draw % 16;
        healthy ^= draw % 97 == 0;
        request *r = &m.requests[draw >> 32 & (REQUESTS - 1)];
        if (!r->used) {
            fc_breaker_pass pass = fc_breaker_ask(&s, &word, now), wanted = model_ask(&m, &s, now);
            CHECK(pass == wanted);
            if (pass != FC_BREAKER_STOP)
                *r = (request){.used = true, .trial = pass == FC_BREAKER_TRIAL};
            CHECK(m.state != FC_BREAKER_HALF_OPEN || trials_of(&m) + m.succeeded <= s.trials);
        } else if (draw >> 16 & 7) {
            fc_outcome outcome = (draw >> 20 & 7) == 0 ? FC_OUTCOME_NONE : healthy ? FC_OUTCOME_SUCCESS : FC_OUTCOME_FAILURE;
            word = fc_breaker_told(&s, word, now, r->trial, outcome);
            model_told(&m, &s, now, r, outcome);
        } else if (r->trial) {
            /* Its worker was killed: nobody will ever tell. The model keeps counting it, as the word does. */
        }
        CHECK((m.state == FC_BREAKER_CLOSED) == (fc_breaker_state_at(word, now) == FC_BREAKER_CLOSED));
    }
    /* Everybody dies, at whatever point this is. One survivor whose requests succeed closes it within bounded time. */
    uint64_t until = now + s.open_ms + (uint64_t)s.trials * (s.trial_ms + 10);
    while (fc_breaker_state_at(word, now) != FC_BREAKER_CLOSED && now <= until) {
        fc_breaker_pass pass = fc_breaker_ask(&s, &word, now);
        if (pass != FC_BREAKER_STOP)
            word = fc_breaker_told(&s, word, now, pass == FC_BREAKER_TRIAL, FC_OUTCOME_SUCCESS);
        now += 5;
    }
    CHECK(fc_breaker_state_at(word, now) == FC_BREAKER_CLOSED);
}

/* --- the window ---------------------------------------------------------------------------------------------------- */

static void test_window(uint64_t seed)
{
    enum { EVENTS = 3000 };
    static struct { uint64_t at; bool failed; } events[EVENTS];
    const uint32_t window = 800, width = window / FC_WINDOW_BUCKETS;
    uint64_t buckets[FC_WINDOW_BUCKETS] = {0}, now = 10000, since = 0;
    for (int i = 0; i < EVENTS; i++) {
        uint64_t draw = fc_hash_next(&seed);
        now += draw % 200 == 0 ? 3000 : draw % 7;
        if (draw % 501 == 0)
            since = now;
        events[i].at = now;
        events[i].failed = draw >> 20 & 1;
        uint64_t *bucket = &buckets[fc_window_bucket(window, now)];
        *bucket = fc_window_add(*bucket, window, now, events[i].failed);
        fc_window_sum sum = fc_window_total(buckets, window, now, since), wanted = {0, 0};
        for (int k = 0; k <= i; k++) {
            uint64_t turn = events[k].at / width;
            if (turn + FC_WINDOW_BUCKETS <= now / width || (since && turn <= since / width))
                continue;
            wanted.total++;
            wanted.failed += events[k].failed;
        }
        CHECK(sum.total == wanted.total && sum.failed == wanted.failed);
    }
    fc_breaker_settings s = {.percent = 50, .volume = 10, .window_ms = window};
    CHECK(!fc_window_trips(&s, (fc_window_sum){9, 9}) && fc_window_trips(&s, (fc_window_sum){10, 5}));
    CHECK(!fc_window_trips(&s, (fc_window_sum){1000, 499}) && !fc_window_trips(&s, (fc_window_sum){0, 0}));
    uint64_t full = 0;
    for (int i = 0; i < 3 << 20; i++)
        full = fc_window_add(full, window, 0, i % 2);
    buckets[0] = full;
    fc_window_sum sum = fc_window_total(buckets, window, 0, 0);
    CHECK(sum.total >= 1 << 19 && sum.failed * 2 + 4 > sum.total && sum.failed * 2 < sum.total + 4);
}

int main(void)
{
    test_table();
    for (uint64_t seed = 1; seed <= 200; seed++)
        test_model(seed);
    test_window(7);
    return check_done("breaker");
}
