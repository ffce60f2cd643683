/* fc/encoder.h - content codings (RFC 9110 8.4.1): gzip by zlib, br (RFC 7932) by libbrotli, piece by piece.
 *
 * An encoder takes input and gives output in steps, so that its owner decides about buffers. Memory: gzip about 270 KB, br
 * about 1 MB at quality 4 and more above; who runs many bounds their number.
 * Which coding a client may be sent is decided here, too (12.5.3).
 * Belongs to one thread.
 */
#ifndef FC_ENCODER_H
#define FC_ENCODER_H

#include "fc/base.h"

typedef enum fc_coding { FC_CODING_IDENTITY, FC_CODING_GZIP, FC_CODING_BR, FC_CODING_COUNT } fc_coding;

/* As it stands in Content-Encoding; "" for identity. */
const char *fc_coding_name(fc_coding coding);

typedef struct fc_encoder fc_encoder;

typedef enum fc_encode_op {
    FC_ENCODE_MORE,  /* more will come: output may wait */
    FC_ENCODE_FLUSH, /* all that came so far can be decoded from what is put out */
    FC_ENCODE_END,
} fc_encode_op;

/* level: gzip 1..9, br 0..11. NULL: no memory. */
fc_encoder *fc_encoder_new(fc_coding coding, int level);
void fc_encoder_free(fc_encoder *e);
/* Moves *p, *n past what was taken and *out, *room past what was put out. True: there is more to put out; call again with
 * fresh room and the same op. False: all of *n was taken, and the op is done. */
bool fc_encoder_step(fc_encoder *e, const char **p, size_t *n, char **out, size_t *room, fc_encode_op op);

/* What Accept-Encoding says of one coding, over several fields: q in thousandths for gzip, br, identity and the rest. */
typedef struct fc_accept_coding {
    uint16_t q[FC_CODING_COUNT], rest;
    bool said[FC_CODING_COUNT], has_rest, any;
} fc_accept_coding;

/* One value of Accept-Encoding, after those before it. What cannot be read says nothing. */
void fc_accept_coding_read(fc_accept_coding *a, fc_slice value);
/* The best of the codings allowed (bits 1 << fc_coding); with the same q that with the greater number. Without any field, and
 * where identity is as good as all of them, IDENTITY. */
fc_coding fc_accept_coding_best(const fc_accept_coding *a, uint32_t allowed);

#endif
