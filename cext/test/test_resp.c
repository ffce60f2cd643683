#include "fc/resp.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "check.h"
#include "guard.h"

/* --- replies: tokens as text, so that a case is one line ---------------------------------------------------------- */

typedef struct seen {
    fc_resp_status status;
    fc_resp_error error;
    uint64_t error_at, used;
    char text[8192]; /* tokens, strings in parts joined */
    size_t n;
} seen;

static void say(seen *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(seen *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s->n += (size_t)vsnprintf(s->text + s->n, sizeof s->text - s->n, format, args);
    va_end(args);
    if (s->n >= sizeof s->text)
        abort();
}

/* One character for the type, what it holds, ')' for each aggregate it closes. A string in parts looks like a whole
 * one. */
static void say_token(seen *s, const fc_resp_token *t)
{
    int n = (int)t->text.n;
    switch (t->type) {
    case FC_RESP_INTEGER:
    case FC_RESP_BOOLEAN:
        say(s, "%c%" PRId64 " ", t->type, t->integer);
        break;
    case FC_RESP_DOUBLE:
        say(s, ",%.17g ", t->real);
        break;
    case FC_RESP_ARRAY:
    case FC_RESP_MAP:
    case FC_RESP_SET:
    case FC_RESP_PUSH:
    case FC_RESP_ATTRIBUTE:
        if (t->streamed)
            say(s, "%c?", t->type);
        else
            say(s, "%c%" PRIu64, t->type, t->count);
        say(s, "(");
        break;
    case FC_RESP_NULL:
        say(s, "_ ");
        break;
    case FC_RESP_END:
        break;
    case FC_RESP_PART:
        say(s, n ? "%.*s" : "' ", n, t->text.p);
        break;
    default:
        say(s, t->streamed ? "%c'%.*s" : "%c'%.*s' ", t->type, n, t->text.p);
    }
    for (uint32_t i = 0; i < t->closes; i++)
        say(s, ") ");
}

/* Read values until the input ends, in pieces of `step`, `room` tokens at a time, each look right before a forbidden
 * page. */
static void read_all(const guard *g, const char *text, size_t n, size_t step, size_t room, const fc_resp_limits *limits,
                     seen *s)
{
    fc_resp_parser r;
    fc_resp_token tokens[16];
    size_t kept = 0, shown = 0;
    fc_resp_init(&r, limits);
    *s = (seen){.status = FC_RESP_MORE};
    while (shown < n && s->status >= FC_RESP_MORE) {
        shown = n - shown < step ? n : shown + step;
        do {
            size_t used, count;
            const char *p = guard_put(g, text + kept, shown - kept);
            s->status = fc_resp_read(&r, p, shown - kept, &used, tokens, room, &count);
            CHECK(used <= shown - kept && count <= room);
            for (size_t i = 0; i < count; i++) {
                if (tokens[i].text.n)
                    CHECK(tokens[i].text.p >= p && tokens[i].text.p + tokens[i].text.n <= p + used);
                say_token(s, &tokens[i]);
            }
            kept += used;
            if (s->status == FC_RESP_DONE)
                say(s, "/ ");
            if (s->status == FC_RESP_MORE && kept < shown)
                CHECK(r.need > shown - kept);
        } while (s->status > FC_RESP_MORE);
    }
    CHECK(r.offset == kept);
    s->used = kept;
    s->error = (fc_resp_error)r.error;
    s->error_at = r.error_at;
    if (s->status == FC_RESP_FAILED) {
        size_t used, count;
        CHECK(fc_resp_read(&r, "+OK\r\n", 5, &used, tokens, room, &count) == FC_RESP_FAILED && used == 0 && count == 0);
    }
    fc_resp_free(&r);
}

static const fc_resp_limits SMALL = {.blob_max = 100, .elements_max = 6, .line_max = 20, .depth_max = 10};

static void same(const guard *g, const char *text, size_t n, seen *first)
{
    static seen s;
    for (int parts = 0; parts < 2; parts++) {
        fc_resp_limits limits = SMALL;
        limits.parts_min = parts ? 0 : UINT64_MAX;
        for (size_t step = 1; step <= n; step++) {
            read_all(g, text, n, step, 1 + step % 5, &limits, &s);
            if (parts == 0 && step == 1)
                *first = s;
            CHECK(s.status == first->status && s.error == first->error && s.error_at == first->error_at);
            if (!parts) /* of a blob in parts, some has been told before its end is missed */
                CHECK(s.used == first->used);
            if (!parts || (s.status == FC_RESP_MORE && s.used == n))
                CHECK(strcmp(s.text, first->text) == 0);
        }
    }
}

static void good(const guard *g, const char *text, const char *tokens)
{
    static seen s;
    same(g, text, strlen(text), &s);
    CHECK(s.status == FC_RESP_MORE && s.used == strlen(text));
    if (strcmp(s.text, tokens) != 0)
        fprintf(stderr, "%s: %s, not %s\n", text, s.text, tokens);
    CHECK(strcmp(s.text, tokens) == 0);
}

static void bad(const guard *g, const char *text, fc_resp_error error, uint64_t at)
{
    static seen s;
    same(g, text, strlen(text), &s);
    if (s.error != error || s.error_at != at)
        fprintf(stderr, "%s: %s at %" PRIu64 "\n", text, fc_resp_error_text(s.error), s.error_at);
    CHECK(s.status == FC_RESP_FAILED && s.error == error && s.error_at == at);
}

static void test_types(const guard *g)
{
    good(g, "+OK\r\n", "+'OK' / ");
    good(g, "+\r\n-ERR no\r\n", "+'' / -'ERR no' / ");
    good(g, ":0\r\n:1\r\n:-1\r\n", ":0 / :1 / :-1 / ");
    good(g, ":9223372036854775807\r\n:-9223372036854775808\r\n", ":9223372036854775807 / :-9223372036854775808 / ");
    good(g, "$0\r\n\r\n$3\r\nfoo\r\n$2\r\n\r\n\r\n", "$'' / $'foo' / $'\r\n' / ");
    good(g, "$-1\r\n*-1\r\n_\r\n", "_ / _ / _ / ");
    good(g, "#t\r\n#f\r\n", "#1 / #0 / ");
    good(g, ",1\r\n,-1.5\r\n,1e3\r\n,12E-1\r\n,inf\r\n,-inf\r\n", ",1 / ,-1.5 / ,1000 / ,1.2 / ,inf / ,-inf / ");
    good(g, "(0\r\n(-12345678901234567\r\n", "('0' / ('-12345678901234567' / ");
    good(g, "!5\r\nERR x\r\n=7\r\ntxt:abc\r\n=4\r\nmkd:\r\n", "!'ERR x' / ='txt:abc' / ='mkd:' / ");
    good(g, "*0\r\n%0\r\n~0\r\n>0\r\n", "*0() / %0() / ~0() / >0() / ");
    good(g, "*2\r\n:1\r\n+a\r\n", "*2(:1 +'a' ) / ");
    good(g, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2($'a' $'b' ) / ");
    good(g, "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "%2(+'a' :1 +'b' *1(:2 ) ) / ");
    good(g, "*2\r\n*1\r\n*0\r\n>1\r\n_\r\n", "*2(*1(*0() ) >1(_ ) ) / ");
}

static void test_attributes(const guard *g)
{
    good(g, "|1\r\n+ttl\r\n:5\r\n+v\r\n", "|1(+'ttl' :5 ) +'v' / ");
    good(g, "|0\r\n+v\r\n", "|0() +'v' / ");
    good(g, "*1\r\n|1\r\n+a\r\n*1\r\n:1\r\n:7\r\n", "*1(|1(+'a' *1(:1 ) ) :7 ) / ");
    good(g, "|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n*0\r\n", "|1(+'a' :1 ) |1(+'b' :2 ) *0() / ");
    good(g, "|1\r\n|1\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n", "|1(|1(:1 :2 ) :3 :4 ) :5 / ");
    bad(g, "*?\r\n|1\r\n+a\r\n:1\r\n.\r\n", FC_RESP_BAD_STREAM, 16);
    bad(g, "*?\r\n|0\r\n.\r\n", FC_RESP_BAD_STREAM, 8);
    bad(g, "|?\r\n", FC_RESP_BAD_STREAM, 1);
}

static void test_streams(const guard *g)
{
    good(g, "$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n", "$'Hello' / ");
    good(g, "$?\r\n;0\r\n", "$'' / ");
    good(g, "*?\r\n:1\r\n$?\r\n;1\r\na\r\n;0\r\n.\r\n", "*?(:1 $'a' ) / ");
    good(g, "*1\r\n%?\r\n+a\r\n*?\r\n.\r\n.\r\n", "*1(%?(+'a' *?() ) ) / ");
    good(g, "~?\r\n.\r\n", "~?() / ");
    bad(g, "%?\r\n+a\r\n.\r\n", FC_RESP_BAD_STREAM, 8);
    bad(g, ".\r\n", FC_RESP_BAD_STREAM, 0);
    bad(g, "*1\r\n.\r\n", FC_RESP_BAD_STREAM, 4);
    bad(g, "$?\r\n$1\r\na\r\n", FC_RESP_BAD_STREAM, 4);
    bad(g, "$?\r\n;-1\r\n", FC_RESP_BAD_LENGTH, 5);
    bad(g, ">?\r\n", FC_RESP_BAD_STREAM, 1);
    bad(g, "!?\r\n", FC_RESP_BAD_STREAM, 1);
    bad(g, ";1\r\na\r\n", FC_RESP_BAD_TYPE, 0);
    bad(g, "*?\r\n.x\n", FC_RESP_BAD_LINE_END, 5);
}

static void test_strictness(const guard *g)
{
    bad(g, "x", FC_RESP_BAD_TYPE, 0);
    bad(g, "\r\n", FC_RESP_BAD_TYPE, 0);
    bad(g, "+O\nK\r\n", FC_RESP_BAD_LINE_END, 2);
    bad(g, "+O\rK\r\n", FC_RESP_BAD_LINE_END, 3);
    bad(g, ":+1\r\n", FC_RESP_BAD_INTEGER, 1);
    bad(g, ":01\r\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ":-0\r\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ":\r\n", FC_RESP_BAD_INTEGER, 1);
    bad(g, ":-\r\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ": 1\r\n", FC_RESP_BAD_INTEGER, 1);
    bad(g, ":1 \r\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ":1\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ":9223372036854775808\r\n", FC_RESP_BAD_INTEGER, 1);
    bad(g, ":-9223372036854775809\r\n", FC_RESP_BAD_INTEGER, 2);
    bad(g, ":18446744073709551616\r\n", FC_RESP_BAD_INTEGER, 20);
    bad(g, "$03\r\nfoo\r\n", FC_RESP_BAD_LENGTH, 2);
    bad(g, "$+3\r\nfoo\r\n", FC_RESP_BAD_LENGTH, 1);
    bad(g, "$-2\r\n", FC_RESP_BAD_LENGTH, 2);
    bad(g, "$-11\r\n", FC_RESP_BAD_LENGTH, 3);
    bad(g, "$\r\n", FC_RESP_BAD_LENGTH, 1);
    bad(g, "$3\nfoo\r\n", FC_RESP_BAD_LENGTH, 2);
    bad(g, "$3\r\nfooX", FC_RESP_BAD_LINE_END, 7);
    bad(g, "$3\r\nfoo\rX", FC_RESP_BAD_LINE_END, 8);
    bad(g, "$3\r\nfoo\n\r", FC_RESP_BAD_LINE_END, 7);
    bad(g, "%-1\r\n", FC_RESP_BAD_LENGTH, 1);
    bad(g, "~-1\r\n", FC_RESP_BAD_LENGTH, 1);
    bad(g, "=-1\r\n", FC_RESP_BAD_LENGTH, 1);
    bad(g, "=3\r\nabc\r\n", FC_RESP_BAD_VERBATIM, 1);
    bad(g, "=5\r\nabcde\r\n", FC_RESP_BAD_VERBATIM, 7);
    bad(g, "#T\r\n", FC_RESP_BAD_BOOLEAN, 1);
    bad(g, "#tt\r\n", FC_RESP_BAD_BOOLEAN, 2);
    bad(g, "_x\r\n", FC_RESP_BAD_NULL, 1);
    bad(g, "(\r\n", FC_RESP_BAD_BIG_NUMBER, 1);
    bad(g, "(-\r\n", FC_RESP_BAD_BIG_NUMBER, 1);
    bad(g, "(-0\r\n", FC_RESP_BAD_BIG_NUMBER, 1);
    bad(g, "(00\r\n", FC_RESP_BAD_BIG_NUMBER, 1);
    bad(g, "(1.0\r\n", FC_RESP_BAD_BIG_NUMBER, 1);
    static const char *const doubles[] = {"", "-", "+1", " 1", "1 ", "1.", ".5", "1e", "1e+", "0x1", "Inf", "+inf",
                                          "infinity", "NaN",
                                          "1e999", "1.2.3", "--1", "1,5", "-+1"};
    for (size_t i = 0; i < FC_ARRAY_LEN(doubles); i++) {
        char text[32];
        snprintf(text, sizeof text, ",%s\r\n", doubles[i]);
        bad(g, text, FC_RESP_BAD_DOUBLE, 1);
    }
}

static void test_limits(const guard *g)
{
    good(g, "+12345678901234567890\r\n", "+'12345678901234567890' / ");
    bad(g, "+123456789012345678901\r\n", FC_RESP_LINE_TOO_LONG, 21);
    bad(g, "$101\r\n", FC_RESP_BLOB_TOO_LONG, 1);
    bad(g, "*7\r\n", FC_RESP_TOO_MANY, 1);
    bad(g, "%7\r\n", FC_RESP_TOO_MANY, 1);
    bad(g, "*18446744073709551615\r\n", FC_RESP_TOO_MANY, 1);
    bad(g, "*18446744073709551616\r\n", FC_RESP_BAD_LENGTH, 20);
    good(g, "*?\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n.\r\n", "*?(_ _ _ _ _ _ ) / ");
    bad(g, "*?\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n", FC_RESP_TOO_MANY, 22);
    good(g, "%?\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n.\r\n",
         "%?(_ _ _ _ _ _ _ _ _ _ _ _ ) / ");
    bad(g, "$?\r\n;60\r\n123456789012345678901234567890123456789012345678901234567890\r\n;41\r\n",
        FC_RESP_BLOB_TOO_LONG, 72);
    char deep[64] = "";
    for (int i = 0; i < 10; i++)
        strcat(deep, "*1\r\n");
    strcat(deep, "*0\r\n");
    static seen s;
    same(g, deep, strlen(deep), &s);
    CHECK(s.status == FC_RESP_MORE && s.used == strlen(deep));
    memcpy(deep + 40, "*1\r\n", 4);
    bad(g, deep, FC_RESP_TOO_DEEP, 40);
}

/* Nothing is allocated, and no time spent, for what a length announces. */
static void test_deep_and_free(void)
{
    fc_resp_limits limits = FC_RESP_LIMITS;
    fc_resp_parser r;
    fc_resp_token tokens[4];
    size_t used, count;
    fc_resp_init(&r, &limits);
    for (uint32_t i = 0; i < limits.depth_max; i++)
        CHECK(fc_resp_read(&r, "*4294967295\r\n", 13, &used, tokens, 4, &count) == FC_RESP_MORE && used == 13);
    CHECK(r.depth == 1024 && fc_resp_inside(&r));
    CHECK(fc_resp_read(&r, "*1\r\n", 4, &used, tokens, 4, &count) == FC_RESP_FAILED && r.error == FC_RESP_TOO_DEEP);
    CHECK(r.error_at == 1024 * 13);
    fc_resp_free(&r);
    fc_resp_free(&r);
}

/* A blob in parts: what is there comes at once, and one piece is one token. */
static void test_parts(void)
{
    fc_resp_limits limits = FC_RESP_LIMITS;
    fc_resp_parser r;
    fc_resp_token tokens[4];
    size_t used, count;
    static char piece[20000];
    memset(piece, 'x', sizeof piece);
    fc_resp_init(&r, &limits);
    CHECK(fc_resp_read(&r, "$50000\r\nab", 10, &used, tokens, 4, &count) == FC_RESP_MORE);
    CHECK(used == 10 && count == 2 && tokens[0].streamed && tokens[0].count == 50000 && tokens[1].text.n == 2);
    CHECK(fc_resp_read(&r, piece, 20000, &used, tokens, 4, &count) == FC_RESP_MORE && count == 1 && used == 20000);
    CHECK(fc_resp_read(&r, piece, 20000, &used, tokens, 4, &count) == FC_RESP_MORE && count == 1 && used == 20000);
    memcpy(piece + 9998, "\r\n+a\r\n", 6);
    CHECK(fc_resp_read(&r, piece, 10004, &used, tokens, 4, &count) == FC_RESP_DONE && used == 10000 && count == 2);
    CHECK(tokens[0].text.n == 9998 && tokens[1].type == FC_RESP_PART && tokens[1].text.n == 0 && !fc_resp_inside(&r));
    CHECK(fc_resp_read(&r, "$9\r\nab", 6, &used, tokens, 4, &count) == FC_RESP_MORE && used == 0 && r.need == 15);
    fc_resp_free(&r);
}

/* --- doubles ------------------------------------------------------------------------------------------------------ */

static double read_double(const char *text)
{
    char wire[512];
    fc_resp_limits limits = FC_RESP_LIMITS;
    fc_resp_parser r;
    fc_resp_token t = {.real = 0};
    size_t used, count;
    fc_resp_init(&r, &limits);
    int n = snprintf(wire, sizeof wire, ",%s\r\n", text);
    CHECK(fc_resp_read(&r, wire, (size_t)n, &used, &t, 1, &count) == FC_RESP_DONE);
    return t.real;
}

static void test_doubles(void)
{
    static const char *const edges[] = {
        "0", "-0", "0.1", "9007199254740993", "9007199254740992.5", "9007199254740991.5", "1844674407370955161.5",
        "0.000000000000000000000000001", "18446744073709551615", "1.7976931348623157e308", "5e-324",
        "2.2250738585072014e-308",
        "123456789012345.67", "0.30000000000000004", "4503599627370496.5", "4503599627370497.5",
        "1.00000000000000011102"};
    for (size_t i = 0; i < FC_ARRAY_LEN(edges); i++) {
        double got = read_double(edges[i]), want = strtod(edges[i], NULL);
        CHECK(memcmp(&got, &want, sizeof got) == 0);
    }
    CHECK(isnan(read_double("nan")) && isnan(read_double("-nan")));
    uint64_t state = 88172645463325252ull;
    char text[64], again[FC_RESP_DOUBLE_MAX + 1];
    for (int i = 0; i < 200000; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        if (i % 2) { /* every number of digits and decimals */
            snprintf(text, sizeof text, "%" PRIu64, state >> (state % 50));
            size_t n = strlen(text), point = n - (state >> 8) % n;
            if (point < n) {
                memmove(text + point + 1, text + point, n - point + 1);
                text[point] = '.';
            }
        } else {
            snprintf(text, sizeof text, "%.17g", (double)(int64_t)state / (double)(1 + (state >> 40)));
        }
        double got = read_double(text), want = strtod(text, NULL);
        if (memcmp(&got, &want, sizeof got) != 0)
            fprintf(stderr, "%s: %.17g, not %.17g\n", text, got, want);
        CHECK(memcmp(&got, &want, sizeof got) == 0);
        again[fc_resp_format_double(again, want)] = '\0';
        CHECK(strtod(again, NULL) == want);
    }
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_everything(fc_resp_out *out)
{
    fc_resp_put_simple(out, "O\r\nK", 4);
    fc_resp_put_error(out, "ERR a\nb", 7);
    fc_resp_put_integer(out, INT64_MIN);
    fc_resp_put_blob(out, "a\r\nb", 4);
    fc_resp_put_blob(out, NULL, 0);
    fc_resp_put_null(out);
    fc_resp_put_null_array(out);
    fc_resp_put_double(out, 0.1);
    fc_resp_put_double(out, -INFINITY);
    fc_resp_put_boolean(out, true);
    fc_resp_put_big_number(out, "-12", 3);
    fc_resp_put_verbatim(out, "mkd", "x", 1);
    fc_resp_put_blob_error(out, "ERR\n", 4);
    fc_resp_put_aggregate(out, FC_RESP_MAP, 12);
    fc_resp_put_aggregate(out, FC_RESP_SET, 0);
    fc_resp_put_aggregate(out, FC_RESP_PUSH, 3);
}

static void test_writing(void)
{
    static const char two[] = "+O  K\r\n-ERR a b\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n$0\r\n\r\n$-1\r\n"
                              "*-1\r\n$3\r\n0.1\r\n"
                              "$4\r\n-inf\r\n:1\r\n$3\r\n-12\r\n$1\r\nx\r\n-ERR \r\n*24\r\n*0\r\n*3\r\n";
    static const char three[] = "+O  K\r\n-ERR a b\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n$0\r\n\r\n_\r\n"
                                "_\r\n,0.1\r\n"
                                ",-inf\r\n#t\r\n(-12\r\n=5\r\nmkd:x\r\n!4\r\nERR\n\r\n%12\r\n~0\r\n>3\r\n";
    fc_resp_out out = fc_resp_out_growing(1 << 20, 2);
    write_everything(&out);
    CHECK(!out.failed && out.n == sizeof two - 1 && memcmp(out.p, two, out.n) == 0);
    fc_resp_put_aggregate(&out, FC_RESP_ATTRIBUTE, 1);
    CHECK(out.failed && out.n == sizeof two - 1);
    fc_resp_out_free(&out);

    out = fc_resp_out_growing(1 << 20, 3);
    write_everything(&out);
    CHECK(!out.failed && out.n == sizeof three - 1 && memcmp(out.p, three, out.n) == 0);
    out.n = 0;
    fc_resp_put_stream(&out, FC_RESP_BLOB);
    fc_resp_put_part(&out, "ab", 2);
    fc_resp_put_part(&out, "", 0);
    fc_resp_put_end(&out, FC_RESP_BLOB);
    fc_resp_put_stream(&out, FC_RESP_ARRAY);
    fc_resp_put_end(&out, FC_RESP_ARRAY);
    static const char streams[] = "$?\r\n;2\r\nab\r\n;0\r\n*?\r\n.\r\n";
    CHECK(!out.failed && out.n == sizeof streams - 1 && memcmp(out.p, streams, out.n) == 0);
    fc_resp_out_free(&out);
}

static void test_bounds_of_writing(const guard *g)
{
    char *end = g->base + g->room;
    for (size_t room = 0; room < 400; room++) { /* whatever fits is whole, nothing is written beyond */
        fc_resp_out out = fc_resp_out_fixed(end - room, room, 3);
        write_everything(&out);
        CHECK(out.n <= room && (out.failed || room > 100));
    }
    fc_resp_out out = fc_resp_out_growing(1000, 2);
    static char big[2000];
    fc_resp_put_blob(&out, big, 900);
    CHECK(!out.failed && out.n == 908);
    fc_resp_put_blob(&out, big, 900);
    CHECK(out.failed && out.n == 908);
    fc_resp_put_integer(&out, 1);
    CHECK(out.failed && out.n == 908); /* what comes after a gap would be out of step */
    fc_resp_out_free(&out);
}

static void test_commands(void)
{
    fc_resp_arg args[12] = {{.p = "SET", .n = 3}, {.p = "", .n = 0}};
    for (size_t i = 2; i < 12; i++)
        args[i] = (fc_resp_arg){.p = "0123456789", .n = 10};
    char out[256];
    CHECK(fc_resp_command_size(args, 2) == 19 && fc_resp_command_write(out, args, 2) == out + 19);
    CHECK(memcmp(out, "*2\r\n$3\r\nSET\r\n$0\r\n\r\n", 19) == 0);
    size_t size = fc_resp_command_size(args, 12);
    CHECK(fc_resp_command_write(out, args, 12) == out + size && memcmp(out, "*12\r\n", 5) == 0);
    CHECK(fc_resp_command_size(args, 0) == 4);
}

int main(void)
{
    guard g = guard_make(4096);
    test_types(&g);
    test_attributes(&g);
    test_streams(&g);
    test_strictness(&g);
    test_limits(&g);
    test_deep_and_free();
    test_parts();
    test_doubles();
    test_writing();
    test_bounds_of_writing(&g);
    test_commands();
    guard_free(&g);
    return check_done("test_resp");
}
