/* fc/memtable.h - the newest writes of a store, in memory: ordered, versioned, one writer, readers without locks.
 *
 * Three structures over memory of fixed size:
 *   - the skip list (fc/skiplist.h), of user keys. A key's value there is one word that refers to its newest version;
 *   - versions, newest first, each with a link to the next older one and a jump over many (the skew-binary numbering of
 *     Myers, "An applicative random-access stack", 1983), so an old snapshot reads a counter that was written a million
 *     times in some 40 steps. A key written again costs no search of the list and no place in it;
 *   - a hash index of key to that word, for point reads: three cache misses whatever the size.
 * LevelDB's form, a list of internal keys, lost: each version of a key is a place of its own in the list, its tag
 * lengthens the keys that are compared, and it needs an order of its own instead of memcmp.
 *
 * Range deletions are kept aside in sets (fc/range_set.h) of 1, 2, 4... ranges that are merged as a binary counter
 * carries, so that adding one is cheap and a read looks at some log2(n) sets.
 *
 * Invariants
 *   1. Sequence numbers only grow from call to call of fc_memtable_add and fc_memtable_delete_range.
 *   2. A call that fails has changed nothing. After fc_memtable_has_room said yes, the operations it was asked about do
 *      not fail for want of room.
 *   3. What can be found is immutable and stays where it is until fc_memtable_free.
 *   4. A reader whose snapshot is S, having learnt S from a release store made after the writes up to S, sees exactly
 *      those.
 *
 * Thread safety: calls marked [writer] belong to one thread at a time, the others may run beside it in any number. Who
 * may free it is the caller's to know (references are the store's).
 */
#ifndef FC_MEMTABLE_H
#define FC_MEMTABLE_H

#include "fc/iter.h"
#include "fc/range_set.h"

typedef struct fc_memtable fc_memtable;

enum {
    FC_MEMTABLE_EFULL = -10301,  /* no room within the bound */
    FC_MEMTABLE_EORDER = -10302, /* a sequence number not above the last one, or above FC_SEQ_MAX */
    FC_MEMTABLE_ESIZE = -10303,  /* key, value or bound larger or smaller than allowed; an unknown type */
};

#define FC_MEMTABLE_MIN_BYTES 65536u
#define FC_MEMTABLE_MAX_BYTES (32ull << 30)
/* Room an operation may need beyond the bytes of its key and value, at worst: a block of the list for each. */
#define FC_MEMTABLE_OPERATION_BYTES 512u

typedef struct fc_memtable_stats {
    uint64_t entries, keys, deletes, ranges;
    uint64_t first_seq, last_seq; /* 0, 0 when empty */
    uint64_t bytes;               /* taken from the bound */
    uint64_t data_bytes;          /* of keys and values alone: what a log or a table will hold */
} fc_memtable_stats;

/* NULL: no memory, or a bound out of range. Up to bytes_max are taken as they are needed, and a sixteenth to an eighth
 * of it for the hash index; address space for twice as much is reserved. The hash key is the store's
 * (fc_lookup.hash_key). */
fc_memtable *fc_memtable_new(uint64_t bytes_max, const fc_hash_key *hash_key);
void fc_memtable_free(fc_memtable *m);

/* [writer] Will so many operations, `ranges` of them range deletions, with so many bytes of keys and values together, all
 * fit? Range deletions are reckoned at their worst, each set of them merged anew. */
bool fc_memtable_has_room(const fc_memtable *m, uint64_t operations, uint64_t ranges, uint64_t bytes);
/* [writer] A version of a key: FC_KEY_VALUE, FC_KEY_EXPIRING (the value with its expiry before it) or FC_KEY_DELETE. */
int fc_memtable_add(fc_memtable *m, uint64_t seq, fc_key_type type, fc_slice key, fc_slice value);
/* It will be filled, soon and at once: large pages are asked for, which are slow to come one by one and fast on the whole. */
void fc_memtable_expect_much(fc_memtable *m);
/* [writer] These keys will be added soon: see fc_skiplist_fetch. */
void fc_memtable_fetch(const fc_memtable *m, const fc_slice *keys, size_t n);
/* [writer] Deletes what is in [begin, end) and older. */
int fc_memtable_delete_range(fc_memtable *m, uint64_t seq, fc_slice begin, fc_slice end);

/* FC_FOUND, FC_DELETED or FC_NOT_HERE. */
int fc_memtable_get(const fc_memtable *m, const fc_lookup *lookup, fc_found *out);

/* NULL without memory. `how` may be NULL; what it says of disks and caches is nothing here. */
fc_iter *fc_memtable_iter(const fc_memtable *m, const fc_read_options *how);

bool fc_memtable_has_ranges(const fc_memtable *m);
/* The newest range deletion up to the snapshot over the key. */
void fc_memtable_cover(const fc_memtable *m, fc_slice key, uint64_t snapshot, fc_range_cover *out);
/* All of them, copied in no order up to max; returns how many there are. The bytes are the memtable's. */
size_t fc_memtable_ranges(const fc_memtable *m, fc_range *out, size_t max);

uint64_t fc_memtable_bytes(const fc_memtable *m);
void fc_memtable_get_stats(const fc_memtable *m, fc_memtable_stats *out);

#endif
