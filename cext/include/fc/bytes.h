/* fc/bytes.h - words of 8 bytes as they lie in memory, in an order that does not depend on the machine.
 *
 * Big-endian words compare as the bytes do (memcmp), which is why sorted structures keep them; little-endian ones are
 * what checksums and hashes are defined over. Unaligned addresses are fine. One instruction each, or none.
 */
#ifndef FC_BYTES_H
#define FC_BYTES_H

#include <string.h>

#include "fc/base.h"

/* Between a word as read from memory and the number it means; each is its own inverse. */
static inline uint64_t fc_be64(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return word;
#else
    return __builtin_bswap64(word);
#endif
}

static inline uint64_t fc_le64(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

static inline uint64_t fc_load_be64(const void *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return fc_be64(word);
}

static inline uint64_t fc_load_le64(const void *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return fc_le64(word);
}

static inline void fc_store_be64(void *p, uint64_t value)
{
    value = fc_be64(value);
    memcpy(p, &value, 8);
}

#endif
