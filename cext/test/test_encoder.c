/* Content codings: whatever is put in comes out of others' decoders, in pieces of any size; and what clients take. */
#include <brotli/decode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "check.h"
#include "fc/encoder.h"

#define SIZE 300000u

static char input[SIZE], coded[2 * SIZE], back[SIZE + 1];
static uint32_t dice = 1;

static uint32_t roll(uint32_t n)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % n;
}

static size_t decoded(fc_coding coding, size_t n)
{
    if (coding == FC_CODING_BR) {
        size_t len = sizeof back;
        CHECK(BrotliDecoderDecompress(n, (uint8_t *)coded, &len, (uint8_t *)back) == BROTLI_DECODER_RESULT_SUCCESS);
        return len;
    }
    z_stream z = {.next_in = (Bytef *)coded, .avail_in = (uInt)n, .next_out = (Bytef *)back, .avail_out = sizeof back};
    CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
    CHECK(inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0);
    inflateEnd(&z);
    return sizeof back - z.avail_out;
}

static size_t encode(fc_encoder *e, const char *p, size_t n, size_t at, fc_encode_op op)
{
    for (;;) {
        size_t room = 1 + roll(roll(4) ? 5000 : 20), before = room;
        char *out = coded + at;
        bool more = fc_encoder_step(e, &p, &n, &out, &room, op);
        at += before - room;
        CHECK(at + 6000 < sizeof coded);
        if (!more)
            break;
    }
    CHECK(n == 0);
    return at;
}

static void test_round_trips(fc_coding coding, int level)
{
    for (unsigned round = 0; round < 30; round++) {
        size_t size = roll(3) ? roll(SIZE) : roll(100), at = 0;
        for (size_t i = 0; i < size; i++)
            input[i] = (char)(round % 3 ? 'a' + roll(4) : roll(256));
        fc_encoder *e = fc_encoder_new(coding, level);
        for (size_t done = 0, n; done < size; done += n) {
            n = 1 + roll(30000);
            n = n < size - done ? n : size - done;
            at = encode(e, input + done, n, at, roll(3) ? FC_ENCODE_MORE : FC_ENCODE_FLUSH);
        }
        at = encode(e, NULL, 0, at, FC_ENCODE_END);
        fc_encoder_free(e);
        CHECK(decoded(coding, at) == size && memcmp(back, input, size) == 0);
    }
}

/* What has been flushed can be read though more will come. */
static void test_flushed(void)
{
    fc_encoder *e = fc_encoder_new(FC_CODING_GZIP, 6);
    size_t at = encode(e, "hello", 5, 0, FC_ENCODE_FLUSH);
    z_stream z = {.next_in = (Bytef *)coded, .avail_in = (uInt)at, .next_out = (Bytef *)back, .avail_out = sizeof back};
    CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
    CHECK(inflate(&z, Z_SYNC_FLUSH) == Z_OK && z.total_out == 5 && memcmp(back, "hello", 5) == 0);
    inflateEnd(&z);
    fc_encoder_free(e);
    e = fc_encoder_new(FC_CODING_BR, 4);
    at = encode(e, "hello", 5, 0, FC_ENCODE_FLUSH);
    BrotliDecoderState *d = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    size_t in = at, room = sizeof back;
    const uint8_t *from = (uint8_t *)coded;
    uint8_t *to = (uint8_t *)back;
    CHECK(BrotliDecoderDecompressStream(d, &in, &from, &room, &to, NULL) == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT);
    CHECK(sizeof back - room == 5 && memcmp(back, "hello", 5) == 0);
    BrotliDecoderDestroyInstance(d);
    fc_encoder_free(e);
}

static void test_choice(void)
{
    enum { BOTH = 1u << FC_CODING_GZIP | 1u << FC_CODING_BR, GZIP = 1u << FC_CODING_GZIP };
    static const struct {
        const char *value; /* NULL: no field */
        uint32_t allowed;
        fc_coding best;
    } cases[] = {
        {NULL, BOTH, FC_CODING_IDENTITY},
        {"", BOTH, FC_CODING_IDENTITY},
        {"gzip", BOTH, FC_CODING_GZIP},
        {"GZip", BOTH, FC_CODING_GZIP},
        {"x-gzip", BOTH, FC_CODING_GZIP},
        {"br", BOTH, FC_CODING_BR},
        {"br", GZIP, FC_CODING_IDENTITY},
        {"gzip, deflate, br", BOTH, FC_CODING_BR},
        {"br, gzip", GZIP, FC_CODING_GZIP},
        {"gzip;q=1.0, br;q=0.9", BOTH, FC_CODING_GZIP},
        {"gzip ; q=0.001 ,\tbr;q=0", BOTH, FC_CODING_GZIP},
        {"gzip;q=0", BOTH, FC_CODING_IDENTITY},
        {"*", BOTH, FC_CODING_BR},
        {"*;q=0", BOTH, FC_CODING_IDENTITY},
        {"br;q=0, *", BOTH, FC_CODING_GZIP},
        {"identity", BOTH, FC_CODING_IDENTITY},
        {"identity;q=0.5, gzip;q=0.4", BOTH, FC_CODING_IDENTITY},
        {"identity;q=0.5, gzip;q=0.6", BOTH, FC_CODING_GZIP},
        {"identity;q=0.5, gzip;q=0.5", BOTH, FC_CODING_IDENTITY},
        {"gzip;q=2, br;q=abc", BOTH, FC_CODING_IDENTITY},
        {"gzip;q=1.001", BOTH, FC_CODING_IDENTITY},
        {"gzip;x=1", BOTH, FC_CODING_IDENTITY},
        {"gzipped, brotli", BOTH, FC_CODING_IDENTITY},
        {",,gzip,,", BOTH, FC_CODING_GZIP},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        fc_accept_coding a = {0};
        if (cases[i].value)
            fc_accept_coding_read(&a, (fc_slice){cases[i].value, strlen(cases[i].value)});
        fc_coding best = fc_accept_coding_best(&a, cases[i].allowed);
        CHECK(best == cases[i].best);
        if (best != cases[i].best)
            fprintf(stderr, "  %s\n", cases[i].value ? cases[i].value : "(none)");
    }
    fc_accept_coding a = {0};
    fc_accept_coding_read(&a, (fc_slice){"gzip;q=0.5", 10});
    fc_accept_coding_read(&a, (fc_slice){"br", 2});
    CHECK(fc_accept_coding_best(&a, BOTH) == FC_CODING_BR);
}

int main(void)
{
    test_round_trips(FC_CODING_GZIP, 1);
    test_round_trips(FC_CODING_GZIP, 6);
    test_round_trips(FC_CODING_BR, 0);
    test_round_trips(FC_CODING_BR, 4);
    test_flushed();
    test_choice();
    return check_done("encoder");
}
