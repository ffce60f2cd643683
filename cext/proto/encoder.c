#include "fc/encoder.h"

#include <brotli/encode.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

struct fc_encoder {
    fc_coding coding;
    z_stream gzip;
    BrotliEncoderState *br;
};

const char *fc_coding_name(fc_coding coding)
{
    static const char *names[FC_CODING_COUNT] = {"", "gzip", "br"};
    return names[coding];
}

fc_encoder *fc_encoder_new(fc_coding coding, int level)
{
    fc_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->coding = coding;
    if (coding == FC_CODING_GZIP) {
        if (deflateInit2(&e->gzip, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK)
            return e;
    } else if ((e->br = BrotliEncoderCreateInstance(NULL, NULL, NULL))) {
        BrotliEncoderSetParameter(e->br, BROTLI_PARAM_QUALITY, (uint32_t)level);
        BrotliEncoderSetParameter(e->br, BROTLI_PARAM_LGWIN, 18); /* 256 KB: a web page, and a bound on memory */
        return e;
    }
    free(e);
    return NULL;
}

void fc_encoder_free(fc_encoder *e)
{
    if (!e)
        return;
    if (e->coding == FC_CODING_GZIP)
        deflateEnd(&e->gzip);
    else
        BrotliEncoderDestroyInstance(e->br);
    free(e);
}

static bool step_gzip(fc_encoder *e, const char **p, size_t *n, char **out, size_t *room, fc_encode_op op)
{
    static const int flush[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    z_stream *z = &e->gzip;
    z->next_in = (Bytef *)(uintptr_t)*p;
    z->avail_in = (uInt)*n;
    z->next_out = (Bytef *)*out;
    z->avail_out = (uInt)*room;
    int rc = deflate(z, flush[op]);
    *p += *n - z->avail_in;
    *n = z->avail_in;
    *out += *room - z->avail_out;
    *room = z->avail_out;
    /* Room that was used up may have been just enough: one more call finds out, and puts nothing out. */
    return op == FC_ENCODE_END ? rc != Z_STREAM_END : *n > 0 || *room == 0;
}

static bool step_br(fc_encoder *e, const char **p, size_t *n, char **out, size_t *room, fc_encode_op op)
{
    static const BrotliEncoderOperation ops[] = {BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    const uint8_t *in = (const uint8_t *)*p;
    uint8_t *to = (uint8_t *)*out;
    BrotliEncoderCompressStream(e->br, ops[op], n, &in, room, &to, NULL);
    *p = (const char *)in;
    *out = (char *)to;
    return *n > 0 || BrotliEncoderHasMoreOutput(e->br) || (op == FC_ENCODE_END && !BrotliEncoderIsFinished(e->br));
}

bool fc_encoder_step(fc_encoder *e, const char **p, size_t *n, char **out, size_t *room, fc_encode_op op)
{
    return e->coding == FC_CODING_GZIP ? step_gzip(e, p, n, out, room, op) : step_br(e, p, n, out, room, op);
}

/* --- what a client takes ------------------------------------------------------------------------------------------- */

static bool is_space(char c) { return c == ' ' || c == '\t'; }

static fc_slice trimmed(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    while (end > p && is_space(end[-1]))
        end--;
    return (fc_slice){p, (size_t)(end - p)};
}

static bool named(fc_slice s, const char *name) { return s.n == strlen(name) && strncasecmp(s.p, name, s.n) == 0; }

/* "q=0.5" to thousandths (RFC 9110 12.4.2); -1: it cannot be read. */
static int weight_of(fc_slice s)
{
    if (s.n < 3 || (s.p[0] | 0x20) != 'q' || s.p[1] != '=' || s.n > 7 || (s.p[2] != '0' && s.p[2] != '1') ||
        (s.n > 3 && s.p[3] != '.'))
        return -1;
    int q = (s.p[2] - '0') * 1000, scale = 100;
    for (size_t i = 4; i < s.n; i++, scale /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        q += (s.p[i] - '0') * scale;
    }
    return q <= 1000 ? q : -1;
}

static void read_member(fc_accept_coding *a, const char *p, const char *end)
{
    const char *semicolon = memchr(p, ';', (size_t)(end - p));
    fc_slice name = trimmed(p, semicolon ? semicolon : end);
    int q = semicolon ? weight_of(trimmed(semicolon + 1, end)) : 1000;
    if (!name.n || q < 0)
        return;
    if (named(name, "*")) {
        a->rest = (uint16_t)q;
        a->has_rest = true;
        return;
    }
    fc_coding coding = named(name, "gzip") || named(name, "x-gzip") ? FC_CODING_GZIP
                       : named(name, "br")                           ? FC_CODING_BR
                       : named(name, "identity")                     ? FC_CODING_IDENTITY
                                                                     : FC_CODING_COUNT;
    if (coding == FC_CODING_COUNT)
        return;
    a->q[coding] = (uint16_t)q;
    a->said[coding] = true;
}

void fc_accept_coding_read(fc_accept_coding *a, fc_slice value)
{
    const char *p = value.p, *end = p + value.n;
    a->any = true;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        read_member(a, p, comma ? comma : end);
        p = comma ? comma + 1 : end;
    }
}

fc_coding fc_accept_coding_best(const fc_accept_coding *a, uint32_t allowed)
{
    fc_coding best = FC_CODING_IDENTITY;
    /* Identity is always acceptable unless refused; it has no preference unless it is named. */
    uint16_t best_q = a->said[FC_CODING_IDENTITY] ? a->q[FC_CODING_IDENTITY] : 0;
    for (fc_coding coding = FC_CODING_GZIP; coding < FC_CODING_COUNT; coding++) {
        uint16_t q = a->said[coding] ? a->q[coding] : a->has_rest ? a->rest : 0;
        if (a->any && (allowed & 1u << coding) && q && q >= best_q && (best != FC_CODING_IDENTITY || q > best_q || !a->said[0]))
            best = coding, best_q = q;
    }
    return best;
}
