#include "fc/decoder.h"

#include <brotli/decode.h>
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

struct fc_decoder {
    fc_coding coding;
    bool ended; /* at the end of a member, or of the whole */
    z_stream gzip;
    BrotliDecoderState *br;
};

fc_decoder *fc_decoder_new(fc_coding coding)
{
    fc_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->coding = coding;
    if (coding == FC_CODING_GZIP ? inflateInit2(&d->gzip, 15 + 16) == Z_OK
                                 : (d->br = BrotliDecoderCreateInstance(NULL, NULL, NULL)) != NULL)
        return d;
    free(d);
    return NULL;
}

void fc_decoder_free(fc_decoder *d)
{
    if (!d)
        return;
    if (d->coding == FC_CODING_GZIP)
        inflateEnd(&d->gzip);
    else
        BrotliDecoderDestroyInstance(d->br);
    free(d);
}

/* inflate() puts out what it holds even when all input has been taken: a call that finds room left and nothing to put there
 * is the one that says so, by Z_BUF_ERROR. */
static int step_gzip(fc_decoder *d, const char **p, size_t *n, char **out, size_t *room)
{
    z_stream *z = &d->gzip;
    int rc = Z_OK;
    while (*room && rc != Z_BUF_ERROR) {
        if (d->ended && *n == 0)
            return 0;
        if (d->ended && inflateReset(z) != Z_OK) /* another member begins */
            return -EBADMSG;
        z->next_in = (Bytef *)(uintptr_t)*p;
        z->avail_in = (uInt)*n;
        z->next_out = (Bytef *)*out;
        z->avail_out = (uInt)*room;
        rc = inflate(z, Z_NO_FLUSH);
        *p += *n - z->avail_in;
        *n = z->avail_in;
        *out += *room - z->avail_out;
        *room = z->avail_out;
        d->ended = rc == Z_STREAM_END;
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return rc == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
    }
    return *room == 0;
}

static int step_br(fc_decoder *d, const char **p, size_t *n, char **out, size_t *room)
{
    if (d->ended)
        return *n ? -EBADMSG : 0;
    const uint8_t *in = (const uint8_t *)*p;
    uint8_t *to = (uint8_t *)*out;
    BrotliDecoderResult rc = BrotliDecoderDecompressStream(d->br, n, &in, room, &to, NULL);
    *p = (const char *)in;
    *out = (char *)to;
    switch (rc) {
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
        return 1;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
        return 0;
    case BROTLI_DECODER_RESULT_SUCCESS:
        d->ended = true;
        return *n ? -EBADMSG : 0;
    case BROTLI_DECODER_RESULT_ERROR:
        break;
    }
    return -EBADMSG;
}

int fc_decoder_step(fc_decoder *d, const char **p, size_t *n, char **out, size_t *room)
{
    return d->coding == FC_CODING_GZIP ? step_gzip(d, p, n, out, room) : step_br(d, p, n, out, room);
}

bool fc_decoder_ended(const fc_decoder *d) { return d->ended; }
