#include "fc/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "fc/pidlock.h"
#include "step.h"

#define SIZE 16384

/* Sections lie inside the region, on cache lines, one after another, with a name each. */
static void check_directory(const fc_region *r)
{
    uint64_t end = FC_CACHE_LINE + FC_REGION_SECTIONS * 64;
    for (uint32_t i = 0; i < fc_region_count(r); i++) {
        fc_region_info s;
        fc_region_get(r, i, &s);
        CHECK(s.name[0] != 0 && s.name[FC_REGION_NAME] == 0);
        CHECK(s.offset % FC_CACHE_LINE == 0 && s.offset >= end && s.size > 0);
        end = s.offset + s.size;
        CHECK(end <= r->size);
    }
    CHECK(fc_region_used(r) == end);
}

static void test_sections(void)
{
    fc_region r;
    uint64_t size;
    CHECK(fc_region_create(&r, SIZE) == 0);
    CHECK(fc_region_count(&r) == 0 && fc_region_used(&r) == 4160);
    int64_t a = fc_region_section(&r, "a", 10, 0), b = fc_region_section(&r, "b.b_b-9", 100, 1024);
    CHECK(a == 4160);
    CHECK(b > 0 && b % 1024 == 0);
    CHECK(fc_region_section(&r, "a", 10, 0) == a);
    CHECK(fc_region_section(&r, "a", 10, 8) == a);
    CHECK(fc_region_section(&r, "a", 11, 0) == FC_REGION_ECONFLICT);
    CHECK(fc_region_section(&r, "a", 10, 8192) == FC_REGION_ECONFLICT);
    CHECK(fc_region_find(&r, "b.b_b-9", &size) == b && size == 100);
    CHECK(fc_region_find(&r, "c", &size) == FC_REGION_ENONE);
    CHECK(fc_region_count(&r) == 2);
    check_directory(&r);

    char name[FC_REGION_NAME + 2];
    memset(name, 'x', sizeof name);
    name[FC_REGION_NAME + 1] = 0;
    CHECK(fc_region_section(&r, name, 8, 0) == FC_REGION_ENAME);
    name[FC_REGION_NAME] = 0;
    CHECK(fc_region_section(&r, name, 8, 0) > 0);
    CHECK(fc_region_section(&r, "", 8, 0) == FC_REGION_ENAME);
    CHECK(fc_region_section(&r, "A", 8, 0) == FC_REGION_ENAME);
    CHECK(fc_region_section(&r, "z", 8, 48) == FC_REGION_EALIGN);
    CHECK(fc_region_section(&r, "z", 8, 4ull << 20) == FC_REGION_EALIGN);
    CHECK(fc_region_section(&r, "z", 0, 0) == FC_REGION_ESIZE);
    CHECK(fc_region_section(&r, "z", SIZE, 0) == FC_REGION_EFULL);
    CHECK(fc_region_section(&r, "z", UINT64_MAX, 0) == FC_REGION_EFULL);
    CHECK(fc_region_section(&r, "z", 8, 2ull << 20) == FC_REGION_EFULL);

    uint64_t rest = SIZE - ((fc_region_used(&r) + 63) & ~63ull);
    CHECK(fc_region_section(&r, "rest", rest + 1, 0) == FC_REGION_EFULL);
    CHECK(fc_region_section(&r, "rest", rest, 0) > 0);
    CHECK(fc_region_section(&r, "more", 1, 0) == FC_REGION_EFULL);
    check_directory(&r);
    fc_region_close(&r);
    CHECK(r.fd == -1);

    CHECK(fc_region_create(&r, 100) == FC_REGION_ESIZE);
    CHECK(fc_region_create(&r, UINT64_MAX) == FC_REGION_ESIZE);
    CHECK(fc_region_create(&r, 1 << 20) == 0);
    for (int i = 0; i < FC_REGION_SECTIONS; i++) {
        snprintf(name, sizeof name, "s%d", i);
        CHECK(fc_region_section(&r, name, 1, 0) > 0);
    }
    CHECK(fc_region_section(&r, "one-more", 1, 0) == FC_REGION_EDIR);
    check_directory(&r);
    fc_region_close(&r);
}

