/* fc/cache.h - a cache of bytes by bytes that all worker processes share.
 *
 * Lies in one section of a region (fc/region.h). The memory is cut into shards by the key's hash, a shard into blocks
 * of equal size; an entry is a chain of blocks, so there is no fragmentation between entries and any mixture of sizes
 * fits. Eviction is SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): a hit sets one byte, a hand sweeps
 * from old to new and takes what was not hit since it last came by. LRU lost: a hit would have to move the entry in a
 * list, which means a lock.
 *
 *     head         magic, version, options, epoch (raised by clear), hit and miss counts by CPU
 *     tags         per slot two 64-bit generations
 *     shards       each: lock, epoch, list ends and counts, insertions in progress;
 *                  index: buckets of 8 words on a cache line; per block: version, next block, visited;
 *                  the blocks, numbered from 1
 *
 * Cost beside the blocks: 29 bytes for each. An entry takes 72 bytes, 8 for each tag, and its key, metadata and value,
 * the first two rounded up to 8; all rounded up to blocks.
 *
 * Processes and threads: any number of both may use one view (fc_cache) at once. Writers of a shard exclude each other
 * by a word that holds the owner's thread id. Readers take no lock, write nothing but the visited byte and counts, and
 * never wait.
 *
 * Invariants
 *  1. An index word names a block whose version is odd: a whole entry that nobody changes; or even: one that was
 *     hidden (6) and will be freed. Its blocks belong to no other. The word is stored after the entry; replacing a
 *     value is one store of the word, so there is no gap without a value.
 *  2. A block's version only goes up. It turns even before any block of the entry can be reused, so a reader who finds
 *     the version he began with has read that entry and nothing else (a seqlock by entry; words are copied with acquire
 *     and release, which on x86 are plain moves). 64 bits never come round.
 *  3. Everything else in a shard (free blocks, eviction list, counts) follows from the index and is computed anew by
 *     whoever takes the lock from a dead owner. So a writer may die at any instruction; what he had not published is
 *     free again.
 *  4. The order of eviction begins anew then, in the order of blocks.
 *  5. Blocks of an insertion in progress belong to a record with the pid of its process; they are freed when it is
 *     dead. Records and the blocks in them are bounded (FC_CACHE_INSERTIONS, half of the shard).
 *  6. A writer waits for a lock at most wait_ns, then once more only when the owner has changed. Who cannot
 *     have it (the owner is stopped) makes the key's entry invisible with one compare-and-swap of its version, so that
 *     a refused set or delete never leaves an older value to be read, and answers FC_CACHE_EBUSY.
 *  7. A lock is held for the bookkeeping and for copies up to FC_CACHE_COPY_MAX bytes; larger values are copied without
 *     it. The hand passes at most FC_CACHE_SWEEP entries for one eviction.
 *  8. All processes see the same pid namespace, and owners of locks are told apart from strangers by their number
 *     alone: a stranger that got a dead owner's number keeps a shard closed for writing until fc_cache_release or its
 *     end.
 *
 * Times are nanoseconds of one clock that all users share (fc_monotonic_ns), given by the caller.
 */
#ifndef FC_CACHE_H
#define FC_CACHE_H

#include "fc/base.h"
#include "fc/hash.h"

#define FC_CACHE_VERSION 1
#define FC_CACHE_ALIGN 4096 /* of the section */
#define FC_CACHE_SHARDS_MAX 64
#define FC_CACHE_TAGS_MAX 16    /* of one entry: its header and tags fit into the smallest block */
#define FC_CACHE_KEY_MAX 65535
#define FC_CACHE_INSERTIONS 16  /* in progress in one shard: large values and streams */
#define FC_CACHE_COPY_MAX 16384 /* 3 us: longer copies are made without the lock */
#define FC_CACHE_SWEEP 256      /* 10 us when every step misses the processor's cache */
#define FC_CACHE_NEVER UINT64_MAX
#define FC_CACHE_WAIT_NS 10000000ull /* three turns of the scheduler: a preempted owner has come back by then */

