#include "fc/inflight.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Prints of one bucket whose tags differ, and so on. */
#define PRINT(bucket, tag) ((uint64_t)(tag) << 24 | (bucket))

static void *memory;

static fc_inflight table(void)
{
    fc_inflight f;
    memory = mmap(NULL, fc_inflight_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fc_inflight_open(&f, memory, (uint32_t)getpid()) == 0);
    return f;
}

static void test_open(void)
{
    fc_inflight f = table(), other;
    CHECK(fc_inflight_open(&other, memory, 7) == 0 && other.words == f.words);
    ((uint32_t *)memory)[2]++;
    CHECK(fc_inflight_open(&other, memory, 7) == FC_INFLIGHT_EVERSION);
}

static void test_keys_are_apart(void)
{
    fc_inflight f = table();
    uint32_t held;
    uint64_t a = PRINT(3, 1), b = PRINT(3, 2), nothing = PRINT(0, 0);
    int64_t one = fc_inflight_acquire(&f, a, 2, &held);
    CHECK(one >= 0 && held == 1);
    int64_t two = fc_inflight_acquire(&f, a, 2, &held);
    CHECK(two >= 0 && two != one && held == 2);
    CHECK(fc_inflight_acquire(&f, a, 2, &held) == FC_INFLIGHT_REFUSED && held == 2);
    CHECK(fc_inflight_acquire(&f, b, 2, &held) >= 0 && held == 1);
    CHECK(fc_inflight_acquire(&f, nothing, 1, &held) >= 0 && fc_inflight_acquire(&f, nothing, 1, &held) < 0);
    CHECK(fc_inflight_held(&f) == 4);
    fc_inflight_release(&f, one, b); /* not b's */
    CHECK(fc_inflight_held(&f) == 4);
    fc_inflight_release(&f, one, a);
    CHECK(fc_inflight_held(&f) == 3);
    CHECK(fc_inflight_acquire(&f, a, 2, &held) == one && held == 2);
}

static void test_a_full_bucket(void)
{
    fc_inflight f = table();
    uint32_t held;
    for (uint32_t i = 0; i < FC_INFLIGHT_WAYS; i++)
        CHECK(fc_inflight_acquire(&f, PRINT(5, 1 + i / 2), 2, &held) >= 0);
    CHECK(fc_inflight_acquire(&f, PRINT(5, 1), 2, &held) == FC_INFLIGHT_REFUSED);
    CHECK(fc_inflight_acquire(&f, PRINT(5, 9999), 2, &held) == FC_INFLIGHT_FULL && f.full == 1);
    CHECK(fc_inflight_acquire(&f, PRINT(6, 9999), FC_INFLIGHT_WAYS, &held) >= 0);
}

static void test_the_dead_hold_nothing(void)
{
    fc_inflight f = table();
    uint32_t held;
    CHECK(fc_inflight_acquire(&f, PRINT(1, 1), 3, &held) >= 0);
    pid_t child = fork();
    if (child == 0) {
        fc_inflight own;
        fc_inflight_open(&own, memory, (uint32_t)getpid());
        fc_inflight_acquire(&own, PRINT(1, 1), 3, &held);
        fc_inflight_acquire(&own, PRINT(1, 1), 3, &held);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    CHECK(fc_inflight_acquire(&f, PRINT(1, 1), 3, &held) == FC_INFLIGHT_REFUSED);
    CHECK(fc_inflight_reclaim(&f) == 2 && fc_inflight_held(&f) == 1);
    CHECK(fc_inflight_acquire(&f, PRINT(1, 1), 3, &held) >= 0 && held == 2);
}

/* Four processes want the one place all the time. Who has it counts itself in, and never finds another there. */
static void test_never_more_than_the_limit(void)
{
    enum { PROCESSES = 4, LIMIT = 1, TIMES = 20000 };
    fc_inflight f = table();
    (void)f;
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0)
            continue;
        fc_inflight own;
        uint32_t held;
        fc_inflight_open(&own, memory, (uint32_t)getpid());
        for (int k = 0; k < TIMES; k++) {
            int64_t place = fc_inflight_acquire(&own, PRINT(2, 7), LIMIT, &held);
            if (place < 0)
                continue;
            if (__atomic_add_fetch(&shared[0], 1, __ATOMIC_SEQ_CST) > LIMIT)
                __atomic_add_fetch(&shared[1], 1, __ATOMIC_SEQ_CST);
            __atomic_add_fetch(&shared[2], 1, __ATOMIC_SEQ_CST);
            __atomic_sub_fetch(&shared[0], 1, __ATOMIC_SEQ_CST);
            fc_inflight_release(&own, place, PRINT(2, 7));
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++)
        waitpid(children[i], NULL, 0);
    CHECK(shared[1] == 0);
    CHECK(shared[2] > 0);
    CHECK(fc_inflight_held(&f) == 0);
}

int main(void)
{
    test_open();
    test_keys_are_apart();
    test_a_full_bucket();
    test_the_dead_hold_nothing();
    test_never_more_than_the_limit();
    return check_done("inflight");
}
