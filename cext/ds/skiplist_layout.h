/* skiplist_layout.h - what lies where in the memory of a skip list (see fc/skiplist.h).
 *
 *     0      head: 128 bytes of state, then free lists by size
 *     after  blocks and entries as they come, up to `top`; beyond, untouched memory
 *
 * A ref is an offset in units of 8 bytes; 0 is none. Whatever a reader may look at while it changes is read with
 * acquire and written with release, word by word, entries included: on x86 these are plain moves, and they need no
 * fences (which the thread sanitizer does not know) to keep data between the two looks at a version.
 */
#ifndef FC_SKIPLIST_LAYOUT_H
#define FC_SKIPLIST_LAYOUT_H

#include <string.h>

#include "fc/bytes.h"
#include "fc/pidlock.h"
#include "fc/skiplist.h"

#define SKIP_MAGIC 0x31746c7069636600ull /* "\0fcplt1": stored last, so a half-made list has none */
#define SKIP_VERSION 1u
#define SKIP_SLOTS 14u /* 4 bits each and 8 for the count fill the order word */
#define SKIP_LEVELS 16u /* a level more takes seven times the insertions: 7^15 are not seen in a life */
#define SKIP_LONG 17u  /* length class of keys that two words do not decide */
#define SKIP_SMALL 64u /* chunks up to so many units have a free list for each size */
#define SKIP_CLASSES (SKIP_SMALL + 1 + 27) /* above: one for each power of two */

typedef struct skip_head {
    uint64_t magic;
    uint32_t layout;
    fc_pidlock maker; /* held while the list is prepared */
    uint64_t tag, size;
    fc_pidlock writer;
    uint32_t dirty; /* a writer came and has not left */
    uint64_t pad[3];
    /* second line: what every search reads */
    uint32_t root, generation;
    uint64_t count;
    uint64_t used; /* bytes in use, head included */
    uint32_t top;  /* first ref never used */
    uint32_t pad2[9];
    uint32_t free_entries[SKIP_CLASSES], free_leaves, free_inners;
} skip_head;

/* A leaf ends before `counts`. */
typedef struct skip_block {
    uint64_t order; /* bits 4i..4i+3: slot of rank i, beyond the count the free slots; bits 56..63: count */
    uint32_t version;
    uint32_t next, prev; /* prev may be too far left, never too far right */
    uint32_t level;
    uint64_t first[SKIP_SLOTS];  /* bytes 0..7 of the key, big-endian, zeros behind its end */
    uint32_t refs[SKIP_SLOTS];   /* entry, or block one level down */
    uint64_t second[SKIP_SLOTS]; /* bytes 8..15 */
    uint8_t length[SKIP_SLOTS];  /* up to 16, or SKIP_LONG */
    uint8_t last; /* slot of the latest insertion; the writer's alone */
    uint8_t pad;
    uint32_t counts[SKIP_SLOTS]; /* keys below refs[i]; the writer's alone */
} skip_block;

_Static_assert(offsetof(skip_head, root) == 64 && offsetof(skip_head, free_entries) == 128, "documented layout");
_Static_assert(offsetof(skip_block, refs) % 8 == 0 && offsetof(skip_block, pad) + 1 == 320, "documented layout");

/* Blocks lie on cache lines: one search reads three of them, or five when first words are equal. */
#define SKIP_LINE_UNITS 8u
#define SKIP_LEAF_UNITS 40u
#define SKIP_INNER_UNITS 48u
_Static_assert(offsetof(skip_block, counts) == SKIP_LEAF_UNITS * 8, "a leaf");
_Static_assert(sizeof(skip_block) <= SKIP_INNER_UNITS * 8, "an inner block");

/* All five lines at once: one after the other they would be that many misses in a leaf. */
static inline void skip_fetch(const skip_block *b)
{
    for (unsigned line = 1; line < 5; line++)
        __builtin_prefetch((const char *)b + line * 64);
}

/* An entry: two lengths, key padded with zeros to whole words, value likewise. A free chunk: next, units. */
#define SKIP_WORDS(n) (((uint64_t)(n) + 7) / 8)
#define SKIP_ENTRY_UNITS(key, value) (1 + SKIP_WORDS(key) + SKIP_WORDS(value))

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, x) __atomic_store_n(p, x, __ATOMIC_RELEASE)

