#include "fc/utf8.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* States are shift counts, so that state' = row[byte] >> state. Named for what may follow. ACCEPT must be 0. */
enum {
    ACCEPT = 0,
    REJECT = 6,
    TAIL1 = 12, /* one more 80..BF */
    TAIL2 = 18,
    TAIL3 = 24,
    AFTER_E0 = 30, /* A0..BF, then one: else overlong */
    AFTER_ED = 36, /* 80..9F, then one: else a surrogate */
    AFTER_F0 = 42, /* 90..BF, then two: else overlong */
    AFTER_F4 = 48, /* 80..8F, then two: else over U+10FFFF */
};

/* Where each state goes on this byte; REJECT stays. */
#define ROW(accept, tail1, tail2, tail3, e0, ed, f0, f4)                                                               \
    ((uint64_t)(accept) << ACCEPT | (uint64_t)REJECT << REJECT | (uint64_t)(tail1) << TAIL1 |                          \
     (uint64_t)(tail2) << TAIL2 | (uint64_t)(tail3) << TAIL3 | (uint64_t)(e0) << AFTER_E0 |                            \
     (uint64_t)(ed) << AFTER_ED | (uint64_t)(f0) << AFTER_F0 | (uint64_t)(f4) << AFTER_F4)
#define LEAD(state) ROW(state, REJECT, REJECT, REJECT, REJECT, REJECT, REJECT, REJECT)

static const uint64_t rows[256] = {
    [0x00 ... 0x7f] = LEAD(ACCEPT),
    [0x80 ... 0x8f] = ROW(REJECT, ACCEPT, TAIL1, TAIL2, REJECT, TAIL1, REJECT, TAIL2),
    [0x90 ... 0x9f] = ROW(REJECT, ACCEPT, TAIL1, TAIL2, REJECT, TAIL1, TAIL2, REJECT),
    [0xa0 ... 0xbf] = ROW(REJECT, ACCEPT, TAIL1, TAIL2, TAIL1, REJECT, TAIL2, REJECT),
    [0xc0 ... 0xc1] = LEAD(REJECT),
    [0xc2 ... 0xdf] = LEAD(TAIL1),
    [0xe0] = LEAD(AFTER_E0),
    [0xe1 ... 0xec] = LEAD(TAIL2),
    [0xed] = LEAD(AFTER_ED),
    [0xee ... 0xef] = LEAD(TAIL2),
    [0xf0] = LEAD(AFTER_F0),
    [0xf1 ... 0xf3] = LEAD(TAIL3),
    [0xf4] = LEAD(AFTER_F4),
    [0xf5 ... 0xff] = LEAD(REJECT),
};

#define STEP 16

static inline uint64_t step(uint64_t state, char c)
{
    return rows[(uint8_t)c] >> (state & 63);
}

size_t fc_utf8_ascii(const char *p, size_t n)
{
    size_t at = 0;
#if defined(__SSE2__)
    for (; n - at >= 64; at += 64) {
        const __m128i *v = (const __m128i *)(const void *)(p + at);
        __m128i any = _mm_or_si128(_mm_or_si128(_mm_loadu_si128(v), _mm_loadu_si128(v + 1)),
                                   _mm_or_si128(_mm_loadu_si128(v + 2), _mm_loadu_si128(v + 3)));
        if (_mm_movemask_epi8(any))
            break;
    }
    for (; n - at >= 16; at += 16) {
        unsigned high = (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + at)));
        if (high)
            return at + (unsigned)__builtin_ctz(high);
    }
#endif
    for (; n - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, p + at, 8);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (at < n && !(p[at] & 0x80))
        at++;
    return at;
}

size_t fc_utf8_check(fc_utf8 *kept, const char *p, size_t n)
{
    uint64_t state = *kept;
    size_t at = 0;
    while (at < n) {
        if ((state & 63) == ACCEPT && !(p[at] & 0x80)) {
            at += fc_utf8_ascii(p + at, n - at);
            if (at == n)
                break;
        }
        /* The error state stays, so it is looked for once in a while and then found again byte by byte. */
        size_t end = n - at < STEP ? n : at + STEP;
        uint64_t before = state;
        for (size_t i = at; i < end; i++)
            state = step(state, p[i]);
        if ((state & 63) == REJECT) {
            for (state = before; (state = step(state, p[at])), (state & 63) != REJECT; at++)
                ;
            *kept = REJECT;
            return at;
        }
        at = end;
    }
    *kept = (fc_utf8)(state & 63);
    return n;
}

size_t fc_utf8_cut(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t c = (uint8_t)p[n - back];
        if (c >= 0xc0)
            return back < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? back : 0;
        if (c < 0x80)
            break;
    }
    return 0;
}
