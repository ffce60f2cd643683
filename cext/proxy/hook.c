/* An exchange and the functions of its route: parked with its head, and with its body if they want it; then on with what
 * they made of it. */
#include <errno.h>
#include <string.h>

#include "exchange.h"

static const fc_http1_limits limits = {.head_bytes_max = FC_BUF_LARGE - 1024, .target_bytes_max = FC_BUF_LARGE,
                                       .flags = FC_HTTP1_LENIENT_MISSING_HOST};

static bool put(fc_grow *g, const char *p, size_t n)
{
    if (n == 0)
        return true;
    if (!fc_grow_room(g, n))
        return false;
    memcpy(g->p + g->len, p, n);
    g->len += n;
    return true;
}

static void refuse(fc_exchange *ex, const char *detail) { problem_answer(ex, PROBLEM_HOOK, detail, NULL); }

static void let_go(fc_exchange *ex)
{
    ex->hook = NULL;
    ex->collecting = false;
}

void exchange_hook_leave(fc_exchange *ex)
{
    fc_hook_call *call = ex->hook;
    bool submitted = ex->state == EX_HOOK && !ex->collecting;
    let_go(ex);
    if (!call->done)
        fc_hook_leave(call, submitted);
    else
        call->owner = NULL;
}

static fc_hook_call *make(fc_exchange *ex, bool response, void (*settled)(fc_hook_call *call))
{
    const fc_route_hooks *hooks = ex->route->hooks;
    fc_addr client = exchange_client(ex->req);
    uint32_t body_max = response ? hooks->response_body_max : hooks->request_body_max;
    fc_hook_call *call = fc_hook_new(proxy_of(ex->req)->hooks, ex, settled, response ? hooks->response : hooks->request, body_max);
    if (!call)
        return NULL;
    call->response = response;
    call->has_body = body_max > 0;
    call->client_len = (uint8_t)fc_addr_text(&client, call->client);
    ex->hook = call;
    ex->collecting = call->has_body;
    if (put(&call->subject, ex->subject.p, ex->subject.n))
        return call;
    exchange_hook_leave(ex);
    return NULL;
}

static void submit(fc_exchange *ex)
{
    ex->collecting = false;
    ex->state = EX_HOOK;
    fc_hook_submit(ex->hook);
}

/* --- requests ------------------------------------------------------------------------------------------------------- */

/* The head that the function made, in the place of ours. It frames the body as ours did, or the whole body is here. */
static bool take_request(fc_exchange *ex, fc_hook_call *call)
{
    fc_http1_field fields[256];
    fc_http1_head head = {.fields = fields, .fields_max = 256};
    bool add_host = ex->route->host_mode == FC_HOST_UPSTREAM;
    int rc = fc_http1_parse_request(call->new_head.p, call->new_head.len, 0, &limits, &head);
    if (rc <= 0 || (size_t)rc != call->new_head.len || (add_host && head.authority.len) || (!add_host && !head.authority.len))
        return false;
    if (call->has_body ? head.framing == FC_BODY_CHUNKED || head.content_length != call->new_body.len
                       : head.framing != ex->req->head.framing ||
                             (head.framing == FC_BODY_LENGTH && head.content_length != ex->req->head.content_length))
        return false;
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, call->new_head.len + 1024 < FC_BUF_LARGE ? call->new_head.len + 1024 : FC_BUF_LARGE);
    if (!buf)
        return false;
    size_t n = call->new_head.len - (add_host ? 2 : 0);
    memcpy(buf->data, call->new_head.p, n);
    fc_buf_unref(ex->head_out);
    ex->head_out = buf;
    ex->head_out_len = (uint32_t)n;
    return true;
}

static bool put_chunk_head(fc_exchange *ex, size_t n)
{
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, FC_CHUNK_HEAD_MAX);
    int rc = buf ? fc_outq_push(&ex->body, buf, buf->data, fc_chunk_head(buf->data, n)) : -ENOMEM;
    if (buf)
        fc_buf_unref(buf);
    return rc == 0;
}

