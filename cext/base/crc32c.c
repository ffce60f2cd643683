#include "fc/crc32c.h"

#include "fc/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define FC_CRC32C_X86 1
#endif

/* --- tables: slicing by eight (Kounavis and Berry 2005) ---------------------------------------------------------- */

/* A CRC is linear: the entry of a byte is the sum (xor) of the entries of its bits, so 64 numbers make 2,048 at compile
 * time. AFTER_k(n): the CRC of byte n followed by k zero bytes; polynomial 0x1EDC6F41, reflected. */
#define SUM(n, b0, b1, b2, b3, b4, b5, b6, b7)                                                                     \
    (((n) & 1 ? b0 : 0u) ^ ((n) & 2 ? b1 : 0u) ^ ((n) & 4 ? b2 : 0u) ^ ((n) & 8 ? b3 : 0u) ^ ((n) & 16 ? b4 : 0u) ^ \
     ((n) & 32 ? b5 : 0u) ^ ((n) & 64 ? b6 : 0u) ^ ((n) & 128 ? b7 : 0u))
#define AFTER_0(n) \
    SUM(n, 0xF26B8303u, 0xE13B70F7u, 0xC79A971Fu, 0x8AD958CFu, 0x105EC76Fu, 0x20BD8EDEu, 0x417B1DBCu, 0x82F63B78u)
#define AFTER_1(n) \
    SUM(n, 0x13A29877u, 0x274530EEu, 0x4E8A61DCu, 0x9D14C3B8u, 0x3FC5F181u, 0x7F8BE302u, 0xFF17C604u, 0xFBC3FAF9u)
#define AFTER_2(n) \
    SUM(n, 0xA541927Eu, 0x4F6F520Du, 0x9EDEA41Au, 0x38513EC5u, 0x70A27D8Au, 0xE144FB14u, 0xC76580D9u, 0x8B277743u)
#define AFTER_3(n) \
    SUM(n, 0xDD45AAB8u, 0xBF672381u, 0x7B2231F3u, 0xF64463E6u, 0xE964B13Du, 0xD725148Bu, 0xABA65FE7u, 0x52A0C93Fu)
#define AFTER_4(n) \
    SUM(n, 0x38116FACu, 0x7022DF58u, 0xE045BEB0u, 0xC5670B91u, 0x8F2261D3u, 0x1BA8B557u, 0x37516AAEu, 0x6EA2D55Cu)
#define AFTER_5(n) \
    SUM(n, 0xEF306B19u, 0xDB8CA0C3u, 0xB2F53777u, 0x6006181Fu, 0xC00C303Eu, 0x85F4168Du, 0x0E045BEBu, 0x1C08B7D6u)
#define AFTER_6(n) \
    SUM(n, 0x68032CC8u, 0xD0065990u, 0xA5E0C5D1u, 0x4E2DFD53u, 0x9C5BFAA6u, 0x3D5B83BDu, 0x7AB7077Au, 0xF56E0EF4u)
#define AFTER_7(n) \
    SUM(n, 0x493C7D27u, 0x9278FA4Eu, 0x211D826Du, 0x423B04DAu, 0x847609B4u, 0x0D006599u, 0x1A00CB32u, 0x34019664u)
#define FOUR(n, entry) entry(n), entry(n + 1), entry(n + 2), entry(n + 3)
#define SIXTEEN(n, entry) FOUR(n, entry), FOUR(n + 4, entry), FOUR(n + 8, entry), FOUR(n + 12, entry)
#define SIXTY_FOUR(n, entry) SIXTEEN(n, entry), SIXTEEN(n + 16, entry), SIXTEEN(n + 32, entry), SIXTEEN(n + 48, entry)
#define ROW(entry) {SIXTY_FOUR(0, entry), SIXTY_FOUR(64, entry), SIXTY_FOUR(128, entry), SIXTY_FOUR(192, entry)}

static const uint32_t TABLE[8][256] = {
    ROW(AFTER_0), ROW(AFTER_1), ROW(AFTER_2), ROW(AFTER_3), ROW(AFTER_4), ROW(AFTER_5), ROW(AFTER_6), ROW(AFTER_7),
};

uint32_t fc_crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    crc = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t word = fc_load_le64(at) ^ crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++)
            crc ^= TABLE[7 - i][word >> (8 * i) & 0xFF];
    }
    for (; n > 0; n--)
        crc = crc >> 8 ^ TABLE[0][(crc ^ *at++) & 0xFF];
    return ~crc;
}

/* --- SSE4.2 ------------------------------------------------------------------------------------------------------- */

#if FC_CRC32C_X86

/* The instruction takes 3 cycles and one can start in each, so three streams run at the price of one. Joining them needs
 * a CRC as it would be n zero bytes later, which is a product with x^(8n) modulo the polynomial: PCLMULQDQ multiplies and
 * the CRC instruction reduces. Both shift by one bit or 32 on their own, hence x^(8n - 33), reflected. (After Gopal et
 * al., "Fast CRC computation for iSCSI polynomial using CRC32 instruction", 2011.) */
#define LONG 1024u
#define SHORT 128u
#define AFTER_LONG 0x170076FAu
#define AFTER_TWO_LONG 0xA51B6135u
#define AFTER_SHORT 0x0D3B6092u
#define AFTER_TWO_SHORT 0xB9E02B86u

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t times(uint64_t crc, uint32_t power)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi32_si128((int32_t)power), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t three(uint64_t crc, const unsigned char *p, size_t each,
                                                                      uint32_t after, uint32_t after_two)
{
    uint64_t second = 0, third = 0;
    for (const unsigned char *end = p + each; p < end; p += 8) {
        crc = _mm_crc32_u64(crc, fc_load_le64(p));
        second = _mm_crc32_u64(second, fc_load_le64(p + each));
        third = _mm_crc32_u64(third, fc_load_le64(p + 2 * each));
    }
    return third ^ _mm_crc32_u64(0, times(crc, after_two) ^ times(second, after));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t hardware(uint32_t begin, const void *p, size_t n)
{
    const unsigned char *at = p;
    uint64_t crc = ~begin;
    for (; n >= 3 * LONG; n -= 3 * LONG, at += 3 * LONG)
        crc = three(crc, at, LONG, AFTER_LONG, AFTER_TWO_LONG);
    for (; n >= 3 * SHORT; n -= 3 * SHORT, at += 3 * SHORT)
        crc = three(crc, at, SHORT, AFTER_SHORT, AFTER_TWO_SHORT);
    for (; n >= 8; n -= 8, at += 8)
        crc = _mm_crc32_u64(crc, fc_load_le64(at));
    uint32_t last = (uint32_t)crc;
    for (; n > 0; n--)
        last = _mm_crc32_u8(last, *at++);
    return ~last;
}

#endif

uint32_t fc_crc32c(uint32_t crc, const void *p, size_t n)
{
#if FC_CRC32C_X86
    if (FC_LIKELY(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")))
        return hardware(crc, p, n);
#endif
    return fc_crc32c_portable(crc, p, n);
}
