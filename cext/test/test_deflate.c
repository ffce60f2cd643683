#include "fc/deflate.h"

#include "check.h"
#include "guard.h"

static fc_grow made, back;

static void fresh(size_t max)
{
    fc_grow_reset(&made, 0);
    fc_grow_reset(&back, 0);
    fc_grow_init(&made, SIZE_MAX / 2);
    fc_grow_init(&back, max);
}

static fc_deflate_answer expand(const char *p, size_t n, size_t step, size_t max)
{
    fc_inflater *z = fc_inflater_new(15, true);
    fc_deflate_answer answer = FC_DEFLATE_OK;
    fresh(max);
    size_t at = 0;
    do {
        size_t piece = n - at < step ? n - at : step;
        answer = fc_inflater_run(z, p + at, piece, at + piece == n, &back);
        at += piece;
    } while (at < n && answer == FC_DEFLATE_OK);
    fc_inflater_free(z);
    return answer;
}

static void expect(const char *p, size_t n, fc_deflate_answer answer, const char *text)
{
    guard g = guard_make(n + 1);
    const char *end = guard_put(&g, p, n);
    for (size_t step = 1; step <= n + 1; step++) {
        CHECK(expand(end, n, step, 1000) == answer);
        const char *got = back.p ? back.p : "";
        CHECK(answer != FC_DEFLATE_OK || (back.len == strlen(text) && memcmp(got, text, back.len) == 0));
    }
    guard_free(&g);
}

#define BYTES(literal) literal, sizeof(literal) - 1

