/* Heads: every message at every split, at the end of the address space, with and without vector instructions. */
#include "fc/http1.h"

#include "check.h"
#include "guard.h"

#define FIELDS 16

enum kind { REQUEST, RESPONSE, TRAILERS };

typedef struct parsed {
    int result;
    fc_http1_head head;
    fc_http1_field fields[FIELDS];
} parsed;

static const fc_http1_limits defaults = {.flags = 0, .head_bytes_max = 1000, .target_bytes_max = 200};
static fc_http_method response_to = FC_METHOD_GET;
static guard page;

static void parse(enum kind kind, const char *p, size_t n, size_t last, const fc_http1_limits *limits, parsed *out)
{
    out->head.fields = out->fields;
    out->head.fields_max = FIELDS;
    if (kind == REQUEST)
        out->result = fc_http1_parse_request(p, n, last, limits, &out->head);
    else if (kind == RESPONSE)
        out->result = fc_http1_parse_response(p, n, last, limits, response_to, &out->head);
    else
        out->result = fc_http1_parse_trailers(p, n, last, limits, &out->head);
}

static bool same_span(fc_span a, fc_span b)
{
    return a.off == b.off && a.len == b.len;
}

static bool same_head(const fc_http1_head *a, const fc_http1_head *b)
{
    for (uint32_t i = 0; i < a->fields_len && i < b->fields_len; i++)
        if (!same_span(a->fields[i].name, b->fields[i].name) || !same_span(a->fields[i].value, b->fields[i].value) ||
            a->fields[i].id != b->fields[i].id)
            return false;
    return a->fields_len == b->fields_len && same_span(a->method, b->method) && same_span(a->target, b->target) &&
           same_span(a->path, b->path) && same_span(a->query, b->query) && same_span(a->authority, b->authority) &&
           same_span(a->reason, b->reason) && a->content_length == b->content_length && a->status == b->status &&
           a->method_id == b->method_id && a->target_form == b->target_form && a->minor == b->minor &&
           a->framing == b->framing && a->has_query == b->has_query && a->has_length == b->has_length &&
           a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue &&
           a->te_trailers == b->te_trailers && a->has_upgrade == b->has_upgrade &&
           a->connection_names == b->connection_names && a->error == b->error && a->error_at == b->error_at;
}

/* Parse text[0..n) whole, then by every prefix, then dripping, then without SIMD: one answer. */
static void parse_all_ways(enum kind kind, const char *text, size_t n, const fc_http1_limits *limits, parsed *out)
{
    parsed other;
    fc_http1_limits plain = *limits;
    plain.flags |= FC_HTTP1_NO_SIMD;
    parse(kind, guard_put(&page, text, n), n, 0, limits, out);
    parse(kind, guard_put(&page, text, n), n, 0, &plain, &other);
    CHECK(other.result == out->result && same_head(&other.head, &out->head));
    bool decided = false;
    for (size_t len = 1; len <= n; len++) {
        const char *p = guard_put(&page, text, len);
        parse(kind, p, len, 0, limits, &other);
        CHECK(!decided || other.result != FC_HTTP1_PARTIAL);
        decided = other.result != FC_HTTP1_PARTIAL;
        if (decided)
            CHECK(other.result == out->result && same_head(&other.head, &out->head));
        p = guard_put(&page, text, n);
        parse(kind, p, n, len - 1, limits, &other); /* the last look saw all but this byte, or less */
        if (other.result != FC_HTTP1_PARTIAL || (out->result > 0 && (int)len <= out->result))
            CHECK(other.result == out->result && same_head(&other.head, &out->head));
        else
            CHECK(out->result < 0 || (int)len > out->result);
    }
    for (size_t len = 1; len <= n; len++) {
        parse(kind, guard_put(&page, text, len), len, len - 1, limits, &other);
        if (other.result != FC_HTTP1_PARTIAL)
            break;
    }
    if (out->result > 0 || other.result != FC_HTTP1_PARTIAL)
        CHECK(other.result == out->result && same_head(&other.head, &out->head));
}

