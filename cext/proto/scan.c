#include "scan.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define FC_SCAN_X86 1
#endif

/* One row per 16 bytes. FC_BYTE_PATH is pchar and '/' (RFC 3986 3.3) and FC_BYTE_QUERY adds '?', both with the bytes that
 * the URL Standard leaves unescaped there and every browser therefore sends: [ ] | in a path, also \ ^ ` { } in a query.
 * Nobody who follows either of the two sends '#', '"', '<' or '>'. */
const uint8_t fc_byte_class[256] = {
    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
    0x00, 0x3e, 0x20, 0x02, 0x3e, 0x2e, 0x3e, 0x3e, 0x3c, 0x3c, 0x3e, 0x3e, 0x3c, 0x3e, 0x3e, 0x2c,
    0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x2c, 0x3c, 0x20, 0x3c, 0x20, 0x08,
    0x2c, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e,
    0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x2c, 0x28, 0x2c, 0x2a, 0x3e,
    0x2a, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e,
    0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x28, 0x2e, 0x28, 0x3e, 0x01,
    [128 ... 255] = FC_BYTE_RAW,
};

fc_scan_level fc_scan_best(void)
{
#if FC_SCAN_X86
    /* VBMI2 is not used: it marks the processors (Ice Lake, Zen 4 and later) whose clock does not drop for 512 bits. */
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi2"))
        return FC_SCAN_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return FC_SCAN_AVX2;
    if (__builtin_cpu_supports("sse4.2"))
        return FC_SCAN_SSE42;
#endif
    return FC_SCAN_PLAIN;
}

static void block_plain(const char *p, uint64_t *ctl, uint64_t *nontoken)
{
    uint64_t c = 0, t = 0;
    for (unsigned i = 0; i < 64; i++) {
        c |= (uint64_t)fc_byte_is(p[i], FC_BYTE_CTL) << i;
        t |= (uint64_t)!fc_byte_is(p[i], FC_BYTE_TOKEN) << i;
    }
    *ctl = c;
    *nontoken = t;
}

#if FC_SCAN_X86

/* A set of ASCII bytes as pshufb wants it: entry l has bit h set when byte h*16+l is a member. Looking up the low
 * nibble gives the candidates, bit h of HIGH selects one; a byte over 0x7F has its top bit set, so pshufb answers 0: no
 * member. (The technique: Mula & Lemire.) test_scan.c checks each against fc_byte_class. */
#define FC_SET_CTL 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 3, 3, 3, 3, 3, 0x83
#define FC_SET_TOKEN 0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70
#define FC_SET_PATH 0xb8, 0xfc, 0xf8, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0x7c, 0xd4, 0x7c, 0xd4, 0x74
#define FC_SET_QUERY 0xf8, 0xfc, 0xf8, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf4, 0xfc, 0xf4, 0x7c
#define FC_SET_HIGH 1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0

static const uint8_t set_ctl[16] = {FC_SET_CTL};
static const uint8_t set_token[16] = {FC_SET_TOKEN};
static const uint8_t set_path[16] = {FC_SET_PATH};
static const uint8_t set_query[16] = {FC_SET_QUERY};
static const uint8_t set_high[16] = {FC_SET_HIGH};

#define FC_TARGET_SSE42 __attribute__((target("sse4.2")))
#define FC_TARGET_AVX2 __attribute__((target("avx2")))
#define FC_TARGET_AVX512 __attribute__((target("avx512f,avx512bw")))

FC_TARGET_SSE42 static inline __m128i load_set_sse(const uint8_t *set)
{
    return _mm_loadu_si128((const __m128i *)(const void *)set);
}

/* One bit for each byte of x, by its high nibble. */
FC_TARGET_SSE42 static inline __m128i high_sse(__m128i x)
{
    return _mm_shuffle_epi8(load_set_sse(set_high), _mm_and_si128(_mm_srli_epi16(x, 4), _mm_set1_epi8(15)));
}

FC_TARGET_SSE42 static inline uint64_t outside_sse(__m128i x, __m128i high, __m128i set)
{
    __m128i member = _mm_and_si128(_mm_shuffle_epi8(set, x), high);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(member, _mm_setzero_si128()));
}

FC_TARGET_SSE42 static void blocks_sse(const char *p, size_t blocks, uint64_t *ctl, uint64_t *nontoken)
{
    const __m128i control = load_set_sse(set_ctl), token = load_set_sse(set_token);
    for (size_t b = 0; b < blocks; b++) {
        uint64_t c = 0, t = 0;
        for (unsigned i = 0; i < 64; i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + b * 64 + i));
            __m128i high = high_sse(x);
            c |= outside_sse(x, high, control) << i;
            t |= outside_sse(x, high, token) << i;
        }
        ctl[b] = ~c;
        nontoken[b] = t;
    }
}

FC_TARGET_SSE42 static size_t target_sse(const char *buf, size_t at, size_t len, const uint8_t *members)
{
    const __m128i set = load_set_sse(members);
    for (; len - at >= 16; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(buf + at));
        uint64_t out = outside_sse(x, high_sse(x), set);
        if (out)
            return at + (unsigned)__builtin_ctzll(out);
    }
    return at;
}

