/* fc/codec.h - lz4 and zstd for blocks, where the machine has them: found at run time, no dependency of the build.
 *
 * The libraries' stable C interfaces (liblz4.so.1, libzstd.so.1) are looked up by dlopen when a store is opened. A
 * table says for each block how it was compressed, so one that needs a library which is not there is refused with
 * FC_CODEC_EMISSING, and a writer that is asked for it writes blocks as they are.
 *
 * Thread safety: immutable once opened; the libraries' calls used here keep no state between them.
 */
#ifndef FC_CODEC_H
#define FC_CODEC_H

#include "fc/base.h"

/* The numbers are on disk. */
typedef enum fc_codec {
    FC_CODEC_NONE = 0,
    FC_CODEC_LZ4 = 1,
    FC_CODEC_ZSTD = 2,
} fc_codec;

enum {
    FC_CODEC_EMISSING = -10401, /* the library is not on this machine */
    FC_CODEC_EDAMAGED = -10402, /* the bytes are not what the codec made, or do not come out at that length */
};

typedef struct fc_codecs {
    void *lz4, *zstd; /* handles, or NULL */
    int (*lz4_compress)(const char *src, char *dst, int n, int cap);
    int (*lz4_decompress)(const char *src, char *dst, int n, int cap);
    size_t (*zstd_compress)(void *dst, size_t cap, const void *src, size_t n, int level);
    size_t (*zstd_decompress)(void *dst, size_t cap, const void *src, size_t n);
    unsigned (*zstd_is_error)(size_t code);
} fc_codecs;

/* Never fails: what is missing is not there. */
void fc_codecs_open(fc_codecs *c);
void fc_codecs_close(fc_codecs *c);
bool fc_codecs_have(const fc_codecs *c, fc_codec codec);

/* Compressed bytes at dst, fewer than cap; 0 when they would not be, or the codec is not there. */
size_t fc_codec_compress(const fc_codecs *c, fc_codec codec, const char *src, size_t n, char *dst, size_t cap);
/* Exactly out_n bytes at dst, or an error. Safe for any bytes. */
int fc_codec_expand(const fc_codecs *c, fc_codec codec, const char *src, size_t n, char *dst, size_t out_n);

#endif
