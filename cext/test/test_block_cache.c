/* The block cache: its bound, what a scan does to it, blocks that are held, threads. */
#include "fc/block_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/hash.h"

#define BLOCK 4000u

/* As many files as a test wants, of so many blocks each. */
static fc_cached_file *files[8];

static fc_block_cache *made(uint64_t bytes, unsigned shards, unsigned n, uint32_t blocks)
{
    fc_block_cache *c = fc_block_cache_new(bytes, shards);
    for (unsigned i = 0; i < n; i++)
        CHECK((files[i] = fc_block_cache_open(c, blocks)) != NULL);
    return c;
}

static void closed(fc_block_cache *c)
{
    fc_block_cache_stats stats;
    for (unsigned i = 0; i < 8; files[i++] = NULL)
        fc_block_cache_close(c, files[i]);
    fc_block_cache_get_stats(c, &stats);
    CHECK(stats.blocks == 0 && stats.bytes == 0);
    fc_block_cache_free(c);
}

/* As a reader does it: from the cache, else made and put there. True for a hit; the block's bytes say whose it is. */
static bool use(fc_block_cache *c, unsigned file, uint32_t number, unsigned long *wrong)
{
    uint64_t name[2] = {file, number};
    fc_block *b = fc_block_cache_get(c, files[file], number, BLOCK);
    bool hit = b != NULL;
    if (!hit) {
        b = fc_block_new(BLOCK);
        memcpy(b->data, name, sizeof name);
        memset(b->data + sizeof name, (int)number, BLOCK - sizeof name);
        b = fc_block_cache_put(c, files[file], number, b);
    }
    *wrong += memcmp(b->data, name, sizeof name) != 0 || b->data[BLOCK - 1] != (char)number;
    fc_block_release(b);
    return hit;
}

static void test_bound(void)
{
    unsigned long wrong = 0;
    uint64_t chance = 1;
    for (unsigned shards = 1; shards <= 4; shards *= 2) {
        fc_block_cache *c = made(1 << 20, shards, 3, 400);
        fc_block_cache_stats stats;
        for (int i = 0; i < 20000; i++) {
            use(c, fc_hash_next(&chance) % 3, fc_hash_next(&chance) % 400, &wrong);
            if (i % 100 == 0) {
                fc_block_cache_get_stats(c, &stats);
                CHECK(stats.bytes <= 1 << 20 && stats.blocks * (BLOCK + sizeof(fc_block)) == stats.bytes);
                CHECK(stats.inserted - stats.evicted == stats.blocks && stats.hits + stats.misses == i + 1u);
            }
        }
        CHECK(stats.bytes > (1 << 20) * 8 / 10 && stats.returned > 0);
        closed(c);
    }
    CHECK(wrong == 0);
    CHECK(fc_block_cache_new(FC_BLOCK_CACHE_MIN_BYTES - 1, 1) == NULL);
    CHECK(fc_block_cache_new(1 << 20, 3) == NULL && fc_block_cache_new(1 << 20, 512) == NULL);
}

/* A set in use stays through a scan of ten times the cache; LRU would keep none of it. */
static void test_scan(void)
{
    fc_block_cache *c = made(4 << 20, 1, 2, 10000);
    unsigned long wrong = 0, hits = 0;
    for (int round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 500; i++)
            use(c, 0, i, &wrong);
    for (uint32_t i = 0; i < 10000; i++)
        use(c, 1, i, &wrong);
    for (uint32_t i = 0; i < 500; i++)
        hits += use(c, 0, i, &wrong);
    CHECK(hits >= 490 && wrong == 0);
    closed(c);
}

/* What comes back soon after it was thrown out is kept, so a set that is new displaces an old one. */
static void test_change_of_heart(void)
{
    fc_block_cache *c = made(4 << 20, 1, 2, 800);
    unsigned long wrong = 0, hits = 0;
    for (int round = 0; round < 5; round++)
        for (uint32_t i = 0; i < 800; i++)
            use(c, 0, i, &wrong);
    for (int round = 0; round < 8; round++)
        for (uint32_t i = 0; i < 800; i++)
            hits += use(c, 1, i, &wrong) && round == 7;
    CHECK(hits > 700 && wrong == 0);
    closed(c);
}

static void test_held(void)
{
    fc_block_cache *c = made(FC_BLOCK_CACHE_MIN_BYTES, 1, 2, 200);
    unsigned long wrong = 0;
    fc_block *mine = fc_block_new(BLOCK), *other;
    memset(mine->data, 7, BLOCK);
    CHECK(fc_block_cache_put(c, files[1], 9, mine) == mine);
    CHECK((other = fc_block_cache_get(c, files[1], 9, 0)) == mine);
    fc_block_release(other);
    other = fc_block_new(BLOCK);
    CHECK((other = fc_block_cache_put(c, files[1], 9, other)) == mine); /* somebody was faster */
    fc_block_release(other);
    for (uint32_t i = 0; i < 400; i++) /* each twice in a row, so that they get into the main queue */
        use(c, 0, i / 2, &wrong);
    CHECK(fc_block_cache_get(c, files[1], 9, BLOCK) == NULL);
    for (unsigned i = 0; i < BLOCK; i++)
        CHECK(mine->data[i] == 7);
    fc_block *large = fc_block_new(FC_BLOCK_CACHE_MIN_BYTES);
    CHECK(fc_block_cache_put(c, files[1], 10, large) == large && fc_block_cache_get(c, files[1], 10, 0) == NULL);
    fc_block_release(large);
    fc_block *kept = fc_block_cache_get(c, files[0], 199, UINT32_MAX); /* the number of bytes is but a hint */
    CHECK(kept != NULL);
    closed(c);
    CHECK(kept == NULL || kept->data[BLOCK - 1] == (char)199); /* and after the cache */
    fc_block_release(kept);
    fc_block_release(mine);
    fc_block_release(NULL);
    fc_block_cache_close(NULL, NULL);
}

typedef struct worker {
    fc_block_cache *c;
    uint64_t chance;
    unsigned own; /* a file that is opened and closed all the time */
    unsigned long wrong, hits;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < 20000; i++) {
        uint64_t draw = fc_hash_next(&w->chance);
        w->hits += use(w->c, draw % 4, (draw >> 8) % ((draw >> 40) % 4 ? 60 : 400), &w->wrong);
        if (i % 64 == 0) {
            fc_block_cache_close(w->c, files[w->own]);
            files[w->own] = fc_block_cache_open(w->c, 8);
            w->wrong += use(w->c, w->own, 7, &w->wrong);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    fc_block_cache *c = made(1 << 20, 2, 4, 400);
    worker workers[4];
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (worker){.c = c, .chance = i, .own = 4 + i};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(workers[i].wrong == 0 && workers[i].hits > 5000);
    }
    closed(c);
}

int main(void)
{
    test_bound();
    test_scan();
    test_change_of_heart();
    test_held();
    test_threads();
    return check_done("block_cache");
}
