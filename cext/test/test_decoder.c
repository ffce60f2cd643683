/* Content codings taken off: in whatever pieces they come and whatever room there is, what was put in comes out; what is cut
 * off is known to be, and what is not of the coding is refused. */
#include <brotli/encode.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "check.h"
#include "fc/decoder.h"

#define SIZE 300000u

static char input[SIZE], coded[2 * SIZE], back[4 * SIZE];
static uint32_t dice = 1;

static uint32_t roll(uint32_t n)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % n;
}

static size_t encoded(fc_coding coding, const char *p, size_t n, char *to)
{
    size_t len = SIZE + SIZE / 2;
    if (coding == FC_CODING_BR) {
        CHECK(BrotliEncoderCompress(4, 18, BROTLI_MODE_GENERIC, n, (const uint8_t *)p, &len, (uint8_t *)to));
        return len;
    }
    z_stream z = {.next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n, .next_out = (Bytef *)to, .avail_out = (uInt)len};
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return len - z.avail_out;
}

/* Length of what comes out into `back`, or -EBADMSG. small: pieces and room of a few bytes. */
static long decode(fc_decoder *d, const char *p, size_t n, bool small)
{
    size_t at = 0;
    for (size_t done = 0, piece; done < n; done += piece) {
        piece = 1 + roll(small ? 20 : 30000);
        piece = piece < n - done ? piece : n - done;
        const char *from = p + done;
        size_t left = piece;
        int rc;
        do {
            size_t room = 1 + roll(small || !roll(4) ? 20 : 20000), before = room;
            char *out = back + at;
            rc = fc_decoder_step(d, &from, &left, &out, &room);
            CHECK(room <= before && out == back + at + (before - room));
            at += before - room;
            CHECK(at + 20001 < sizeof back);
            if (rc < 0)
                return rc;
        } while (rc == 1);
        CHECK(left == 0);
    }
    return (long)at;
}

static void test_round_trips(fc_coding coding)
{
    for (unsigned round = 0; round < 60; round++) {
        size_t size = roll(3) ? roll(SIZE) : roll(100);
        for (size_t i = 0; i < size; i++)
            input[i] = (char)(round % 3 == 0 ? roll(256) : round % 3 == 1 ? 'a' + roll(4) : 'a');
        size_t n = encoded(coding, input, size, coded);
        fc_decoder *d = fc_decoder_new(coding);
        CHECK(!fc_decoder_ended(d));
        size_t half = roll((uint32_t)n);
        CHECK(decode(d, coded, half, round % 2) >= 0 && !fc_decoder_ended(d)); /* there is more to come */
        fc_decoder_free(d);
        d = fc_decoder_new(coding);
        CHECK(decode(d, coded, n, round % 2) == (long)size && memcmp(back, input, size) == 0);
        CHECK(fc_decoder_ended(d));
        if (coding == FC_CODING_GZIP) { /* another member: what it is made of is joined */
            CHECK(decode(d, coded, n, false) == (long)size && memcmp(back, input, size) == 0);
            CHECK(decode(d, coded, n / 2, false) >= 0 && !fc_decoder_ended(d));
        }
        fc_decoder_free(d);
    }
}

static void test_members_in_one_piece(void)
{
    size_t a = encoded(FC_CODING_GZIP, "hello ", 6, coded), b = encoded(FC_CODING_GZIP, "world", 5, coded + a);
    const char *p = coded;
    size_t n = a + b, room = sizeof back;
    char *out = back;
    fc_decoder *d = fc_decoder_new(FC_CODING_GZIP);
    CHECK(fc_decoder_step(d, &p, &n, &out, &room) == 0 && n == 0 && fc_decoder_ended(d));
    CHECK(out - back == 11 && memcmp(back, "hello world", 11) == 0);
    fc_decoder_free(d);
}

/* A kilobyte that is a megabyte: it comes as slowly as there is room. */
static void test_unfolding(fc_coding coding)
{
    memset(input, 0, SIZE);
    size_t n = encoded(coding, input, SIZE, coded), total = 0;
    const char *p = coded;
    fc_decoder *d = fc_decoder_new(coding);
    int rc = 1;
    for (unsigned steps = 0; rc == 1; steps++) {
        char room_of[4096], *out = room_of;
        size_t room = sizeof room_of;
        rc = fc_decoder_step(d, &p, &n, &out, &room);
        total += (size_t)(out - room_of);
        CHECK(steps < 200);
    }
    CHECK(rc == 0 && total == SIZE && n == 0 && fc_decoder_ended(d));
    fc_decoder_free(d);
}

static void test_refused(fc_coding coding)
{
    size_t n = encoded(coding, "some words, and some words, and some words", 42, coded);
    fc_decoder *d = fc_decoder_new(coding);
    coded[n] = coded[n + 1] = 'x'; /* behind the end */
    CHECK(decode(d, coded, n + 2, false) == -EBADMSG);
    fc_decoder_free(d);
    d = fc_decoder_new(coding);
    CHECK(decode(d, coded, n, false) == 42);
    CHECK(decode(d, "xx", 2, false) == -EBADMSG);
    fc_decoder_free(d);
    d = fc_decoder_new(coding);
    CHECK(decode(d, "\xff\xff\xff\xff, neither of them, and long enough to tell", 46, true) == -EBADMSG);
    fc_decoder_free(d);
    if (coding == FC_CODING_GZIP) {
        coded[n - 6] ^= 1; /* its CRC */
        d = fc_decoder_new(coding);
        CHECK(decode(d, coded, n, true) == -EBADMSG && !fc_decoder_ended(d));
        fc_decoder_free(d);
    }
}

int main(void)
{
    for (fc_coding coding = FC_CODING_GZIP; coding < FC_CODING_COUNT; coding++) {
        test_round_trips(coding);
        test_unfolding(coding);
        test_refused(coding);
    }
    test_members_in_one_piece();
    return check_done("decoder");
}
