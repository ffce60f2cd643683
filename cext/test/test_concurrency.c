#include "fc/concurrency.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "check.h"
#include "step.h"

enum { PLACES = 8 };

static fc_concurrency table(void)
{
    fc_concurrency c;
    uint64_t size = fc_concurrency_size(PLACES);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fc_concurrency_open(&c, base, size, PLACES) == 0);
    return c;
}

static void test_open(void)
{
    static _Alignas(64) uint32_t memory[64];
    fc_concurrency c;
    CHECK(fc_concurrency_size(0) == 0 && fc_concurrency_size(FC_CONCURRENCY_MAX + 1) == 0);
    CHECK(fc_concurrency_open(&c, memory, 64, 1) == FC_CONCURRENCY_ESIZE);
    CHECK(fc_concurrency_open(&c, memory, sizeof memory, 4) == 0 && c.places == 4);
    CHECK(fc_concurrency_open(&c, memory, sizeof memory, 5) == FC_CONCURRENCY_ESIZE);
    memory[2]++;
    CHECK(fc_concurrency_open(&c, memory, sizeof memory, 4) == FC_CONCURRENCY_EVERSION);
}

static void test_places(void)
{
    fc_concurrency c = table();
    CHECK(fc_concurrency_acquire(&c, 3, 7, 1) == 1 && fc_concurrency_acquire(&c, 3, 7, 1) == 2);
    CHECK(fc_concurrency_acquire(&c, 3, 8, 1) == 0 && fc_concurrency_acquire(&c, 3, 8, 99) == -1);
    CHECK(fc_concurrency_held(&c) == 3);
    CHECK(!fc_concurrency_release(&c, 0, 7) && !fc_concurrency_release(&c, 5, 7) && !fc_concurrency_release(&c, 99, 7));
    CHECK(fc_concurrency_release(&c, 0, 8) && !fc_concurrency_release(&c, 0, 8));
    CHECK(fc_concurrency_reclaim(&c, 8) == 0 && fc_concurrency_reclaim(&c, 7) == 2 && fc_concurrency_held(&c) == 0);
}

static void take_two(void *arg)
{
    fc_concurrency_acquire(arg, PLACES, (uint32_t)getpid(), 0);
    fc_concurrency_acquire(arg, PLACES, (uint32_t)getpid(), 0);
    pause();
}

static void test_the_dead_hold_nothing(void)
{
    fc_concurrency c = table();
    uint32_t me = (uint32_t)getpid();
    CHECK(fc_concurrency_acquire(&c, PLACES, me, 0) == 0);
    pid_t child = fork();
    if (child == 0)
        take_two(&c);
    while (fc_concurrency_held(&c) < 3)
        ;
    CHECK(fc_concurrency_reclaim(&c, 0) == 0);
    step_kill(child);
    CHECK(fc_concurrency_acquire(&c, 3, me, 0) == -1);
    CHECK(fc_concurrency_reclaim(&c, 0) == 2 && fc_concurrency_held(&c) == 1);
    CHECK(fc_concurrency_acquire(&c, 3, me, 0) == 1);
}

typedef struct load {
    fc_concurrency c;
    uint32_t inside, most, refused;
} load;

static void *work(void *arg)
{
    load *l = arg;
    for (int i = 0; i < 20000; i++) {
        int64_t at = fc_concurrency_acquire(&l->c, 3, 1, (uint32_t)i % 3);
        if (at < 0) {
            __atomic_fetch_add(&l->refused, 1, __ATOMIC_RELAXED);
            continue;
        }
        uint32_t n = __atomic_add_fetch(&l->inside, 1, __ATOMIC_RELAXED);
        uint32_t most = __atomic_load_n(&l->most, __ATOMIC_RELAXED);
        while (n > most && !__atomic_compare_exchange_n(&l->most, &most, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
        __atomic_sub_fetch(&l->inside, 1, __ATOMIC_RELAXED);
        fc_concurrency_release(&l->c, (uint32_t)at, 1);
    }
    return NULL;
}

static void test_threads(void)
{
    load l = {.c = table()};
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, work, &l);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    CHECK(l.most >= 1 && l.most <= 3 && l.inside == 0 && fc_concurrency_held(&l.c) == 0);
}

int main(void)
{
    test_open();
    test_places();
    test_the_dead_hold_nothing();
    test_threads();
    return check_done("test_concurrency");
}
