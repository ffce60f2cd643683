/* internal.h - what the files of this folder share: session.c (frames and their budget), stream.c (a stream as a transport),
 * read_head.c (fields to text) and write_head.c (text to fields). */
#ifndef FC_H2_INTERNAL_H
#define FC_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "fc/chunked.h"
#include "fc/h2.h"
#include "fc/http1.h"
#include "fc/text.h"

/* Decoded bytes of one message that are ready to be framed; more stay in their owner's queue, where watermarks count them. */
#define H2_READY_BYTES (64u * 1024u)
/* Smaller bytes than this are copied behind their frame's head: one piece for the kernel instead of two. */
#define H2_COPY_BYTES 1024u
/* Fields of one head from an owner. */
#define H2_FIELDS_MAX 320u

typedef enum h2_pseudo { H2_METHOD, H2_SCHEME, H2_AUTHORITY, H2_PATH, H2_STATUS, H2_PSEUDOS } h2_pseudo;

/* The header block that is coming in; blocks of a connection follow each other (RFC 9113 4.3). */
typedef struct h2_block {
    fc_h2_stream *stream; /* NULL: none, or nobody wants it */
    nghttp2_rcbuf *pseudo[H2_PSEUDOS];
    nghttp2_rcbuf *length; /* content-length */
    nghttp2_rcbuf *host;
    fc_buf *buf;     /* the text so far */
    fc_buf *cookies; /* the value of Cookie so far */
    bool open, begun, too_large, grpc, trailers;
    uint64_t received; /* bytes of the connection when it began */
} h2_block;

struct fc_h2 {
    nghttp2_session *session;
    fc_conn *conn;
    bool server, secure;
    fc_h2_settings settings;
    const fc_h2_ops *ops;
    void *owner;
    fc_task task;   /* writing; the end */
    fc_h2_stream *streams;
    fc_buf *in;      /* what is being read */
    fc_buf *framing; /* where heads of frames are put */
    h2_block block;
    uint64_t received, queued;
    uint64_t held; /* bytes of bodies nobody has received */
    uint64_t owed; /* bytes the connection's window will be opened by */
    uint64_t budget_ns; /* the time up to which control frames have used up the budget */
    uint32_t open;
    int connected;  /* clients: 1 not yet, 0 the peer has greeted, -errno it will not */
    bool begun;     /* frames may be sent */
    bool dead, leaving;
    bool blocked; /* nghttp2 had more than the connection's queue has room for */
    const char *trouble;
};

typedef enum h2_out { H2_OUT_HEAD, H2_OUT_BODY, H2_OUT_TRAILERS, H2_OUT_DONE } h2_out;

struct fc_h2_stream {
    fc_transport base;
    fc_h2 *h2;      /* NULL: it has gone */
    fc_conn *conn;  /* NULL: its owner has let go, or never was */
    fc_h2_stream *next, **link;
    fc_task task;   /* events; the end */
    fc_timer linger; /* without an owner */
    uint32_t events;
    int32_t id;     /* 0: a client's that has not asked yet */
    uint8_t method; /* fc_http_method of the request */
    bool closed;    /* nghttp2 knows it no more */
    int error;      /* it was reset: -errno; 0: it was not */
    /* in */
    fc_buf *text;   /* a head, or trailers: text->data[text_pos .. used) */
    uint32_t text_pos;
    fc_outq body;
    fc_buf *tail;   /* where small pieces of the body are put together */
    fc_buf *trailers; /* after the body */
    uint64_t chunk_left;
    char frame[FC_CHUNK_HEAD_MAX]; /* of a chunk */
    uint8_t frame_pos, frame_len;
    const char *trouble; /* why its session has gone */
    uint64_t in_left; /* of a body with a length */
    bool in_head;   /* the final head is complete */
    bool in_chunked, in_end, in_told; /* the peer's side has ended; and the last chunk has been put into words */
    /* out */
    h2_out out;
    uint8_t out_framing; /* fc_http1_framing */
    uint64_t out_left;
    fc_chunked out_chunks;
    fc_outq ready;
    bool out_eof;   /* `ready` holds all that is left */
    bool out_sent;  /* and it has been framed */
    fc_buf *out_trailers; /* text, for when the body has been framed */
    bool deferred;  /* nghttp2 waits for nghttp2_session_resume_data */
    uint64_t linger_mark;
};

/* --- session.c */
void h2_schedule(fc_h2 *h2);
/* n bytes of bodies are held no longer. */
void h2_release(fc_h2 *h2, size_t n);
/* Queue copied bytes on the connection. */
int h2_put(fc_h2 *h2, const char *p, size_t n);

/* --- stream.c */
fc_h2_stream *h2_stream_new(fc_h2 *h2, int32_t id);
void h2_stream_event(fc_h2_stream *s, uint32_t events);
/* The peer brought bytes; they lie in buf. 0 or -ENOMEM. */
int h2_stream_data(fc_h2_stream *s, fc_buf *buf, const char *p, size_t n);
/* nghttp2 is done with it. */
void h2_stream_closed(fc_h2_stream *s, uint32_t code);
void h2_stream_gone(fc_h2_stream *s); /* its session is */
nghttp2_data_provider h2_stream_body(fc_h2_stream *s);
/* Our side has ended on the wire. */
void h2_stream_out_sent(fc_h2_stream *s);
int h2_stream_send_data(fc_h2_stream *s, const uint8_t *frame_head, size_t n);

/* --- read_head.c: callbacks of nghttp2, which tell a stream */
void h2_block_begin(fc_h2 *h2, fc_h2_stream *s, bool trailers);
int h2_block_field(fc_h2 *h2, nghttp2_rcbuf *name, nghttp2_rcbuf *value);
/* The block is complete: its text is the stream's. 0 or -ENOMEM. */
int h2_block_end(fc_h2 *h2, bool end_stream);
void h2_block_drop(fc_h2 *h2);

/* --- write_head.c */
/* A head at the beginning of the owner's queue is submitted and taken out. 1 done; 0 it is not whole yet; -errno. */
int h2_write_head(fc_h2_stream *s);
/* What follows the body, now that it has been framed. 0 or -errno. */
int h2_write_trailers(fc_h2_stream *s);
/* Move what is ready of the body. 0 or -errno. */
int h2_write_body(fc_h2_stream *s);

#endif