FC_TARGET_AVX2 static inline __m256i load_set_avx(const uint8_t *set)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)set));
}

FC_TARGET_AVX2 static inline __m256i high_avx(__m256i x)
{
    return _mm256_shuffle_epi8(load_set_avx(set_high), _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15)));
}

FC_TARGET_AVX2 static inline uint64_t outside_avx(__m256i x, __m256i high, __m256i set)
{
    __m256i member = _mm256_and_si256(_mm256_shuffle_epi8(set, x), high);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(member, _mm256_setzero_si256()));
}

FC_TARGET_AVX2 static void blocks_avx(const char *p, size_t blocks, uint64_t *ctl, uint64_t *nontoken)
{
    const __m256i control = load_set_avx(set_ctl), token = load_set_avx(set_token);
    for (size_t b = 0; b < blocks; b++) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(p + b * 64));
        __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(p + b * 64 + 32));
        __m256i high_x = high_avx(x), high_y = high_avx(y);
        ctl[b] = ~(outside_avx(x, high_x, control) | outside_avx(y, high_y, control) << 32);
        nontoken[b] = outside_avx(x, high_x, token) | outside_avx(y, high_y, token) << 32;
    }
}

FC_TARGET_AVX2 static size_t target_avx(const char *buf, size_t at, size_t len, const uint8_t *members)
{
    const __m256i set = load_set_avx(members);
    for (; len - at >= 32; at += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(buf + at));
        uint64_t out = outside_avx(x, high_avx(x), set);
        if (out)
            return at + (unsigned)__builtin_ctzll(out);
    }
    return at;
}

FC_TARGET_AVX512 static inline __m512i load_set_avx512(const uint8_t *set)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)set));
}

FC_TARGET_AVX512 static void blocks_avx512(const char *p, size_t blocks, uint64_t *ctl, uint64_t *nontoken)
{
    const __m512i control = load_set_avx512(set_ctl), token = load_set_avx512(set_token);
    const __m512i bits = load_set_avx512(set_high);
    for (size_t b = 0; b < blocks; b++) {
        __m512i x = _mm512_loadu_si512(p + b * 64);
        __m512i high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)));
        ctl[b] = _mm512_test_epi8_mask(_mm512_shuffle_epi8(control, x), high);
        nontoken[b] = _mm512_testn_epi8_mask(_mm512_shuffle_epi8(token, x), high);
    }
}

#endif

static void scan_blocks(const char *p, size_t blocks, uint64_t *ctl, uint64_t *nontoken, fc_scan_level level)
{
#if FC_SCAN_X86
    if (level == FC_SCAN_AVX512) {
        blocks_avx512(p, blocks, ctl, nontoken);
        return;
    }
    if (level == FC_SCAN_AVX2) {
        blocks_avx(p, blocks, ctl, nontoken);
        return;
    }
    if (level == FC_SCAN_SSE42) {
        blocks_sse(p, blocks, ctl, nontoken);
        return;
    }
#else
    (void)level;
#endif
    for (size_t b = 0; b < blocks; b++)
        block_plain(p + b * 64, ctl + b, nontoken + b);
}

void fc_scan_fill(fc_scan *scan, size_t at)
{
    const char *p = scan->buf + at;
    size_t left = scan->len - at;
    size_t whole = left / 64 < FC_SCAN_BLOCKS ? left / 64 : FC_SCAN_BLOCKS;
    scan->base = at;
    scan_blocks(p, whole, scan->ctl, scan->nontoken, scan->level);
    scan->span = whole * 64;
    if (whole < FC_SCAN_BLOCKS) {
        size_t rest = left - whole * 64;
        uint64_t *ctl = scan->ctl + whole, *nontoken = scan->nontoken + whole;
        if (scan->len >= 64) { /* the last 64 bytes of the buffer, shifted: no copy */
            scan_blocks(scan->buf + scan->len - 64, 1, ctl, nontoken, scan->level);
            *ctl = rest ? *ctl >> (64 - rest) : 0;
            *nontoken = rest ? *nontoken >> (64 - rest) : 0;
        } else {
            char last[64] = {0};
            size_t n = rest;
            __asm__("" : "+r"(n)); /* gcc, knowing n < 64, would copy with `rep movs`, which is slower */
            memcpy(last, p, n);
            scan_blocks(last, 1, ctl, nontoken, scan->level);
        }
        *ctl |= ~0ull << rest;
        *nontoken |= ~0ull << rest;
        scan->span += rest + 1;
    }
}

size_t fc_scan_target(const char *buf, size_t at, size_t len, uint8_t class, fc_scan_level level)
{
#if FC_SCAN_X86
    const uint8_t *members = class == FC_BYTE_PATH ? set_path : set_query;
    if (level >= FC_SCAN_AVX2)
        at = target_avx(buf, at, len, members);
    else if (level == FC_SCAN_SSE42)
        at = target_sse(buf, at, len, members);
#else
    (void)level;
#endif
    while (at < len && fc_byte_is(buf[at], class))
        at++;
    return at;
}
