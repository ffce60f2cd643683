#include "fc/records.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { SLOTS = 8, LONG = 3000000000u };

typedef struct record {
    uint32_t writer, number;
    uint32_t fill[10]; /* all the same as number: a torn record shows */
} record;

static void *memory;

static fc_records queue(uint32_t slots)
{
    fc_records q;
    uint64_t size = fc_records_size(slots, sizeof(record));
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fc_records_open(&q, memory, slots, sizeof(record)) == 0);
    return q;
}

static bool put(const fc_records *q, uint32_t writer, uint32_t number)
{
    uint64_t ticket = 0;
    record *r = fc_records_put(q, &ticket);
    if (!r)
        return false;
    r->writer = writer;
    r->number = number;
    for (int i = 0; i < 10; i++)
        r->fill[i] = number;
    fc_records_publish(q, ticket);
    return true;
}

static void test_open(void)
{
    fc_records q = queue(SLOTS), other;
    CHECK(fc_records_size(0, 8) == 0 && fc_records_size(3, 8) == 0 && fc_records_size(4, 0) == 0);
    CHECK(fc_records_size(FC_RECORDS_SLOTS_MAX * 2, 8) == 0 && fc_records_size(4, FC_RECORDS_BYTES_MAX + 1) == 0);
    CHECK(put(&q, 1, 1));
    CHECK(fc_records_open(&other, memory, SLOTS, sizeof(record)) == 0);
    CHECK(fc_records_open(&other, memory, SLOTS * 2, sizeof(record)) == FC_RECORDS_ESIZE);
    CHECK(fc_records_open(&other, memory, SLOTS, sizeof(record) + 1) == FC_RECORDS_ESIZE);
    ((uint32_t *)memory)[1]++;
    CHECK(fc_records_open(&other, memory, SLOTS, sizeof(record)) == FC_RECORDS_EVERSION);
}

static void test_order_and_bound(void)
{
    fc_records q = queue(SLOTS);
    record out[SLOTS];
    for (uint32_t lap = 0; lap < 5; lap++) {
        for (uint32_t i = 0; i < SLOTS; i++)
            CHECK(put(&q, 0, lap * 100 + i));
        CHECK(!put(&q, 0, 99));
        CHECK(fc_records_take(&q, out, 3, 0) == 3 && out[0].number == lap * 100 && out[2].number == lap * 100 + 2);
        CHECK(fc_records_take(&q, out, SLOTS, 0) == SLOTS - 3 && out[SLOTS - 4].number == lap * 100 + SLOTS - 1);
        CHECK(fc_records_take(&q, out, SLOTS, 0) == 0);
    }
}

static void test_a_hole_is_passed(void)
{
    fc_records q = queue(SLOTS);
    record out[SLOTS];
    uint64_t ticket = 0;
    CHECK(put(&q, 0, 1) && fc_records_put(&q, &ticket) && put(&q, 0, 3));
    uint64_t now = 5000000000u;
    CHECK(fc_records_take(&q, out, SLOTS, now) == 1 && out[0].number == 1);
    CHECK(fc_records_take(&q, out, SLOTS, now + FC_RECORDS_HOLE_NS - 1) == 0);
    CHECK(fc_records_take(&q, out, SLOTS, now + FC_RECORDS_HOLE_NS) == 1 && out[0].number == 3);
    fc_records_publish(&q, ticket); /* too late */
    for (uint32_t i = 0; i < SLOTS; i++)
        CHECK(put(&q, 0, 10 + i));
    CHECK(fc_records_take(&q, out, SLOTS, now) == SLOTS && out[0].number == 10 && out[SLOTS - 1].number == 10 + SLOTS - 1);
}

static void test_a_slow_writer_is_awaited(void)
{
    fc_records q = queue(SLOTS);
    record out[SLOTS];
    uint64_t ticket = 0;
    record *r = fc_records_put(&q, &ticket);
    CHECK(fc_records_take(&q, out, SLOTS, 1) == 0);
    r->number = 7;
    fc_records_publish(&q, ticket);
    CHECK(fc_records_take(&q, out, SLOTS, LONG) == 1 && out[0].number == 7);
}

static void test_a_dead_reader_is_no_obstacle(void)
{
    fc_records q = queue(SLOTS);
    record out[SLOTS];
    for (uint32_t i = 0; i < 4; i++)
        CHECK(put(&q, 0, i));
    pid_t child = fork();
    if (child == 0) {
        ((uint32_t *)memory)[4] = (uint32_t)getpid(); /* it dies with the lock */
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(fc_records_take(&q, out, SLOTS, 0) == 4);
    ((uint32_t *)memory)[4] = (uint32_t)getppid(); /* somebody else reads */
    CHECK(put(&q, 0, 9) && fc_records_take(&q, out, SLOTS, 0) == 0);
    ((uint32_t *)memory)[4] = 0;
    CHECK(fc_records_take(&q, out, SLOTS, 0) == 1);
}

static void test_a_reader_that_died_between_record_and_tail(void)
{
    fc_records q = queue(SLOTS);
    record out[SLOTS];
    for (uint32_t lap = 0; lap < 2; lap++) {
        CHECK(put(&q, 0, 1) && fc_records_take(&q, out, 1, 0) == 1);
        ((uint64_t *)memory)[8]--; /* tail */
        for (uint32_t i = 0; i < (lap ? SLOTS : 1); i++)
            CHECK(put(&q, 0, 2 + i));
        CHECK(fc_records_take(&q, out, SLOTS, 0) == (lap ? SLOTS : 1) && out[0].number == 2);
    }
}

typedef struct load {
    fc_records q;
    uint32_t writer, wanted, put;
} load;

static void *write_all(void *arg)
{
    load *l = arg;
    while (l->put < l->wanted)
        if (put(&l->q, l->writer, l->put))
            l->put++;
    return NULL;
}

static void test_many_writers(void)
{
    enum { WRITERS = 4, EACH = 50000 };
    fc_records q = queue(64);
    pthread_t threads[WRITERS];
    load loads[WRITERS];
    uint32_t next[WRITERS] = {0}, seen = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        loads[i] = (load){.q = q, .writer = i, .wanted = EACH};
        CHECK(pthread_create(&threads[i], NULL, write_all, &loads[i]) == 0);
    }
    while (seen < WRITERS * EACH) {
        record out[32];
        uint32_t n = fc_records_take(&q, out, 32, 1);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(out[i].writer < WRITERS && out[i].number == next[out[i].writer]++);
            for (int k = 0; k < 10; k++)
                CHECK(out[i].fill[k] == out[i].number);
        }
        seen += n;
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    test_open();
    test_order_and_bound();
    test_a_hole_is_passed();
    test_a_slow_writer_is_awaited();
    test_a_dead_reader_is_no_obstacle();
    test_a_reader_that_died_between_record_and_tail();
    test_many_writers();
    return check_done("test_records");
}
