#include "fc/mask.h"

#include "check.h"
#include "guard.h"

/* RFC 6455 5.3, byte by byte. */
static void model(char *dst, const char *src, size_t n, uint32_t key, size_t phase)
{
    const uint8_t *bytes = (const uint8_t *)&key;
    for (size_t i = 0; i < n; i++)
        dst[i] = (char)((uint8_t)src[i] ^ bytes[(phase + i) % 4]);
}

/* Every level, length and alignment: the right bytes, at both ends of what may be touched. */
static void test_levels(void)
{
    enum { MOST = 400 };
    guard from = guard_make(MOST), to = guard_make(MOST);
    char source[MOST], want[MOST];
    uint32_t key;
    memcpy(&key, "\x12\x00\xfe\x80", 4);
    for (unsigned i = 0; i < MOST; i++)
        source[i] = (char)(i * 37 + i / 7);
    for (fc_mask_level level = FC_MASK_PLAIN; level <= fc_mask_best(); level++)
        for (size_t n = 0; n <= MOST; n++) {
            char *src = guard_put(&from, source, n), *dst = to.base + to.room - n;
            char before = dst[-1];
            memset(dst, 0, n);
            model(want, src, n, key, 0);
            fc_mask(dst, src, n, key, level);
            CHECK(memcmp(dst, want, n) == 0 && dst[-1] == before);
            fc_mask(src, src, n, key, level);
            CHECK(memcmp(src, want, n) == 0);
            if (n < MOST) { /* one byte off in both, with a byte behind that stays */
                char *at = from.base + 1;
                memcpy(at, source, n);
                at[n] = 'x';
                fc_mask(at, at, n, key, level);
                CHECK(memcmp(at, want, n) == 0 && at[n] == 'x');
            }
        }
    guard_free(&from);
    guard_free(&to);
}

static void test_turning(void)
{
    char source[64], whole[64], pieces[64];
    uint32_t key;
    memcpy(&key, "abcd", 4);
    memset(source, 7, sizeof source);
    model(whole, source, sizeof source, key, 0);
    for (size_t cut = 0; cut <= sizeof source; cut++) {
        fc_mask(pieces, source, cut, key, fc_mask_best());
        fc_mask(pieces + cut, source + cut, sizeof source - cut, fc_mask_turn(key, cut), fc_mask_best());
        CHECK(memcmp(whole, pieces, sizeof source) == 0);
    }
    CHECK(fc_mask_turn(key, (1ull << 40) + 4) == key);
}

int main(void)
{
    test_levels();
    test_turning();
    return check_done("test_mask");
}
