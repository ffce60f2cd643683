/* fc/range_set.h - range deletions kept aside: which of them cover a key?
 *
 * An immutable set of [begin, end) at a sequence number, sorted by begin with the implicit tree of a sorted array on
 * top, in which each node knows the largest end below it (an interval tree without pointers). Memory is linear in the
 * number of ranges however they overlap; cutting them into pieces that do not overlap, with a stack of numbers each,
 * would be quadratic.
 *
 * An answer holds for every key between two neighbouring ends of ranges, so a scan asks again only when it leaves that
 * piece (fc_range_cover_holds).
 *
 * Invariants
 *   1. The bytes of begin and end are the caller's and stay as long as the set.
 *   2. Empty ranges (end <= begin) cover nothing.
 *
 * Thread safety: immutable once built.
 */
#ifndef FC_RANGE_SET_H
#define FC_RANGE_SET_H

#include "fc/ikey.h"

typedef struct fc_range {
    fc_slice begin, end;
    uint64_t seq;
} fc_range;

typedef struct fc_range_set {
    const fc_range *ranges;  /* by begin, then seq */
    const fc_slice *reach;   /* largest end in the subtree whose root is ranges[i] */
    const fc_slice *borders; /* all begins and ends, sorted */
    size_t n;
} fc_range_set;

/* The newest range at or below a snapshot that covers a key; seq 0: none does. The same for all keys in [from, until).
 * */
typedef struct fc_range_cover {
    uint64_t seq;
    fc_slice from, until;
    bool from_open, until_open; /* there is no border on that side */
    bool known;
} fc_range_cover;

/* Bytes fc_range_set_init needs for n ranges, at an address aligned to 8. */
size_t fc_range_set_bytes(size_t n);
/* Copies ranges[0..n) in any order, into `memory`. */
void fc_range_set_init(fc_range_set *s, void *memory, const fc_range *ranges, size_t n);

/* Highest sequence number up to `snapshot` of a range over the key, 0 when there is none. */
uint64_t fc_range_set_seq(const fc_range_set *s, fc_slice key, uint64_t snapshot);
/* The same with the piece it holds for. */
void fc_range_set_cover(const fc_range_set *s, fc_slice key, uint64_t snapshot, fc_range_cover *out);

/* What two sets say of one key: the newer range, for the keys that both answers are for. */
void fc_range_cover_meet(fc_range_cover *c, const fc_range_cover *other);

static inline bool fc_range_cover_holds(const fc_range_cover *c, fc_slice key)
{
    return c->known && (c->from_open || fc_key_compare(c->from, key) <= 0) &&
           (c->until_open || fc_key_compare(key, c->until) < 0);
}

#endif
