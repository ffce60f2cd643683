#include "fc/hash.h"

#include <string.h>

#include "check.h"

/* hash(bytes) % 2**64 of CPython 3.11 (sys.hash_info.algorithm siphash13) with PYTHONHASHSEED=0, which is a zero key */
static const struct {
    const char *text;
    uint64_t hash;
} CPYTHON[] = {
    {"a", 0x407448D2B89B1813ull},
    {"abcdefg", 0x6DB12AAE9070F506ull},
    {"abcdefgh", 0x3F7B849C0B8E35EAull},
    {"abcdefghi", 0xF89B34A3D11EB6E5ull},
    {"/users/42/files", 0x58063B18B514312Aull},
    {"The quick brown fox jumps over the lazy dog", 0x8DF676D3D00C451Eull},
};

/* OpenSSL 3.0: `openssl mac -macopt hexkey:000102..0f -macopt size:16 SIPHASH` over the bytes 0, 1, 2 ... */
static const struct {
    size_t n;
    uint64_t hash[2];
} OPENSSL[] = {
    {0, {0xE6A825BA047F81A3ull, 0x930255C71472F66Dull}},
    {1, {0x44AF996BD8C187DAull, 0x45FC229B11597634ull}},
    {7, {0x53C1DBD8BEEBF1A1ull, 0x3982F01FA64AB8C0ull}},
    {8, {0x61F55862BAA9623Bull, 0xB49714F364E2830Full}},
    {15, {0x11A8B03399E99354ull, 0xD9C3CF970FEC087Eull}},
    {63, {0x4A83502F77D15051ull, 0x7CBD3F979A063E50ull}},
};

static void test_128(void)
{
    const fc_hash_key key = {0x0706050403020100ull, 0x0F0E0D0C0B0A0908ull};
    unsigned char bytes[64];
    uint64_t hash[2];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < FC_ARRAY_LEN(OPENSSL); i++) {
        fc_hash128(&key, bytes, OPENSSL[i].n, hash);
        CHECK(hash[0] == OPENSSL[i].hash[0] && hash[1] == OPENSSL[i].hash[1]);
    }
}

int main(void)
{
    test_128();
    const fc_hash_key zero = {0, 0}, other = {1, 0};
    for (size_t i = 0; i < FC_ARRAY_LEN(CPYTHON); i++) {
        const char *text = CPYTHON[i].text;
        CHECK(fc_hash(&zero, text, strlen(text)) == CPYTHON[i].hash);
        CHECK(fc_hash(&other, text, strlen(text)) != CPYTHON[i].hash);
    }
    char buf[40];
    memset(buf, 'x', sizeof buf);
    for (size_t shift = 1; shift < 8; shift++) { /* reads need no alignment */
        memcpy(buf + shift, "0123456789abcdef", 16);
        CHECK(fc_hash(&zero, buf + shift, 16) == fc_hash(&zero, "0123456789abcdef", 16));
    }
    /* every input bit changes about half of the output */
    for (unsigned bit = 0; bit < 128; bit++) {
        uint8_t a[16] = {0}, b[16] = {0};
        b[bit / 8] = (uint8_t)(1u << bit % 8);
        int changed = __builtin_popcountll(fc_hash(&zero, a, 16) ^ fc_hash(&zero, b, 16));
        CHECK(changed > 10 && changed < 54);
    }
    uint64_t state = 1, first = fc_hash_next(&state);
    CHECK(first != fc_hash_next(&state));
    CHECK(fc_hash_mix(1) != fc_hash_mix(2) && fc_hash_mix(0) == 0);
    return check_done("test_hash");
}
