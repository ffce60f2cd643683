/* fc/iter.h - what is walked through in the storage engine, and what is looked up: the shapes that memtables, tables
 * and merges share.
 *
 * An iterator stands on an entry or on none. Entries come in internal key order (fc/ikey.h), every version of every
 * key, deletions included; range deletions are not among them (fc/range_set.h).
 *
 * Invariants
 *   1. valid says whether it stands on an entry. Then key, tag and value are it, and readable until the next call on
 *      the iterator.
 *   2. Not valid and error 0: the end, in the direction of the last call. Not valid and error below 0: that is why. An
 *      error is never taken for the end.
 *   3. next and prev REQUIRE valid; first, last and seek begin anew, after an error too.
 *   4. An iterator with bounds stands on keys in [lower, upper) only.
 *
 * Thread safety: an iterator has one user at a time; any number of iterators may walk one source.
 */
#ifndef FC_ITER_H
#define FC_ITER_H

#include "fc/hash.h"
#include "fc/ikey.h"

/* Answered where the bytes are not in memory, neither ours nor the kernel's, and the caller had said that it will not
 * wait for the disk: ask again from a thread that may. An iterator that met it begins anew. */
#define FC_EWOULDREAD (-10201)

typedef struct fc_iter fc_iter;

typedef struct fc_iter_ops {
    void (*seek)(fc_iter *it, fc_slice user, uint64_t tag); /* to the first entry at or after the internal key */
    void (*first)(fc_iter *it);
    void (*last)(fc_iter *it);
    void (*next)(fc_iter *it);
    void (*prev)(fc_iter *it);
    void (*close)(fc_iter *it);
} fc_iter_ops;

/* First member of every iterator. */
struct fc_iter {
    const fc_iter_ops *ops;
    fc_slice key, value;
    uint64_t tag;
    int error;
    bool valid;
};

static inline void fc_iter_seek(fc_iter *it, fc_slice user, uint64_t tag) { it->ops->seek(it, user, tag); }
static inline void fc_iter_first(fc_iter *it) { it->ops->first(it); }
static inline void fc_iter_last(fc_iter *it) { it->ops->last(it); }
static inline void fc_iter_next(fc_iter *it) { it->ops->next(it); }
static inline void fc_iter_prev(fc_iter *it) { it->ops->prev(it); }
static inline void fc_iter_close(fc_iter *it)
{
    if (it)
        it->ops->close(it);
}

/* How to read. The iterator keeps the pointer it is given and looks at it with every call. */
typedef struct fc_read_options {
    bool memory_only; /* FC_EWOULDREAD rather than waiting for the disk */
    bool keep_out;    /* blocks that were read are not put in the cache: compactions, backups */
    bool bounded_below, bounded_above;
    fc_slice lower, upper; /* of keys; the bytes are the caller's and stay */
} fc_read_options;

/* --- looking one key up ----------------------------------------------------------------------------------------- */

/* A key as every source wants it: hashed once, however many tables are asked. */
typedef struct fc_lookup {
    fc_slice key;
    uint64_t snapshot; /* versions with a higher sequence number are not seen */
    uint64_t now_ms;   /* what expires at or before it is deleted */
    fc_hash_key hash_key;
    uint64_t hash;
    bool memory_only;
} fc_lookup;

static inline fc_lookup fc_lookup_of(fc_slice key, uint64_t snapshot, uint64_t now_ms, const fc_hash_key *hash_key)
{
    return (fc_lookup){key, snapshot, now_ms, *hash_key, fc_hash(hash_key, key.p, key.n), false};
}

/* What a source said: of sources that are asked from the newest to the oldest the first that does not answer
 * FC_NOT_HERE is right. */
enum {
    FC_NOT_HERE = 0, /* ask the next one */
    FC_FOUND = 1,
    FC_DELETED = 2,  /* deleted, expired, or under a range deletion */
};

struct fc_block;

typedef struct fc_found {
    fc_slice value;         /* without the expiry */
    uint64_t tag;           /* with FC_FOUND and FC_DELETED, 0 when a range deletion decided */
    uint64_t expires_ms;    /* 0: never */
    struct fc_block *block; /* what value lies in, to be given back by fc_block_release (fc/block_cache.h); or NULL */
} fc_found;

/* Splits a stored value. False when it is damaged: an expiring one without its expiry. */
static inline bool fc_value_split(uint64_t tag, fc_slice stored, fc_slice *value, uint64_t *expires_ms)
{
    *value = stored;
    *expires_ms = 0;
    if (fc_tag_type(tag) != FC_KEY_EXPIRING)
        return true;
    if (stored.n < FC_EXPIRY_BYTES)
        return false;
    *expires_ms = fc_get64(stored.p);
    *value = (fc_slice){stored.p + FC_EXPIRY_BYTES, stored.n - FC_EXPIRY_BYTES};
    return true;
}

/* Whether the entry is something a reader gets: a value that has not expired. */
static inline bool fc_value_lives(uint64_t tag, uint64_t expires_ms, uint64_t now_ms)
{
    return fc_tag_type(tag) != FC_KEY_DELETE && (fc_tag_type(tag) != FC_KEY_EXPIRING || expires_ms > now_ms);
}

#endif
