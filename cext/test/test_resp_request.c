#include "fc/resp.h"

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "guard.h"

typedef struct seen {
    fc_resp_error error;
    size_t error_at, used; /* error_at from the start of the input */
    char text[4096];       /* requests as "GET|key;" */
    size_t n;
} seen;

static void say(seen *s, const char *p, size_t n)
{
    if (s->n + n >= sizeof s->text)
        abort();
    memcpy(s->text + s->n, p, n);
    s->n += n;
    s->text[s->n] = '\0';
}

/* Requests of an input that comes in pieces, each look right before a forbidden page and, as a server's buffer,
 * elsewhere than the last. */
static void read_all(const guard *g, const char *text, size_t n, size_t step, const fc_resp_request_limits *limits,
                     seen *s)
{
    fc_resp_request r;
    size_t shown = 0;
    fc_resp_request_init(&r, limits);
    *s = (seen){0};
    while (shown < n && s->error == FC_RESP_OK) {
        shown = n - shown < step ? n : shown + step;
        int64_t used;
        do {
            const char *p = guard_put(g, text + s->used, shown - s->used);
            used = fc_resp_request_parse(&r, p, shown - s->used);
            if (used > 0) {
                CHECK((size_t)used <= shown - s->used && !fc_resp_request_inside(&r));
                for (uint32_t i = 0; i < r.argc; i++) {
                    say(s, "|", i > 0);
                    say(s, r.base + r.args[i].off, r.args[i].len);
                }
                say(s, ";", 1);
                s->used += (size_t)used;
            } else if (used == 0) {
                CHECK(r.need > shown - s->used);
            }
        } while (used > 0);
        s->error = (fc_resp_error)r.error;
        s->error_at = s->used + r.error_at;
        if (used < 0)
            CHECK(fc_resp_request_parse(&r, "PING\r\n", 6) == -1);
    }
    fc_resp_request_free(&r);
    fc_resp_request_free(&r);
}

static const fc_resp_request_limits SMALL = {.args_max = 12, .bulk_max = 50, .bytes_max = 300, .inline_max = 40};

static void same(const guard *g, const char *text, size_t n, seen *first)
{
    static seen s;
    for (size_t step = 1; step <= n; step++) {
        read_all(g, text, n, step, &SMALL, &s);
        if (step == 1)
            *first = s;
        CHECK(s.error == first->error && s.used == first->used && s.n == first->n);
        CHECK(s.error == FC_RESP_OK || s.error_at == first->error_at);
        CHECK(memcmp(s.text, first->text, s.n) == 0);
    }
}

static void good(const guard *g, const char *text, const char *requests)
{
    static seen s;
    same(g, text, strlen(text), &s);
    CHECK(s.error == FC_RESP_OK && s.used == strlen(text));
    if (strcmp(s.text, requests) != 0)
        fprintf(stderr, "%s: %s, not %s\n", text, s.text, requests);
    CHECK(strcmp(s.text, requests) == 0);
}

static void bad(const guard *g, const char *text, fc_resp_error error, size_t at, const char *before)
{
    static seen s;
    same(g, text, strlen(text), &s);
    if (s.error != error || s.error_at != at)
        fprintf(stderr, "%s: %s at %zu\n", text, fc_resp_error_text(s.error), s.error_at);
    CHECK(s.error == error && s.error_at == at && strcmp(s.text, before) == 0);
}

