/* A limit's keys and the bytes of its fields. */
#include "fc/limit.h"

#include <string.h>

#include "check.h"

#define SLICE(literal) ((fc_slice){literal, sizeof(literal) - 1})

static const fc_hash_key key = {1, 2};

static fc_addr address(const char *text)
{
    fc_addr a;
    CHECK(fc_addr_parse(text, strlen(text), &a));
    return a;
}

static bool same(const fc_limit *limit, const char *one, const char *other)
{
    fc_addr a = address(one), b = address(other);
    fc_limit_mask(limit, &a);
    fc_limit_mask(limit, &b);
    return memcmp(a.ip, b.ip, sizeof a.ip) == 0;
}

static void test_prefixes(void)
{
    fc_limit limit = {.ipv4_bits = 32, .ipv6_bits = 64};
    CHECK(same(&limit, "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
    CHECK(!same(&limit, "2001:db8::1", "2001:db8:0:1::1"));
    CHECK(!same(&limit, "192.0.2.1", "192.0.2.2") && same(&limit, "192.0.2.1", "192.0.2.1"));
    limit.ipv4_bits = 23;
    limit.ipv6_bits = 57;
    CHECK(same(&limit, "192.0.2.1", "192.0.3.255") && !same(&limit, "192.0.2.1", "192.0.4.1"));
    CHECK(same(&limit, "2001:db8::1", "2001:db8:0:7f::1") && !same(&limit, "2001:db8::1", "2001:db8:0:80::1"));
    limit.ipv4_bits = limit.ipv6_bits = 0;
    CHECK(same(&limit, "1.2.3.4", "200.1.1.1") && same(&limit, "::1", "ffff::1"));
    limit.ipv6_bits = 128;
    CHECK(!same(&limit, "2001:db8::1", "2001:db8::2"));
    fc_addr mapped = address("1.2.3.4"), zero = address("::");
    fc_limit_mask(&limit, &mapped);
    CHECK(memcmp(mapped.ip, zero.ip, sizeof zero.ip) != 0); /* all of IPv4 is not the IPv6 address 0 */
}

static uint64_t print(uint64_t scope, uint32_t n, const char *a, const char *b)
{
    fc_limit limit = {.scope = scope, .key = &key, .parts_len = n};
    uint64_t hashes[2] = {fc_hash(&key, a, strlen(a)), fc_hash(&key, b, strlen(b))};
    return fc_limit_print(&limit, hashes);
}

static void test_prints(void)
{
    CHECK(print(1, 2, "a", "b") == print(1, 2, "a", "b"));
    CHECK(print(1, 2, "a", "b") != print(1, 2, "b", "a"));
    CHECK(print(1, 2, "ab", "") != print(1, 2, "a", "b"));
    CHECK(print(1, 2, "", "ab") != print(1, 2, "ab", ""));
    CHECK(print(1, 1, "a", "x") == print(1, 1, "a", "y"));
    CHECK(print(1, 1, "a", "") != print(1, 2, "a", ""));
    CHECK(print(1, 0, "", "") != print(2, 0, "", ""));
}

static bool decodes(const char *from, const char *to)
{
    char out[16];
    size_t n;
    return fc_limit_decode((fc_slice){from, strlen(from)}, out, sizeof out, &n) && n == strlen(to) &&
           memcmp(out, to, n) == 0;
}

static void test_decoding(void)
{
    CHECK(decodes("", "") && decodes("abc", "abc") && decodes("a+b%20c", "a b c") && decodes("%41%6a%6A", "Ajj"));
    CHECK(decodes("%", "%") && decodes("%4", "%4") && decodes("%zz", "%zz") && decodes("100%", "100%"));
    CHECK(decodes("%2541", "%41")); /* once */
    CHECK(decodes("0123456789abcdef", "0123456789abcdef") && !decodes("0123456789abcdefg", "0123456789abcdefg"));
    CHECK(decodes("%30%31%32%33%34%35%36%37%38%39abcdef", "0123456789abcdef"));
}

static fc_limiter table; /* only its address counts here */

static fc_limit_use use(const fc_limit *limit, bool allowed, uint64_t remaining, uint64_t retry_ns, uint64_t reset_ns)
{
    return (fc_limit_use){
        .limit = limit,
        .answer = {.allowed = allowed, .remaining = remaining, .retry_ns = retry_ns, .reset_ns = reset_ns},
        .place = -1};
}

static bool fields_are(const fc_limit_use *uses, uint32_t n, bool all, const char *expected)
{
    char text[2048];
    fc_text out = fc_text_at(text, sizeof text);
    fc_limit_put_fields(&out, uses, n, all);
    bool right = !out.overflow && fc_text_len(&out) == strlen(expected) && memcmp(text, expected, strlen(expected)) == 0;
    if (!right)
        fprintf(stderr, "got %.*s\n", (int)fc_text_len(&out), text);
    return right && fc_text_len(&out) <= fc_limit_fields_room(n);
}

static void test_fields(void)
{
    fc_limit told = {.name = SLICE("per_ip"), .policy = SLICE("\"per_ip\";q=100;w=60"), .table = &table, .tells = true};
    fc_limit quiet = {.name = SLICE("b"), .policy = SLICE("\"b\";q=1;w=1"), .table = &table};
    fc_limit dry = {.name = SLICE("dry"), .policy = SLICE("\"dry\";q=1;w=1"), .table = &table, .tells = true, .dry_run = true};
    fc_limit places = {.name = SLICE("c"), .policy = SLICE("\"c\";q=5;qu=\"concurrent-requests\""), .tells = true};
    fc_limit_use uses[] = {
        use(&told, true, 7, 0, 1),
        use(&quiet, false, 0, 2000000001, 5000000000),
        use(&dry, false, 0, 99000000000, 0),
        use(&places, true, 4, 0, 0),
    };
    CHECK(fields_are(uses, 0, true, ""));
    CHECK(fields_are(uses + 1, 2, false, ""));
    CHECK(fields_are(uses, 4, false,
                     "RateLimit-Policy: \"per_ip\";q=100;w=60, \"c\";q=5;qu=\"concurrent-requests\"\r\n"
                     "RateLimit: \"per_ip\";r=7;t=1, \"c\";r=4\r\n"));
    CHECK(fields_are(uses, 4, true,
                     "RateLimit-Policy: \"per_ip\";q=100;w=60, \"b\";q=1;w=1, \"c\";q=5;qu=\"concurrent-requests\"\r\n"
                     "RateLimit: \"per_ip\";r=7;t=1, \"b\";r=0;t=3, \"c\";r=4\r\n"));
    uses[0] = use(&told, true, UINT64_MAX, 0, 0);
    CHECK(fields_are(uses, 1, true, "RateLimit-Policy: \"per_ip\";q=100;w=60\r\n"
                                    "RateLimit: \"per_ip\";r=999999999999999;t=0\r\n"));
    uses[0] = use(&told, false, 3, FC_GCRA_NEVER, 0);
    CHECK(fields_are(uses, 1, true, "RateLimit-Policy: \"per_ip\";q=100;w=60\r\nRateLimit: \"per_ip\";r=3\r\n"));
}

static void test_retry_after(void)
{
    fc_limit limit = {.table = &table}, dry = {.table = &table, .dry_run = true};
    fc_limit_use uses[] = {
        use(&limit, false, 0, 1, 0), use(&limit, false, 0, 2000000001, 0), use(&limit, true, 0, 9000000000, 0),
        use(&dry, false, 0, 9000000000, 0), use(&limit, false, 0, FC_GCRA_NEVER, 0)};
    CHECK(fc_limit_retry_after(uses, 0) == 1 && fc_limit_retry_after(uses, 1) == 1);
    CHECK(fc_limit_retry_after(uses, 5) == 3);
}

int main(void)
{
    test_prefixes();
    test_prints();
    test_decoding();
    test_fields();
    test_retry_after();
    return check_done("limit");
}