enum {
    FC_CACHE_ESIZE = -1,    /* options out of range, or memory smaller than they need */
    FC_CACHE_EVERSION = -2, /* prepared by another version of this code */
    FC_CACHE_EBUSY = -3,    /* a live owner kept the lock for wait_ns */
    FC_CACHE_EBIG = -4,     /* key, metadata and value together over item_max, or the key over FC_CACHE_KEY_MAX */
    FC_CACHE_EFULL = -5,    /* insertions in progress hold the room or all records */
    FC_CACHE_ETAGS = -6,    /* more than FC_CACHE_TAGS_MAX */
    FC_CACHE_ELOST = -7,    /* the entry or the insertion is no more */
};

typedef struct fc_cache_options {
    uint64_t capacity;  /* bytes in blocks; rounded up to whole blocks for each shard */
    uint64_t item_max;  /* bytes of key, metadata and value together; an entry fits into half a shard */
    uint32_t shards;    /* 1 to FC_CACHE_SHARDS_MAX: writers that may work at the same time */
    uint32_t block;     /* power of two, 256 to 65536 */
    uint32_t tag_slots; /* 1 to 2^20 */
    fc_hash_key key;    /* random: keys and tags come from strangers */
} fc_cache_options;

/* A process's own view; nothing of it is shared. Survives fork. */
typedef struct fc_cache {
    char *base;
    fc_cache_options options;
    uint32_t blocks, buckets;     /* of each shard */
    uint32_t item_blocks;         /* most that one entry takes */
    uint32_t block_log2;
    uint64_t shards_at, stride;   /* first shard, bytes from one to the next */
    uint64_t index_at, meta_at, data_at; /* within a shard */
    uint64_t wait_ns;             /* FC_CACHE_WAIT_NS; the user may change it */
    uint64_t stuck[FC_CACHE_SHARDS_MAX]; /* lock words waited for in vain */
} fc_cache;

/* Bytes of section these options take, the key not looked at; 0 when one is out of range. */
uint64_t fc_cache_size(const fc_cache_options *o);
/* Prepares zeroed memory, or attaches to what another process prepared there, whose options then count. `o` NULL: it is
 * known to be prepared. `base` is aligned to FC_CACHE_ALIGN. 0 or an error. */
int fc_cache_open(fc_cache *c, void *base, uint64_t size, const fc_cache_options *o);
const char *fc_cache_strerror(int64_t error);

/* --- tags --------------------------------------------------------------------------------------------------------- */

/* What an entry is valid with: the cache's epoch and the generations of its tags. Taken before the data that will be
 * cached are read, it makes an invalidation in between count. Two tags may share a slot (keyed hash modulo tag_slots):
 * then invalidating one invalidates the other, never less. */
typedef struct fc_cache_stamp {
    uint64_t epoch;
    uint32_t len;
    uint64_t tags[FC_CACHE_TAGS_MAX];
} fc_cache_stamp;

void fc_cache_stamp_now(const fc_cache *c, fc_cache_stamp *stamp);
/* 0 or FC_CACHE_ETAGS. */
int fc_cache_stamp_tag(const fc_cache *c, fc_cache_stamp *stamp, fc_slice tag);
/* No entry with this tag and an older stamp is found any more; soft: it is stale from now on. Takes no lock. */
void fc_cache_invalidate(fc_cache *c, fc_slice tag, bool soft);
/* No entry with an older stamp is found any more. The next writer of each shard frees its blocks. Takes no lock. */
void fc_cache_clear(fc_cache *c);

/* --- reading ------------------------------------------------------------------------------------------------------ */

typedef enum fc_cache_state {
    FC_CACHE_MISS,
    FC_CACHE_FRESH,
    FC_CACHE_STALE,   /* past fresh_until or softly invalidated, but before keep_until */
    FC_CACHE_PENDING, /* no value; somebody claimed to bring one (fc_cache_claim) and has time until keep_until */
} fc_cache_state;

typedef struct fc_cache_item {
    fc_cache_state state;
    uint32_t flags;       /* the user's word */
    uint32_t meta_len, value_len;
    uint64_t fresh_until, keep_until, stored;
    /* where it lies; not for the user */
    uint32_t shard, block, meta_at, value_at, cursor_block, cursor;
    uint64_t version;
} fc_cache_item;

/* Looks the key up and marks it as used; FC_CACHE_MISS leaves the rest of item unset. */
fc_cache_state fc_cache_find(const fc_cache *c, fc_slice key, uint64_t now, fc_cache_item *item);
/* Copies n bytes from `at` of the value (or metadata) into out; at + n must not pass its end. False: the entry has been
 * replaced or evicted and out holds nothing of use. True: every byte is of the entry found. A value may be read in
 * pieces, in order best; the later ones may be lost though the earlier were true. */
