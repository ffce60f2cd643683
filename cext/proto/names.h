/* names.h - comparing a name with a known one, any letter case. Private to cext/proto. */
#ifndef FC_NAMES_H
#define FC_NAMES_H

#include <stdbool.h>
#include <string.h>

#include "fc/base.h"

/* Nonzero where `word` differs from `name`, a word of lower-case letters, digits and '-'. Only bytes that are letters in
 * `name` (those with 0x40 set) are folded, so that no control byte passes for a '-'. */
static inline uint64_t fc_name_differs(uint64_t word, uint64_t name)
{
    return (word | (name & 0x4040404040404040ull) >> 1) ^ name;
}

static inline uint64_t fc_name_differs8(const char *p, const char *name)
{
    uint64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, name, 8);
    return fc_name_differs(a, b);
}

static inline uint64_t fc_name_differs4(const char *p, const char *name)
{
    uint32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, name, 4);
    return fc_name_differs(a, b);
}

/* Is p[0..len) the lower-case `name` of the same length (at most 24)? Overlapping words cover any length from 4 without a
 * loop and without touching a byte outside either string. */
static inline bool fc_name_same(const char *p, const char *name, size_t len)
{
    if (len >= 8) {
        size_t middle = len > 16 ? 8 : 0;
        return (fc_name_differs8(p, name) | fc_name_differs8(p + middle, name + middle) |
                fc_name_differs8(p + len - 8, name + len - 8)) == 0;
    }
    if (len >= 4)
        return (fc_name_differs4(p, name) | fc_name_differs4(p + len - 4, name + len - 4)) == 0;
    uint64_t difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= fc_name_differs((uint8_t)p[i], (uint8_t)name[i]);
    return difference == 0;
}

#endif