/* The body for the target, whole: ours to send with each try. As one chunk where its head says that chunks follow. */
static bool keep_body(fc_exchange *ex, fc_hook_call *call, bool changed)
{
    const fc_grow *body = changed ? &call->new_body : &call->body;
    bool chunked = !changed && ex->request_chunked;
    if (ex->has_body)
        fc_outq_clear(&ex->body);
    fc_outq_init(&ex->body);
    ex->has_body = true;
    ex->request_chunked = false;
    if (chunked && body->len && !put_chunk_head(ex, body->len))
        return false;
    for (size_t at = 0; at < body->len;) {
        fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, body->len - at < FC_BUF_LARGE ? body->len - at : FC_BUF_LARGE);
        if (!buf)
            return false;
        size_t n = body->len - at < buf->cap ? body->len - at : buf->cap;
        memcpy(buf->data, body->p + at, n);
        int rc = fc_outq_push(&ex->body, buf, buf->data, n);
        fc_buf_unref(buf);
        if (rc < 0)
            return false;
        at += n;
    }
    return !chunked || fc_outq_push(&ex->body, NULL, body->len ? "\r\n0\r\n\r\n" : "0\r\n\r\n", body->len ? 7 : 5) == 0;
}

int exchange_hook_put_body(const fc_exchange *ex, fc_outq *to)
{
    const fc_outq *q = &ex->body;
    for (uint32_t i = 0; i < q->len; i++) {
        const fc_seg *s = &q->segs[(q->head + i) & (q->cap - 1)];
        int rc = fc_outq_push(to, s->buf, s->p, s->n);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void answer(fc_exchange *ex, fc_hook_call *call)
{
    fc_http1_field fields[256];
    fc_http1_head head = {.fields = fields, .fields_max = 256};
    bool no_body = ex->req->head.method_id == FC_METHOD_HEAD;
    int rc = put(&call->new_head, "\r\n", 2) ? fc_http1_parse_response(call->new_head.p, call->new_head.len, 0, &limits,
                                                                       FC_METHOD_GET, &head)
                                             : FC_HTTP1_ERROR;
    if (rc <= 0 || (size_t)rc != call->new_head.len || head.status < 200 || head.framing == FC_BODY_CHUNKED ||
        head.content_length != call->new_body.len) {
        refuse(ex, "a function of this route answered with what is no answer");
        return;
    }
    fc_buf *buf = problem_room(ex, call->new_head.len + 1024 + exchange_answer_room(ex));
    if (!buf)
        return;
    fc_text out = fc_text_at(buf->data, buf->cap);
    fc_text_put(&out, call->new_head.p, call->new_head.len - 2);
    problem_finish_with(ex, buf, &out, head.status, no_body ? (fc_slice){NULL, 0} : (fc_slice){call->new_body.p, call->new_body.len});
}

static void on_request_settled(fc_hook_call *call)
{
    fc_exchange *ex = call->owner;
    let_go(ex);
    if (call->verdict == FC_HOOK_ANSWER) {
        answer(ex, call);
        return;
    }
    bool changed = call->verdict == FC_HOOK_CHANGED && take_request(ex, call);
    if ((call->verdict == FC_HOOK_FAILED || (call->verdict == FC_HOOK_CHANGED && !changed)) && !ex->route->hooks->pass) {
        refuse(ex, "a function of this route failed on the request");
        return;
    }
    if (call->has_body && !keep_body(ex, call, changed)) {
        problem_answer(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return;
    }
    ex->state = EX_ROUTE;
    exchange_send_built(ex);
}

void exchange_hook_request(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    fc_hook_call *call = make(ex, false, on_request_settled);
    bool add_host = ex->route->host_mode == FC_HOST_UPSTREAM;
    if (!call || !put(&call->head, ex->head_out->data, ex->head_out_len) || (add_host && !put(&call->head, "\r\n", 2))) {
        problem_answer(ex, PROBLEM_OVERLOADED, "too many requests wait for a function of their route", "Retry-After: 1\r\n");
        return;
    }
    ex->state = EX_HOOK;
    if (!ex->collecting || ex->request_done) {
        if (!req->body_done)
            fc_http_pause(req);
        submit(ex);
        return;
    }
    fc_http_send_continue(req); /* it is we who want the body now */
    fc_http_resume(req);        /* where a verdict was waited for */
}

bool exchange_hook_body(fc_exchange *ex, const char *p, size_t n) { return put(&ex->hook->body, p, n); }

void exchange_hook_body_end(fc_exchange *ex)
{
    if (ex->hook->response) { /* its connection is free while the function works */
        bool clean = ex->upstream_reusable && ex->request_done && !ex->deaf && ex->pos == (ex->in ? ex->in->used : 0);
        fc_lease_release(&ex->lease, clean, ex->first_byte_ns - ex->leased_ns, false);
        exchange_drop_input(ex);
    }
    submit(ex);
}

/* --- answers --------------------------------------------------------------------------------------------------------- */

static bool take_reply(const fc_exchange *ex, fc_hook_call *call)
{
    fc_http1_field fields[256];
    fc_http1_head head = {.fields = fields, .fields_max = 256};
    fc_http_method method = (fc_http_method)ex->req->head.method_id;
    int rc = fc_http1_parse_response(call->new_head.p, call->new_head.len, 0, &limits, method, &head);
    if (rc <= 0 || (size_t)rc != call->new_head.len || head.status < 200)
        return false;
    if (call->has_body)
        return head.framing != FC_BODY_CHUNKED && (head.framing == FC_BODY_NONE ? call->new_body.len == 0 : head.content_length == call->new_body.len);
    fc_http1_head before = {.fields = fields, .fields_max = 256};
    return fc_http1_parse_response(call->head.p, call->head.len, 0, &limits, method, &before) > 0 &&
           before.framing == head.framing && before.content_length == head.content_length;
}

static void on_reply_settled(fc_hook_call *call)
{
    fc_exchange *ex = call->owner;
    let_go(ex);
    bool changed = call->verdict == FC_HOOK_CHANGED && take_reply(ex, call);
    if ((call->verdict == FC_HOOK_FAILED || (call->verdict == FC_HOOK_CHANGED && !changed)) && !ex->route->hooks->pass) {
        refuse(ex, "a function of this route failed on the answer");
        return;
    }
    const fc_grow *head = changed ? &call->new_head : &call->head, *body = changed ? &call->new_body : &call->body;
    bool chunked = call->has_body && !changed && ex->reply_chunked;
    char chunk[FC_CHUNK_HEAD_MAX];
    int rc = fc_http_send_copy(ex->req, head->p, head->len);
    if (rc < 0) {
        problem_answer(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return;
    }
    if (rc == 0 && chunked && body->len)
        rc = fc_http_send_copy(ex->req, chunk, fc_chunk_head(chunk, body->len));
    if (rc == 0 && call->has_body && ex->req->head.method_id != FC_METHOD_HEAD) {
        ex->reply_bytes += body->len;
        rc = fc_http_send_copy(ex->req, body->p, body->len);
    }
    if (rc == 0 && chunked)
        rc = fc_http_send_copy(ex->req, body->len ? "\r\n0\r\n\r\n" : "0\r\n\r\n", body->len ? 7 : 5);
    if (rc < 0) {
        ex->answered = true; /* a part of it */
        exchange_cut(ex);
        return;
    }
    ex->answered = true;
    if (changed)
        ex->status = (uint16_t)((head->p[9] - '0') * 100 + (head->p[10] - '0') * 10 + head->p[11] - '0');
    exchange_hooked_reply(ex, call->has_body);
}

bool exchange_hook_reply(fc_exchange *ex, const char *head, size_t n)
{
    fc_hook_call *call = make(ex, true, on_reply_settled);
    if (!call || !put(&call->head, head, n)) {
        problem_answer(ex, PROBLEM_OVERLOADED, "too many answers wait for a function of their route", NULL);
        return false;
    }
    if (ex->collecting)
        return true;
    fc_conn_pause(exchange_upstream(ex));
    exchange_watch(ex, 0); /* it is we who take our time */
    submit(ex);
    return false;
}
