/* fc/http_server.h - the server's side of HTTP/1.1 on a loop: framing, deadlines, pipelining; no opinions.
 *
 * A server accepts connections from listening sockets and turns them into requests for one application: the gateway's
 * proxy engine (C) or the WSGI bridge (Cython). One request is answered at a time per connection, in order; what a client
 * pipelines behind it stays unread, which is the back-pressure.
 *
 *            accept                 head complete              body complete          fc_http_end
 *   (none) ---------> HEAD ----------------------> BODY -----------------> ANSWER ----------------> HEAD | LINGER | closed
 *                      | bad head: refuse                \ no body: straight to ANSWER
 *                      v
 *                     ANSWER, then closed                 fc_http_tunnel: TUNNEL (bytes both ways until either side ends)
 *
 * HTTP/2 (settings.h2): a connection on which TLS agreed on it, or whose first bytes are its preface, becomes a session
 * (fc/h2.h), and each of its streams a connection of its own here, for one request. The application sees no difference but
 * fc_http_version. A session without streams is idle.
 *
 * Deadlines, each a setting: a head must be complete within header_timeout_ms of its first byte; an idle connection is
 * closed after idle_timeout_ms; a body must bring something every body_timeout_ms and body_rate_min bytes/s on average;
 * a client must take something of the answer every write_timeout_ms.
 *
 * Invariants
 *  1. For every request that `ops->request` or `ops->refuse` saw, the application calls fc_http_end exactly once, or
 *     `ops->failed` is called once; after either the request's memory is gone.
 *  2. Whatever the client sends, at most head_bytes_max + one 64 KB block of input is held per connection, and the
 *     application stops producing while fc_http_full().
 *  3. A head with any framing doubt never reaches `ops->request`: it is refused and the connection closed.
 *  4. Not thread safe: everything of a server belongs to its loop.
 */
#ifndef FC_HTTP_SERVER_H
#define FC_HTTP_SERVER_H

#include "fc/addr.h"
#include "fc/chunked.h"
#include "fc/conn.h"
#include "fc/h2.h"
#include "fc/http1.h"

typedef struct fc_http_server fc_http_server;
typedef struct fc_http_conn fc_http_conn;
typedef struct fc_http_req fc_http_req;

typedef enum fc_http_failure {
    FC_HTTP_CLIENT_GONE = 1,  /* reset, or closed in the middle of its body */
    FC_HTTP_BODY_MALFORMED,   /* chunked coding broken: answer 400 */
    FC_HTTP_BODY_TOO_LARGE,   /* a chunked body passed body_bytes_max: answer 413 */
    FC_HTTP_BODY_TIMEOUT,     /* the body came too slowly: answer 408 */
    FC_HTTP_WRITE_TIMEOUT,    /* the client does not read */
    FC_HTTP_SHUTDOWN,         /* the server is being stopped */
    FC_HTTP_NO_MEMORY,        /* the loop's buffers are at their bound */
} fc_http_failure;

typedef struct fc_http_ops {
    /* A request head is complete; req->head has framing decided. */
    void (*request)(fc_http_req *req);
    /* The head cannot be served: answer `status` and call fc_http_end. head fields may be empty, see head.error. */
    void (*refuse)(fc_http_req *req, int status, const char *reason);
    /* Decoded body bytes inside buf; reference buf to keep them. Not called while reading is paused. */
    void (*body)(fc_http_req *req, fc_buf *buf, const char *p, size_t n);
    /* The whole body has come. `trailers` is NULL without any; valid during the call only, spans into `base`. */
    void (*body_end)(fc_http_req *req, const char *base, const fc_http1_head *trailers);
    /* The output queue has fallen to its low mark after having been full. */
    void (*drain)(fc_http_req *req);
    /* The request is over: let go of it. Where nothing has been answered yet the application may answer first
     * (fc_http_send and fc_http_end(req, false)); otherwise the connection is closed. */
    void (*failed)(fc_http_req *req, fc_http_failure why);
} fc_http_ops;

typedef struct fc_http_settings {
    fc_http1_limits parse;     /* a head is one block: head_bytes_max is cut to fit */
    uint32_t fields_max;
    uint32_t chunk_ext_max;
    uint32_t trailer_bytes_max;
    uint64_t body_bytes_max;   /* 0: no limit */
    uint32_t body_rate_min;    /* bytes/s on average; 0: no minimum */
    uint32_t requests_max;     /* per connection; 0: no limit */
    uint32_t connections_max;  /* accepting pauses at this number */
    uint32_t header_timeout_ms, idle_timeout_ms, body_timeout_ms, write_timeout_ms;
    uint32_t drain_idle_ms;    /* while draining, idle connections are closed after this long without a request */
    uint32_t out_high, out_low;
    uint32_t app_bytes;        /* room for the application in each request */
    bool h2;                   /* speak HTTP/2 with clients that ask for it */
    fc_h2_settings streams;    /* how: head_bytes_max and linger_ms follow from what is above */
} fc_http_settings;

/* Settings that are right for most; callers change what they know better. */
fc_http_settings fc_http_settings_default(void);

typedef struct fc_http_stats {
    uint64_t accepted, requests, refused, accept_errors;
    uint64_t h2_sessions, h2_failed; /* connections that became sessions; that broke the rules, or a limit of ours */
    uint32_t open, idle;  /* connections */
    uint32_t streams;     /* requests of sessions that are open */
} fc_http_stats;