static bool span_is(const char *text, fc_span span, const char *want)
{
    return strlen(want) == span.len && memcmp(text + span.off, want, span.len) == 0;
}

static void good(enum kind kind, uint32_t flags, const char *text, parsed *out)
{
    fc_http1_limits limits = defaults;
    size_t n = strlen(text);
    limits.flags = flags;
    parse_all_ways(kind, text, n, &limits, out);
    if (out->result != (int)n)
        fprintf(stderr, "%d at %u (%s) in:\n%s\n", out->result, out->head.error_at,
                fc_http1_error_text(out->head.error), text);
    CHECK(out->result == (int)n);
    char longer[1024];
    memcpy(longer, text, n);
    memset(longer + n, '\n', 70);
    parsed other;
    parse(kind, guard_put(&page, longer, n + 70), n + 70, 0, &limits, &other);
    CHECK(other.result == (int)n && same_head(&other.head, &out->head));
}

static void bad_bytes(enum kind kind, uint32_t flags, const char *text, size_t n, fc_http1_error error, size_t at)
{
    fc_http1_limits limits = defaults;
    parsed out;
    limits.flags = flags;
    parse_all_ways(kind, text, n, &limits, &out);
    if (out.result != FC_HTTP1_ERROR || out.head.error != error || out.head.error_at != at)
        fprintf(stderr, "%d, error %u at %u, not %u at %zu in:\n%s\n", out.result, out.head.error, out.head.error_at,
                error, at, text);
    CHECK(out.result == FC_HTTP1_ERROR);
    CHECK(out.head.error == error);
    CHECK(out.head.error_at == at);
}

/* The place of the error is where '@@' stands in the text, which is taken out; without it, 0. */
static void bad(enum kind kind, uint32_t flags, const char *marked, fc_http1_error error)
{
    char text[1024];
    const char *mark = strstr(marked, "@@");
    size_t at = mark ? (size_t)(mark - marked) : 0, n = strlen(marked);
    if (mark) {
        memcpy(text, marked, at);
        memcpy(text + at, mark + 2, n - at - 2 + 1);
        n -= 2;
    } else {
        memcpy(text, marked, n + 1);
    }
    bad_bytes(kind, flags, text, n, error, at);
}

static void test_vocabulary(void)
{
    static const char *const names[FC_FIELD_COUNT] = {
        "", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE",
        "Trailer", "Upgrade", "Expect", "Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
        "X-Forwarded-Port", "X-Real-IP", "Max-Forwards", "CDN-Loop", "Authorization", "Cookie", "User-Agent", "Referer",
        "Content-Type", "Date", "Server", "Proxy-Authenticate", "Proxy-Authorization", "traceparent", "X-Request-ID"};
    for (unsigned id = 1; id < FC_FIELD_COUNT; id++) {
        size_t len = strlen(names[id]);
        char *p = guard_put(&page, names[id], len);
        CHECK(fc_http_field_id(p, len) == id);
        for (size_t i = 0; i < len; i++) {
            char keep = p[i];
            p[i] ^= 0x20; /* another case for letters; '\r' for '-' */
            CHECK(fc_http_field_id(p, len) == (keep == '-' ? FC_FIELD_OTHER : (fc_http_field)id));
            p[i] = keep == 'q' ? 'z' : 'q';
            CHECK(fc_http_field_id(p, len) == FC_FIELD_OTHER);
            p[i] = keep;
        }
        CHECK(fc_http_field_id(p, len - 1) != id && fc_http_field_id(p + 1, len - 1) != id);
    }
    CHECK(fc_http_field_id("", 0) == FC_FIELD_OTHER);
    CHECK(fc_http_field_id("a-name-longer-than-all-others", 29) == FC_FIELD_OTHER);
    for (unsigned id = 1; id < FC_METHOD_COUNT; id++) {
        const char *name = fc_http_method_name(id);
        CHECK(fc_http_method_id(name, strlen(name)) == id);
        CHECK(fc_http_method_id(name, strlen(name) - 1) == FC_METHOD_OTHER);
    }
    CHECK(fc_http_method_id("get", 3) == FC_METHOD_OTHER);
    CHECK(strcmp(fc_http_method_name(FC_METHOD_OTHER), "") == 0 && strcmp(fc_http_method_name(99), "") == 0);
    for (unsigned e = 0; e <= FC_HTTP1_BAD_EXPECT; e++)
        CHECK(fc_http1_error_text(e)[0] && fc_http1_error_status(e) >= 400 && fc_http1_error_status(e) <= 505);
    CHECK(fc_http_list_has("a, Close ,b", 11, "close", 5));
    CHECK(fc_http_list_has("close", 5, "CLOSE", 5));
    CHECK(!fc_http_list_has("closed, a close", 15, "close", 5));
    CHECK(!fc_http_list_has("", 0, "close", 5));
}

