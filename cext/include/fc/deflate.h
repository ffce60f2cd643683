/* fc/deflate.h - the payload transformation of permessage-deflate (RFC 7692 7.2) over zlib.
 *
 * A message is a raw DEFLATE stream that ends with an empty stored block whose last four octets, 00 00 FF FF, are not
 * sent. With context takeover the window lives from one message to the next, without it each message stands alone.
 *
 * Memory (zlib's): an inflater 7 KB and a window of 2^bits; a deflater with 15 bits and mem_level 8 about 270 KB, with
 * 9 bits and mem_level 1 about 10 KB. Without context takeover nothing of it is held between messages, unless
 * `keep_memory` says that the object is busy: one deflater without takeover serves any number of connections, and
 * setting it up can cost more than a small message does.
 *
 * Against decompression bombs the output has a bound (fc_grow's max) and at most one byte more is ever produced. Input
 * is not bounded here: what expands to nothing costs its sender as many bytes as it costs us.
 *
 * Received streams: blocks with BFINAL set are accepted, other blocks may follow them, and the window goes on through
 * them (RFC 7692 7.2.3.4). A message whose data stops behind a whole block on an octet boundary is complete as it is
 * (no data at all, a tail that was not removed): it cannot be mistaken for one whose tail was removed, because the
 * header bits of that last block would be there. Feeding the tail to it all the same would leave the inflater inside a
 * block.
 *
 * Invariants
 *   1. After FC_DEFLATE_BAD or _BIG the object is spent: free it.
 *   2. The result does not depend on how the input was cut into pieces, for a sender that keeps to its window. One that
 *      reaches further back is refused or not, as zlib happens to have the bytes still.
 *
 * Thread safety: one owner.
 */
#ifndef FC_DEFLATE_H
#define FC_DEFLATE_H

#include "fc/grow.h"

/* What two sides have agreed on. Bits are 8 to 15; 15 is what is meant when nothing is said. */
typedef struct fc_deflate_params {
    bool server_no_context_takeover, client_no_context_takeover;
    uint8_t server_max_window_bits, client_max_window_bits;
} fc_deflate_params;

#define FC_DEFLATE_PARAMS ((fc_deflate_params){.server_max_window_bits = 15, .client_max_window_bits = 15})
#define FC_DEFLATE_BITS_MIN 8u
#define FC_DEFLATE_BITS_MAX 15u

typedef enum fc_deflate_answer {
    FC_DEFLATE_OK = 0,
    FC_DEFLATE_BAD = -1,    /* not a DEFLATE stream, or the message is cut off */
    FC_DEFLATE_BIG = -2,    /* the output is over its bound */
    FC_DEFLATE_NOMEM = -3
} fc_deflate_answer;

typedef struct fc_inflater fc_inflater;

/* bits: the sender's window. NULL: no memory. The large part is allocated by the first message. */
fc_inflater *fc_inflater_new(unsigned bits, bool takeover);
void fc_inflater_free(fc_inflater *z); /* NULL is fine */

/* Append to out what p[0..n), the next piece of a message, expands to. `last`: the message ends here. */
fc_deflate_answer fc_inflater_run(fc_inflater *z, const char *p, size_t n, bool last, fc_grow *out);

typedef struct fc_deflate_options {
    uint8_t bits;      /* 8 to 15. zlib has no 8, so 9 is used: its matches reach back 250 bytes, which 8 allows */
    uint8_t mem_level; /* 1 to 9 */
    int8_t level;      /* 0 to 9 */
    bool takeover;
    bool keep_memory;  /* between messages, when there is no takeover */
} fc_deflate_options;

/* zlib's own defaults. */
#define FC_DEFLATE_OPTIONS ((fc_deflate_options){.bits = 15, .mem_level = 8, .level = 6, .takeover = true})

typedef struct fc_deflater fc_deflater;

/* NULL: an option is out of its bounds, or no memory. */
fc_deflater *fc_deflater_new(const fc_deflate_options *options);
void fc_deflater_free(fc_deflater *z); /* NULL is fine */

/* Append to out the compressed form of p[0..n), a whole message or its next fragment; all of it can be expanded by the
 * peer at once. `last`: the message ends here. */
fc_deflate_answer fc_deflater_run(fc_deflater *z, const char *p, size_t n, bool last, fc_grow *out);

/* The next message refers to nothing before it: what a sender needs that has sent a message compressed elsewhere. Also
 * gives the memory back. REQUIRES: no message is open. */
void fc_deflater_forget(fc_deflater *z);

#endif
