#include "fc/arena.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 16u
/* Chunks of 16 KB keep the waste small for a small table and the mallocs few for a large one. */
#define CHUNK_BYTES (16u * 1024u)

typedef struct fc_arena_chunk {
    struct fc_arena_chunk *next;
    size_t size; /* of data */
    _Alignas(ALIGN) char data[];
} fc_arena_chunk;

void fc_arena_init(fc_arena *a, size_t max)
{
    *a = (fc_arena){.max = max};
}

void *fc_arena_alloc(fc_arena *a, size_t n)
{
    if (n > a->max)
        return NULL;
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    fc_arena_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->size - a->used < n) {
        size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        size_t left = a->max - a->bytes;
        if (left < sizeof *chunk + n)
            return NULL;
        if (left < sizeof *chunk + size)
            size = n;
        chunk = calloc(1, sizeof *chunk + size);
        if (chunk == NULL)
            return NULL;
        chunk->size = size;
        chunk->next = a->chunks;
        a->chunks = chunk;
        a->bytes += sizeof *chunk + size;
        a->used = 0;
    }
    void *p = chunk->data + a->used;
    a->used += n;
    return p;
}

void *fc_arena_array(fc_arena *a, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    return fc_arena_alloc(a, total);
}

char *fc_arena_copy(fc_arena *a, const char *p, size_t n)
{
    char *copy = n == SIZE_MAX ? NULL : fc_arena_alloc(a, n + 1);
    if (copy != NULL && n > 0)
        memcpy(copy, p, n);
    return copy;
}

void fc_arena_free(fc_arena *a)
{
    for (fc_arena_chunk *chunk = a->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    fc_arena_init(a, a->max);
}
