/* bytes.h - bytes that grow. Private to cext/lsm. */
#ifndef FC_LSM_BYTES_H
#define FC_LSM_BYTES_H

#include <stdlib.h>
#include <string.h>

#include "fc/varint.h"

typedef struct bytes {
    char *p;
    size_t n, cap;
} bytes;

/* Room for n more; p is not NULL then, even for none. */
static inline bool bytes_reserve(bytes *b, size_t n)
{
    if (FC_LIKELY(n <= b->cap - b->n && b->p != NULL))
        return true;
    size_t cap = b->cap * 2 > b->n + n ? b->cap * 2 : b->n + n + 64;
    char *p = realloc(b->p, cap);
    if (p == NULL)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

/* The put functions REQUIRE that room was reserved. */
static inline void bytes_put(bytes *b, const void *p, size_t n)
{
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void bytes_put_varint(bytes *b, uint64_t v) { b->n = (size_t)(fc_put_varint(b->p + b->n, v) - b->p); }

static inline void bytes_put_slice(bytes *b, fc_slice s)
{
    bytes_put_varint(b, s.n);
    bytes_put(b, s.p, s.n);
}

/* False without memory; then nothing has changed. */
static inline bool bytes_set(bytes *b, const void *p, size_t n)
{
    size_t before = b->n;
    b->n = 0;
    if (!bytes_reserve(b, n)) {
        b->n = before;
        return false;
    }
    bytes_put(b, p, n);
    return true;
}

static inline void bytes_free(bytes *b)
{
    free(b->p);
    *b = (bytes){0};
}

static inline fc_slice bytes_slice(const bytes *b) { return (fc_slice){b->p ? b->p : "", b->n}; }

/* A slice behind its length; NULL when it does not end before `end`. */
static inline const char *get_slice(const char *p, const char *end, fc_slice *out)
{
    uint64_t n;
    p = fc_get_varint(p, end, &n);
    if (p == NULL || n > (uint64_t)(end - p))
        return NULL;
    *out = (fc_slice){p, (size_t)n};
    return p + n;
}

#endif
