/* scan.h - where the next interesting byte is, found 64 bytes at a time. Private to cext/proto.
 *
 * A head is read in two stages (Langdale & Lemire, "Parsing gigabytes of JSON per second", 2019): stage one turns a
 * window of the buffer into two bitmaps, one bit a byte; stage two, the parser, is plain C that asks for the next set bit.
 * So the vector code is in one place, is entered once per window and not once per field, and the parser exists once.
 *
 *   ctl       a byte no field value may hold: 0x00-0x1F except HT, and DEL. Ends a line, or spoils it.
 *   nontoken  a byte that is not a tchar (RFC 9110 5.6.2). Ends a method or a field name, or spoils it.
 *
 * Invariants
 *   1. No byte outside buf[0..len) is read: the last, partial block is copied to the stack first.
 *   2. Position len counts as set in both bitmaps, so a search always ends and "not found" is == len.
 *   3. All levels give equal answers; the tests and fuzzers compare them.
 *
 * The window is 512 bytes: large enough that a browser's request needs two fills, small enough that a 100-byte request
 * at the front of a full 16 KB buffer does not pay for what follows it. A search may start anywhere: one that starts
 * outside the window moves it.
 */
#ifndef FC_SCAN_H
#define FC_SCAN_H

#include <stdbool.h>

#include "fc/base.h"

typedef enum fc_scan_level { FC_SCAN_PLAIN, FC_SCAN_SSE42, FC_SCAN_AVX2, FC_SCAN_AVX512 } fc_scan_level;

/* The best level this processor has. */
fc_scan_level fc_scan_best(void);

#define FC_SCAN_BLOCKS 8

typedef struct fc_scan {
    const char *buf;
    size_t len;
    size_t base; /* position of bit 0 */
    size_t span; /* positions covered; 0 before the first fill */
    fc_scan_level level;
    uint64_t ctl[FC_SCAN_BLOCKS];
    uint64_t nontoken[FC_SCAN_BLOCKS];
} fc_scan;

static inline void fc_scan_init(fc_scan *scan, const char *buf, size_t len, fc_scan_level level)
{
    scan->buf = buf;
    scan->len = len;
    scan->base = 0;
    scan->span = 0;
    scan->level = level;
}

/* Move the window to `at` (<= len). */
void fc_scan_fill(fc_scan *scan, size_t at);

static inline size_t fc_scan_search(fc_scan *scan, const uint64_t *bits, size_t at)
{
    for (;;) {
        size_t rel = at - scan->base;
        if (FC_LIKELY(rel < scan->span)) {
            size_t block = rel >> 6;
            uint64_t word = bits[block] >> (rel & 63);
            if (word)
                return at + (unsigned)__builtin_ctzll(word);
            while ((++block << 6) < scan->span)
                if (bits[block])
                    return scan->base + (block << 6) + (unsigned)__builtin_ctzll(bits[block]);
            at = scan->base + scan->span;
        }
        fc_scan_fill(scan, at);
    }
}

/* First position at or after `at` with such a byte, or len. */
static inline size_t fc_scan_ctl(fc_scan *scan, size_t at)
{
    return fc_scan_search(scan, scan->ctl, at);
}

static inline size_t fc_scan_nontoken(fc_scan *scan, size_t at)
{
    return fc_scan_search(scan, scan->nontoken, at);
}

/* --- classes of bytes ------------------------------------------------------------------------------------------- */
#define FC_BYTE_CTL 0x01u
#define FC_BYTE_TOKEN 0x02u
#define FC_BYTE_PATH 0x04u    /* in a request target before '?' */
#define FC_BYTE_QUERY 0x08u   /* after it */
#define FC_BYTE_REGNAME 0x10u /* in a reg-name (RFC 3986 3.2.2), '%' excluded */
#define FC_BYTE_RAW 0x20u     /* in a target under FC_HTTP1_LENIENT_TARGET_BYTES */

extern const uint8_t fc_byte_class[256];

static inline bool fc_byte_is(char c, uint8_t classes)
{
    return (fc_byte_class[(uint8_t)c] & classes) != 0;
}

/* First position in [at, len) whose byte is not of the class (FC_BYTE_PATH or FC_BYTE_QUERY), or len. */
size_t fc_scan_target(const char *buf, size_t at, size_t len, uint8_t class, fc_scan_level level);

#endif
