/* What the shared cache costs in C: prints "name ns" of CPU time per operation, the best of five runs. 64-byte keys, 100-byte values.
 * usage: bench_sharedcache LOOPS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fc/cache.h"
#include "fc/clock.h"

enum { KEYS = 10000, RUNS = 5 };

static char keys[KEYS][64];
static fc_cache c;

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * FC_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static fc_slice key(uint64_t i) { return (fc_slice){keys[i % KEYS], 64}; }

static void hit(uint64_t i, uint64_t now)
{
    char out[128];
    fc_cache_item item;
    if (fc_cache_find(&c, key(i), now, &item) != FC_CACHE_FRESH || !fc_cache_read(&c, &item, 0, out, item.value_len))
        abort();
    fc_cache_count(&c, true);
}

static void hot(uint64_t i, uint64_t now) { hit(i % 64, now); }

static void miss(uint64_t i, uint64_t now)
{
    fc_cache_item item;
    if (fc_cache_find(&c, (fc_slice){keys[i % KEYS], 63}, now, &item) != FC_CACHE_MISS)
        abort();
    fc_cache_count(&c, false);
}

static void set(uint64_t i, uint64_t now)
{
    char value[100] = {0};
    fc_cache_new n = {.key = key(i), .value = {value, sizeof value}, .fresh_until = FC_CACHE_NEVER};
    if (fc_cache_set(&c, &n, false, now) != 1)
        abort();
}

static void evict(uint64_t i, uint64_t now)
{
    char name[64] = {0}, value[100] = {0};
    memcpy(name, &i, sizeof i);
    fc_cache_new n = {.key = {name, 64}, .value = {value, sizeof value}, .fresh_until = FC_CACHE_NEVER};
    if (fc_cache_set(&c, &n, false, now) != 1)
        abort();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*act)(uint64_t i, uint64_t now);
    } acts[] = {{"set", set}, {"hit", hit}, {"hot-hit", hot}, {"miss", miss}, {"set-evict", evict}};
    uint64_t loops = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000, seed = 1;
    fc_cache_options o = {.capacity = 8 << 20, .item_max = 100000, .shards = 8, .block = 256, .tag_slots = 4096, .key = {1, 2}};
    uint64_t size = fc_cache_size(&o);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || fc_cache_open(&c, base, size, &o) != 0)
        return 1;
    for (size_t i = 0; i < sizeof keys / 8; i++)
        ((uint64_t *)(void *)keys)[i] = fc_hash_next(&seed);
    for (size_t a = 0; a < FC_ARRAY_LEN(acts); a++) {
        double best = 0;
        for (int run = 0; run < RUNS; run++) {
            uint64_t now = fc_monotonic_ns(), begin = cpu_ns();
            for (uint64_t i = 0; i < loops; i++)
                acts[a].act(i + (uint64_t)run * loops, now);
            double ns = (double)(cpu_ns() - begin) / (double)loops;
            best = run == 0 || ns < best ? ns : best;
        }
        printf("%s %.1f\n", acts[a].name, best);
    }
    return 0;
}