static void test_request_parts(void)
{
    parsed r;
    const char *t = "\r\nGET /a/b?c=d?e HTTP/1.1\r\nHost:\t ex.org:81 \t\r\nEmpty:\r\nX-Y:  a b\x80\xff\tc  \r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.method_id == FC_METHOD_GET && span_is(t, r.head.method, "GET"));
    CHECK(span_is(t, r.head.target, "/a/b?c=d?e") && span_is(t, r.head.path, "/a/b"));
    CHECK(r.head.has_query && span_is(t, r.head.query, "c=d?e") && span_is(t, r.head.authority, "ex.org:81"));
    CHECK(r.head.minor == 1 && r.head.keep_alive && r.head.framing == FC_BODY_NONE && r.head.fields_len == 3);
    CHECK(span_is(t, r.fields[1].name, "Empty") && span_is(t, r.fields[1].value, ""));
    CHECK(span_is(t, r.fields[2].name, "X-Y") && span_is(t, r.fields[2].value, "a b\x80\xff\tc"));

    t = "M-SEARCH /? HTTP/1.0\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.method_id == FC_METHOD_OTHER && span_is(t, r.head.method, "M-SEARCH"));
    CHECK(r.head.has_query && r.head.query.len == 0 && r.head.minor == 0 && !r.head.keep_alive);
    CHECK(r.head.authority.len == 0);

    t = "GET HTTP://ex.org:80?q HTTP/1.1\r\nHost:\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.target_form == FC_TARGET_ABSOLUTE && span_is(t, r.head.authority, "ex.org:80"));
    CHECK(span_is(t, r.head.path, "/") && span_is(t, r.head.query, "q"));
    t = "GET https://[2001:db8::1]:8443/p/a HTTP/1.1\r\nHost: other\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(span_is(t, r.head.authority, "[2001:db8::1]:8443") && span_is(t, r.head.path, "/p/a"));
    t = "OPTIONS http://ex.org HTTP/1.1\r\nHost: ex.org\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.path.len == 0 && span_is(t, r.head.authority, "ex.org"));
    t = "OPTIONS * HTTP/1.1\r\nHost: ex.org\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.target_form == FC_TARGET_ASTERISK && span_is(t, r.head.path, "*"));
    t = "CONNECT ex.org:443 HTTP/1.1\r\nHost: ex.org\r\n\r\n";
    good(REQUEST, 0, t, &r);
    CHECK(r.head.target_form == FC_TARGET_AUTHORITY && span_is(t, r.head.authority, "ex.org:443"));
    good(REQUEST, 0, "GET //a/[x]|y?[\\^`{}] HTTP/1.1\r\nHost: a_b.c:\r\n\r\n", &r);
}