struct fc_http_server {
    fc_loop *loop;
    const fc_http_ops *ops;
    void *app;
    fc_http_settings settings;
    fc_http_stats stats;
    fc_http_conn *conns;
    struct fc_http_listener *listeners;
    bool draining;
    int accept_errno; /* last reason why accepting failed (EMFILE ...), for health; 0 when it works */
    /* Called when the last connection has gone while draining. */
    void (*drained)(fc_http_server *server);
};

struct fc_http_req {
    fc_http_conn *conn;
    fc_http_server *server;
    fc_buf *mem;          /* the block this struct lives in */
    fc_buf *head_buf;     /* keeps the head's bytes */
    const char *base;     /* what the head's spans count from */
    fc_http1_head head;
    uint64_t started_ns;  /* when the head was complete */
    uint64_t body_in;     /* decoded body bytes received */
    uint64_t body_left;   /* FC_BODY_LENGTH: still to come */
    uint64_t bytes_out;   /* head and body bytes queued for the client */
    fc_chunked chunked;
    bool body_done;
    bool continue_sent;   /* an interim 100 has been sent */
    bool ended;
    bool patient;         /* its body may pause for as long as it likes: of a stream of messages */
    /* the fields array and then app_bytes of the application follow */
};

enum fc_http_state { FC_HTTP_HEAD, FC_HTTP_BODY, FC_HTTP_TRAILERS, FC_HTTP_ANSWER, FC_HTTP_TUNNEL, FC_HTTP_LINGER, FC_HTTP_SESSION };

struct fc_http_conn {
    fc_conn conn;
    fc_http_server *server;
    fc_http_conn *next, **link;
    fc_http_req *req;
    fc_buf *in;           /* received, not yet used: in->data[pos .. in->used) */
    uint32_t pos, last_len;
    uint32_t requests;
    uint64_t read_deadline_ms, write_deadline_ms;
    uint64_t queued;      /* bytes ever queued: queued - out.bytes have been taken by the kernel */
    uint64_t write_mark;  /* what had been taken when the write deadline was set */
    uint64_t body_clock_ms; /* when the body's time began, moved on by the time we paused the client ourselves */
    uint64_t paused_ms;
    uint32_t linger_left;
    uint8_t state;
    bool processing, close_after, eof, idle;
    bool secure;          /* the client's bytes came over TLS */
    bool stream;          /* of a session: one request, and no more */
    bool owes_header;     /* a session: the rest of a header block */
    fc_h2 *h2;            /* FC_HTTP_SESSION */
    fc_addr peer;
};

/* --- server ----------------------------------------------------------------------------------------------------- */
void fc_http_server_init(fc_http_server *server, fc_loop *loop, const fc_http_ops *ops, void *app,
                         const fc_http_settings *settings);
/* Accept from a listening socket (it must be non-blocking and stays the caller's). securer: puts TLS under what it accepts
 * (fc/tls.h), and outlives the server; NULL: plain. 0 or -errno. */
int fc_http_server_listen(fc_http_server *server, int fd, fc_securer *securer);
/* Stop accepting, answer what is under way with Connection: close, let idle connections go. `drained` tells the end. */
void fc_http_server_drain(fc_http_server *server);
/* Close every connection now (requests fail with FC_HTTP_SHUTDOWN) and stop accepting. */
void fc_http_server_stop(fc_http_server *server);
/* Adopt a connected socket that somebody else accepted. 0 or -errno. */
int fc_http_server_adopt(fc_http_server *server, int fd, const fc_addr *peer, fc_securer *securer);

/* --- request ---------------------------------------------------------------------------------------------------- */
static inline void *fc_http_app(fc_http_req *req)
{
    uintptr_t behind = (uintptr_t)(req->head.fields + req->head.fields_max);
    return (void *)((behind + 15) & ~(uintptr_t)15);
}
/* Did it come over TLS? */
static inline bool fc_http_secure(const fc_http_req *req) { return req->conn->secure; }
/* "1.0", "1.1" or "2.0". */
static inline const char *fc_http_version(const fc_http_req *req)
{
    return req->conn->stream ? "2.0" : req->head.minor ? "1.1" : "1.0";
}
static inline fc_slice fc_http_slice(const fc_http_req *req, fc_span s) { return (fc_slice){req->base + s.off, s.len}; }

/* May this connection serve another request after this one? Decides the Connection field of the answer. A body that is
 * not wanted must be short enough to be skipped (64 KB), and the client not be waiting for "100 Continue". */
bool fc_http_may_keep(const fc_http_req *req);
/* Stop and go on receiving the body. */
void fc_http_pause(fc_http_req *req);
void fc_http_resume(fc_http_req *req);
/* Send "100 Continue" once, if the client waits for it and no body has come yet. */
void fc_http_send_continue(fc_http_req *req);

/* Queue bytes of the answer (already framed by the application). 0, -EPIPE once the request is over, or -ENOMEM at the
 * bound of the loop's buffers: then nothing was queued and the application ends or aborts. */
int fc_http_send(fc_http_req *req, fc_buf *buf, const char *p, size_t n);
int fc_http_send_copy(fc_http_req *req, const char *p, size_t n);
int fc_http_send_file(fc_http_req *req, int fd, off_t off, size_t n);
/* Pass queued bytes to the kernel. Inside ops->request it may be left to the server. */
void fc_http_flush(fc_http_req *req);
bool fc_http_full(const fc_http_req *req);

/* The answer is complete. keep: the framing allows another request on this connection. */
void fc_http_end(fc_http_req *req, bool keep);
/* The answer cannot be completed: close so that the client notices (its framing stays incomplete). */
void fc_http_abort(fc_http_req *req);
/* After a 101: from now on ops->body brings raw bytes and body_end the client's FIN. */
void fc_http_tunnel(fc_http_req *req);

#endif
