#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skiplist_layout.h"

#define HUGE (2ull << 20)

/* Address space aligned for huge pages where the size is worth one: a random search through 60 MB of 4 KiB pages spends
 * a third of its time on the page tables. */
static char *map(uint64_t size)
{
    uint64_t extra = size >= HUGE ? HUGE : 0;
    char *p = mmap(NULL, size + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (extra) {
        uint64_t skip = (HUGE - (uintptr_t)p % HUGE) % HUGE;
        if (skip)
            munmap(p, skip);
        if (extra - skip)
            munmap(p + skip + size, extra - skip);
        p += skip;
        madvise(p, size, MADV_HUGEPAGE);
    }
    return p;
}

static bool grow(fc_skiplist *l, uint64_t need)
{
    uint64_t size = l->size;
    while (size < need && size < l->max)
        size = size * 2 < l->max ? size * 2 : l->max;
    if (size < need || size == l->size)
        return false;
    char *p = map(size);
    if (!p)
        return false;
    if (mremap(l->base, l->mapped, size, MREMAP_MAYMOVE | MREMAP_FIXED, p) == MAP_FAILED) {
        munmap(p, size);
        return false;
    }
    if (size >= HUGE)
        madvise(p, size, MADV_HUGEPAGE);
    l->base = p;
    l->size = l->mapped = size;
    skip_head_of(l)->size = size;
    return true;
}

void skip_prepare(fc_skiplist *l, uint64_t tag)
{
    skip_head *h = skip_head_of(l);
    h->layout = SKIP_VERSION;
    h->tag = tag;
    h->size = l->size;
    h->count = 0;
    h->top = (uint32_t)((sizeof *h + 63) / 64 * 8);
    h->used = (uint64_t)h->top * 8;
    h->root = skip_take_block(l, 0);
}

int fc_skiplist_open(fc_skiplist *l, uint64_t bytes, uint64_t max)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (bytes > max || max > FC_SKIPLIST_MAX_BYTES || max < FC_SKIPLIST_MIN_BYTES)
        return FC_SKIPLIST_ESIZE;
    if (bytes < FC_SKIPLIST_MIN_BYTES)
        bytes = FC_SKIPLIST_MIN_BYTES;
    bytes = (bytes + page - 1) & ~(page - 1);
    max = (max + page - 1) & ~(page - 1);
    char *base = map(bytes);
    if (!base)
        return FC_SKIPLIST_ENOMEM;
    *l = (fc_skiplist){.base = base, .size = bytes, .max = max, .mapped = bytes};
    skip_prepare(l, 0);
    STORE(&skip_head_of(l)->magic, SKIP_MAGIC);
    return 0;
}

int fc_skiplist_share(fc_skiplist *l, void *memory, uint64_t bytes, uint64_t tag)
{
    bytes &= ~7ull;
    if (bytes < FC_SKIPLIST_MIN_BYTES || bytes > FC_SKIPLIST_MAX_BYTES || (uintptr_t)memory % 8 != 0)
        return FC_SKIPLIST_ESIZE;
    fc_skiplist made = {.base = memory, .size = bytes, .max = bytes};
    skip_head *h = skip_head_of(&made);
    if (LOAD(&h->magic) == 0) {
        if (fc_pidlock_acquire(&h->maker, FC_PIDLOCK_WAIT_NS) != 0)
            return FC_SKIPLIST_EBUSY;
        if (LOAD(&h->magic) == 0) {
            skip_forget_free(&made);
            skip_prepare(&made, tag);
            STORE(&h->magic, SKIP_MAGIC);
        }
        fc_pidlock_release(&h->maker);
    }
    if (h->magic != SKIP_MAGIC || h->layout != SKIP_VERSION || h->tag != tag || h->size != bytes)
        return FC_SKIPLIST_EFORMAT;
    *l = made;
    return 0;
}

void fc_skiplist_close(fc_skiplist *l)
{
    if (l->mapped)
        munmap(l->base, l->mapped);
    *l = (fc_skiplist){.base = NULL};
}

