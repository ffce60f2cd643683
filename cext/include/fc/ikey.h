/* fc/ikey.h - internal keys of the storage engine: what a user's key becomes when it has versions.
 *
 * An internal key is the user's key and a tag: 56 bits of sequence number, 8 bits of type. Order: user key by memcmp,
 * then length; of one user key the highest tag, so the newest version, first. Encoded, the tag follows the key as 8
 * bytes, little-endian; encoded keys are compared by these functions, never by memcmp.
 *
 * Invariants
 *   1. No two operations of a store have the same sequence number, so no two entries have equal internal keys.
 *   2. fc_ikey_decode refuses types it does not know, so a type added later is not misread by today's code.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_IKEY_H
#define FC_IKEY_H

#include "fc/varint.h"

#define FC_SEQ_MAX ((1ull << 56) - 1) /* as a snapshot: everything */
#define FC_KEY_MAX (1u << 20)         /* bytes of a user key: a bound on what readers copy, and the skip list's */
#define FC_VALUE_MAX (1u << 28)       /* bytes of a value */
#define FC_TAG_BYTES 8u

/* What an operation was. The numbers are on disk. */
typedef enum fc_key_type {
    FC_KEY_DELETE = 1,
    FC_KEY_VALUE = 2,
    FC_KEY_EXPIRING = 3,     /* the value begins with 8 bytes: when it expires, in milliseconds since 1970 */
    FC_KEY_RANGE_DELETE = 4, /* from the key to the one that is its value, that one not included */
} fc_key_type;

#define FC_EXPIRY_BYTES 8u

typedef struct fc_ikey {
    fc_slice user;
    uint64_t tag;
} fc_ikey;

static inline uint64_t fc_tag(uint64_t seq, fc_key_type type) { return seq << 8 | type; }
static inline uint64_t fc_tag_seq(uint64_t tag) { return tag >> 8; }
static inline fc_key_type fc_tag_type(uint64_t tag) { return (fc_key_type)(tag & 0xFF); }
/* Where the versions that a snapshot sees begin. */
static inline uint64_t fc_tag_seek(uint64_t snapshot) { return snapshot << 8 | 0xFF; }

/* Types that stand in a table's or memtable's order: all but range deletions, which are kept aside. */
static inline bool fc_type_is_point(unsigned type) { return type >= FC_KEY_DELETE && type <= FC_KEY_EXPIRING; }

/* Below 0, 0, above 0. */
static inline int fc_key_compare(fc_slice a, fc_slice b)
{
    if (FC_LIKELY(a.n >= 8 && b.n >= 8)) { /* most keys differ in their first word, or begin alike and are longer */
        uint64_t x = __builtin_bswap64(fc_get64(a.p)), y = __builtin_bswap64(fc_get64(b.p));
        if (x != y)
            return x < y ? -1 : 1;
    }
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool fc_key_equal(fc_slice a, fc_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline int fc_ikey_compare(fc_slice a, uint64_t a_tag, fc_slice b, uint64_t b_tag)
{
    int c = fc_key_compare(a, b);
    return c ? c : (a_tag < b_tag) - (a_tag > b_tag);
}

/* key.user.n + FC_TAG_BYTES bytes at out. */
static inline void fc_ikey_encode(char *out, fc_ikey key)
{
    if (key.user.n)
        memcpy(out, key.user.p, key.user.n);
    fc_put64(out + key.user.n, key.tag);
}

/* False when it is none. The key points into `in`. */
static inline bool fc_ikey_decode(fc_slice in, fc_ikey *out)
{
    if (in.n < FC_TAG_BYTES || in.n > FC_KEY_MAX + FC_TAG_BYTES)
        return false;
    *out = (fc_ikey){{in.p, in.n - FC_TAG_BYTES}, fc_get64(in.p + in.n - FC_TAG_BYTES)};
    return fc_tag_type(out->tag) >= FC_KEY_DELETE && fc_tag_type(out->tag) <= FC_KEY_RANGE_DELETE;
}

#endif
