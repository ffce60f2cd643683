#include "fc/chunked.h"

#include "check.h"
#include "guard.h"

/* What a whole coding decodes to, when given in pieces of `step` bytes (each at the end of the address space). */
typedef struct decoded {
    fc_chunk answer;
    size_t used, len;
    char data[4096];
} decoded;

static void decode(const guard *g, const char *text, size_t n, size_t step, uint32_t ext_max, decoded *out)
{
    fc_chunked d;
    fc_chunked_init(&d, ext_max);
    out->answer = FC_CHUNK_MORE;
    out->used = out->len = 0;
    for (size_t begin = 0; begin < n; begin += step) {
        size_t piece = n - begin < step ? n - begin : step, at = 0;
        const char *p = guard_put(g, text + begin, piece);
        do {
            size_t used;
            fc_slice data;
            out->answer = fc_chunked_next(&d, p + at, piece - at, &used, &data);
            CHECK(used <= piece - at);
            CHECK((out->answer == FC_CHUNK_DATA) == (data.n > 0));
            if (out->answer == FC_CHUNK_DATA) {
                CHECK(data.p >= p + at && data.p + data.n == p + at + used);
                memcpy(out->data + out->len, data.p, data.n);
                out->len += data.n;
            }
            at += used;
            out->used += used;
        } while (out->answer == FC_CHUNK_DATA);
        if (out->answer != FC_CHUNK_MORE)
            return;
        CHECK(at == piece);
    }
}

static void expect(const guard *g, const char *text, fc_chunk answer, size_t used, const char *data)
{
    size_t n = strlen(text);
    static decoded out;
    for (size_t step = 1; step <= n; step++) {
        decode(g, text, n, step, FC_CHUNK_EXT_MAX, &out);
        CHECK(out.answer == answer);
        CHECK(out.used == used);
        CHECK(out.len == strlen(data) && memcmp(out.data, data, out.len) == 0);
    }
}

static void test_good(const guard *g)
{
    expect(g, "0\r\n\r\n", FC_CHUNK_LAST, 3, "");
    expect(g, "5\r\nhello\r\n0\r\n\r\n", FC_CHUNK_LAST, 13, "hello");
    expect(g, "a\r\n0123456789\r\nB\r\nabcdefghijk\r\n000\r\nX: y\r\n\r\n", FC_CHUNK_LAST, 36, "0123456789abcdefghijk");
    expect(g, "5;a=b\r\nhello\r\n0;x=\"y\";z\r\n\r\n", FC_CHUNK_LAST, 25, "hello");
    expect(g, "5 ; a\r\nhello\r\n0\t;\r\n\r\n", FC_CHUNK_LAST, 19, "hello");
    expect(g, "2\r\n\r\n\r\n0\r\n\r\n", FC_CHUNK_LAST, 10, "\r\n");
    expect(g, "7fffffffffffffff\r\nab", FC_CHUNK_MORE, 20, "ab");
    expect(g, "0000000000000001\r\na", FC_CHUNK_MORE, 19, "a");
}

