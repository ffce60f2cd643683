#include "fc/mask.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define FC_MASK_X86 1
#endif

fc_mask_level fc_mask_best(void)
{
#if FC_MASK_X86
    /* VBMI2 is not used: it marks the processors whose clock does not drop for 512 bits (see scan.c). */
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi2"))
        return FC_MASK_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return FC_MASK_AVX2;
    return FC_MASK_SSE2; /* part of x86-64 */
#else
    return FC_MASK_PLAIN;
#endif
}

/* Fewer bytes than a vector, and everything at the plain level. */
static inline void words(char *dst, const char *src, size_t n, uint32_t key)
{
    uint64_t key8 = (uint64_t)key << 32 | key, word;
    uint32_t half;
    size_t at = 0;
    for (; n - at >= 8; at += 8) {
        memcpy(&word, src + at, 8);
        word ^= key8;
        memcpy(dst + at, &word, 8);
    }
    if (n - at >= 4) {
        memcpy(&half, src + at, 4);
        half ^= key;
        memcpy(dst + at, &half, 4);
        at += 4;
    }
    uint8_t bytes[4];
    memcpy(bytes, &key, 4);
    for (unsigned i = 0; at < n; i++, at++)
        dst[at] = (char)((uint8_t)src[at] ^ bytes[i]);
}

#if FC_MASK_X86

/* Every vector is a multiple of four bytes long, so the key never has to turn between them. */
static void mask_sse2(char *dst, const char *src, size_t n, uint32_t key)
{
    const __m128i keys = _mm_set1_epi32((int)key);
    size_t at = 0;
    for (; n - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(src + at));
        _mm_storeu_si128((__m128i *)(void *)(dst + at), _mm_xor_si128(x, keys));
    }
    words(dst + at, src + at, n - at, key);
}

__attribute__((target("avx2"))) static inline void one_avx2(char *dst, const char *src, __m256i keys)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)src);
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_xor_si256(x, keys));
}

__attribute__((target("avx2"))) static void mask_avx2(char *dst, const char *src, size_t n, uint32_t key)
{
    const __m256i keys = _mm256_set1_epi32((int)key);
    size_t at = 0;
    for (; n - at >= 128; at += 128) {
        one_avx2(dst + at, src + at, keys);
        one_avx2(dst + at + 32, src + at + 32, keys);
        one_avx2(dst + at + 64, src + at + 64, keys);
        one_avx2(dst + at + 96, src + at + 96, keys);
    }
    for (; n - at >= 32; at += 32)
        one_avx2(dst + at, src + at, keys);
    mask_sse2(dst + at, src + at, n - at, key);
}

/* The rest is one more vector under a bit mask: bytes whose bit is clear are neither read nor written. */
__attribute__((target("avx512f,avx512bw"))) static void mask_avx512(char *dst, const char *src, size_t n, uint32_t key)
{
    const __m512i keys = _mm512_set1_epi32((int)key);
    size_t at = 0;
    for (; n - at >= 64; at += 64)
        _mm512_storeu_si512(dst + at, _mm512_xor_si512(_mm512_loadu_si512(src + at), keys));
    if (at < n) {
        __mmask64 rest = ~0ull >> (64 - (n - at));
        __m512i x = _mm512_maskz_loadu_epi8(rest, src + at);
        _mm512_mask_storeu_epi8(dst + at, rest, _mm512_xor_si512(x, keys));
    }
}

#endif

void fc_mask(char *dst, const char *src, size_t n, uint32_t key, fc_mask_level level)
{
#if FC_MASK_X86
    if (level == FC_MASK_AVX512) {
        mask_avx512(dst, src, n, key);
        return;
    }
    if (level == FC_MASK_AVX2) {
        mask_avx2(dst, src, n, key);
        return;
    }
    if (level == FC_MASK_SSE2) {
        mask_sse2(dst, src, n, key);
        return;
    }
#else
    (void)level;
#endif
    words(dst, src, n, key);
}
