/* guard.h - bytes that end where the address space ends: one byte too far is a fault, not a lucky read. */
#ifndef FC_TEST_GUARD_H
#define FC_TEST_GUARD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct guard {
    char *base;
    size_t room; /* bytes before the page that may not be touched */
} guard;

static inline guard guard_make(size_t room)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guard g = {.room = (room + page - 1) / page * page};
    void *base = mmap(NULL, g.room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect((char *)base + g.room, page, PROT_NONE) != 0)
        abort();
    g.base = base;
    return g;
}

/* A copy of p[0..n) right before the forbidden page. */
static inline char *guard_put(const guard *g, const char *p, size_t n)
{
    if (n > g->room)
        abort();
    return memcpy(g->base + g->room - n, p, n);
}

static inline void guard_free(guard *g)
{
    munmap(g->base, g->room + (size_t)sysconf(_SC_PAGESIZE));
}

#endif
