#include "fc/buf.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Under the address sanitizer a block that was given back is as unreadable as freed memory, though the pool keeps it. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(buf) ASAN_POISON_MEMORY_REGION((buf)->data, (buf)->cap)
#define UNPOISON(buf) ASAN_UNPOISON_MEMORY_REGION((buf)->data, (buf)->cap)
#else
#define POISON(buf) ((void)0)
#define UNPOISON(buf) ((void)0)
#endif

#define SLAB_BYTES (256u * 1024u)
#define CLASSES 3

static const uint32_t class_bytes[CLASSES] = {4096, 16384, 65536};

/* A slab is aligned to its own size, so a block finds its slab by masking its address. The header takes the first block's
 * place; for the large class that wastes 64 KB of addresses, of which one page is ever touched. */
typedef struct slab {
    struct slab *next, *prev; /* in one of its class's two lists, or in none when every block is out */
    fc_buf *free;
    uint32_t size_class;
    uint32_t in_use;
    uint32_t fresh; /* next block never handed out yet: untouched pages stay unmapped until needed */
} slab;

/* Partly used slabs come before unused ones, so that the unused ones stay unused and can go. */
typedef struct slab_class {
    slab *partial, *unused;
    uint32_t unused_len, unused_low; /* low: the fewest there were since the last trim */
} slab_class;

struct fc_bufpool {
    slab_class classes[CLASSES];
    size_t mapped, in_use, bytes_max;
};

static uint32_t slab_blocks(uint32_t size_class) { return SLAB_BYTES / class_bytes[size_class]; }

static slab *slab_of(fc_buf *buf) { return (slab *)((uintptr_t)buf & ~(uintptr_t)(SLAB_BYTES - 1)); }

static void list_push(slab **list, slab *s)
{
    s->prev = NULL;
    s->next = *list;
    if (s->next)
        s->next->prev = s;
    *list = s;
}

static void list_remove(slab **list, slab *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        *list = s->next;
    if (s->next)
        s->next->prev = s->prev;
}

static void slab_unmap(fc_bufpool *pool, slab *s)
{
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(s, SLAB_BYTES);
#endif
    munmap(s, SLAB_BYTES);
    pool->mapped -= SLAB_BYTES;
}

fc_bufpool *fc_bufpool_new(size_t bytes_max)
{
    fc_bufpool *pool = calloc(1, sizeof *pool);
    if (pool)
        pool->bytes_max = bytes_max;
    return pool;
}

void fc_bufpool_free(fc_bufpool *pool)
{
    if (!pool)
        return;
    for (int c = 0; c < CLASSES; c++)
        for (slab *s = pool->classes[c].unused, *next; s; s = next) {
            next = s->next;
            slab_unmap(pool, s);
        }
    free(pool);
}

size_t fc_bufpool_mapped(const fc_bufpool *pool) { return pool->mapped; }
size_t fc_bufpool_in_use(const fc_bufpool *pool) { return pool->in_use; }

bool fc_bufpool_has_spare(const fc_bufpool *pool)
{
    for (int c = 0; c < CLASSES; c++)
        if (pool->classes[c].unused_len)
            return true;
    return false;
}

bool fc_bufpool_trim(fc_bufpool *pool)
{
    for (int c = 0; c < CLASSES; c++) {
        slab_class *k = &pool->classes[c];
        for (; k->unused_low; k->unused_low--, k->unused_len--) {
            slab *s = k->unused;
            list_remove(&k->unused, s);
            slab_unmap(pool, s);
        }
        k->unused_low = k->unused_len;
    }
    return fc_bufpool_has_spare(pool);
}

static slab *slab_map(fc_bufpool *pool, uint32_t size_class)
{
    if (pool->mapped + SLAB_BYTES > pool->bytes_max)
        return NULL;
    /* Map twice the size and cut off what lies outside the aligned part. */
    char *raw = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *base = (char *)(((uintptr_t)raw + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
    if (base > raw)
        munmap(raw, (size_t)(base - raw));
    size_t tail = (size_t)(raw + 2 * SLAB_BYTES - (base + SLAB_BYTES));
    if (tail)
        munmap(base + SLAB_BYTES, tail);
    slab *s = (slab *)base;
    s->size_class = size_class;
    s->fresh = 1;
    pool->mapped += SLAB_BYTES;
    list_push(&pool->classes[size_class].partial, s);
    return s;
}

/* A slab with a free block, at the head of its class's partial list. */
static slab *slab_find(fc_bufpool *pool, uint32_t size_class)
{
    slab_class *k = &pool->classes[size_class];
    slab *s = k->unused;
    if (k->partial)
        return k->partial;
    if (!s)
        return slab_map(pool, size_class);
    list_remove(&k->unused, s);
    list_push(&k->partial, s);
    if (--k->unused_len < k->unused_low)
        k->unused_low = k->unused_len;
    return s;
}

fc_buf *fc_buf_get(fc_bufpool *pool, size_t n)
{
    uint32_t c = n <= FC_BUF_SMALL ? 0 : n <= FC_BUF_MEDIUM ? 1 : 2;
    if (FC_UNLIKELY(n > FC_BUF_LARGE))
        return NULL;
    slab *s = slab_find(pool, c);
    if (!s)
        return NULL;
    fc_buf *buf = s->free;
    if (buf) {
        s->free = buf->next;
    } else {
        buf = (fc_buf *)((char *)s + (size_t)s->fresh++ * class_bytes[c]);
        buf->pool = pool;
        buf->cap = class_bytes[c] - (uint32_t)sizeof(fc_buf);
        buf->size_class = c;
    }
    s->in_use++;
    pool->in_use += class_bytes[c];
    if (!s->free && s->fresh == slab_blocks(c))
        list_remove(&pool->classes[c].partial, s);
    UNPOISON(buf);
    buf->refs = 1;
    buf->used = 0;
    return buf;
}

void fc_buf_recycle(fc_buf *buf)
{
    fc_bufpool *pool = buf->pool;
    slab *s = slab_of(buf);
    slab_class *k = &pool->classes[s->size_class];
    bool was_full = !s->free && s->fresh == slab_blocks(s->size_class);
    buf->next = s->free;
    s->free = buf;
    POISON(buf);
    s->in_use--;
    pool->in_use -= class_bytes[s->size_class];
    if (s->in_use == 0) {
        if (!was_full)
            list_remove(&k->partial, s);
        list_push(&k->unused, s);
        k->unused_len++;
    } else if (was_full) {
        list_push(&k->partial, s);
    }
}
