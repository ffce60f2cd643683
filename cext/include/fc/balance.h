/* fc/balance.h - which of n weighted targets gets the next request.
 *
 * One object, four policies:
 *   ROUND_ROBIN  smooth weighted, as in nginx: every target gains its weight, the richest is picked and pays the sum. Over
 *                each `sum of weights` picks the shares are exact, and a heavy target's turns are spread out, not in a
 *                row. O(n) additions per pick (1 us at 1,024 targets); an EDF heap would be O(log n) and could not skip
 *                unavailable targets without touching the rest.
 *   LEAST_CONN   fewest requests in flight per weight; among equals smooth round robin.
 *   P2C_EWMA     two targets at random, the cheaper by latency x (in flight + 1) / weight. Latency is a peak EWMA
 *                (Finagle's): a slower answer counts at once, faster ones pull it down by exp(-elapsed / tau), and so
 *                does silence, so that a target that was slow is tried again. A failure counts as `failed_ns`, otherwise a
 *                target that refuses quickly would look best. A target never measured takes one request at a time.
 *   HASH         consistent hashing of the caller's key_hash. First choice by a Maglev table (Eisenbud et al., NSDI 2016:
 *                one lookup, shares within 1 % or so), further choices by weighted rendezvous over what is available.
 *                A ring of 160 points a target was the alternative: slower (a binary search over 160 n points) and its
 *                shares are off by some 8 %. Weighted rendezvous alone is O(n) for every pick.
 *                A target that becomes unavailable moves only its own keys; one that leaves the configuration moves its
 *                own and under 1 % of the others (0.3 % at 10 targets, 0.9 % at 300; held by
 *                tests/property/test_balance_promises.py). The table costs 128 KB and 3 ms to build at 1,024 targets
 *                (0.3 s if one of them has 65,535 times the weight of the rest).
 *                `load_factor` c > 0 bounds the load (Mirrokni et al. 2018): a target with more than c times its share of
 *                what is in flight is passed over, for the next choice of that key.
 *
 * The caller says what is available with every pick (health, breakers, connection limits, targets this request has tried
 * already); weight 0 is never available. It reports with fc_balancer_started and _finished what became of a pick.
 *
 * Invariants
 *   1. A pick is available and has a weight; -1 is the answer only if no such target exists.
 *   2. No clock, no allocation after fc_balancer_new, randomness from the seed alone: the same calls give the same picks.
 *   3. In-flight counts are this balancer's own and never go below 0.
 *
 * Thread and process safety: one owner.
 */
#ifndef FC_BALANCE_H
#define FC_BALANCE_H

#include <stdbool.h>

#include "fc/base.h"
#include "fc/maglev.h"

#define FC_BALANCE_TARGETS_MAX 1024u
#define FC_BALANCE_WEIGHT_MAX 65535u
#define FC_BALANCE_WORDS(n) (((n) + 63) / 64)
#define FC_BALANCE_WORDS_MAX FC_BALANCE_WORDS(FC_BALANCE_TARGETS_MAX)

typedef enum fc_balance_policy {
    FC_BALANCE_ROUND_ROBIN = 0,
    FC_BALANCE_LEAST_CONN,
    FC_BALANCE_P2C_EWMA,
    FC_BALANCE_HASH,
    FC_BALANCE_POLICY_COUNT
} fc_balance_policy;

/* Its id matters to HASH only: fc_hash of the target's name, under a key that all workers share and that stays. */
typedef fc_maglev_node fc_balance_target;

typedef struct fc_balance_options {
    fc_balance_policy policy;
    double load_factor; /* HASH: bound on the load, at least 1; 0: none */
    uint64_t tau_ns;    /* P2C_EWMA: half-forgotten after 0.7 tau */
    uint64_t failed_ns; /* P2C_EWMA: a failure's latency, if it took less */
    uint64_t seed;      /* P2C_EWMA: any word; different in each worker, or they flock */
} fc_balance_options;

/* Finagle's 10 s; a failure as bad as a second; 1.25 is the paper's and HAProxy's usual bound, but off unless asked. */
#define FC_BALANCE_OPTIONS \
    ((fc_balance_options){.tau_ns = 10000000000ull, .failed_ns = 1000000000ull, .seed = 0x9E3779B97F4A7C15ull})

typedef struct fc_balancer fc_balancer;

/* 1..FC_BALANCE_TARGETS_MAX targets with weights up to FC_BALANCE_WEIGHT_MAX. NULL: something is out of its bounds, two
 * ids are equal under HASH, or there is no memory. */
fc_balancer *fc_balancer_new(const fc_balance_options *options, const fc_balance_target *targets, uint32_t n);
void fc_balancer_free(fc_balancer *b);

/* available: bit i of word i / 64 for target i, FC_BALANCE_WORDS(n) words; NULL: all. key_hash: HASH only.
 * Returns the target's number or -1. Round robin advances; nothing else changes until fc_balancer_started. */
int fc_balancer_pick(fc_balancer *b, uint64_t now_ns, uint64_t key_hash, const uint64_t *available);

void fc_balancer_started(fc_balancer *b, uint32_t target);
/* latency_ns: until the first byte of the answer, or until it failed. */
void fc_balancer_finished(fc_balancer *b, uint32_t target, uint64_t now_ns, uint64_t latency_ns, bool failed);

uint32_t fc_balancer_active(const fc_balancer *b, uint32_t target);
/* The decayed latency; 0 when never measured. */
double fc_balancer_latency_ns(const fc_balancer *b, uint32_t target, uint64_t now_ns);

#endif
