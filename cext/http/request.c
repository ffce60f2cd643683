/* What the application does with a request: its answer, its body's pace, its end. */
#include <errno.h>

#include "conn_internal.h"

/* Could what is left of the body be read and dropped, to get at the next request? Not if the client waits for our leave
 * to send it, nor if it is long; a chunked one says so only on its way (fc_http_conn_read_body gives up then). */
static bool may_skip(const fc_http_req *req)
{
    if (req->body_done)
        return true;
    if (req->head.expect_continue && !req->continue_sent && req->body_in == 0)
        return false;
    return req->head.framing == FC_BODY_CHUNKED || req->body_left <= FC_HTTP_SKIP_BYTES;
}

bool fc_http_may_keep(const fc_http_req *req)
{
    const fc_http_conn *c = req->conn;
    uint32_t max = c->server->settings.requests_max;
    return req->head.keep_alive && !c->close_after && !c->stream && !c->server->draining && !c->eof && (!max || c->requests < max) &&
           may_skip(req);
}

void fc_http_pause(fc_http_req *req)
{
    fc_http_conn *c = req->conn;
    if (c->conn.paused)
        return;
    fc_conn_pause(&c->conn);
    c->paused_ms = now_ms(c);
    fc_http_conn_read_deadline(c, 0); /* it is we who are slow */
}

void fc_http_resume(fc_http_req *req)
{
    fc_http_conn *c = req->conn;
    if (!c->conn.paused)
        return;
    fc_conn_resume(&c->conn);
    if (c->state == FC_HTTP_BODY || c->state == FC_HTTP_TRAILERS) {
        c->body_clock_ms += now_ms(c) - c->paused_ms;
        fc_http_conn_body_deadline(c);
    }
    if (input_len(c) || c->conn.readable)
        fc_http_conn_again(c);
}

void fc_http_send_continue(fc_http_req *req)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    fc_http_conn *c = req->conn;
    if (!req->head.expect_continue || req->continue_sent || req->body_in || req->bytes_out || req->ended)
        return;
    req->continue_sent = true;
    c->queued += sizeof interim - 1;
    if (fc_conn_write(&c->conn, NULL, interim, sizeof interim - 1) == 0)
        fc_http_conn_flush(c);
}

static int queued(fc_http_req *req, size_t n, int rc)
{
    if (rc == 0) {
        req->bytes_out += n;
        req->conn->queued += n;
    }
    return rc;
}

int fc_http_send(fc_http_req *req, fc_buf *buf, const char *p, size_t n)
{
    return queued(req, n, req->ended ? -EPIPE : fc_conn_write(&req->conn->conn, buf, p, n));
}

int fc_http_send_copy(fc_http_req *req, const char *p, size_t n)
{
    return queued(req, n, req->ended ? -EPIPE : fc_conn_write_copy(&req->conn->conn, p, n));
}

int fc_http_send_file(fc_http_req *req, int fd, off_t off, size_t n)
{
    return queued(req, n, req->ended ? -EPIPE : fc_outq_push_file(&req->conn->conn.out, fd, off, n));
}

void fc_http_flush(fc_http_req *req)
{
    if (!req->ended)
        fc_http_conn_flush(req->conn);
}

bool fc_http_full(const fc_http_req *req) { return fc_conn_full(&req->conn->conn); }

void fc_http_end(fc_http_req *req, bool keep)
{
    fc_http_conn *c = req->conn;
    if (req->ended)
        return;
    req->ended = true;
    /* What the head promised stays true: a connection announced as persistent waits for its next request even if
     * draining has begun since. */
    if (!keep || c->state == FC_HTTP_TUNNEL)
        c->close_after = true;
    if (c->state == FC_HTTP_TUNNEL)
        req->body_done = true;
    if (!c->processing)
        fc_http_conn_flush(c);
    if (!req->body_done) {
        if (!c->close_after && may_skip(req)) {
            if (req->head.framing == FC_BODY_CHUNKED)
                req->body_left = FC_HTTP_SKIP_BYTES;
            fc_http_resume(req);
            fc_http_conn_again(c);
            return;
        }
        c->close_after = true;
        c->linger_left = FC_HTTP_LINGER_BYTES; /* more will come, though nothing may be here yet */
    }
    c->state = FC_HTTP_ANSWER;
    fc_http_conn_req_free(c);
    if (c->processing && c->close_after)
        return; /* on_read settles after the flush */
    fc_http_conn_settle(c);
}

void fc_http_abort(fc_http_req *req)
{
    fc_http_conn *c = req->conn;
    if (req->ended)
        return;
    req->ended = true;
    fc_http_conn_req_free(c);
    drop_input(c);
    fc_conn_abort(&c->conn);
}

void fc_http_tunnel(fc_http_req *req)
{
    fc_http_conn *c = req->conn;
    c->state = FC_HTTP_TUNNEL;
    req->body_done = false;
    fc_http_conn_read_deadline(c, 0);
    fc_conn_resume(&c->conn);
    if (input_len(c) || c->conn.readable)
        fc_http_conn_again(c);
}
