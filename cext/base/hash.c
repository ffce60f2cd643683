#include "fc/hash.h"

#include "fc/bytes.h"

static inline uint64_t rotl(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

uint64_t fc_hash(const fc_hash_key *key, const void *p, size_t n)
{
    /* "somepseudorandomlygeneratedbytes": the paper's initial state */
    uint64_t v[4] = {
        key->k0 ^ 0x736F6D6570736575ull,
        key->k1 ^ 0x646F72616E646F6Dull,
        key->k0 ^ 0x6C7967656E657261ull,
        key->k1 ^ 0x7465646279746573ull,
    };
    const unsigned char *at = p;
    uint64_t last = (uint64_t)n << 56;
    for (size_t words = n / 8; words > 0; words--, at += 8) {
        uint64_t word = fc_load_le64(at);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < n % 8; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

static inline uint64_t sip_end(uint64_t v[4])
{
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void fc_hash128(const fc_hash_key *key, const void *p, size_t n, uint64_t out[2])
{
    uint64_t v[4] = {
        key->k0 ^ 0x736F6D6570736575ull,
        key->k1 ^ 0x646F72616E646F6Dull ^ 0xEE, /* 128 bits of output are another function than 64 */
        key->k0 ^ 0x6C7967656E657261ull,
        key->k1 ^ 0x7465646279746573ull,
    };
    const unsigned char *at = p;
    uint64_t last = (uint64_t)n << 56;
    for (size_t words = n / 8; words > 0; words--, at += 8)
        sip_word(v, fc_load_le64(at));
    for (size_t i = 0; i < n % 8; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xEE;
    out[0] = sip_end(v);
    v[1] ^= 0xDD;
    out[1] = sip_end(v);
}
