/* fc/block_cache.h - blocks of tables in memory: bounded, shared by threads, and not emptied by a scan.
 *
 * S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023) in each of the shards: a new
 * block comes into a small queue (a tenth of the bytes). At its end, who was asked for again goes on to the main queue,
 * who was not is thrown out, and only a fingerprint of it is kept for a while; if it comes back meanwhile, it goes
 * straight to the main queue. There a block is given another round for each time it was used, three at most. So what a
 * scan reads once passes through the tenth and leaves the rest alone. A hit changes one counter and moves nothing,
 * unlike LRU.
 *
 * A block is found by its number in its file: each file that is open has an array of pointers, one for each block, which
 * costs 8 bytes a block. A hash table would need less where most of a file is not in memory; but its chains are one more
 * wait for memory in every get, of some five, and the fruitless ones wait, too.
 *
 * A block is whoever holds a reference's to read; evicting it drops the cache's reference only.
 *
 * Invariants
 *   1. The bytes of the blocks in the cache, their headers and fingerprints included, never exceed `bytes_max`; the
 *      files' arrays come to it. A block larger than a shard's part is not taken. What is evicted while somebody holds it is no
 *      longer the cache's.
 *   2. A block's bytes never change once it has been put into the cache.
 *   3. A file that is closed has no block in the cache.
 *
 * Thread safety: any thread may call anything, but fc_block_cache_free, which is the last call.
 */
#ifndef FC_BLOCK_CACHE_H
#define FC_BLOCK_CACHE_H

#include "fc/base.h"

typedef struct fc_block_cache fc_block_cache;
typedef struct fc_cached_file fc_cached_file;

typedef struct fc_block {
    uint64_t refs;
    struct fc_block **slot;         /* of its file, once it is in the cache */
    uint64_t hash;                  /* of file and number */
    struct fc_block *newer, *older; /* in its queue */
    uint32_t n;                   /* bytes of data */
    uint8_t uses, queue;
    char data[];
} fc_block;

typedef struct fc_block_cache_stats {
    uint64_t bytes, blocks, hits, misses, inserted, evicted;
    uint64_t returned; /* insertions that a fingerprint sent to the main queue */
} fc_block_cache_stats;

#define FC_BLOCK_CACHE_MIN_BYTES 65536u

/* shards: a power of two, each with a lock of its own; 0: one for every 512 KiB, 16 at most. NULL: no memory, or a size
 * or number that makes no sense. */
fc_block_cache *fc_block_cache_new(uint64_t bytes_max, unsigned shards);
/* REQUIRES: no other call goes on or comes; all files are closed. Blocks that are still held live on until they are released. */
void fc_block_cache_free(fc_block_cache *c);

/* A file of so many blocks; NULL without memory. */
fc_cached_file *fc_block_cache_open(fc_block_cache *c, uint32_t blocks);
/* Its blocks leave the cache. REQUIRES: no other call with this file goes on or comes. NULL is fine. */
void fc_block_cache_close(fc_block_cache *c, fc_cached_file *f);

/* A block of n bytes with one reference, the caller's; NULL without memory. The caller fills data. */
fc_block *fc_block_new(uint32_t n);
void fc_block_hold(fc_block *b);
/* NULL is fine. */
void fc_block_release(fc_block *b);

/* A reference to block i, or NULL. `bytes` are about as many as it has: a hint. */
fc_block *fc_block_cache_get(fc_block_cache *c, fc_cached_file *f, uint32_t i, uint32_t bytes);
/* Gives a block that the caller has made to the cache. Returns the block to use, with the caller's reference: the same,
 * or the one that another thread was faster to put there. */
fc_block *fc_block_cache_put(fc_block_cache *c, fc_cached_file *f, uint32_t i, fc_block *b);

void fc_block_cache_get_stats(fc_block_cache *c, fc_block_cache_stats *out);

#endif
