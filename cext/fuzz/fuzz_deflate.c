/* What is compressed comes back, however it is cut; and no input makes more than it may: the same error, and no byte
 * over the bound, in pieces and whole (with the largest window: see invariant 2 of fc/deflate.h). */
#include <stdlib.h>
#include <string.h>

#include "fc/deflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const fc_deflate_options *options, const char *p, size_t n, size_t step)
{
    fc_deflater *d = fc_deflater_new(options);
    fc_inflater *z = fc_inflater_new(options->bits, options->takeover);
    fc_grow made, back;
    fc_grow_init(&made, 1 << 24);
    fc_grow_init(&back, 2 * n);
    for (int message = 0; message < 2; message++) { /* the second may refer to the first */
        made.len = 0;
        for (size_t at = 0, piece; at < n; at += piece) {
            piece = n - at < step ? n - at : step;
            if (fc_deflater_run(d, p + at, piece, at + piece == n, &made) != FC_DEFLATE_OK)
                abort();
        }
        for (size_t at = 0, piece; at < made.len; at += piece) {
            piece = made.len - at < step ? made.len - at : step;
            if (fc_inflater_run(z, made.p + at, piece, at + piece == made.len, &back) != FC_DEFLATE_OK)
                abort();
        }
        if (back.len != n * (size_t)(message + 1) || memcmp(back.p + back.len - n, p, n) != 0)
            abort();
    }
    fc_grow_reset(&made, 0);
    fc_grow_reset(&back, 0);
    fc_deflater_free(d);
    fc_inflater_free(z);
}

static fc_deflate_answer expand(const char *p, size_t n, size_t step, fc_grow *out)
{
    fc_inflater *z = fc_inflater_new(15, false);
    fc_deflate_answer answer = FC_DEFLATE_OK;
    for (size_t at = 0, piece; at < n && answer == FC_DEFLATE_OK; at += piece) {
        piece = n - at < step ? n - at : step;
        char *copy = malloc(piece);
        memcpy(copy, p + at, piece);
        answer = fc_inflater_run(z, copy, piece, at + piece == n, out);
        free(copy);
    }
    if (out->len > out->max || out->cap > out->max)
        abort();
    fc_inflater_free(z);
    return answer;
}

/* Byte 0: bits and takeover; byte 1: the size of the pieces; byte 2: level, and the bound on what is expanded. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 8192)
        return 0;
    const char *p = (const char *)data + 3;
    size_t n = size - 3, step = 1 + data[1];
    fc_deflate_options options = {.bits = (uint8_t)(8 + data[0] % 8), .takeover = data[0] >> 4 & 1,
                                  .keep_memory = data[0] >> 5 & 1, .mem_level = (uint8_t)(1 + data[2] % 9), .level = (int8_t)(data[2] / 9 % 10)};
    round_trip(&options, p, n, step);
    fc_grow whole, pieces;
    fc_grow_init(&whole, (size_t)data[2] << 6);
    fc_grow_init(&pieces, (size_t)data[2] << 6);
    if (expand(p, n, n, &whole) != expand(p, n, step, &pieces) || whole.len != pieces.len ||
        (whole.len && memcmp(whole.p, pieces.p, whole.len) != 0))
        abort();
    fc_grow_reset(&whole, 0);
    fc_grow_reset(&pieces, 0);
    return 0;
}
