/* fc/utf8.h - is this UTF-8 (RFC 3629), in pieces, told at the earliest byte that cannot be.
 *
 * Runs of ASCII are skipped 64 bytes at a time. The rest goes through a state machine of nine states held in one word
 * per byte value, so that a step is a load that depends on nothing and a shift (Per Vognsen's arrangement): a cycle or
 * two for each byte, whatever the script. Overlong forms, surrogates and code points over U+10FFFF are refused at their
 * second byte, which is where they become impossible.
 *
 * Invariants
 *   1. The answer does not depend on how the bytes were cut into pieces.
 *   2. After an error the state is spent: start again from 0.
 *
 * Thread safety: pure functions; the state is the caller's.
 */
#ifndef FC_UTF8_H
#define FC_UTF8_H

#include "fc/base.h"

/* 0 at the beginning, and again wherever a character ends. */
typedef uint8_t fc_utf8;

static inline bool fc_utf8_complete(fc_utf8 state)
{
    return state == 0;
}

/* Position of the first byte that no valid text could hold there, or n. */
size_t fc_utf8_check(fc_utf8 *state, const char *p, size_t n);

/* Bytes in p[0..n) before the first one that is not ASCII. */
size_t fc_utf8_ascii(const char *p, size_t n);

/* How many bytes at the end of p[0..n), valid text as far as it goes, begin a character that is not complete: 0-3. */
size_t fc_utf8_cut(const char *p, size_t n);

#endif
