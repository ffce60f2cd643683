/* What WebSocket frames cost in C: name, figure, unit a line. Built and run by bench_websocket.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fc/ws_reader.h"

#define ROUNDS 9
#define SIZE 65536

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static volatile size_t sink;
static char a[SIZE + 64], b[SIZE + 64];

typedef void work(unsigned loops, int arg);

/* Best of the rounds, in ns for one loop. */
static double best(work *f, unsigned loops, int arg)
{
    double least = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns();
        f(loops, arg);
        double ns = (double)(now_ns() - begin) / loops;
        least = ns < least ? ns : least;
    }
    return least;
}

static void copy(unsigned loops, int unused)
{
    (void)unused;
    for (unsigned i = 0; i < loops; i++) {
        memcpy(b, a, SIZE);
        __asm__ volatile("" : : "r"(b) : "memory");
    }
}

static void mask_copy(unsigned loops, int level)
{
    for (unsigned i = 0; i < loops; i++)
        fc_mask(b, a + 14, SIZE, 0x12345678u + i, (fc_mask_level)level);
}

static void mask_in_place(unsigned loops, int level)
{
    for (unsigned i = 0; i < loops; i++)
        fc_mask(b + 14, b + 14, SIZE, 0x12345678u + i, (fc_mask_level)level);
}

static void check_text(unsigned loops, int unused)
{
    (void)unused;
    for (unsigned i = 0; i < loops; i++) {
        fc_utf8 state = 0;
        sink += fc_utf8_check(&state, a, SIZE);
    }
}

static size_t frame_size;
static fc_ws_reader reader;

/* Unmasking in place undoes itself: every second turn the payload is not masked, which costs the same. */
static void parse(unsigned loops, int unused)
{
    (void)unused;
    fc_ws_event ev;
    size_t used;
    for (unsigned i = 0; i < loops; i++)
        if (fc_ws_read(&reader, b, frame_size, &used, &ev) != FC_WS_DATA)
            abort();
}

static void build(unsigned loops, int unused)
{
    (void)unused;
    static fc_ws_keys keys;
    uint32_t key;
    fc_mask_level level = fc_mask_best();
    for (unsigned i = 0; i < loops; i++) {
        if (fc_ws_key_next(&keys, &key) < 0)
            abort();
        sink += fc_ws_frame_write(b, FC_WS_FIN | FC_WS_BINARY, a, 256, &key, level);
    }
}

static void fill(const char *unit)
{
    size_t n = strlen(unit);
    for (size_t i = 0; i < SIZE; i++)
        a[i] = unit[i % n];
}

int main(void)
{
    static const char *const levels[] = {"plain", "sse2", "avx2", "avx512"};
    fill("text ");
    printf("memcpy %g GB/s\n", SIZE / best(copy, 20000, 0));
    for (int level = FC_MASK_PLAIN; level <= (int)fc_mask_best(); level++) {
        printf("mask-%s %g GB/s\n", levels[level], SIZE / best(mask_copy, 20000, level));
        printf("mask-in-place-%s %g GB/s\n", levels[level], SIZE / best(mask_in_place, 20000, level));
    }
    printf("utf8-ascii %g GB/s\n", SIZE / best(check_text, 5000, 0));
    fill("\xd0\xb6\xd0\xb8\xd0\xb7\xd0\xbd\xd1\x8c ");
    printf("utf8-cyrillic %g GB/s\n", SIZE / best(check_text, 1000, 0));
    fill("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e");
    printf("utf8-cjk %g GB/s\n", SIZE / best(check_text, 1000, 0));

    fc_ws_options options = {.masking = FC_WS_MASK_REQUIRED, .frame_max = SIZE, .message_max = SIZE};
    fill("text ");
    uint32_t key = 0x12345678u;
    for (int text = 0; text < 2; text++) { /* a key of ASCII bytes keeps the payload ASCII */
        fc_ws_reader_init(&reader, &options, NULL, 0);
        frame_size = fc_ws_frame_write(b, FC_WS_FIN | (text ? FC_WS_TEXT : FC_WS_BINARY), a, 256, &key, fc_mask_best());
        printf("parse-256-%s %g ns\n", text ? "text" : "binary", best(parse, 200000, 0));
        fc_ws_reader_free(&reader);
    }
    printf("build-256 %g ns\n", best(build, 200000, 0));
    return 0;
}
