/* fc/varint.h - numbers as bytes: fixed little-endian, and seven bits a byte with the lowest first (LEB128).
 *
 * Readers take a window [p, end) and never look outside it. Thread and process safety: pure functions.
 */
#ifndef FC_VARINT_H
#define FC_VARINT_H

#include <string.h>

#include "fc/base.h"

#define FC_VARINT32_MAX 5u
#define FC_VARINT64_MAX 10u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fixed numbers are copied as they lie in memory");

static inline void fc_put32(char *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void fc_put64(char *p, uint64_t v) { memcpy(p, &v, sizeof v); }

static inline uint32_t fc_get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t fc_get64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Writes at most FC_VARINT64_MAX bytes; returns where the next one goes. */
static inline char *fc_put_varint(char *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (char)(v | 0x80);
    *p++ = (char)v;
    return p;
}

/* The byte after the number, or NULL: it does not end before `end`, or does not fit in 64 bits. */
static inline const char *fc_get_varint(const char *p, const char *end, uint64_t *v)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint64_t byte = (uint8_t)*p++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (byte & 0x7F) << shift;
        if (byte < 0x80) {
            *v = value;
            return p;
        }
    }
    return NULL;
}

static inline const char *fc_get_varint32(const char *p, const char *end, uint32_t *v)
{
    if (FC_LIKELY(p < end && (uint8_t)*p < 0x80)) {
        *v = (uint8_t)*p;
        return p + 1;
    }
    uint64_t wide;
    p = fc_get_varint(p, end, &wide);
    if (p == NULL || wide > UINT32_MAX)
        return NULL;
    *v = (uint32_t)wide;
    return p;
}

#endif
