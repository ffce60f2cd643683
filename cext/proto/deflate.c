#include "fc/deflate.h"

#include <zlib.h>

/* zlib counts in unsigned int. */
#define PIECE_MAX ((size_t)1 << 30)

static const char tail[4] = {0, 0, '\xff', '\xff'};

struct fc_inflater {
    z_stream strm;
    uint8_t bits;
    bool takeover;
    bool live;     /* strm is initialised */
    bool boundary; /* at an octet boundary between blocks */
};

fc_inflater *fc_inflater_new(unsigned bits, bool takeover)
{
    if (bits < FC_DEFLATE_BITS_MIN || bits > FC_DEFLATE_BITS_MAX)
        return NULL;
    fc_inflater *z = calloc(1, sizeof *z);
    if (z) {
        z->bits = (uint8_t)bits;
        z->takeover = takeover;
        z->boundary = true;
    }
    return z;
}

void fc_inflater_free(fc_inflater *z)
{
    if (z && z->live)
        inflateEnd(&z->strm);
    free(z);
}

/* Where output goes next: into free room, made if the bound allows, else into *extra, which must stay unwritten. */
static bool output(z_stream *strm, fc_grow *out, Bytef *extra)
{
    if (out->len == out->cap && out->cap < out->max && !fc_grow_room(out, 1))
        return false;
    size_t room = out->cap - out->len;
    strm->next_out = room ? (Bytef *)out->p + out->len : extra;
    strm->avail_out = room == 0 ? 1 : room < PIECE_MAX ? (uInt)room : (uInt)PIECE_MAX;
    return true;
}

static fc_deflate_answer expand(fc_inflater *z, const char *p, size_t n, fc_grow *out)
{
    z_stream *strm = &z->strm;
    strm->next_in = (Bytef *)(uintptr_t)p; /* zlib does not write there */
    strm->avail_in = (uInt)n;
    for (;;) {
        Bytef extra;
        if (!output(strm, out, &extra))
            return FC_DEFLATE_NOMEM;
        bool full = strm->next_out == &extra;
        Bytef *begin = strm->next_out;
        int rc = inflate(strm, Z_SYNC_FLUSH);
        if (full && strm->next_out != begin)
            return FC_DEFLATE_BIG;
        out->len += full ? 0 : (size_t)(strm->next_out - begin);
        if (rc == Z_STREAM_END) {
            /* Behind a final block comes another stream with the same window: inflateResetKeep leaves the window where
             * it is. (Copying it out and in again by the documented calls makes 64 KB of work out of two octets.) */
            if (inflateResetKeep(strm) != Z_OK)
                return FC_DEFLATE_BAD;
            z->boundary = true;
            if (strm->avail_in == 0)
                return FC_DEFLATE_OK;
            continue;
        }
        if (rc == Z_MEM_ERROR)
            return FC_DEFLATE_NOMEM;
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return FC_DEFLATE_BAD;
        if (strm->avail_out != 0) { /* all input is used */
            z->boundary = (strm->data_type & 128) && (strm->data_type & 63) == 0;
            return FC_DEFLATE_OK;
        }
    }
}

fc_deflate_answer fc_inflater_run(fc_inflater *z, const char *p, size_t n, bool last, fc_grow *out)
{
    fc_deflate_answer answer = FC_DEFLATE_OK;
    if (!z->live && n > 0) {
        int rc = inflateInit2(&z->strm, -(int)z->bits);
        if (rc != Z_OK)
            return FC_DEFLATE_NOMEM;
        z->live = true;
    }
    for (size_t at = 0, piece; at < n && answer == FC_DEFLATE_OK; at += piece) {
        piece = n - at < PIECE_MAX ? n - at : PIECE_MAX;
        answer = expand(z, p + at, piece, out);
    }
    if (!last || answer != FC_DEFLATE_OK)
        return answer;
    if (!z->boundary) {
        answer = expand(z, tail, sizeof tail, out);
        if (answer == FC_DEFLATE_OK && !z->boundary)
            return FC_DEFLATE_BAD;
    }
    if (!z->takeover && z->live) {
        inflateEnd(&z->strm);
        z->strm = (z_stream){0};
        z->live = false;
    }
    return answer;
}

struct fc_deflater {
    z_stream strm;
    fc_deflate_options options;
    bool live;
};

fc_deflater *fc_deflater_new(const fc_deflate_options *o)
{
    if (o->bits < FC_DEFLATE_BITS_MIN || o->bits > FC_DEFLATE_BITS_MAX || o->mem_level < 1 ||
        o->mem_level > MAX_MEM_LEVEL || o->level < 0 || o->level > 9)
        return NULL;
    fc_deflater *z = calloc(1, sizeof *z);
    if (z)
        z->options = *o;
    return z;
}

void fc_deflater_forget(fc_deflater *z)
{
    if (z->live && z->options.keep_memory) {
        deflateReset(&z->strm);
    } else if (z->live) {
        deflateEnd(&z->strm);
        z->strm = (z_stream){0};
        z->live = false;
    }
}

void fc_deflater_free(fc_deflater *z)
{
    if (z && z->live)
        deflateEnd(&z->strm);
    free(z);
}

static fc_deflate_answer compress_piece(fc_deflater *z, const char *p, size_t n, int flush, fc_grow *out)
{
    z_stream *strm = &z->strm;
    strm->next_in = (Bytef *)(uintptr_t)p;
    strm->avail_in = (uInt)n;
    /* More than six bytes, or zlib repeats the marker of a flush that just fits; the rest for what was pending. */
    size_t want = deflateBound(strm, n) + 32;
    do {
        if (!fc_grow_room(out, want))
            return out->max - out->len < want ? FC_DEFLATE_BIG : FC_DEFLATE_NOMEM;
        size_t room = out->cap - out->len < PIECE_MAX ? out->cap - out->len : PIECE_MAX;
        strm->next_out = (Bytef *)out->p + out->len;
        strm->avail_out = (uInt)room;
        int rc = deflate(strm, flush);
        if (rc != Z_OK && rc != Z_BUF_ERROR) /* the latter: nothing was left to flush */
            return FC_DEFLATE_BAD;
        out->len += room - strm->avail_out;
        want = 64;
    } while (strm->avail_out == 0);
    return FC_DEFLATE_OK;
}

fc_deflate_answer fc_deflater_run(fc_deflater *z, const char *p, size_t n, bool last, fc_grow *out)
{
    if (!z->live) {
        int bits = z->options.bits > 9 ? z->options.bits : 9;
        int rc = deflateInit2(&z->strm, z->options.level, Z_DEFLATED, -bits, z->options.mem_level, Z_DEFAULT_STRATEGY);
        if (rc != Z_OK)
            return FC_DEFLATE_NOMEM;
        z->live = true;
    }
    size_t begin = out->len, at = 0, piece;
    do {
        piece = n - at < PIECE_MAX ? n - at : PIECE_MAX;
        fc_deflate_answer answer = compress_piece(z, p + at, piece, at + piece == n ? Z_SYNC_FLUSH : Z_NO_FLUSH, out);
        if (answer != FC_DEFLATE_OK)
            return answer;
        at += piece;
    } while (at < n);
    if (!last)
        return FC_DEFLATE_OK;
    if (out->len > begin) {
        out->len -= sizeof tail;
    } else if (!fc_grow_add(out, tail, 1)) { /* zlib does not flush twice: an empty block without tail (7.2.3.6) */
        return FC_DEFLATE_BIG;
    }
    if (!z->options.takeover)
        fc_deflater_forget(z);
    return FC_DEFLATE_OK;
}
