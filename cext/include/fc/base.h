/* fc/base.h - the handful of words every other header uses.
 *
 * Floor 1 is plain C11 and never includes Python.h. It keeps no global mutable state, so a copy of it may be linked into
 * each extension module. Errors come back as negative values; nothing here prints, exits or sets signal handlers.
 */
#ifndef FC_BASE_H
#define FC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FC_LIKELY(x) __builtin_expect(!!(x), 1)
#define FC_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FC_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define FC_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Bytes somebody else owns. */
typedef struct fc_slice {
    const char *p;
    size_t n;
} fc_slice;

/* Bytes by position in a buffer named by the context: survives the buffer's moving, and half the size of a slice. */
typedef struct fc_span {
    uint32_t off;
    uint32_t len;
} fc_span;

#endif
