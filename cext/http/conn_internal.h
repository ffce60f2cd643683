/* conn_internal.h - what the files of the HTTP server share: server.c (accepting, draining), http_conn.c (one connection's
 * states), http_body.c (what follows a head), http_session.c (HTTP/2) and request.c (what the application calls). */
#ifndef FC_HTTP_CONN_INTERNAL_H
#define FC_HTTP_CONN_INTERNAL_H

#include "fc/http_server.h"

/* A refused client's bytes are swallowed up to this many while we wait for it to read the answer. */
#define FC_HTTP_LINGER_BYTES (256u * 1024u)
/* A body nobody asked for is read and dropped, rather than the connection closed, when this little of it is left. */
#define FC_HTTP_SKIP_BYTES (64u * 1024u)

static inline uint64_t now_ms(const fc_http_conn *c) { return fc_loop_now_ms(c->conn.loop); }
static inline size_t input_len(const fc_http_conn *c) { return c->in ? c->in->used - c->pos : 0; }
static inline void drop_input(fc_http_conn *c)
{
    if (c->in)
        fc_buf_unref(c->in);
    c->in = NULL;
    c->pos = 0;
}

/* Put a connected socket under the server's care; the descriptor is taken on success. */
int fc_http_conn_start(fc_http_server *server, int fd, const fc_addr *peer, fc_securer *securer);
/* Draining has begun: an idle connection gets drain_idle_ms from now. */
void fc_http_conn_drain(fc_http_conn *c);
/* Over at once; a request under way hears of it through `failed`. */
void fc_http_conn_kill(fc_http_conn *c, fc_http_failure why);
/* The request failed while its answer may not have begun: the application gets the chance to say so to the client. */
void fc_http_conn_fail(fc_http_conn *c, fc_http_failure why);
/* No further request will be read here; what was answered already still goes out (a client may half-close its side as
 * soon as it has asked, and goes on reading). */
void fc_http_conn_finish(fc_http_conn *c);
void fc_http_conn_close(fc_http_conn *c);
/* After an answer: on to the next request, or away. */
void fc_http_conn_settle(fc_http_conn *c);
void fc_http_conn_req_free(fc_http_conn *c);

/* Room for more bytes behind those not yet used, moving them to a fresh block when this one is shared or full. */
bool fc_http_conn_input_room(fc_http_conn *c, size_t want);
/* > 0 bytes added; 0 end of stream; -EAGAIN; another error. */
ssize_t fc_http_conn_input_read(fc_http_conn *c);
/* Come back to ops->read at the end of the batch, also for bytes that are already in our own buffer. */
void fc_http_conn_again(fc_http_conn *c);
void fc_http_conn_flush(fc_http_conn *c);
void fc_http_conn_idle(fc_http_conn *c, bool idle);
void fc_http_conn_read_deadline(fc_http_conn *c, uint32_t in_ms); /* 0: none */
void fc_http_conn_body_deadline(fc_http_conn *c);

void fc_http_conn_read_body(fc_http_conn *c);
void fc_http_conn_read_tunnel(fc_http_conn *c);
void fc_http_conn_read_linger(fc_http_conn *c);

/* --- http_session.c */
/* A connection over a stream of a session. 0 or -errno. */
int fc_http_conn_start_over(fc_http_server *server, fc_http_conn *session, fc_h2_stream *stream);
/* REQUIRES settings.h2 and that no request has been read. 1: it is a session now; 0: it is not; -EAGAIN: the bytes so far
 * may be the preface. */
int fc_http_session_look(fc_http_conn *c);
void fc_http_session_read(fc_http_conn *c);
void fc_http_session_timeout(fc_http_conn *c);
void fc_http_session_drain(fc_http_conn *c);

/* A connection has gone: room to accept again, or the end of draining. */
void fc_http_server_left(fc_http_server *server, bool stream);

#endif
