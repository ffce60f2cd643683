/* fc/chunked.h - the chunked transfer coding (RFC 9112 7.1), incremental and without copies.
 *
 * The decoder is a few words of state; it is shown successive pieces of the body and points at the data inside them.
 * Strict: hex digits only, CRLF only (no bare LF: errata 7633), sizes that fit 63 bits. Extensions are bounded and
 * dropped, never forwarded. The trailer section is not decoded here: after FC_CHUNK_LAST, give the bytes that follow to
 * fc_http1_parse_trailers.
 */
#ifndef FC_CHUNKED_H
#define FC_CHUNKED_H

#include "fc/base.h"

typedef struct fc_chunked {
    uint64_t left;       /* data bytes left in the current chunk */
    uint32_t ext_bytes;  /* extension bytes seen in this chunk line; 0 right after a data chunk */
    uint32_t ext_max;    /* bound on them, per chunk line: a setting with a reason (CVE-2023-39326 class) */
    uint8_t state;
    uint8_t digits;      /* of the size so far, leading zeros included: at most 16 */
} fc_chunked;

typedef enum fc_chunk {
    FC_CHUNK_ERROR = -1,
    FC_CHUNK_MORE = 0,  /* all n bytes used; more are needed */
    FC_CHUNK_DATA = 1,  /* *data points at decoded bytes inside p; call again with what follows *used */
    FC_CHUNK_LAST = 2,  /* the zero chunk and its CRLF are behind; the trailer section begins at p + *used */
} fc_chunk;

#define FC_CHUNK_EXT_MAX 256 /* default for ext_max: nobody uses extensions; room for a signature is enough */

void fc_chunked_init(fc_chunked *d, uint32_t ext_max);

/* Look at p[0..n). *used is how many bytes were consumed (framing and data); after an error it is the place of the
 * offending byte. An error and the end stay: further calls repeat them and use nothing. */
fc_chunk fc_chunked_next(fc_chunked *d, const char *p, size_t n, size_t *used, fc_slice *data);

/* Write "<hex>\r\n" for a chunk of n bytes to out (room for FC_CHUNK_HEAD_MAX); returns its length. */
#define FC_CHUNK_HEAD_MAX 18
size_t fc_chunk_head(char *out, uint64_t n);

#endif
