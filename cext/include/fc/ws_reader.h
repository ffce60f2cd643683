/* fc/ws_reader.h - WebSocket messages: frames gathered, compressed ones expanded (fc/websocket.h, fc/deflate.h).
 *
 *     while ((answer = fc_ws_read(&r, p, n, &used, &ev)) > 0) {
 *         ... ev.opcode, ev.p[0..ev.n): a whole message or control frame, unmasked, expanded, checked
 *         p += used, n -= used
 *     }
 *
 * A message that is one uncompressed frame lying whole in the caller's buffer is unmasked there and pointed at: no
 * allocation, no copy. Any other is gathered in memory of the reader, which never exceeds message_max and goes back
 * after the message unless it is small (keep_max). For a reader that wants a destination of its own for the common case
 * there are the two steps under it: fc_ws_next of r.parser, and fc_ws_gather for what it does not want to handle
 * itself.
 *
 * The expansion of a compressed message is bounded by message_max too; an error in it is placed at its frame.
 *
 * Invariants
 *   1. Messages, the error and its place do not depend on how the bytes were cut.
 *   2. Between messages no memory is held beyond keep_max and the window of an inflater with context takeover.
 *
 * Thread safety: one owner.
 */
#ifndef FC_WS_READER_H
#define FC_WS_READER_H

#include "fc/deflate.h"
#include "fc/websocket.h"

typedef struct fc_ws_reader {
    fc_ws_parser parser;
    fc_grow text; /* the message so far */
    fc_inflater *inflater;
    size_t given; /* bytes of the message that were cleared before its end */
    uint32_t keep_max;
    uint8_t bits;
    bool takeover;
    bool done; /* text holds a message that fc_ws_read has answered */
} fc_ws_reader;

/* deflate: what was negotiated, or NULL. The peer is a client unless masking is forbidden. */
void fc_ws_reader_init(fc_ws_reader *r, const fc_ws_options *options, const fc_deflate_params *deflate,
                       uint32_t keep_max);
void fc_ws_reader_free(fc_ws_reader *r);

/* As fc_ws_next, but DATA is a whole message at ev->p[0..ev->n), valid until the next call or until p[0..n) goes. */
fc_ws_answer fc_ws_read(fc_ws_reader *r, char *p, size_t n, size_t *used, fc_ws_event *ev);

/* Add a piece that fc_ws_next(&r->parser, ...) answered to r->text; the piece is not written to. False: the parser has
 * failed. After a piece with `last` the message is complete: use it, then fc_ws_reader_clear. Who streams clears after
 * every piece; the bound is still on the message. */
bool fc_ws_gather(fc_ws_reader *r, const fc_ws_event *ev);
void fc_ws_reader_clear(fc_ws_reader *r);

#endif
