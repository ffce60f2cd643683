#include "fc/codec.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>

#define ZSTD_LEVEL 1 /* compactions have half a core: level 3 takes twice the time for a few per cent */

/* C has no conversion from an object pointer to a function pointer; POSIX promises that the bits are the same. */
static bool look_up(void *library, const char *name, void *function)
{
    void *p = library ? dlsym(library, name) : NULL;
    memcpy(function, &p, sizeof p);
    return p != NULL;
}

static void close_library(void **library)
{
    if (*library)
        dlclose(*library);
    *library = NULL;
}

void fc_codecs_open(fc_codecs *c)
{
    *c = (fc_codecs){.lz4 = dlopen("liblz4.so.1", RTLD_NOW | RTLD_LOCAL),
                     .zstd = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL)};
    if (!look_up(c->lz4, "LZ4_compress_default", &c->lz4_compress) ||
        !look_up(c->lz4, "LZ4_decompress_safe", &c->lz4_decompress))
        close_library(&c->lz4);
    if (!look_up(c->zstd, "ZSTD_compress", &c->zstd_compress) ||
        !look_up(c->zstd, "ZSTD_decompress", &c->zstd_decompress) ||
        !look_up(c->zstd, "ZSTD_isError", &c->zstd_is_error))
        close_library(&c->zstd);
}

void fc_codecs_close(fc_codecs *c)
{
    close_library(&c->lz4);
    close_library(&c->zstd);
}

bool fc_codecs_have(const fc_codecs *c, fc_codec codec)
{
    return codec == FC_CODEC_NONE || (codec == FC_CODEC_LZ4 && c->lz4) || (codec == FC_CODEC_ZSTD && c->zstd);
}

size_t fc_codec_compress(const fc_codecs *c, fc_codec codec, const char *src, size_t n, char *dst, size_t cap)
{
    if (n > INT_MAX || cap == 0)
        return 0;
    cap--;
    if (codec == FC_CODEC_LZ4 && c->lz4) {
        int made = c->lz4_compress(src, dst, (int)n, (int)cap);
        return made > 0 ? (size_t)made : 0;
    }
    if (codec == FC_CODEC_ZSTD && c->zstd) {
        size_t made = c->zstd_compress(dst, cap, src, n, ZSTD_LEVEL);
        return c->zstd_is_error(made) ? 0 : made;
    }
    return 0;
}

int fc_codec_expand(const fc_codecs *c, fc_codec codec, const char *src, size_t n, char *dst, size_t out_n)
{
    if (n > INT_MAX || out_n > INT_MAX)
        return FC_CODEC_EDAMAGED;
    if (!fc_codecs_have(c, codec))
        return codec == FC_CODEC_LZ4 || codec == FC_CODEC_ZSTD ? FC_CODEC_EMISSING : FC_CODEC_EDAMAGED;
    if (codec == FC_CODEC_NONE) {
        if (n != out_n)
            return FC_CODEC_EDAMAGED;
        memcpy(dst, src, n);
        return 0;
    }
    if (codec == FC_CODEC_LZ4)
        return c->lz4_decompress(src, dst, (int)n, (int)out_n) == (int)out_n ? 0 : FC_CODEC_EDAMAGED;
    size_t made = c->zstd_decompress(dst, out_n, src, n);
    return !c->zstd_is_error(made) && made == out_n ? 0 : FC_CODEC_EDAMAGED;
}
