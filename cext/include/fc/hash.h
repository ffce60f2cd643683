/* fc/hash.h - a keyed 64-bit hash for bytes that strangers choose.
 *
 * SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the reduced rounds that CPython, Rust and
 * Ruby use for their tables): whoever does not know the key cannot make keys collide on purpose. wyhash and its kin are
 * about twice as fast on short keys and were broken for chosen input more than once; one request hashes some 50 bytes,
 * so the difference is 20 ns.
 *
 * Thread and process safety: pure functions. Equal key and bytes give equal hashes on every machine (the bytes are read
 * as little-endian), so processes that share a key agree.
 */
#ifndef FC_HASH_H
#define FC_HASH_H

#include "fc/base.h"

typedef struct fc_hash_key {
    uint64_t k0, k1;
} fc_hash_key;

uint64_t fc_hash(const fc_hash_key *key, const void *p, size_t n);

/* SipHash-2-4 with 128 bits of output, as its authors define it: where one chosen collision would be a break-in. */
void fc_hash128(const fc_hash_key *key, const void *p, size_t n, uint64_t out[2]);

/* Bijective mixing of one word (the finaliser of splitmix64, Steele et al. 2014): for words that are hashes already. */
static inline uint64_t fc_hash_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

/* Next word of a splitmix64 stream: random enough for choosing targets, not for secrets. */
static inline uint64_t fc_hash_next(uint64_t *state)
{
    return fc_hash_mix(*state += 0x9E3779B97F4A7C15ull);
}

#endif
