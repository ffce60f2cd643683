/* Every scan level against the table of byte classes, byte by byte, at the end of the address space. */
#include "../proto/scan.h"

#include "check.h"
#include "guard.h"

static const fc_scan_level levels[] = {FC_SCAN_PLAIN, FC_SCAN_SSE42, FC_SCAN_AVX2, FC_SCAN_AVX512};

static size_t slow_search(const char *p, size_t at, size_t n, uint8_t classes, bool wanted)
{
    while (at < n && fc_byte_is(p[at], classes) != wanted)
        at++;
    return at;
}

static void test_classes(void)
{
    static const char tchar[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char pchar[] = "-._~!$&'()*+,;=:@/%[]|0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int c = 0; c < 256; c++) {
        bool ctl = (c < 0x20 && c != '\t') || c == 0x7f;
        CHECK(fc_byte_is((char)c, FC_BYTE_CTL) == ctl);
        CHECK(fc_byte_is((char)c, FC_BYTE_TOKEN) == (c != 0 && strchr(tchar, c) != NULL));
        bool path = c != 0 && strchr(pchar, c) != NULL;
        CHECK(fc_byte_is((char)c, FC_BYTE_PATH) == path);
        CHECK(fc_byte_is((char)c, FC_BYTE_QUERY) == (path || (c != 0 && strchr("?\\^`{}", c) != NULL)));
        CHECK(fc_byte_is((char)c, FC_BYTE_REGNAME) == (path && strchr(":@/%[]|", c) == NULL));
        bool raw = (c > 0x20 && c != '#' && c != '?' && c != 0x7f);
        CHECK(fc_byte_is((char)c, FC_BYTE_RAW) == raw);
    }
}

/* Each byte value at each position of a text that is otherwise quiet for the search. */
static void test_one_byte(const guard *g, fc_scan_level level)
{
    char text[100];
    for (size_t n = 1; n <= sizeof text; n += n < 66 ? 1 : 11) {
        for (size_t where = 0; where < n; where++) {
            for (int c = 0; c < 256; c += n > 40 ? 13 : 1) {
                memset(text, 'a', n);
                text[where] = (char)c;
                const char *p = guard_put(g, text, n);
                fc_scan scan;
                fc_scan_init(&scan, p, n, level);
                bool ok = fc_scan_ctl(&scan, 0) == slow_search(p, 0, n, FC_BYTE_CTL, true) &&
                          fc_scan_nontoken(&scan, 0) == slow_search(p, 0, n, FC_BYTE_TOKEN, false) &&
                          fc_scan_target(p, 0, n, FC_BYTE_PATH, level) == slow_search(p, 0, n, FC_BYTE_PATH, false) &&
                          fc_scan_target(p, 0, n, FC_BYTE_QUERY, level) == slow_search(p, 0, n, FC_BYTE_QUERY, false);
                CHECK(ok);
            }
        }
    }
}

/* Random texts over several windows, searched from left to right and from arbitrary places. */
static void test_random(const guard *g, fc_scan_level level)
{
    static char text[2000];
    unsigned seed = 7;
    for (int round = 0; round < 400; round++) {
        size_t n = (size_t)rand_r(&seed) % sizeof text;
        unsigned rare = 1u + (unsigned)rand_r(&seed) % 300;
        for (size_t i = 0; i < n; i++)
            text[i] = (unsigned)rand_r(&seed) % rare ? 'x' : (char)rand_r(&seed);
        const char *p = guard_put(g, text, n);
        fc_scan scan;
        fc_scan_init(&scan, p, n, level);
        for (size_t at = 0; at < n;) {
            size_t ctl = fc_scan_ctl(&scan, at), nontoken = fc_scan_nontoken(&scan, at);
            CHECK(ctl == slow_search(p, at, n, FC_BYTE_CTL, true));
            CHECK(nontoken == slow_search(p, at, n, FC_BYTE_TOKEN, false));
            at = nontoken + 1;
        }
        for (int i = 0; i < 20; i++) {
            size_t at = (size_t)rand_r(&seed) % (n + 1);
            CHECK(fc_scan_ctl(&scan, at) == slow_search(p, at, n, FC_BYTE_CTL, true));
            CHECK(fc_scan_target(p, at, n, FC_BYTE_PATH, level) == slow_search(p, at, n, FC_BYTE_PATH, false));
        }
    }
}

int main(void)
{
    guard g = guard_make(4096);
    test_classes();
    for (unsigned i = 0; i < FC_ARRAY_LEN(levels); i++) {
        if (levels[i] > fc_scan_best())
            continue;
        test_one_byte(&g, levels[i]);
        test_random(&g, levels[i]);
    }
    guard_free(&g);
    return check_done("test_scan");
}