int fc_skiplist_lock(fc_skiplist *l, uint64_t wait_ns)
{
    skip_head *h = skip_head_of(l);
    if (fc_pidlock_acquire(&h->writer, wait_ns) != 0)
        return FC_SKIPLIST_EBUSY;
    int error = h->dirty ? skip_recover(l) : 0;
    if (error)
        fc_pidlock_release(&h->writer);
    else
        STORE(&h->dirty, 1);
    return error;
}

void fc_skiplist_unlock(fc_skiplist *l)
{
    STORE(&skip_head_of(l)->dirty, 0);
    fc_pidlock_release(&skip_head_of(l)->writer);
}

uint32_t fc_skiplist_writer(const fc_skiplist *l) { return LOAD(&skip_head_of(l)->writer.owner); }
uint64_t fc_skiplist_count(const fc_skiplist *l) { return LOAD(&skip_head_of(l)->count); }
uint64_t fc_skiplist_bytes(const fc_skiplist *l) { return (uint64_t)LOAD(&skip_head_of(l)->top) * 8; }
uint64_t fc_skiplist_bytes_used(const fc_skiplist *l) { return LOAD(&skip_head_of(l)->used); }

/* A free chunk's first word: the next one's ref below, its own units above. */
static uint32_t free_next(const fc_skiplist *l, uint32_t ref) { return (uint32_t)*skip_at(l, ref); }
static uint64_t free_units(const fc_skiplist *l, uint32_t ref) { return *skip_at(l, ref) >> 32; }

/* The class a chunk of so many units is kept in: all in class c > SKIP_SMALL have at
 * least 64 << (c - SKIP_SMALL - 1). */
static unsigned class_of(uint64_t units)
{
    return units <= SKIP_SMALL ? (unsigned)units : SKIP_SMALL + 1 + (unsigned)(57 - __builtin_clzll(units));
}

void skip_release(fc_skiplist *l, uint32_t ref, uint64_t units)
{
    uint32_t *list = &skip_head_of(l)->free_entries[class_of(units)];
    STORE(skip_at(l, ref), units << 32 | *list);
    *list = ref;
}

void skip_forget_free(fc_skiplist *l)
{
    skip_head *h = skip_head_of(l);
    memset(h->free_entries, 0, sizeof h->free_entries);
    h->free_leaves = h->free_inners = 0;
}

/* Takes the chunk behind *link, gives the rest back. */
static uint32_t cut(fc_skiplist *l, uint64_t *word, uint32_t *list, uint64_t units)
{
    uint32_t ref = word ? (uint32_t)*word : *list;
    uint64_t rest = free_units(l, ref) - units;
    uint32_t next = free_next(l, ref);
    if (word)
        STORE(word, (*word & ~0xffffffffull) | next);
    else
        *list = next;
    if (rest)
        skip_release(l, ref + (uint32_t)units, rest);
    return ref;
}

/* How many chunks of the right class are looked at before a larger class is broken. */
#define LOOKED_AT 16

static uint32_t take_free(fc_skiplist *l, uint64_t units)
{
    skip_head *h = skip_head_of(l);
    unsigned class = class_of(units);
    uint64_t *word = NULL;
    uint32_t ref = h->free_entries[class];
    for (int i = 0; ref && i < LOOKED_AT; i++) {
        if (free_units(l, ref) >= units)
            return cut(l, word, &h->free_entries[class], units);
        word = skip_at(l, ref);
        ref = free_next(l, ref);
    }
    return 0;
}

static uint32_t take_larger(fc_skiplist *l, uint64_t units)
{
    skip_head *h = skip_head_of(l);
    for (unsigned class = class_of(units) + 1; class < SKIP_CLASSES; class++)
        if (h->free_entries[class])
            return cut(l, NULL, &h->free_entries[class], units);
    return 0;
}

static uint32_t take_top(fc_skiplist *l, uint64_t units)
{
    skip_head *h = skip_head_of(l);
    if ((h->top + units) * 8 > l->size) {
        if (!grow(l, (h->top + units) * 8))
            return 0;
        h = skip_head_of(l);
    }
    uint32_t ref = h->top;
    STORE(&h->top, ref + (uint32_t)units);
    return ref;
}

