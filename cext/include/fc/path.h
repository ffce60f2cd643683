/* fc/path.h - one spelling for every request path, so that a rule cannot be walked around.
 *
 * "/a/../admin", "/%61dmin", "//admin" and "/./admin" must not reach what a rule for "/admin" guards. Normalisation is
 * RFC 3986 6.2.2 in one pass over each segment:
 *   - escapes of unreserved characters are decoded, once ("%252e" stays as it is), other escapes get upper-case digits;
 *   - then dot segments are removed (5.2.4); ".." above the root stays at the root;
 *   - with FC_PATH_MERGE_SLASHES empty segments go, except a last one (a trailing slash keeps its meaning).
 * "%2F" is never a separator: it stays inside its segment, or the path is refused, by flag.
 *
 * Invariants
 *   1. The result is never longer than the input, so cap == n is always enough.
 *   2. Idempotent: the result normalises to itself.
 *   3. The result begins with '/', holds no "." or ".." segment, no NUL, no bad escape, no escaped unreserved character.
 *
 * Thread and process safety: pure function.
 */
#ifndef FC_PATH_H
#define FC_PATH_H

#include "fc/base.h"

#define FC_PATH_MERGE_SLASHES 0x01u
#define FC_PATH_REFUSE_ENCODED_SLASH 0x02u /* %2F, and %5C which some servers take for it */

typedef enum fc_path_result {
    FC_PATH_SAME = 0,           /* the input is normal already; out is untouched */
    FC_PATH_CHANGED = 1,        /* the result is in out */
    FC_PATH_BAD_ESCAPE = -1,    /* '%' without two hex digits */
    FC_PATH_NUL = -2,           /* a NUL byte or %00 */
    FC_PATH_ENCODED_SLASH = -3, /* only with FC_PATH_REFUSE_ENCODED_SLASH */
    FC_PATH_NOT_ABSOLUTE = -4,  /* does not begin with '/' */
    FC_PATH_TOO_LONG = -5,      /* work is needed and n > cap */
} fc_path_result;

/* *at becomes the length of the result, or on error the offset of the offending byte in `in`. out must not overlap in.
 * A plain path costs one look per byte and no write. */
fc_path_result fc_path_normalise(const char *in, size_t n, uint32_t flags, char *out, size_t cap, size_t *at);

/* One English phrase per error; never NULL. */
const char *fc_path_error_text(fc_path_result result);

#endif