/* RFC 7692 7.2.3, and messages that are not quite what it says. */
static void test_examples(void)
{
    expect(BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), FC_DEFLATE_OK, "Hello");
    expect(BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), FC_DEFLATE_OK, "Hello"); /* stored */
    expect(BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), FC_DEFLATE_OK, "Hello");             /* BFINAL */
    expect(BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), FC_DEFLATE_OK, "Hello");
    expect(BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), FC_DEFLATE_OK, "HelloHello");
    expect(BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"), FC_DEFLATE_OK, "HelloHello"); /* one window */
    expect(BYTES("\x00"), FC_DEFLATE_OK, "");
    expect("", 0, FC_DEFLATE_OK, "");
    expect(BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"), FC_DEFLATE_OK, "Hello"); /* its tail not removed */
    expect(BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"), FC_DEFLATE_OK, "Hello");
    expect(BYTES("\xf2\x48\xcd\xc9\xc9"), FC_DEFLATE_BAD, "");                             /* cut off */
    expect(BYTES("\x00\x05\x00\xfa\xff\x48\x65"), FC_DEFLATE_BAD, "");
    expect(BYTES("\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00"), FC_DEFLATE_BAD, ""); /* length and complement */
    expect(BYTES("\x06\x00"), FC_DEFLATE_BAD, "");                                     /* block type 3 */
    expect(BYTES("\x02\x02\x00"), FC_DEFLATE_BAD, "");                                 /* reaches before the beginning */
}

/* Text that has matches far and near. */
static void fill(char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = seed >> 28 < 10 && i > 600 ? p[i - 1 - (seed >> 16) % 600] : (char)('a' + (seed >> 16) % 26);
    }
}

static void round_trips(uint8_t bits, bool takeover, uint8_t mem_level, int8_t level)
{
    static char text[40000];
    fc_deflate_options options = {.bits = bits, .mem_level = mem_level, .level = level, .takeover = takeover,
                                  .keep_memory = level % 2 == 0};
    fc_deflater *d = fc_deflater_new(&options);
    fc_inflater *z = fc_inflater_new(bits, takeover);
    static const size_t sizes[] = {0, 1, 40, 0, 0, 5000, 40000, 3, 0, 300};
    for (unsigned i = 0; i < FC_ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        fill(text, n, i);
        fresh(sizeof text);
        size_t half = i % 2 ? n / 2 : n; /* as fragments, the second of them perhaps empty */
        CHECK(fc_deflater_run(d, text, half, i % 2 == 0, &made) == FC_DEFLATE_OK);
        if (i % 2)
            CHECK(fc_deflater_run(d, text + half, i % 4 == 1 ? n - half : 0, true, &made) == FC_DEFLATE_OK);
        size_t sent = i % 4 == 3 ? half : n;
        CHECK(fc_inflater_run(z, made.p, made.len, true, &back) == FC_DEFLATE_OK);
        CHECK(back.len == sent && memcmp(back.p ? back.p : "", text, sent) == 0);
        if (i == 6)
            fc_deflater_forget(d);
    }
    fc_deflater_free(d);
    fc_inflater_free(z);
}

static void test_round_trips(void)
{
    for (uint8_t bits = 8; bits <= 15; bits++)
        for (int8_t level = 0; level <= 9; level = (int8_t)(level + 3)) {
            round_trips(bits, true, 8, level);
            round_trips(bits, false, 1, level);
        }
}

static void test_takeover(void)
{
    static char text[2000];
    fc_deflate_options options = FC_DEFLATE_OPTIONS;
    fc_deflater *d = fc_deflater_new(&options);
    fill(text, sizeof text, 1);
    fresh(0);
    CHECK(fc_deflater_run(d, text, sizeof text, true, &made) == FC_DEFLATE_OK);
    size_t first = made.len;
    CHECK(fc_deflater_run(d, text, sizeof text, true, &made) == FC_DEFLATE_OK);
    CHECK(made.len - first < first / 10);
    size_t second = made.len;
    fc_deflater_forget(d);
    CHECK(fc_deflater_run(d, text, sizeof text, true, &made) == FC_DEFLATE_OK);
    CHECK(made.len - second == first);
    fc_deflater_free(d);
}

/* 10 MB of zeros in 10 KB: refused at the bound, with no more memory than it. */
static void test_bomb(void)
{
    static char zeros[1 << 20];
    fc_deflate_options options = FC_DEFLATE_OPTIONS;
    fc_deflater *d = fc_deflater_new(&options);
    fresh(0);
    for (int i = 0; i < 10; i++)
        CHECK(fc_deflater_run(d, zeros, sizeof zeros, i == 9, &made) == FC_DEFLATE_OK);
    fc_deflater_free(d);
    CHECK(made.len < 20000);
    fc_grow bomb = made;
    made = (fc_grow){0};
    for (size_t max = 0; max < 70000; max = max * 3 + 1) {
        CHECK(expand(bomb.p, bomb.len, bomb.len, max) == FC_DEFLATE_BIG);
        CHECK(back.cap <= max && back.len == max);
        CHECK(expand(bomb.p, bomb.len, 7, max) == FC_DEFLATE_BIG && back.len == max);
    }
    CHECK(expand(bomb.p, bomb.len, 1000, 10 * sizeof zeros) == FC_DEFLATE_OK && back.len == 10 * sizeof zeros);
    free(bomb.p);
}

static void test_options(void)
{
    fc_deflate_options options = FC_DEFLATE_OPTIONS;
    options.bits = 7;
    CHECK(fc_deflater_new(&options) == NULL);
    options.bits = 16;
    CHECK(fc_deflater_new(&options) == NULL);
    options = FC_DEFLATE_OPTIONS;
    options.mem_level = 0;
    CHECK(fc_deflater_new(&options) == NULL);
    options.mem_level = 10;
    CHECK(fc_deflater_new(&options) == NULL);
    options = FC_DEFLATE_OPTIONS;
    options.level = 10;
    CHECK(fc_deflater_new(&options) == NULL);
    CHECK(fc_inflater_new(7, true) == NULL && fc_inflater_new(16, true) == NULL);
    fc_inflater_free(NULL);
    fc_deflater_free(NULL);
}

int main(void)
{
    test_examples();
    test_round_trips();
    test_takeover();
    test_bomb();
    test_options();
    fresh(0);
    return check_done("test_deflate");
}
