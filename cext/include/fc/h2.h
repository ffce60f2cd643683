/* fc/h2.h - HTTP/2 (RFC 9113) by nghttp2: one connection that carries many, each of them one exchange.
 *
 * A session stands on an fc_conn. Each of its streams is an fc_transport, and so the ground of an fc_conn of its own
 * (fc_conn_open_over), over which exactly one request and its answer travel as HTTP/1.1 text. What serves HTTP/1.1 serves
 * HTTP/2 with it, in both directions: the deadlines, the watermarks, the one strict parser, the framing that was proven
 * against smuggling. It costs each head one more parse, about 0.2 us.
 *
 *     frames  <->  session (fc_conn, nghttp2)  <->  stream (fc_transport)  <->  fc_conn: HTTP/1.1 text
 *
 *   text towards the owner: what has no length and does not end with its head is chunked; trailers are the trailers of that
 *   coding; cookie crumbs are joined (RFC 9113 8.2.3). A message of type application/grpc is always chunked, because its
 *   status is in its trailers.
 *   text from the owner: Connection and what it frames disappear, chunks become DATA, trailers a HEADERS frame. The end of
 *   the message ends our side of the stream; closing the fc_conn before it resets the stream, closing it after lets go.
 *
 * Flow control is joined end to end: a stream's window opens again when its owner has received (fc_conn_recv) what came. The
 * connection's window opens at once, so that one slow stream does not stop the others, until connection_window bytes are
 * held for owners; from then on it, too, waits for them.
 *
 * Invariants
 *  1. What the session holds for its owners is at most two connection windows, and head_bytes_max for each stream.
 *  2. A peer that only makes work is cut off (GOAWAY ENHANCE_YOUR_CALM): streams it resets or makes us reset, PING,
 *     SETTINGS, PRIORITY and empty DATA frames draw on one budget that fills at control_rate per second; a header block that
 *     comes in more than twice the bytes a head may have ends the connection, too.
 *  3. Malformed messages (RFC 9113 8.1.1) reset their stream; what nghttp2 lets pass is read once more by fc/http1.h.
 *  4. Owners are called from tasks of the loop only, never from inside nghttp2 or their own calls.
 *  5. Belongs to its loop.
 */
#ifndef FC_H2_H
#define FC_H2_H

#include "fc/conn.h"

typedef struct fc_h2 fc_h2;
typedef struct fc_h2_stream fc_h2_stream;

typedef struct fc_h2_settings {
    uint32_t streams_max;       /* that the peer may have open at once */
    uint32_t stream_window;     /* bytes a stream may bring that nobody has received yet */
    uint32_t connection_window; /* bytes all of them may */
    uint32_t head_bytes_max;
    uint32_t control_burst, control_rate; /* the budget of invariant 2: at most, and per second */
    uint32_t linger_ms;         /* a peer may take so long for the last bytes of a message whose owner has gone */
} fc_h2_settings;

fc_h2_settings fc_h2_settings_default(void);

typedef struct fc_h2_ops {
    /* Servers: a request's head has come. Open an fc_conn over fc_h2_transport(stream); otherwise it is refused
     * (REFUSED_STREAM: the client may try elsewhere). Called from inside nghttp2: the connection's first event comes later. */
    int (*opened)(fc_h2 *h2, fc_h2_stream *stream);
    /* The number of streams, or what the peer allows, has changed; or a header block has begun or ended. */
    void (*changed)(fc_h2 *h2);
    /* Bytes are queued on the connection: fc_conn_flush, and what depends on it. */
    void (*flush)(fc_h2 *h2);
    /* No frame will be understood any more, and what is to be said of it is queued: flush and close. */
    void (*failed)(fc_h2 *h2, const char *why);
} fc_h2_ops;

/* The preface of a client (RFC 9113 3.4). */
#define FC_H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define FC_H2_PREFACE_LEN 24u

/* A session on a connection that stays the caller's, whose greeting is queued at once. secure: the scheme of requests is
 * https. NULL: no memory. */
fc_h2 *fc_h2_new(fc_conn *conn, bool server, bool secure, const fc_h2_settings *settings, const fc_h2_ops *ops, void *owner);
/* Every stream breaks. Before the connection is closed; the memory goes at the end of the batch. */
void fc_h2_free(fc_h2 *h2);
void *fc_h2_owner(const fc_h2 *h2);
fc_conn *fc_h2_conn(const fc_h2 *h2);

/* Bytes that were received before there was a session. */
void fc_h2_feed(fc_h2 *h2, const char *p, size_t n);
/* From the connection's ops->read. 0; or -errno: it has ended or broken. */
int fc_h2_read(fc_h2 *h2);
/* From ops->drain and ops->sent: there is room again. */
void fc_h2_write(fc_h2 *h2);
/* Bytes ever queued on the connection. */
uint64_t fc_h2_queued(const fc_h2 *h2);

/* Streams that are open. */
uint32_t fc_h2_streams(const fc_h2 *h2);
/* Clients: may another stream be opened now? */
bool fc_h2_has_room(const fc_h2 *h2);
/* A header block has begun and not ended: the peer owes us the rest. */
bool fc_h2_in_header(const fc_h2 *h2);
/* One of us has said that no further stream will be taken. */
bool fc_h2_leaving(const fc_h2 *h2);
/* Tell the peer to open no more streams here. last: and that those opened meanwhile are refused. (RFC 9113 6.8) */
void fc_h2_leave(fc_h2 *h2, bool last);
/* End at once, for a reason the peer is told (an NGHTTP2 error code); ops->failed is not called. */
void fc_h2_quit(fc_h2 *h2, uint32_t code);

/* Clients: a stream for one request, which is sent as soon as its head has been written. NULL: no memory. */
fc_h2_stream *fc_h2_open(fc_h2 *h2);
/* Clients: the connection stands, and the greeting may be sent. Streams wait until the peer's has come: only then is it
 * known that it speaks HTTP/2, and how many streams it takes. */
void fc_h2_begin(fc_h2 *h2);
/* The peer's greeting has come. */
bool fc_h2_is_connected(const fc_h2 *h2);
/* It will not come: -errno; why: static text or NULL. Streams that wait hear of it. */
void fc_h2_give_up(fc_h2 *h2, int error, const char *why);
/* Put an fc_conn on a stream: REQUIRES that it has none yet. */
fc_transport *fc_h2_transport(fc_h2_stream *stream, fc_conn *conn);
/* Of a connection that is a stream and was reset: the peer has not looked at the request (REFUSED_STREAM, or GOAWAY before
 * it), so that it may be sent again whatever it asks for (RFC 9113 8.7). */
bool fc_h2_refused(const fc_conn *c);

#endif
