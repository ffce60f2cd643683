/* The answer, the data and the place of an error do not depend on how the coding was cut into pieces. */
#include <stdlib.h>
#include <string.h>

#include "fc/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct outcome {
    fc_chunk answer;
    size_t used, len;
    char data[4096];
} outcome;

static void decode(const char *text, size_t n, size_t step, uint32_t ext_max, outcome *out)
{
    fc_chunked d;
    fc_chunked_init(&d, ext_max);
    *out = (outcome){.answer = FC_CHUNK_MORE};
    for (size_t begin = 0; begin < n && out->answer == FC_CHUNK_MORE; begin += step) {
        size_t piece = n - begin < step ? n - begin : step, at = 0;
        char *p = malloc(piece);
        memcpy(p, text + begin, piece);
        do {
            size_t used;
            fc_slice data;
            out->answer = fc_chunked_next(&d, p + at, piece - at, &used, &data);
            if (used > piece - at || (out->answer == FC_CHUNK_DATA && data.n == 0))
                abort();
            if (out->answer == FC_CHUNK_DATA) {
                memcpy(out->data + out->len, data.p, data.n);
                out->len += data.n;
            }
            at += used;
        } while (out->answer == FC_CHUNK_DATA);
        if (out->answer == FC_CHUNK_MORE && at != piece)
            abort();
        out->used += at;
        free(p);
    }
}

/* Byte 0 chooses the size of the pieces, byte 1 the bound on extensions. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static outcome whole, pieces;
    if (size < 3 || size > 4096)
        return 0;
    const char *text = (const char *)data + 2;
    decode(text, size - 2, size, data[1], &whole);
    decode(text, size - 2, 1 + data[0] % 17, data[1], &pieces);
    if (whole.answer != pieces.answer || whole.used != pieces.used || whole.len != pieces.len ||
        memcmp(whole.data, pieces.data, whole.len) != 0)
        abort();
    return 0;
}