static void test_request_meaning(void)
{
    parsed r;
    good(REQUEST, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", &r);
    CHECK(r.head.framing == FC_BODY_LENGTH && r.head.has_length && r.head.content_length == 7);
    good(REQUEST, 0, "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:999999999999999999\r\n\r\n", &r);
    CHECK(r.head.content_length == 999999999999999999ull);
    good(REQUEST, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &r);
    CHECK(r.head.framing == FC_BODY_NONE && r.head.has_length);
    good(REQUEST, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", &r);
    CHECK(r.head.framing == FC_BODY_CHUNKED);
    good(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", &r);
    CHECK(!r.head.keep_alive && !r.head.connection_names);
    good(REQUEST, 0, "GET / HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n", &r);
    CHECK(r.head.keep_alive && r.head.connection_names);
    good(REQUEST, 0, "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", &r);
    CHECK(!r.head.keep_alive);
    good(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: , TE,keep-alive ,, upgrade\r\nUpgrade: w\r\n\r\n", &r);
    CHECK(r.head.keep_alive && r.head.has_upgrade && !r.head.connection_names);
    good(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: w\r\n\r\n", &r);
    CHECK(!r.head.has_upgrade);
    good(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", &r);
    CHECK(!r.head.has_upgrade);
    good(REQUEST, 0, "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: w\r\nExpect: x\r\n\r\n", &r);
    CHECK(!r.head.has_upgrade && !r.head.expect_continue);
    good(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=1, Trailers\r\nExpect: 100-Continue\r\n\r\n", &r);
    CHECK(r.head.te_trailers && r.head.expect_continue);
}

static void test_request_errors(void)
{
    bad(REQUEST, 0, "@@ GET / HTTP/1.1\r\n", FC_HTTP1_BAD_METHOD);
    bad(REQUEST, 0, "G@@(T / HTTP/1.1\r\n", FC_HTTP1_BAD_METHOD);
    bad(REQUEST, 0, "GET@@\t/ HTTP/1.1\r\n", FC_HTTP1_BAD_METHOD);
    bad(REQUEST, 0, "\r\n@@\r\nGET / HTTP/1.1\r\n", FC_HTTP1_BAD_METHOD);
    bad(REQUEST, 0, "@@\nGET / HTTP/1.1\r\n", FC_HTTP1_BAD_LINE_END);
    bad(REQUEST, 0, "GET @@ / HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET /a@@#b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET /a@@\\b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET /@@\xc3\xa5 HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET @@* HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "OPTIONS @@** HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET @@a/b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET @@ftp://a/b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET http://@@/b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET http://@@?b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET http://u:@@p@a/b HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "CONNECT a@@ HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "CONNECT a:@@ HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "CONNECT a:@@0 HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "CONNECT @@/ HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    bad(REQUEST, 0, "GET / HTTP/@@x.1\r\n", FC_HTTP1_BAD_VERSION);
    bad(REQUEST, 0, "GET / @@http/1.1\r\n", FC_HTTP1_BAD_VERSION);
    bad(REQUEST, 0, "GET / @@\r\n", FC_HTTP1_BAD_VERSION);
    bad(REQUEST, 0, "GET / HTTP/1.1@@ \r\n", FC_HTTP1_BAD_VERSION);
    bad(REQUEST, 0, "GET / HTTP/1.1@@1\r\n", FC_HTTP1_BAD_VERSION);
    bad(REQUEST, 0, "GET / HTTP/@@1.2\r\n", FC_HTTP1_UNSUPPORTED_VERSION);
    bad(REQUEST, 0, "PRI * HTTP/@@2.0\r\n\r\nSM\r\n\r\n", FC_HTTP1_UNSUPPORTED_VERSION);
    bad(REQUEST, 0, "GET / HTTP/1.1@@\nHost: a\n\n", FC_HTTP1_BAD_LINE_END);
    bad(REQUEST, 0, "GET / HTTP/1.1@@\rHost: a\r\n\r\n", FC_HTTP1_BAD_LINE_END);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\n@@ Host: a\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\n@@: a\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost@@ : a\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, FC_HTTP1_LENIENT_SPACE_BEFORE_COLON, "GET / HTTP/1.1\r\nHost@@ : a\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost@@\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\n@@\tb\r\n\r\n", FC_HTTP1_OBS_FOLD);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a@@\rb\r\n\r\n", FC_HTTP1_BAD_LINE_END);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a@@\nb\r\n\r\n", FC_HTTP1_BAD_LINE_END);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a@@\x01\r\n\r\n", FC_HTTP1_BAD_FIELD_VALUE);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\n@@\rX: y\r\n\r\n", FC_HTTP1_BAD_LINE_END);
    bad_bytes(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 34, FC_HTTP1_BAD_FIELD_VALUE, 28);
    bad_bytes(REQUEST, 0, "GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n", 28, FC_HTTP1_BAD_FIELD_NAME, 18);
    bad_bytes(REQUEST, 0, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28, FC_HTTP1_BAD_TARGET, 5);
}

static void test_host_errors(void)
{
    bad(REQUEST, 0, "GET / HTTP/1.1\r\n\r\n", FC_HTTP1_BAD_HOST);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: @@\r\n\r\n", FC_HTTP1_BAD_HOST);
    bad(REQUEST, 0, "GET / HTTP/1.1\r\nHost: a\r\n@@host: a\r\n\r\n", FC_HTTP1_BAD_HOST);
    bad(REQUEST, 0, "GET http://a/ HTTP/1.1\r\n\r\n", FC_HTTP1_BAD_HOST);
    bad(REQUEST, 0, "GET http://a/ HTTP/1.1\r\nHost: b@@/c\r\n\r\n", FC_HTTP1_BAD_HOST);
    static const char *const hosts[] = {
        "a@@ b", "a@@/b", "u@@@a", "@@:80", "a:@@65536", "a:80@@x", "a:@@-1", "a@@?", "@@[::1", "@@[::1%25eth0]", "@@[]",
        "[::1]@@a", "@@[127.0.0.1]", "@@[v1.a]", "a@@%41", "a@@\"", "a@@\\b", "a@@\xc3"};
    for (unsigned i = 0; i < FC_ARRAY_LEN(hosts); i++) {
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nX: y\r\nHost: %s\r\n\r\n", hosts[i]);
        bad(REQUEST, 0, text, FC_HTTP1_BAD_HOST);
    }
    static const char *const fine[] = {"a", "a:", "a:65535", "127.0.0.1:1", "[::]", "[::ffff:1.2.3.4]:80", "a-b.c_d~!$&'()*+,;="};
    for (unsigned i = 0; i < FC_ARRAY_LEN(fine); i++) {
        char text[200];
        parsed r;
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", fine[i]);
        good(REQUEST, 0, text, &r);
        CHECK(span_is(text, r.head.authority, fine[i]));
    }
}

static void test_framing_errors(void)
{
    static const struct {
        const char *field;
        fc_http1_error error;
    } cases[] = {
        {"Content-Length: @@", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: @@+1", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: @@-1", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 0@@x1", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1@@_0", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1@@ 0", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1@@, 1", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1@@.0", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 100000000000000000@@0", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1\r\nContent-Length: @@1", FC_HTTP1_BAD_LENGTH},
        {"Content-Length: 1\r\n@@Transfer-Encoding: chunked", FC_HTTP1_LENGTH_AND_CODING},
        {"Transfer-Encoding: chunked\r\n@@Content-Length: 1", FC_HTTP1_LENGTH_AND_CODING},
        {"Transfer-Encoding: chunked\r\n@@Transfer-Encoding: chunked", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@,chunked", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: chunked,@@", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: chunked, @@chunked", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: chunked, @@gzip", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@chunked;q=1", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@chunked foo", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@\"chunked\"", FC_HTTP1_BAD_CODING},
        {"Transfer-Encoding: @@gzip, chunked", FC_HTTP1_UNSUPPORTED_CODING},
        {"Transfer-Encoding: @@gzip;level=1, chunked", FC_HTTP1_UNSUPPORTED_CODING},
        {"Transfer-Encoding: @@identity", FC_HTTP1_UNSUPPORTED_CODING},
        {"Transfer-Encoding: @@xchunked", FC_HTTP1_UNSUPPORTED_CODING},
        {"Expect: @@200-ok", FC_HTTP1_BAD_EXPECT},
        {"Expect: 100-continue, @@x", FC_HTTP1_BAD_EXPECT},
    };
    for (unsigned i = 0; i < FC_ARRAY_LEN(cases); i++) {
        char text[300];
        snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", cases[i].field);
        bad(REQUEST, 0, text, cases[i].error);
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", cases[i].field);
        if (cases[i].error != FC_HTTP1_BAD_EXPECT)
            bad(RESPONSE, 0, text, cases[i].error);
    }
    bad(REQUEST, 0, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", FC_HTTP1_BAD_LENGTH);
    bad(REQUEST, 0, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", FC_HTTP1_BAD_CODING);
    bad(REQUEST, 0, "POST / HTTP/1.0\r\n@@Transfer-Encoding: chunked\r\n\r\n", FC_HTTP1_BAD_CODING);
    bad(RESPONSE, 0, "HTTP/1.0 200 OK\r\n@@Transfer-Encoding: chunked\r\n\r\n", FC_HTTP1_BAD_CODING);
}

static void test_limits(void)
{
    parsed r;
    char text[1200];
    fc_http1_limits limits = {.head_bytes_max = 60, .target_bytes_max = 19};
    const char *fits = "GET /34567890123456789a HTTP/1.1\r\nHost: ab\r\nX: 345678901\r\n\r\n"; /* 60 */
    parse_all_ways(REQUEST, fits, 60, &limits, &r);
    CHECK(r.result == 60);
    limits.head_bytes_max = 59;
    parse_all_ways(REQUEST, fits, 60, &limits, &r);
    CHECK(r.result == FC_HTTP1_ERROR && r.head.error == FC_HTTP1_HEAD_TOO_LARGE && r.head.error_at == 59);
    limits.target_bytes_max = 18;
    parse_all_ways(REQUEST, fits, 60, &limits, &r);
    CHECK(r.result == FC_HTTP1_ERROR && r.head.error == FC_HTTP1_TARGET_TOO_LONG && r.head.error_at == 22);

    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 1; i < FIELDS; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "a%d:b\r\n", i);
    size_t full = (size_t)n;
    memcpy(text + n, "\r\n", 3);
    good(REQUEST, 0, text, &r);
    CHECK(r.head.fields_len == FIELDS);
    memcpy(text + n, "a:b\r\n\r\n", 8);
    bad_bytes(REQUEST, 0, text, full + 7, FC_HTTP1_TOO_MANY_FIELDS, full);

    /* A line that never ends is noticed when the limit is full, however it comes. */
    limits = (fc_http1_limits){.head_bytes_max = 50, .target_bytes_max = 10};
    const char *endless = "GET / HTTP/1.1\r\nX: 345678901234567890123456789012345678";
    parse(REQUEST, guard_put(&page, endless, 49), 49, 48, &limits, &r);
    CHECK(r.result == FC_HTTP1_PARTIAL);
    parse(REQUEST, guard_put(&page, endless, 50), 50, 49, &limits, &r);
    CHECK(r.result == FC_HTTP1_ERROR && r.head.error == FC_HTTP1_HEAD_TOO_LARGE);

    /* A head over several scan windows, its lines at every offset in them. */
    for (int pad = 0; pad < 130; pad++) {
        n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%.*s:b\r\nLong: ", pad + 1,
                     "a1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
                     "8901234567890123456789012345678901234567890");
        memset(text + n, 'v', 600);
        memcpy(text + n + 600, "\r\nLast: x\r\n\r\n", 14);
        fc_http1_limits plain = defaults;
        parsed other;
        size_t len = strlen(text);
        parse(REQUEST, guard_put(&page, text, len), len, 0, &defaults, &r);
        plain.flags = FC_HTTP1_NO_SIMD;
        parse(REQUEST, guard_put(&page, text, len), len, 0, &plain, &other);
        CHECK(r.result == (int)len && r.head.fields_len == 4 && r.fields[2].value.len == 600);
        CHECK(other.result == r.result && same_head(&r.head, &other.head));
        CHECK((int)r.fields[1].name.len == pad + 1 && span_is(text, r.fields[3].value, "x"));
    }
}

static void test_leniency(void)
{
    parsed r;
    good(REQUEST, FC_HTTP1_LENIENT_BARE_LF, "\nGET / HTTP/1.1\nHost: a\r\nX: y\n\n", &r);
    CHECK(r.head.fields_len == 2);
    bad(REQUEST, FC_HTTP1_LENIENT_BARE_LF, "GET / HTTP/1.1@@\rHost: a\r\n\r\n", FC_HTTP1_BAD_LINE_END);
    const char *t = "GET /<\xc3\xa5>\\?\xff\" HTTP/1.1\r\nHost: a\r\n\r\n";
    good(REQUEST, FC_HTTP1_LENIENT_TARGET_BYTES, t, &r);
    CHECK(span_is(t, r.head.path, "/<\xc3\xa5>\\") && span_is(t, r.head.query, "\xff\""));
    bad(REQUEST, FC_HTTP1_LENIENT_TARGET_BYTES, "GET /@@# HTTP/1.1\r\n", FC_HTTP1_BAD_TARGET);
    good(REQUEST, FC_HTTP1_LENIENT_REPEATED_LENGTH,
         "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 05\r\nContent-Length: 5\r\n\r\n", &r);
    CHECK(r.head.content_length == 5);
    bad(REQUEST, FC_HTTP1_LENIENT_REPEATED_LENGTH, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, @@6\r\n\r\n",
        FC_HTTP1_BAD_LENGTH);
    bad(REQUEST, FC_HTTP1_LENIENT_REPEATED_LENGTH, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,@@\r\n\r\n",
        FC_HTTP1_BAD_LENGTH);
    good(REQUEST, FC_HTTP1_LENIENT_MISSING_HOST, "GET / HTTP/1.1\r\n\r\n", &r);
    good(REQUEST, FC_HTTP1_LENIENT_MISSING_HOST, "GET / HTTP/1.1\r\nHost:\r\n\r\n", &r);
    t = "HTTP/1.1 200\r\nA \t: b\r\n\r\n";
    good(RESPONSE, FC_HTTP1_LENIENT_NO_REASON_SPACE | FC_HTTP1_LENIENT_SPACE_BEFORE_COLON, t, &r);
    CHECK(span_is(t, r.fields[0].name, "A") && span_is(t, r.fields[0].value, "b"));
    bad(RESPONSE, FC_HTTP1_LENIENT_SPACE_BEFORE_COLON, "HTTP/1.1 200 \r\nA@@ b\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);

    /* Folds are blanked out in place: the values are then read from the buffer that was parsed. */
    t = "GET / HTTP/1.1\r\nHost:\r\n a\r\nX: b\r\n\t\r\n c\r\n\r\n";
    good(REQUEST, FC_HTTP1_LENIENT_OBS_FOLD, t, &r);
    fc_http1_limits limits = defaults;
    limits.flags = FC_HTTP1_LENIENT_OBS_FOLD;
    char *p = guard_put(&page, t, strlen(t));
    parse(REQUEST, p, strlen(t), 0, &limits, &r);
    CHECK(span_is(p, r.head.authority, "a") && span_is(p, r.fields[1].value, "b  \t   c"));
    bad(REQUEST, FC_HTTP1_LENIENT_OBS_FOLD, "GET / HTTP/1.1\r\n@@ Host: a\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(REQUEST, FC_HTTP1_LENIENT_OBS_FOLD, "GET / HTTP/1.1\r\nHost: a\r\n @@\x01\r\n\r\n", FC_HTTP1_BAD_FIELD_VALUE);
}

static void framing(fc_http_method method, const char *status, const char *fields, fc_http1_framing want, bool keep)
{
    char text[300];
    parsed r;
    response_to = method;
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\n%s\r\n", status, fields);
    good(RESPONSE, 0, text, &r);
    CHECK(r.head.framing == want && r.head.keep_alive == keep);
    response_to = FC_METHOD_GET;
}

static void test_responses(void)
{
    parsed r;
    const char *t = "HTTP/1.0 404 Not \xc3\x85\tfound \r\nServer: x\r\nContent-Length: 3\r\n\r\n";
    good(RESPONSE, 0, t, &r);
    CHECK(r.head.status == 404 && r.head.minor == 0 && !r.head.keep_alive && r.head.framing == FC_BODY_LENGTH);
    CHECK(span_is(t, r.head.reason, "Not \xc3\x85\tfound ") && r.fields[0].id == FC_FIELD_SERVER);
    good(RESPONSE, 0, "HTTP/1.1 599 \r\n\r\n", &r);
    CHECK(r.head.status == 599 && r.head.reason.len == 0);

    framing(FC_METHOD_GET, "200 OK", "", FC_BODY_CLOSE, false);
    framing(FC_METHOD_GET, "200 OK", "Content-Length: 0\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_GET, "200 OK", "Transfer-Encoding: chunked\r\n", FC_BODY_CHUNKED, true);
    framing(FC_METHOD_HEAD, "200 OK", "Content-Length: 5\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_HEAD, "200 OK", "Transfer-Encoding: chunked\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_HEAD, "200 OK", "", FC_BODY_NONE, true);
    framing(FC_METHOD_GET, "304 Not Modified", "Content-Length: 5\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_GET, "204 No Content", "Content-Length: 0\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_GET, "103 Early Hints", "Link: </a>\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_CONNECT, "200 OK", "Content-Length: 5\r\n", FC_BODY_NONE, true);
    framing(FC_METHOD_CONNECT, "403 No", "Content-Length: 5\r\n", FC_BODY_LENGTH, true);
    framing(FC_METHOD_GET, "205 Reset", "Content-Length: 5\r\n", FC_BODY_LENGTH, true);
    good(RESPONSE, 0, "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", &r);
    CHECK(r.head.has_upgrade);

    bad(RESPONSE, 0, "@@\r\nHTTP/1.1 200 OK\r\n", FC_HTTP1_BAD_VERSION);
    bad(RESPONSE, 0, "@@ICY 200 OK\r\n", FC_HTTP1_BAD_VERSION);
    bad(RESPONSE, 0, "HTTP/@@2.0 200 OK\r\n", FC_HTTP1_UNSUPPORTED_VERSION);
    bad(RESPONSE, 0, "HTTP/1.1@@\t200 OK\r\n", FC_HTTP1_BAD_VERSION);
    bad(RESPONSE, 0, "HTTP/1.1 @@ 200 OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 @@099 OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 @@600 OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 @@999 OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 20@@ OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 200@@0 OK\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 200@@\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 200 O@@\x02K\r\n", FC_HTTP1_BAD_REASON);
    bad(RESPONSE, 0, "HTTP/1.1 200 OK@@\rX\r\n", FC_HTTP1_BAD_LINE_END);
    bad(RESPONSE, 0, "HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n", FC_HTTP1_BAD_STATUS);
    bad(RESPONSE, 0, "HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", FC_HTTP1_BAD_LENGTH);
    bad(RESPONSE, 0, "HTTP/1.1 103 \r\nTransfer-Encoding: chunked\r\n\r\n", FC_HTTP1_BAD_CODING);
}

static void test_trailers(void)
{
    parsed r;
    good(TRAILERS, 0, "\r\n", &r);
    CHECK(r.head.fields_len == 0);
    good(TRAILERS, 0, "Content-Length: x\r\nA: b\r\n\r\n", &r);
    CHECK(r.head.fields_len == 2 && r.fields[0].id == FC_FIELD_CONTENT_LENGTH);
    bad(TRAILERS, 0, "A@@ : b\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
    bad(TRAILERS, 0, "@@\n", FC_HTTP1_BAD_LINE_END);
    bad(TRAILERS, 0, "@@ a: b\r\n\r\n", FC_HTTP1_BAD_FIELD_NAME);
}

int main(void)
{
    page = guard_make(4096);
    test_vocabulary();
    test_request_parts();
    test_request_meaning();
    test_request_errors();
    test_host_errors();
    test_framing_errors();
    test_limits();
    test_leniency();
    test_responses();
    test_trailers();
    guard_free(&page);
    return check_done("test_http1");
}
