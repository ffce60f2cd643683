/* fc/skiplist.h - an ordered map of byte strings on one flat piece of memory, offsets instead of pointers.
 *
 * Every level is a sorted linked list of blocks of up to 14 keys; a block of level n + 1 holds the first keys of blocks
 * of level n and where they are. A search moves right while the next block begins at or before the key, then down.
 * Level 0 alone decides what is in the list: the levels above are short cuts, and a missing or late one costs a step to
 * the right, never an answer (Lehman and Yao's link, seen as a skip list whose towers fall out of full blocks instead
 * of a coin). The classic form, one node a key, lost: at a million keys it follows some thirty links, a dozen of them
 * cache misses; here six blocks are touched, of which one or two are not in the cache. Beside each link lie the first
 * 16 bytes of the key as two big-endian words and its length, so that keys up to 16 bytes are compared without looking
 * at the entry, and most longer ones too.
 *
 * Order: memcmp, then length. Positions are 32-bit offsets in units of 8 bytes from the start of the memory, so it may
 * lie in a shared region and be mapped elsewhere in each process; at most 32 GiB.
 *
 * One writer, any number of readers, in threads or processes
 *   A block's order is one 64-bit word, a permutation of its slots (as in Masstree): an insertion fills a free slot and
 *   publishes by one store. Removals, replacements and splits raise the block's version after the word is stored and
 *   before a slot, a block or an entry is used again. A reader notes a block's version, reads, and looks at the version
 *   again: changed, then it starts over. It writes nothing and registers nowhere, so a dead or sleeping reader holds
 *   nothing up and memory is reused at once; the price is that it must copy what it found before it knows that it may
 *   believe it (fc_skiplist_read). There is no "being changed" mark either, hence a dead writer stops no reader.
 *
 * Invariants
 *   1. After every single store of the writer each key that was not being removed or inserted is found by readers, with
 *      its value before or after.
 *   2. A key's entry (key and value bytes) is immutable once it can be found.
 *   3. A call that fails (FC_SKIPLIST_EFULL, FC_SKIPLIST_ESIZE) has changed nothing.
 *   4. Memory that was a block becomes an entry only when the generation is raised (recovery, clear), which makes all
 *      readers start over; a block's version never goes back. So a version read from where a block was is one.
 *   5. A dead writer leaves nothing that the next one does not find: fc_skiplist_lock walks level 0, drops what is
 *      doubly there (half a split or merge), builds the levels above anew and frees whatever nobody refers to.
 *
 * Thread and process safety: calls marked [owner] belong to the writer, or to the only thread that uses the list; those
 * marked [any] may run beside it. Readers in a list whose entries are never removed or replaced (a memtable) may use
 * the pointers of fc_skiplist_seek as long as the list lives; all other concurrent readers go through
 * fc_skiplist_read*. A list with its own memory that may grow (fc_skiplist_open with bytes < max) moves and therefore
 * has one user only.
 */
#ifndef FC_SKIPLIST_H
#define FC_SKIPLIST_H

#include "fc/base.h"

#define FC_SKIPLIST_MIN_BYTES 8192ull
#define FC_SKIPLIST_MAX_BYTES (32ull << 30)
#define FC_SKIPLIST_KEY_MAX (1u << 20)   /* bytes; a bound on what a reader may have to copy */
#define FC_SKIPLIST_VALUE_MAX (1u << 28) /* bytes */

enum {
    FC_SKIPLIST_EFULL = -1,   /* no room left within the bound */
    FC_SKIPLIST_ESIZE = -2,   /* key, value or memory larger or smaller than allowed */
    FC_SKIPLIST_EFORMAT = -3, /* the memory holds something else, or a list with another tag */
    FC_SKIPLIST_EBUSY = -4,   /* another live process is the writer */
    FC_SKIPLIST_ENOMEM = -5,  /* the system gave no memory */
    FC_SKIPLIST_ESPACE = -6,  /* the reader's buffer is too small; the cursor says what is needed */
};

/* A process's own view; nothing of it is shared. */
typedef struct fc_skiplist {
    char *base;
    uint64_t size; /* bytes at base now */
    uint64_t max;  /* bytes it may grow to; equal to size in memory of fixed size */
    uint64_t mapped; /* bytes to unmap on close; 0: the memory is not ours */
} fc_skiplist;

typedef struct fc_skiplist_item {
    /* Except in a reader's copy the value begins at a multiple of 8 bytes, behind the key and the zeros that fill its last
     * 8 bytes, so who knows the key's length finds the key from the value. */
    fc_slice key, value;
} fc_skiplist_item;

/* A place in the list. item is what was found; the rest is the list's own. */
typedef struct fc_skiplist_cursor {
    fc_skiplist_item item;
    size_t need; /* bytes of buffer, after FC_SKIPLIST_ESPACE */
    uint32_t block, version, generation, entry;
    uint8_t slot;
} fc_skiplist_cursor;

typedef enum fc_skiplist_op {
    FC_SKIPLIST_EQ = 0, /* the key itself */
    FC_SKIPLIST_GE,     /* ceiling */
    FC_SKIPLIST_GT,     /* higher */
    FC_SKIPLIST_LE,     /* floor */
    FC_SKIPLIST_LT,     /* lower */
    FC_SKIPLIST_FIRST,  /* the key is not looked at */
    FC_SKIPLIST_LAST,
} fc_skiplist_op;