static void test_arrays(const guard *g)
{
    good(g, "*1\r\n$4\r\nPING\r\n", "PING;");
    good(g, "*2\r\n$3\r\nGET\r\n$0\r\n\r\n*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$1\r\n*\r\n", "GET|;SET|\r\n|*;");
    good(g, "*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", ";;a;");
    good(g, "*10\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n"
            "$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n",
         "0|1|2|3|4|5|6|7|8|9;");
    bad(g, "*1\r\n$1\r\na\r\n*1\r\n+a\r\n", FC_RESP_BAD_ARGUMENT, 15, "a;");
    bad(g, "*1\r\n*1\r\n", FC_RESP_BAD_ARGUMENT, 4, "");
    bad(g, "*a\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 1, "");
    bad(g, "*\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 1, "");
    bad(g, "*01\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 2, "");
    bad(g, "*+1\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 1, "");
    bad(g, "*-2\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 2, "");
    bad(g, "*1\n$1\r\na\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 2, "");
    bad(g, "*1\rX", FC_RESP_BAD_ARGUMENT_COUNT, 3, "");
    bad(g, "*18446744073709551616\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 20, "");
    bad(g, "*1\r\n$-1\r\n", FC_RESP_BAD_ARGUMENT_LENGTH, 5, "");
    bad(g, "*1\r\n$\r\n", FC_RESP_BAD_ARGUMENT_LENGTH, 5, "");
    bad(g, "*1\r\n$00\r\n", FC_RESP_BAD_ARGUMENT_LENGTH, 6, "");
    bad(g, "*1\r\n$1\r\nabc", FC_RESP_BAD_LINE_END, 9, "");
    bad(g, "*1\r\n$1\r\na\rc", FC_RESP_BAD_LINE_END, 10, "");
}

static void test_limits(const guard *g)
{
    bad(g, "*13\r\n", FC_RESP_BAD_ARGUMENT_COUNT, 1, "");
    bad(g, "*1\r\n$51\r\n", FC_RESP_BAD_ARGUMENT_LENGTH, 5, "");
    char text[512] = "*10\r\n";
    for (int i = 0; i < 7; i++)
        strcat(text, "$40\r\n0123456789012345678901234567890123456789\r\n");
    bad(g, text, FC_RESP_REQUEST_TOO_LONG, 5 + 6 * 47 + 5, "");
    bad(g, "0123456789012345678901234567890123456789", FC_RESP_INLINE_TOO_LONG, 40, "");
    good(g, "012345678901234567890123456789012345678\n", "012345678901234567890123456789012345678;");
    bad(g, "a b c d e f g h i j k l m\n", FC_RESP_BAD_ARGUMENT_COUNT, 0, "");
    fc_resp_request_limits limits = SMALL;
    limits.inline_max = 0;
    seen s;
    read_all(g, "PING\r\n", 6, 1, &limits, &s);
    CHECK(s.error == FC_RESP_BAD_INLINE && s.error_at == 0);
}

static void test_inline(const guard *g)
{
    good(g, "PING\r\n", "PING;");
    good(g, "PING\n\r\n\n  \t \r\n", "PING;;;;");
    good(g, "  set  key\tvalue  \r\nget key\r\n", "set|key|value;get|key;");
    good(g, "set k \"a b\"\r\n", "set|k|a b;");
    good(g, "set k \"\\x41\\n\\\"\\q\\x4\" ''\r\n", "set|k|A\n\"qx4|;");
    good(g, "set k 'a\\'b\\n'\r\n", "set|k|a'b\\n;");
    good(g, "a\"b c\"\r\n*1\r\n$1\r\na\r\n", "ab c;a;");
    good(g, "\"\" x\r\n", "|x;");
    good(g, "a\rb\r\n", "a|b;"); /* CR is a blank, as in Redis */
    bad(g, "PING\nset k \"a\r\n", FC_RESP_BAD_INLINE, 5, "PING;");
    bad(g, "set k 'a\r\n", FC_RESP_BAD_INLINE, 0, "");
    bad(g, "set k \"a\"b\r\n", FC_RESP_BAD_INLINE, 0, "");
    bad(g, "set k \"a\\\r\n", FC_RESP_BAD_INLINE, 0, "");
    static seen s;
    read_all(g, "a\0b\r\n", 5, 1, &SMALL, &s);
    CHECK(s.error == FC_RESP_BAD_INLINE);
}

/* Many arguments, the array given back afterwards; a large one is not looked at again while it comes. */
static void test_size(void)
{
    enum { MANY = 100000 };
    fc_resp_request_limits limits = FC_RESP_REQUEST_LIMITS;
    fc_resp_request r;
    char *text = malloc(MANY * 7 + 16);
    size_t n = (size_t)sprintf(text, "*%d\r\n", MANY);
    for (int i = 0; i < MANY; i++)
        n += (size_t)sprintf(text + n, "$1\r\nx\r\n");
    fc_resp_request_init(&r, &limits);
    CHECK(fc_resp_request_parse(&r, text, n - 1) == 0 && r.room <= 2 * MANY && r.at > n - 10 && r.need == n);
    CHECK(fc_resp_request_parse(&r, text, n) == (int64_t)n && r.argc == MANY && r.args[MANY - 1].off == n - 3);
    CHECK(fc_resp_request_parse(&r, "*1\r\n$1\r\na\r\n", 11) == 11 && r.argc == 1 && r.room == FC_RESP_ARGS_INLINE);
    CHECK(fc_resp_request_parse(&r, "*1048576\r\n", 10) == 0 && r.room == FC_RESP_ARGS_INLINE);
    CHECK(r.need == 14);
    fc_resp_request_free(&r);
    fc_resp_request_init(&r, &limits);
    CHECK(fc_resp_request_parse(&r, "*1\r\n$500000000\r\nab", 18) == 0 && r.need == 16 + 500000000 + 2 && r.at == 16);
    fc_resp_request_free(&r);
    free(text);
}

int main(void)
{
    guard g = guard_make(4096);
    test_arrays(&g);
    test_limits(&g);
    test_inline(&g);
    test_size();
    guard_free(&g);
    return check_done("test_resp_request");
}