uint32_t skip_take(fc_skiplist *l, uint64_t units)
{
    uint32_t ref = take_free(l, units);
    if (!ref)
        ref = take_top(l, units);
    if (!ref)
        ref = take_larger(l, units);
    if (ref)
        skip_head_of(l)->used += units * 8;
    return ref;
}

void skip_give(fc_skiplist *l, uint32_t ref, uint64_t units)
{
    skip_head_of(l)->used -= units * 8;
    skip_release(l, ref, units);
}

/* A chunk that has room for whole lines, though not wherever they might begin: where a block was, say. */
static uint32_t take_fitting(fc_skiplist *l, uint64_t units, uint64_t more, uint64_t *found)
{
    skip_head *h = skip_head_of(l);
    for (uint64_t size = units; size <= units + more; size++) {
        uint64_t *word = NULL;
        uint32_t ref = h->free_entries[size];
        for (int i = 0; ref && i < LOOKED_AT; i++) {
            if (units + -(uint64_t)ref % SKIP_LINE_UNITS <= size) {
                *found = size;
                return cut(l, word, &h->free_entries[size], size);
            }
            word = skip_at(l, ref);
            ref = free_next(l, ref);
        }
    }
    return 0;
}

/* Whole lines for a block; what lies before and behind them is for small entries. */
static uint32_t take_lines(fc_skiplist *l, uint64_t units)
{
    skip_head *h = skip_head_of(l);
    const uint64_t more = SKIP_LINE_UNITS - 1;
    uint64_t size = units + -(uint64_t)h->top % SKIP_LINE_UNITS;
    uint32_t ref = take_top(l, size);
    if (!ref)
        ref = take_fitting(l, units, more, &size);
    if (!ref && (ref = take_larger(l, units + more)))
        size = units + more;
    if (!ref)
        return 0;
    uint64_t before = -(uint64_t)ref % SKIP_LINE_UNITS;
    if (before)
        skip_release(l, ref, before);
    if (size > before + units)
        skip_release(l, ref + (uint32_t)(before + units), size - before - units);
    skip_head_of(l)->used += units * 8;
    return ref + (uint32_t)before;
}

uint32_t skip_take_block(fc_skiplist *l, uint32_t level)
{
    skip_head *h = skip_head_of(l);
    uint64_t units = level ? SKIP_INNER_UNITS : SKIP_LEAF_UNITS;
    uint32_t *list = level ? &h->free_inners : &h->free_leaves;
    uint32_t ref = *list;
    skip_block *b;
    if (ref) {
        b = skip_block_at(l, ref);
        *list = b->next;
        h->used += units * 8;
    } else {
        ref = take_lines(l, units);
        if (!ref)
            return 0;
        b = skip_block_at(l, ref);
        STORE(&b->version, 0);
    }
    STORE(&b->level, level);
    STORE(&b->next, 0);
    STORE(&b->prev, 0);
    STORE(&b->order, 0xdcba9876543210ull);
    return ref;
}

/* The version is raised before anything of the block is used again. */
void skip_give_block(fc_skiplist *l, uint32_t ref)
{
    skip_head *h = skip_head_of(l);
    skip_block *b = skip_block_at(l, ref);
    uint32_t *list = b->level ? &h->free_inners : &h->free_leaves;
    STORE(&b->version, b->version + 1);
    STORE(&b->next, *list);
    *list = ref;
    h->used -= (b->level ? SKIP_INNER_UNITS : SKIP_LEAF_UNITS) * 8;
}

const char *fc_skiplist_strerror(int error)
{
    switch (error) {
    case FC_SKIPLIST_EFULL: return "the list is full";
    case FC_SKIPLIST_ESIZE: return "key, value or memory outside its limits";
    case FC_SKIPLIST_EFORMAT: return "the memory holds something else, or a list of another size or kind of key";
    case FC_SKIPLIST_EBUSY: return "another live process is the writer";
    case FC_SKIPLIST_ENOMEM: return "the system gave no memory";
    default: return "the buffer is too small";
    }
}