/* [owner] A list with memory of its own: `bytes` to begin with, doubled as needed up to max; bytes == max never moves.
 * Pages are committed when first touched. 0, FC_SKIPLIST_ESIZE or FC_SKIPLIST_ENOMEM. */
int fc_skiplist_open(fc_skiplist *l, uint64_t bytes, uint64_t max);
/* [any] The list in memory of the caller's (8-byte aligned, zeroed when new, e.g. a section of a region), prepared if
 * it is not yet. `tag` is the caller's word, say what the keys mean; a list with another tag is refused. */
int fc_skiplist_share(fc_skiplist *l, void *memory, uint64_t bytes, uint64_t tag);
/* [owner] Gives the list's own memory back; shared memory is left as it is. */
void fc_skiplist_close(fc_skiplist *l);

/* Become the writer of a shared list; if the last one died the list is recovered (O(n), readers go on meanwhile; it
 * takes a bit of scratch memory per 8 bytes of list). 0, FC_SKIPLIST_EBUSY when a live process still is after wait_ns,
 * FC_SKIPLIST_ENOMEM without scratch memory. One writer per process (fc/pidlock.h, invariant 2). */
int fc_skiplist_lock(fc_skiplist *l, uint64_t wait_ns);
void fc_skiplist_unlock(fc_skiplist *l);
/* Pid of the writer, 0 when there is none. */
uint32_t fc_skiplist_writer(const fc_skiplist *l);

/* [owner] Set the key's value. 1: the key is new; 0: replaced; or FC_SKIPLIST_EFULL, FC_SKIPLIST_ESIZE. A replacement
 * needs room for the new value beside the old one. Keys in ascending order fill their blocks completely and find
 * everything in the cache: that is how to load in bulk. */
int fc_skiplist_put(fc_skiplist *l, fc_slice key, fc_slice value);
/* [owner] The same, but a key that exists is left alone: 0. *found (if not NULL) is what is there then, new or not: who owns
 * a list without removals may keep a pointer to the value and change it in place, by single stores. */
int fc_skiplist_insert(fc_skiplist *l, fc_slice key, fc_slice value, fc_skiplist_item *found);
/* [owner] Brings what insertions of these keys will touch into the cache, the misses of all of them side by side: one after the
 * other, in a list much larger than the cache, they are most of what an insertion costs. Up to FC_SKIPLIST_FETCH keys at a time. */
#define FC_SKIPLIST_FETCH 32u
void fc_skiplist_fetch(const fc_skiplist *l, const fc_slice *keys, size_t n);
/* [owner] A word that stands for an item in the list (not a reader's copy) until it is removed or replaced, and the item
 * again: for who keeps an index of another kind to the same items. */
uint32_t fc_skiplist_ref(const fc_skiplist *l, const fc_skiplist_item *item);
void fc_skiplist_entry(const fc_skiplist *l, uint32_t ref, fc_skiplist_item *item);
/* [owner] 1: removed; 0: there was none. *removed (if not NULL) stays readable until the next put or insert. */
int fc_skiplist_remove(fc_skiplist *l, fc_slice key, fc_skiplist_item *removed);
/* [owner] Removes the first or last key; 1, or 0 when the list is empty. */
int fc_skiplist_pop(fc_skiplist *l, bool last, fc_skiplist_item *removed);
/* [owner] Removes everything. */
void fc_skiplist_clear(fc_skiplist *l);

/* [any] The key nearest to `key` in the direction of op. True when there is one; then c->item points into the list.
 * Owners and readers of lists without removals: pointers are good until the list is changed resp. closed. */
bool fc_skiplist_seek(const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c);
/* [any] One key further. c->item.key is consulted if the list was changed there meanwhile, so it must be readable; what
 * comes is the next key in order even when the current one was removed. */
bool fc_skiplist_next(const fc_skiplist *l, fc_skiplist_cursor *c);
bool fc_skiplist_prev(const fc_skiplist *l, fc_skiplist_cursor *c);

/* [any] seek, next and prev for readers beside a writer that removes or replaces: key and value are copied to buf (key,
 * then value, which c->item then points to). 1, 0 (none), or FC_SKIPLIST_ESPACE: the cursor has not moved, call again
 * with c->need bytes. read_next starts from the key in buf, so the buffer must stay, and have room for that key and the
 * next item beside it; a larger buffer must begin with the old one's bytes (realloc). */
int fc_skiplist_read(const fc_skiplist *l, fc_slice key, fc_skiplist_op op, fc_skiplist_cursor *c, char *buf,
                     size_t cap);
int fc_skiplist_read_next(const fc_skiplist *l, fc_skiplist_cursor *c, bool backwards, char *buf, size_t cap);

/* [owner] Number of keys below `key`; the item at an index (false when there is none). O(log n). */
uint64_t fc_skiplist_rank(const fc_skiplist *l, fc_slice key);
bool fc_skiplist_at(const fc_skiplist *l, uint64_t index, fc_skiplist_cursor *c);

/* [any] Number of keys; bytes taken from the bound (freed ones that wait for use again included) and in use. */
uint64_t fc_skiplist_count(const fc_skiplist *l);
uint64_t fc_skiplist_bytes(const fc_skiplist *l);
uint64_t fc_skiplist_bytes_used(const fc_skiplist *l);

/* [owner] For tests: NULL, or what is wrong with the structure. O(n). */
const char *fc_skiplist_check(const fc_skiplist *l);

/* One sentence for an error. */
const char *fc_skiplist_strerror(int error);

#endif