bool fc_cache_read(const fc_cache *c, fc_cache_item *item, uint32_t at, void *out, uint32_t n);
bool fc_cache_read_meta(const fc_cache *c, fc_cache_item *item, void *out);
/* Whether the entry is still the one found. */
bool fc_cache_same(const fc_cache *c, const fc_cache_item *item);
/* Counts one lookup in the statistics: the caller knows what it took for a hit. */
void fc_cache_count(const fc_cache *c, bool hit);

/* --- writing ------------------------------------------------------------------------------------------------------ */

typedef struct fc_cache_new {
    fc_slice key, meta, value;
    uint64_t fresh_until, keep_until; /* the later of the two is when it is gone */
    uint32_t flags;
    const fc_cache_stamp *stamp; /* NULL: no tags, and as of now */
} fc_cache_new;

/* 1 stored; 0 not: the stamp is from before a clear, or `absent_only` and there is a fresh entry; else an error. */
int fc_cache_set(fc_cache *c, const fc_cache_new *n, bool absent_only, uint64_t now);
/* 1 when there was an entry, fresh or stale. With FC_CACHE_EBUSY it is out of sight all the same. */
int fc_cache_delete(fc_cache *c, fc_slice key, uint64_t now);
/* New times for a fresh or stale entry; with a stamp of as many tags (the same, by the caller's word) new generations
 * too, as after a successful revalidation. 1 done, 0 absent, or an error. */
int fc_cache_touch(fc_cache *c, fc_slice key, uint64_t fresh_until, uint64_t keep_until, const fc_cache_stamp *stamp,
                   uint64_t now);
/* Whether the caller should bring a new value: 1 when the entry is stale or absent and nobody claimed it before, who
 * then has until `until`. Absent: leaves a placeholder, which the next set replaces. 0: fresh, or somebody is at it. */
int fc_cache_claim(fc_cache *c, fc_slice key, uint64_t until, uint64_t now);

/* Insertion in pieces. The value's length need not be known; n->value.n is a hint, its bytes are not looked at. Nothing
 * is visible before commit. Belongs to the process that began it. After any error of write the only thing left is
 * abort. */
typedef struct fc_cache_put {
    fc_slice key; /* the caller's bytes, which stay where they are until the end */
    uint32_t shard, record, owner;
    uint64_t ticket;
    uint64_t epoch;
    uint32_t first, last, blocks;  /* the chain */
    uint32_t cursor_block, cursor; /* where the next byte goes */
    uint32_t value_at;
    uint64_t length; /* of the value so far */
} fc_cache_put;

/* 0 or an error; FC_CACHE_ELOST: the stamp is from before a clear. So write. */
int fc_cache_put_begin(fc_cache *c, fc_cache_put *put, const fc_cache_new *n, uint64_t now);
int fc_cache_put_write(fc_cache *c, fc_cache_put *put, const void *p, size_t n, uint64_t now);
/* 1 stored, 0 not (cleared since), or an error; the insertion is over in any case. */
int fc_cache_put_commit(fc_cache *c, fc_cache_put *put, uint64_t now);
void fc_cache_put_abort(fc_cache *c, fc_cache_put *put);

/* --- care --------------------------------------------------------------------------------------------------------- */

/* Frees what is expired or invalidated, and what dead processes left. Number of entries freed. The hand and writers do
 * the same where they come by, so this is for who wants the memory or the counts exact. */
uint64_t fc_cache_expire(fc_cache *c, uint64_t now);
/* For the parent that reaped `pid`: hands on its locks and frees its insertions. */
void fc_cache_release(fc_cache *c, uint32_t pid);

typedef struct fc_cache_stats {
    uint64_t hits, misses;
    uint64_t stored;    /* entries */
    uint64_t evicted;   /* entries that were still good */
    uint64_t removed;   /* entries freed after their time */
    uint64_t repairs;   /* shards computed anew after a death */
    uint64_t entries;   /* that take room now, among them expired ones nobody came by */
    uint64_t bytes;     /* in their blocks */
    uint64_t pending;   /* bytes in blocks of insertions in progress */
    uint64_t capacity;
} fc_cache_stats;

void fc_cache_stats_get(const fc_cache *c, fc_cache_stats *stats);

#endif
