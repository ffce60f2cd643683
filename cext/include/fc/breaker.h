/* fc/breaker.h - the circuit breaker: after too many failures nothing is tried for a while, then a little.
 *
 *   CLOSED --failures in a row, or a share of the rolling window--> OPEN --open_ms--> HALF_OPEN
 *   HALF_OPEN --`trials` successes--> CLOSED        HALF_OPEN --one failure--> OPEN
 *
 * The whole state is one 64-bit word, so that processes share it by compare-and-swap and none can die in the middle of a
 * change; zero is CLOSED. The functions are pure: word, now and event in, word out.
 *   bits  0..1   state
 *         2..11  CLOSED: failures in a row; HALF_OPEN: trials under way
 *        12..21  HALF_OPEN: trials that succeeded
 *        22..63  ms: CLOSED since; OPEN until; HALF_OPEN: last trial given out
 *
 * Invariants
 *   1. OPEN lets nothing through before its time. HALF_OPEN has at most `trials` under way and succeeded together.
 *   2. A trial whose owner died does not count for ever: when none was given out for trial_ms and no place is left, those
 *      under way are forgotten. A slow one that does speak later is still heard.
 *   3. What began before the breaker opened changes nothing once it has: only trials speak then.
 *
 * The window is FC_WINDOW_BUCKETS words, each the count of one turn (an eighth of the window): a bucket of an old turn is
 * empty, so nobody has to clear anything. Buckets that began before the breaker closed do not count, else the failures
 * that opened it would open it again; that loses at most one turn. Requests are counted by a compare-and-swap each:
 * per-worker windows would need no shared line, but a worker would open for itself what the others still try.
 */
#ifndef FC_BREAKER_H
#define FC_BREAKER_H

#include "fc/base.h"

#define FC_BREAKER_FAILURES_MAX 1023u
#define FC_BREAKER_TRIALS_MAX 1023u
#define FC_WINDOW_BUCKETS 8u

typedef struct fc_breaker_settings {
    uint32_t failures;  /* in a row that open it; 0: these do not */
    uint32_t percent;   /* of failures in the window that open it; 0: this does not */
    uint32_t volume;    /* requests the window must hold for that */
    uint32_t window_ms;
    uint32_t open_ms;
    uint32_t trials;    /* 1 or more */
    uint32_t trial_ms;
} fc_breaker_settings;

typedef enum fc_breaker_state { FC_BREAKER_CLOSED, FC_BREAKER_OPEN, FC_BREAKER_HALF_OPEN } fc_breaker_state;
typedef enum fc_breaker_pass { FC_BREAKER_STOP, FC_BREAKER_GO, FC_BREAKER_TRIAL } fc_breaker_pass;
typedef enum fc_outcome { FC_OUTCOME_NONE, FC_OUTCOME_SUCCESS, FC_OUTCOME_FAILURE } fc_outcome;

static inline bool fc_breaker_used(const fc_breaker_settings *s) { return s->failures || s->percent; }

/* OPEN becomes HALF_OPEN by time alone: what a reader should call it now. */
fc_breaker_state fc_breaker_state_at(uint64_t word, uint64_t now_ms);
/* May a request go? *word is the state after it has gone; unchanged unless it is a trial. */
fc_breaker_pass fc_breaker_ask(const fc_breaker_settings *s, uint64_t *word, uint64_t now_ms);
/* The state after a request has ended. trial: fc_breaker_ask called it one. NONE: nothing was learnt from it. */
uint64_t fc_breaker_told(const fc_breaker_settings *s, uint64_t word, uint64_t now_ms, bool trial, fc_outcome outcome);
/* The state after the window was found to hold too many failures. */
uint64_t fc_breaker_trip(const fc_breaker_settings *s, uint64_t word, uint64_t now_ms);
/* Until it lets something through again, as far as is known; 0: now. */
uint64_t fc_breaker_wait_ms(const fc_breaker_settings *s, uint64_t word, uint64_t now_ms);
/* When it closed last; 0: it was never open. */
uint64_t fc_breaker_closed_since_ms(uint64_t word);

typedef struct fc_window_sum {
    uint32_t total, failed;
} fc_window_sum;

/* Which of the buckets is now's, and what it holds after one more request. */
uint32_t fc_window_bucket(uint32_t window_ms, uint64_t now_ms);
uint64_t fc_window_add(uint64_t bucket, uint32_t window_ms, uint64_t now_ms, bool failed);
/* What the window holds that began at since_ms or later. */
fc_window_sum fc_window_total(const uint64_t buckets[FC_WINDOW_BUCKETS], uint32_t window_ms, uint64_t now_ms, uint64_t since_ms);
bool fc_window_trips(const fc_breaker_settings *s, fc_window_sum sum);

#endif