/* A key as searches want it. */
typedef struct skip_probe {
    uint64_t first, second;
    const char *p;
    uint32_t n;
    uint32_t length;
} skip_probe;

static inline skip_head *skip_head_of(const fc_skiplist *l) { return (skip_head *)(void *)l->base; }

static inline uint64_t *skip_at(const fc_skiplist *l, uint32_t ref)
{
    return (uint64_t *)(void *)(l->base + (uint64_t)ref * 8);
}

static inline skip_block *skip_block_at(const fc_skiplist *l, uint32_t ref)
{
    return (skip_block *)(void *)skip_at(l, ref);
}

static inline unsigned skip_count(uint64_t order) { return (unsigned)(order >> 56); }
static inline unsigned skip_slot(uint64_t order, unsigned rank) { return (unsigned)(order >> (4 * rank)) & 15; }

static inline uint64_t skip_word(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n < 8 ? n : 8);
    return fc_be64(word);
}

static inline uint64_t skip_key_word(const char *p, size_t n, size_t i)
{
    return 8 * i < n ? skip_word(p + 8 * i, n - 8 * i) : 0;
}

static inline skip_probe skip_probe_of(fc_slice key)
{
    return (skip_probe){.first = skip_key_word(key.p, key.n, 0),
                        .second = skip_key_word(key.p, key.n, 1),
                        .p = key.p,
                        .n = (uint32_t)key.n,
                        .length = key.n <= 16 ? (uint32_t)key.n : SKIP_LONG};
}

/* Number of keys in the block below the probe; *exact: the next one equals it. Bounded and in bounds whatever the
 * memory holds. */
unsigned skip_search(const fc_skiplist *l, const skip_block *b, uint64_t order, const skip_probe *k, bool *exact);
/* Rank of the child of an inner block that holds the probe or would: the last that begins at or below it, else the
 * first, whose own slot is not looked at. It may say more than where the child begins now: smaller keys came, or a
 * child before it went. */
static inline unsigned skip_child(const fc_skiplist *l, const skip_block *b, uint64_t order, const skip_probe *k)
{
    bool exact;
    uint64_t others = (order & ((1ull << 56) - 1)) >> 4 | (uint64_t)(skip_count(order) - 1) << 56;
    unsigned rank = skip_search(l, b, others, k, &exact);
    return rank + exact;
}

/* Whether the ref can be a block's or an entry's start. */
static inline bool skip_inside(const fc_skiplist *l, uint32_t ref, uint64_t units)
{
    return ref >= sizeof(skip_head) / 8 && ref + units <= l->size / 8;
}

/* skiplist_memory.c */

/* Room for a chunk of so many units, 0 when there is none; may move l->base. */
uint32_t skip_take(fc_skiplist *l, uint64_t units);
void skip_give(fc_skiplist *l, uint32_t ref, uint64_t units);
uint32_t skip_take_block(fc_skiplist *l, uint32_t level);
void skip_give_block(fc_skiplist *l, uint32_t ref);
/* Makes a chunk that no reader can be using free memory of any kind. */
void skip_release(fc_skiplist *l, uint32_t ref, uint64_t units);
void skip_forget_free(fc_skiplist *l);
void skip_prepare(fc_skiplist *l, uint64_t tag);

/* skiplist_slot.c */

/* What a slot says. */
typedef struct skip_slot_value {
    uint64_t first, second;
    uint32_t ref, count;
    uint8_t length;
} skip_slot_value;

skip_slot_value skip_read_slot(const skip_block *b, unsigned rank);
/* Into a block that is not full: a free slot is filled, then the order published. */
void skip_insert_slot(skip_block *b, unsigned rank, const skip_slot_value *v);
void skip_remove_slot(skip_block *b, unsigned rank);
void skip_keep_first(skip_block *b, unsigned n);
/* To be called after something was taken out of the block, before its slot or what it referred to is used again. */
void skip_raise_version(skip_block *b);
/* Number of keys at and below the block. */
uint32_t skip_keys_in(const skip_block *b);
/* Takes a block that no parent refers to out of its level and frees it. */
void skip_unlink(fc_skiplist *l, uint32_t ref);

/* skiplist_recover.c */
int skip_recover(fc_skiplist *l);

#endif
