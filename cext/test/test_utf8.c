#include "fc/utf8.h"

#include "check.h"
#include "guard.h"

/* Table 3-7 of the Unicode Standard: how many bytes of a character at p are possible, and whether it is complete. */
static size_t possible(const uint8_t *p, size_t n, bool *complete)
{
    unsigned low = 0x80, high = 0xbf, tail;
    *complete = false;
    if (n == 0)
        return 0;
    if (p[0] < 0x80)
        return *complete = true, 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        tail = 1;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        tail = 2, low = p[0] == 0xe0 ? 0xa0 : 0x80, high = p[0] == 0xed ? 0x9f : 0xbf;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        tail = 3, low = p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xf4 ? 0x8f : 0xbf;
    else
        return 0;
    for (unsigned i = 1; i <= tail; i++, low = 0x80, high = 0xbf)
        if (i >= n || p[i] < low || p[i] > high)
            return i;
    *complete = true;
    return tail + 1;
}

static size_t model(const char *text, size_t n, bool *complete)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t at = 0;
    *complete = true;
    while (at < n && *complete)
        at += possible(p + at, n - at, complete);
    return at;
}

static const guard *page;

static void same(const char *text, size_t n)
{
    bool complete;
    size_t want = model(text, n, &complete);
    const char *p = guard_put(page, text, n);
    fc_utf8 state = 0;
    CHECK(fc_utf8_check(&state, p, n) == want);
    if (want == n)
        CHECK(fc_utf8_complete(state) == complete);
    for (size_t cut = 1; cut < n; cut++) {
        state = 0;
        size_t first = fc_utf8_check(&state, p, cut);
        size_t got = first < cut ? first : cut + fc_utf8_check(&state, p + cut, n - cut);
        CHECK(got == want);
    }
    if (want == n) {
        size_t cut = fc_utf8_cut(p, n);
        model(text, n - cut, &complete);
        CHECK(cut <= 3 && complete);
        CHECK(cut == 0 || !fc_utf8_complete(state));
    }
}

/* Every start of a character: two bytes in full, the third and fourth at their edges. */
static void test_every_lead(void)
{
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (unsigned c = 0; c < sizeof edges; c++) {
                char text[4] = {(char)a, (char)b, (char)edges[c], (char)edges[(c * 7 + 3) % sizeof edges]};
                bool complete;
                fc_utf8 state = 0;
                CHECK(fc_utf8_check(&state, text, 4) == model(text, 4, &complete));
            }
}

/* An error at each place of a long text, so that each loop meets it; and none. */
static void test_places(void)
{
    static const char *const units[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "ab\xd0\x96 "};
    static const char *const bad[] = {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90", "\xe0\x9f", "\x80", "\xe2\x82"};
    char text[260];
    for (unsigned u = 0; u < FC_ARRAY_LEN(units); u++) {
        size_t size = strlen(units[u]);
        for (size_t n = 0; n + size + 2 < 200; n += size) {
            for (size_t at = 0; at < n; at += size)
                memcpy(text + at, units[u], size);
            same(text, n);
            const char *end = bad[n % FC_ARRAY_LEN(bad)];
            memcpy(text + n, end, strlen(end));
            memset(text + n + strlen(end), 'z', 40);
            same(text, n + strlen(end) + (n % 3 ? 40 : 0));
        }
    }
}

static void test_ascii(void)
{
    char text[200];
    memset(text, 'a', sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        const char *p = guard_put(page, text, n);
        CHECK(fc_utf8_ascii(p, n) == n);
    }
    for (size_t at = 0; at < sizeof text; at++) {
        text[at] = '\x80';
        CHECK(fc_utf8_ascii(text, sizeof text) == at);
        text[at] = 'a';
    }
}

int main(void)
{
    guard g = guard_make(300);
    page = &g;
    test_every_lead();
    test_places();
    test_ascii();
    guard_free(&g);
    return check_done("test_utf8");
}
