/* fc/region.h - one piece of shared memory for all workers, cut into named sections.
 *
 * A memfd mapped MAP_SHARED: made before fork, inherited by every worker, carried through exec as a file descriptor
 * number, gone with the last process that holds it. A file under /dev/shm lost: it outlives a crash and needs a name and
 * a cleaner. Pages are committed when first touched, so a generous size costs nothing.
 *
 *     offset 0     first cache line: magic, layout version, size, lock, number of sections
 *            64    directory: FC_REGION_SECTIONS entries of 64 bytes (name, offset, size)
 *            4160  sections, each on its own cache lines (or the larger alignment asked for)
 *
 * Native byte order and layout: a region is rebuilt at every cold start and never leaves the machine (the rule of
 * SQLite's wal-index).
 *
 * Invariants
 *  1. Positions, never pointers: every process may map the region elsewhere.
 *  2. Sections are only ever added. Entry i of the directory is complete and immutable once count > i; the count goes up
 *     by one release store, so a process killed at any instruction before leaves nothing behind, after it everything.
 *  3. There is no allocator state but the directory: free space begins after the last section.
 *  4. A section starts as zero bytes, and a process may die between making it and preparing it. So every tenant treats
 *     zeros as "not prepared yet" and prepares under a lock of its own, publishing last (see fc_metrics_open).
 *  5. The size is sealed: nobody can shrink the file under a mapping (no SIGBUS).
 */
#ifndef FC_REGION_H
#define FC_REGION_H

#include "fc/base.h"

#define FC_REGION_VERSION 1
#define FC_REGION_SECTIONS 64
#define FC_REGION_NAME 47 /* longest name */
#define FC_CACHE_LINE 64
#define FC_REGION_MIN_SIZE 8192
#define FC_REGION_MAX_SIZE (1ull << 40)

enum {
    FC_REGION_ESYS = -1,      /* a system call failed: see errno */
    FC_REGION_EMAGIC = -2,    /* the descriptor is no region */
    FC_REGION_EVERSION = -3,  /* a region of another layout version */
    FC_REGION_ESIZE = -4,     /* size out of range, or the file is not as long as its first line says */
    FC_REGION_EFULL = -5,     /* not enough room left for the section */
    FC_REGION_EDIR = -6,      /* the directory is full */
    FC_REGION_ECONFLICT = -7, /* the section exists with another size or alignment */
    FC_REGION_EBUSY = -8,     /* a live process kept the lock for FC_PIDLOCK_WAIT_NS */
    FC_REGION_ENAME = -9,     /* name empty, too long, or with other than a-z 0-9 . _ - */
    FC_REGION_EALIGN = -10,   /* alignment is no power of two up to 2 MiB */
    FC_REGION_ENONE = -11,    /* no section of that name */
};

/* A process's own view; nothing of it is shared. */
typedef struct fc_region {
    char *base;
    uint64_t size;
    int fd;
} fc_region;

typedef struct fc_region_info {
    char name[FC_REGION_NAME + 1];
    uint64_t offset, size;
} fc_region_info;

/* Makes a region of `size` bytes, rounded up to whole pages; its descriptor is close-on-exec. 0 or an error. */
int fc_region_create(fc_region *r, uint64_t size);
/* Maps the region behind fd, which then belongs to r. On error fd is left open and r untouched. */
int fc_region_attach(fc_region *r, int fd);
void fc_region_close(fc_region *r);

/* Offset of the section, made if absent; `align` 0 means a cache line. Same name, size and alignment: same offset. */
int64_t fc_region_section(fc_region *r, const char *name, uint64_t size, uint64_t align);
/* Offset and (if not NULL) size of an existing section; takes no lock. */
int64_t fc_region_find(const fc_region *r, const char *name, uint64_t *size);

uint32_t fc_region_count(const fc_region *r);
/* Section i < fc_region_count(r). */
void fc_region_get(const fc_region *r, uint32_t i, fc_region_info *info);
/* Bytes used, directory included. */
uint64_t fc_region_used(const fc_region *r);

/* Frees the region's lock if the dead process `pid` holds it: for the parent that reaped it. */
void fc_region_release_dead(fc_region *r, uint32_t pid);

/* One sentence for an error; for FC_REGION_ESYS the caller has errno. */
const char *fc_region_strerror(int64_t error);

#endif