static void test_bad(const guard *g)
{
    expect(g, "\r\n", FC_CHUNK_ERROR, 0, "");
    expect(g, ";a\r\n", FC_CHUNK_ERROR, 0, "");
    expect(g, " 5\r\nhello", FC_CHUNK_ERROR, 0, "");
    expect(g, "+5\r\nhello", FC_CHUNK_ERROR, 0, "");
    expect(g, "-1\r\n", FC_CHUNK_ERROR, 0, "");
    expect(g, "0x5\r\nhello", FC_CHUNK_ERROR, 1, "");
    expect(g, "5_0\r\n", FC_CHUNK_ERROR, 1, "");
    expect(g, "g\r\n", FC_CHUNK_ERROR, 0, "");
    expect(g, "5\nhello", FC_CHUNK_ERROR, 1, "");
    expect(g, "5\r\rhello", FC_CHUNK_ERROR, 2, "");
    expect(g, "5\rhello", FC_CHUNK_ERROR, 2, "");
    expect(g, "5 \r\nhello", FC_CHUNK_ERROR, 2, "");
    expect(g, "5 5\r\nhello", FC_CHUNK_ERROR, 2, "");
    expect(g, "5;a\nhello", FC_CHUNK_ERROR, 3, "");
    expect(g, "5;a\x01\r\nhello", FC_CHUNK_ERROR, 3, "");
    expect(g, "5;a\x7f\r\nhello", FC_CHUNK_ERROR, 3, "");
    expect(g, "5;a\r\r\nhello", FC_CHUNK_ERROR, 4, "");
    expect(g, "5\r\nhelloX", FC_CHUNK_ERROR, 8, "hello");
    expect(g, "5\r\nhello\n0\r\n", FC_CHUNK_ERROR, 8, "hello");
    expect(g, "5\r\nhello\rX", FC_CHUNK_ERROR, 9, "hello");
    expect(g, "5\r\nhello0\r\n", FC_CHUNK_ERROR, 8, "hello");
    expect(g, "8000000000000000\r\n", FC_CHUNK_ERROR, 15, "");
    expect(g, "ffffffffffffffff\r\n", FC_CHUNK_ERROR, 15, "");
    expect(g, "10000000000000000\r\n", FC_CHUNK_ERROR, 16, "");
    expect(g, "00000000000000001\r\n", FC_CHUNK_ERROR, 16, "");
}

static void test_extension_bound(const guard *g)
{
    static decoded out;
    const char *text = "1;abcdefgh\r\nx\r\n1;abcdefgh\r\ny\r\n0\r\n";
    decode(g, text, strlen(text), 1000, 8, &out);
    CHECK(out.answer == FC_CHUNK_LAST && out.len == 2);
    decode(g, text, strlen(text), 1000, 7, &out);
    CHECK(out.answer == FC_CHUNK_ERROR && out.used == 9);
    decode(g, "1;\r\nx", 5, 1000, 0, &out);
    CHECK(out.answer == FC_CHUNK_MORE && out.len == 1);
    decode(g, "1;a\r\nx", 6, 1000, 0, &out);
    CHECK(out.answer == FC_CHUNK_ERROR);
}

static void test_ends_stay(void)
{
    fc_chunked d;
    size_t used;
    fc_slice data;
    fc_chunked_init(&d, 0);
    CHECK(fc_chunked_next(&d, "0\r\nabc", 6, &used, &data) == FC_CHUNK_LAST && used == 3);
    CHECK(fc_chunked_next(&d, "abc", 3, &used, &data) == FC_CHUNK_LAST && used == 0);
    fc_chunked_init(&d, 0);
    CHECK(fc_chunked_next(&d, "x", 1, &used, &data) == FC_CHUNK_ERROR);
    CHECK(fc_chunked_next(&d, "0\r\n", 3, &used, &data) == FC_CHUNK_ERROR && used == 0);
}

static void test_head(const guard *g)
{
    static const uint64_t sizes[] = {0, 1, 9, 10, 15, 16, 255, 256, 4096, 65535, 1u << 31, (uint64_t)INT64_MAX, UINT64_MAX};
    for (unsigned i = 0; i < FC_ARRAY_LEN(sizes); i++) {
        char want[32], *out = g->base + g->room - FC_CHUNK_HEAD_MAX;
        int len = snprintf(want, sizeof want, "%llx\r\n", (unsigned long long)sizes[i]);
        CHECK(fc_chunk_head(out, sizes[i]) == (size_t)len);
        CHECK(memcmp(out, want, (size_t)len) == 0);
    }
}

int main(void)
{
    guard g = guard_make(4096);
    test_good(&g);
    test_bad(&g);
    test_extension_bound(&g);
    test_ends_stay();
    test_head(&g);
    guard_free(&g);
    return check_done("test_chunked");
}
