/* Whatever comes as gzip or br: in pieces and in one, with little room and with much, the same bytes, and whole in both or in
 * neither (libbrotli may find the same fault while it looks ahead, or still wait for the next byte). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/decoder.h"

#define MADE_MAX (1u << 18)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0: it is whole; -EBADMSG; 1: stopped at MADE_MAX; 2: something is missing. Pieces are copies, so that a byte read behind them is found. */
static int run(fc_coding coding, const char *p, size_t n, size_t step, size_t room_each, char *made, size_t *made_len)
{
    fc_decoder *d = fc_decoder_new(coding);
    int rc = 0;
    *made_len = 0;
    for (size_t at = 0, piece; at < n && rc == 0; at += piece) {
        piece = n - at < step ? n - at : step;
        char *copy = malloc(piece);
        memcpy(copy, p + at, piece);
        const char *from = copy;
        size_t left = piece;
        do {
            size_t room = room_each < MADE_MAX - *made_len ? room_each : MADE_MAX - *made_len, before = room;
            char *out = made + *made_len;
            if (!room)
                break;
            rc = fc_decoder_step(d, &from, &left, &out, &room);
            *made_len += before - room;
            if (rc == 1 && left == piece && before == room)
                abort(); /* nothing moved */
        } while (rc == 1);
        if (rc == 0 && left)
            abort();
        free(copy);
    }
    if (rc == 0 && !fc_decoder_ended(d))
        rc = 2;
    fc_decoder_free(d);
    return rc;
}

/* Byte 0: the coding; byte 1: the size of pieces; byte 2: of the room. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char a[MADE_MAX], b[MADE_MAX];
    if (size < 4 || size > 8192)
        return 0;
    fc_coding coding = data[0] & 1 ? FC_CODING_BR : FC_CODING_GZIP;
    const char *p = (const char *)data + 3;
    size_t n = size - 3, a_len, b_len;
    int whole = run(coding, p, n, n, MADE_MAX, a, &a_len);
    int pieces = run(coding, p, n, 1u + data[1], 1u + 16u * data[2], b, &b_len);
    if (whole != 1 && pieces != 1 && ((whole == 0) != (pieces == 0) || (whole == 0 && a_len != b_len)))
        abort();
    if (memcmp(a, b, a_len < b_len ? a_len : b_len) != 0)
        abort();
    return 0;
}