static void test_attach(void)
{
    fc_region r, other;
    CHECK(fc_region_create(&r, SIZE) == 0);
    int64_t at = fc_region_section(&r, "a", 64, 0);
    int fd = fcntl(r.fd, F_DUPFD_CLOEXEC, 0);
    CHECK(fc_region_attach(&other, fd) == 0);
    CHECK(other.size == SIZE && other.base != r.base && fc_region_find(&other, "a", NULL) == at);
    strcpy(r.base + at, "seen by both");
    CHECK(strcmp(other.base + at, "seen by both") == 0);
    CHECK(ftruncate(r.fd, 4096) != 0 && errno == EPERM);

    uint32_t *words = (uint32_t *)(void *)r.base;
    fc_region none = {.base = NULL};
    words[2] = 2;
    CHECK(fc_region_attach(&none, fd) == FC_REGION_EVERSION);
    words[2] = FC_REGION_VERSION;
    words[4] = SIZE * 2;
    CHECK(fc_region_attach(&none, fd) == FC_REGION_ESIZE);
    words[4] = SIZE;
    words[0] ^= 1;
    CHECK(fc_region_attach(&none, fd) == FC_REGION_EMAGIC);
    fc_region_close(&other);
    fc_region_close(&r);

    int pipes[2], plain = memfd_create("plain", 0);
    CHECK(pipe(pipes) == 0 && ftruncate(plain, 100) == 0);
    CHECK(fc_region_attach(&none, pipes[0]) == FC_REGION_EMAGIC);
    CHECK(fc_region_attach(&none, plain) == FC_REGION_EMAGIC);
    CHECK(ftruncate(plain, SIZE) == 0);
    CHECK(fc_region_attach(&none, plain) == FC_REGION_EMAGIC);
    close(plain);
    CHECK(fc_region_attach(&none, plain) == FC_REGION_ESYS && errno == EBADF);
    CHECK(none.base == NULL);
    for (int e = FC_REGION_ENONE; e <= FC_REGION_ESYS; e++)
        CHECK(strlen(fc_region_strerror(e)) > 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void test_pidlock(void)
{
    fc_pidlock *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fc_pidlock_acquire(lock, 0) == 0);
    CHECK(lock->owner == (uint32_t)getpid());
    CHECK(fc_pidlock_acquire(lock, 0) == 0); /* a dead process that had our pid */
    CHECK(!fc_pidlock_release_dead(lock, 1) && lock->owner != 0);
    fc_pidlock_release(lock);
    CHECK(lock->owner == 0 && !fc_pidlock_release_dead(lock, 0));

    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        fc_pidlock_acquire(lock, 0);
        _exit(write(ready[1], "x", 1) == 1 ? pause() : 1);
    }
    char c;
    CHECK(read(ready[0], &c, 1) == 1);
    CHECK(fc_pid_alive((uint32_t)child));
    CHECK(fc_pidlock_acquire(lock, 1000000) == (uint32_t)child);
    CHECK(fc_pidlock_release_dead(lock, (uint32_t)child) && lock->owner == 0);
    lock->owner = (uint32_t)child;
    kill(child, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT); /* a zombie now: its parent is busy with this very lock */
    CHECK(kill(child, 0) == 0 && !fc_pid_alive((uint32_t)child));
    CHECK(fc_pidlock_acquire(lock, 0) == 0);
    CHECK(lock->owner == (uint32_t)getpid());
    waitpid(child, NULL, 0);
    lock->owner = (uint32_t)child;
    CHECK(!fc_pid_alive((uint32_t)child) && fc_pidlock_acquire(lock, 0) == 0);
    CHECK(!fc_pid_alive(0) && !fc_pid_alive(UINT32_MAX) && fc_pid_alive(1) && fc_pid_alive((uint32_t)getpid()));
    close(ready[0]);
    close(ready[1]);
    munmap(lock, 4096);
}

