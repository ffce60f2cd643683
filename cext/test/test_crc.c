#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fc/crc16.h"
#include "fc/crc32c.h"
#include "fc/md5.h"
#include "guard.h"

static uint32_t bit_by_bit(const unsigned char *p, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

/* RFC 3720 B.4 */
static void test_published(void)
{
    static const unsigned char read_pdu[48] = {0x01, 0xC0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28,
                                               [40] = 0x02};
    unsigned char zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xFF, sizeof ones);
    for (unsigned i = 0; i < 32; i++) {
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    const struct {
        const void *p;
        size_t n;
        uint32_t crc;
    } cases[] = {
        {zeros, 32, 0x8A9136AAu}, {ones, 32, 0x62A8AB43u},  {up, 32, 0x46DD794Eu},          {down, 32, 0x113FDB5Cu},
        {read_pdu, 48, 0xD9963A56u}, {"123456789", 9, 0xE3069283u}, {NULL, 0, 0},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        CHECK(fc_crc32c(0, cases[i].p, cases[i].n) == cases[i].crc);
        CHECK(fc_crc32c_portable(0, cases[i].p, cases[i].n) == cases[i].crc);
    }
    uint32_t crc = fc_crc32c(0, "foo", 3);
    CHECK(fc_crc32c_mask(crc) != crc && fc_crc32c_mask(fc_crc32c_mask(crc)) != crc);
    CHECK(fc_crc32c_unmask(fc_crc32c_mask(crc)) == crc && fc_crc32c_mask(0) == 0xA282EAD8u);
}

/* Every length around the sizes of the streams, at the end of readable memory, in one piece and in two. */
static void test_both_paths_agree(void)
{
    enum { MOST = 3 * 1024 + 3 * 128 * 8 + 64 };
    guard g = guard_make(MOST);
    static unsigned char bytes[MOST];
    for (size_t i = 0; i < MOST; i++)
        bytes[i] = (unsigned char)(i * i >> 3 ^ i * 31);
    for (size_t n = 0; n < MOST; n += n < 1200 ? 1 : 97) {
        const char *p = guard_put(&g, (const char *)bytes, n);
        uint32_t crc = bit_by_bit(bytes, n);
        CHECK(fc_crc32c(0, p, n) == crc);
        CHECK(fc_crc32c_portable(0, p, n) == crc);
        size_t cut = n * 7 / 11;
        CHECK(fc_crc32c(fc_crc32c(0, p, cut), p + cut, n - cut) == crc);
        CHECK(fc_crc32c_portable(fc_crc32c(0, p, cut), p + cut, n - cut) == crc);
    }
    guard_free(&g);
}

static uint32_t slot(const char *key)
{
    return fc_crc16_slot(key, strlen(key));
}

/* The Redis Cluster specification: the check value, and its examples of hash tags. */
static void test_slots(void)
{
    CHECK(fc_crc16(0, "123456789", 9) == 0x31C3);
    CHECK(fc_crc16(fc_crc16(0, "1234", 4), "56789", 5) == 0x31C3);
    CHECK(slot("") == 0 && slot("foo") == 12182 && slot("somekey") == 11058);
    CHECK(slot("{user1000}.following") == slot("{user1000}.followers") && slot("{user1000}.following") == slot("user1000"));
    CHECK(slot("foo{}{bar}") == fc_crc16(0, "foo{}{bar}", 10) % FC_CRC16_SLOTS);
    CHECK(slot("foo{{bar}}zap") == slot("{bar"));
    CHECK(slot("foo{bar}{zap}") == slot("bar"));
    CHECK(slot("}foo{bar") == fc_crc16(0, "}foo{bar", 8) % FC_CRC16_SLOTS);
    CHECK(slot("foo{") == fc_crc16(0, "foo{", 4) % FC_CRC16_SLOTS);
    guard g = guard_make(16);
    CHECK(fc_crc16_slot(guard_put(&g, "a{b", 3), 3) == slot("a{b"));
    guard_free(&g);
}

/* RFC 1321 A.5, and the lengths around a block, where the padding goes into the next. */
static void test_md5(void)
{
    static const struct {
        const char *text;
        uint32_t first, last;
    } cases[] = {
        {"", 0xD98C1DD4u, 0x7E42F8ECu},
        {"a", 0xB975C10Cu, 0x61267769u},
        {"abc", 0x98500190u, 0x727FE128u},
        {"message digest", 0x7D696BF9u, 0xD061F1AAu},
        {"abcdefghijklmnopqrstuvwxyz", 0xD7D3FCC3u, 0x3BE167CAu},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 0x98AB74D1u, 0x9F9D419Fu},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890", 0xA2F4ED57u, 0x7AB60721u},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        uint32_t digest[4];
        fc_md5(digest, cases[i].text, strlen(cases[i].text));
        CHECK(digest[0] == cases[i].first && digest[3] == cases[i].last);
    }
    guard g = guard_make(200);
    char bytes[200];
    uint32_t sum = 0; /* over hashlib's digests of the same */
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t n = 0; n < sizeof bytes; n++) {
        uint32_t digest[4];
        fc_md5(digest, guard_put(&g, bytes, n), n);
        sum = sum * 31 + (digest[0] ^ digest[1] ^ digest[2] ^ digest[3]);
    }
    CHECK(sum == 0xEC6CAE6Du);
    guard_free(&g);
}

int main(void)
{
    test_published();
    test_both_paths_agree();
    test_slots();
    test_md5();
    return check_done("test_crc");
}
