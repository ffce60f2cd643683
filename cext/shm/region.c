#include "fc/region.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fc/pidlock.h"

#define MAGIC 0x316e676572636600ull /* "\0fcregn1": stored last, so a half-made region has none */
#define MAX_ALIGN (2ull << 20)

typedef struct entry {
    char name[FC_REGION_NAME + 1];
    uint64_t offset, size;
} entry;

typedef struct head {
    uint64_t magic;
    uint32_t version;
    fc_pidlock lock;
    uint64_t size;
    uint32_t count;
    char pad[FC_CACHE_LINE - 28];
    entry directory[FC_REGION_SECTIONS];
} head;

_Static_assert(offsetof(head, directory) == FC_CACHE_LINE, "the first line is one cache line");
_Static_assert(sizeof(entry) == 64 && sizeof(head) <= FC_REGION_MIN_SIZE, "documented layout");

static head *head_of(const fc_region *r) { return (head *)(void *)r->base; }

static int map(fc_region *r, int fd, uint64_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return FC_REGION_ESYS;
    *r = (fc_region){.base = base, .size = size, .fd = fd};
    return 0;
}

int fc_region_create(fc_region *r, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (size < FC_REGION_MIN_SIZE || size > FC_REGION_MAX_SIZE)
        return FC_REGION_ESIZE;
    size = (size + page - 1) & ~(page - 1);
    int fd = memfd_create("fastcore-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return FC_REGION_ESYS;
    if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
        map(r, fd, size) != 0) {
        close(fd);
        return FC_REGION_ESYS;
    }
    head *h = head_of(r);
    h->version = FC_REGION_VERSION;
    h->size = size;
    __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
    return 0;
}

int fc_region_attach(fc_region *r, int fd)
{
    struct stat st;
    fc_region found;
    if (fstat(fd, &st) != 0)
        return FC_REGION_ESYS;
    if (!S_ISREG(st.st_mode) || st.st_size < FC_REGION_MIN_SIZE)
        return FC_REGION_EMAGIC;
    if (map(&found, fd, (uint64_t)st.st_size) != 0)
        return FC_REGION_ESYS;
    const head *h = head_of(&found);
    int error = 0;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) != MAGIC)
        error = FC_REGION_EMAGIC;
    else if (h->version != FC_REGION_VERSION)
        error = FC_REGION_EVERSION;
    else if (h->size != found.size)
        error = FC_REGION_ESIZE;
    if (error)
        munmap(found.base, found.size);
    else
        *r = found;
    return error;
}

void fc_region_close(fc_region *r)
{
    munmap(r->base, r->size);
    close(r->fd);
    *r = (fc_region){.fd = -1};
}

uint32_t fc_region_count(const fc_region *r) { return __atomic_load_n(&head_of(r)->count, __ATOMIC_ACQUIRE); }

static const entry *find(const fc_region *r, const char *name)
{
    const head *h = head_of(r);
    for (uint32_t i = 0, n = fc_region_count(r); i < n; i++)
        if (strcmp(h->directory[i].name, name) == 0)
            return &h->directory[i];
    return NULL;
}

int64_t fc_region_find(const fc_region *r, const char *name, uint64_t *size)
{
    const entry *e = find(r, name);
    if (!e)
        return FC_REGION_ENONE;
    if (size)
        *size = e->size;
    return (int64_t)e->offset;
}

uint64_t fc_region_used(const fc_region *r)
{
    uint32_t n = fc_region_count(r);
    if (n == 0)
        return sizeof(head);
    const entry *last = &head_of(r)->directory[n - 1];
    return last->offset + last->size;
}

static int name_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= FC_REGION_NAME && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int64_t existing(const entry *e, uint64_t size, uint64_t align)
{
    return e->size == size && e->offset % align == 0 ? (int64_t)e->offset : FC_REGION_ECONFLICT;
}

static int64_t append(fc_region *r, const char *name, uint64_t size, uint64_t align)
{
    head *h = head_of(r);
    uint32_t n = h->count;
    uint64_t offset = (fc_region_used(r) + align - 1) & ~(align - 1);
    if (n == FC_REGION_SECTIONS)
        return FC_REGION_EDIR;
    if (offset > r->size || size > r->size - offset)
        return FC_REGION_EFULL;
    entry *e = &h->directory[n];
    *e = (entry){.offset = offset, .size = size};
    memcpy(e->name, name, strlen(name));
    __atomic_store_n(&h->count, n + 1, __ATOMIC_RELEASE);
    return (int64_t)offset;
}

int64_t fc_region_section(fc_region *r, const char *name, uint64_t size, uint64_t align)
{
    if (align == 0)
        align = FC_CACHE_LINE;
    if (!name_ok(name))
        return FC_REGION_ENAME;
    if ((align & (align - 1)) != 0 || align > MAX_ALIGN)
        return FC_REGION_EALIGN;
    if (size == 0 || size > r->size)
        return size == 0 ? FC_REGION_ESIZE : FC_REGION_EFULL;
    if (align < FC_CACHE_LINE)
        align = FC_CACHE_LINE;
    const entry *e = find(r, name);
    if (e)
        return existing(e, size, align);
    if (fc_pidlock_acquire(&head_of(r)->lock, FC_PIDLOCK_WAIT_NS) != 0)
        return FC_REGION_EBUSY;
    e = find(r, name);
    int64_t offset = e ? existing(e, size, align) : append(r, name, size, align);
    fc_pidlock_release(&head_of(r)->lock);
    return offset;
}

void fc_region_get(const fc_region *r, uint32_t i, fc_region_info *info)
{
    const entry *e = &head_of(r)->directory[i];
    memcpy(info->name, e->name, sizeof info->name);
    info->offset = e->offset;
    info->size = e->size;
}

void fc_region_release_dead(fc_region *r, uint32_t pid) { fc_pidlock_release_dead(&head_of(r)->lock, pid); }

const char *fc_region_strerror(int64_t error)
{
    switch (error) {
    case FC_REGION_EMAGIC: return "not a fastcore region";
    case FC_REGION_EVERSION: return "a region of another layout version";
    case FC_REGION_ESIZE: return "size out of range, or not the size the region was made with";
    case FC_REGION_EFULL: return "not enough room left in the region";
    case FC_REGION_EDIR: return "the region's directory of sections is full";
    case FC_REGION_ECONFLICT: return "the section exists with another size or alignment";
    case FC_REGION_EBUSY: return "another live process holds the region's lock";
    case FC_REGION_ENAME: return "a section's name is 1 to 47 of a-z 0-9 . _ -";
    case FC_REGION_EALIGN: return "alignment must be a power of two up to 2 MiB";
    case FC_REGION_ENONE: return "no such section";
    default: return "system call failed";
    }
}