static void make_victim(void *arg) { fc_region_section(arg, "victim", 100, 0); }

/* A maker died somewhere: the section is there whole or not at all, and both its and other names can be made. */
static void check_survivor(fc_region *r, int64_t expected)
{
    uint64_t size = 0;
    int64_t at = fc_region_find(r, "victim", &size);
    CHECK(at == FC_REGION_ENONE || (at == expected && size == 100));
    check_directory(r);
    if (at < 0) {
        CHECK(fc_region_section(r, "other", 200, 0) == expected);
        CHECK(fc_region_section(r, "victim", 100, 0) > expected);
    } else {
        CHECK(fc_region_section(r, "victim", 100, 0) == expected);
        CHECK(fc_region_section(r, "other", 200, 0) > expected);
    }
    CHECK(fc_region_count(r) == 3);
    check_directory(r);
}

static void test_killed_at_every_instruction(void)
{
    fc_region r, copy;
    CHECK(fc_region_create(&r, SIZE) == 0 && fc_region_create(&copy, SIZE) == 0);
    CHECK(fc_region_section(&r, "first", 10, 0) > 0);
    int64_t expected = (int64_t)((fc_region_used(&r) + 63) & ~63ull);
    char *before = malloc(SIZE);
    memcpy(before, r.base, SIZE);

    pid_t child = step_start(make_victim, &r);
    if (child < 0) {
        puts("test_region: tracing is forbidden here; single steps left out");
    } else {
        long steps = 0, held = 0;
        while (step_once(child)) {
            steps++;
            memcpy(copy.base, r.base, SIZE);
            held += *(uint32_t *)(void *)(copy.base + 12) == (uint32_t)child;
            fc_region_release_dead(&copy, (uint32_t)child);
            check_survivor(&copy, expected);
        }
        CHECK(steps > 100 && held > 10);

        /* And with real deaths, every so often, the lock being found in the dead process's hands. A step costs up to
         * 100 us on a virtual machine, hence a budget of 20,000 for all of them. */
        for (long n = 1; n < steps; n += steps * steps / 40000 + 1) {
            memcpy(r.base, before, SIZE);
            child = step_start(make_victim, &r);
            for (long i = 0; i < n; i++)
                step_once(child);
            step_kill(child);
            check_survivor(&r, expected);
        }
    }
    free(before);
    fc_region_close(&r);
    fc_region_close(&copy);
}

/* Everybody makes the same sections at once: one of each comes out. */
static void test_race(void)
{
    enum { CHILDREN = 6, NAMES = 40 };
    fc_region r;
    char name[16];
    CHECK(fc_region_create(&r, 1 << 20) == 0);
    for (int c = 0; c < CHILDREN; c++)
        if (fork() == 0) {
            int64_t got = 0;
            for (int i = 0; i < NAMES && got >= 0; i++) {
                snprintf(name, sizeof name, "n%d", (i * 7 + c * 11) % NAMES);
                got = fc_region_section(&r, name, 100, 0);
                if (got >= 0)
                    __atomic_fetch_add((uint64_t *)(void *)(r.base + got), 1, __ATOMIC_RELAXED);
            }
            _exit(got < 0);
        }
    int status;
    for (int c = 0; c < CHILDREN; c++)
        CHECK(wait(&status) > 0 && status == 0);
    CHECK(fc_region_count(&r) == NAMES);
    check_directory(&r);
    for (uint32_t i = 0; i < fc_region_count(&r); i++) {
        fc_region_info s;
        fc_region_get(&r, i, &s);
        CHECK(*(uint64_t *)(void *)(r.base + s.offset) == CHILDREN);
    }
    fc_region_close(&r);
}

int main(void)
{
    test_sections();
    test_attach();
    test_pidlock();
    test_killed_at_every_instruction();
    test_race();
    return check_done("test_region");
}
