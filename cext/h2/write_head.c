/* Text of an HTTP/1.1 message, as an owner of a stream has queued it, to HEADERS and what becomes DATA. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* Trailers of one message. */
#define TRAILER_BYTES (16u * 1024u)
#define TRAILERS_MAX 64u

typedef struct head_text {
    const char *base;
    fc_buf *hold; /* where base points into */
    int len;
    fc_http1_head head;
    fc_http1_field fields[H2_FIELDS_MAX];
} head_text;

static nghttp2_nv nv(const char *name, size_t name_len, const char *value, size_t value_len)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = name_len,
                        .valuelen = value_len,
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

/* What frames a connection means nothing here (RFC 9113 8.2.2); Host has become :authority. */
static bool goes_on(const fc_http1_field *f, const char *base, bool request)
{
    switch (f->id) {
    case FC_FIELD_CONNECTION:
    case FC_FIELD_KEEP_ALIVE:
    case FC_FIELD_PROXY_CONNECTION:
    case FC_FIELD_TRANSFER_ENCODING:
    case FC_FIELD_UPGRADE:
        return false;
    case FC_FIELD_HOST:
        return !request;
    case FC_FIELD_TE:
        return f->value.len == 8 && memcmp(base + f->value.off, "trailers", 8) == 0;
    default:
        return true;
    }
}

static int parse(const fc_h2_stream *s, const char *p, size_t n, head_text *t)
{
    /* It is our own text: only what it means is asked, and no limit is its limit. */
    static const fc_http1_limits limits = {.head_bytes_max = UINT32_MAX, .target_bytes_max = UINT32_MAX,
                                           .flags = FC_HTTP1_LENIENT_MISSING_HOST};
    t->base = p;
    t->head = (fc_http1_head){.fields = t->fields, .fields_max = H2_FIELDS_MAX};
    t->len = s->h2->server ? fc_http1_parse_response(p, n, 0, &limits, (fc_http_method)s->method, &t->head)
                           : fc_http1_parse_request(p, n, 0, &limits, &t->head);
    return t->len;
}

/* The head at the beginning of the queue. Usually it is one piece of it. */
static int find_head(fc_h2_stream *s, head_text *t)
{
    fc_outq *q = &s->conn->out;
    fc_slice front = fc_outq_front(q);
    t->hold = NULL;
    if (front.n && parse(s, front.p, front.n, t) != FC_HTTP1_PARTIAL) {
        fc_buf *buf = q->segs[q->head].buf;
        t->hold = buf ? fc_buf_ref(buf) : NULL;
        return t->len;
    }
    if (q->len == 1)
        return FC_HTTP1_PARTIAL;
    const char *p;
    if (!(t->hold = fc_buf_get(s->conn->loop->bufs, FC_BUF_LARGE)))
        return FC_HTTP1_ERROR;
    ssize_t n = fc_outq_peek(q, t->hold->data, t->hold->cap, &p);
    if (n > 0)
        parse(s, p, (size_t)n, t);
    if (n <= 0 || t->len <= 0) {
        fc_buf_unref(t->hold);
        t->hold = NULL;
        return n < 0 ? FC_HTTP1_ERROR : t->len;
    }
    return t->len;
}

static size_t put_fields(nghttp2_nv *out, size_t n, const char *base, const fc_http1_head *head, bool request)
{
    for (uint32_t i = 0; i < head->fields_len; i++) {
        const fc_http1_field *f = &head->fields[i];
        if (goes_on(f, base, request))
            out[n++] = nv(base + f->name.off, f->name.len, base + f->value.off, f->value.len);
    }
    return n;
}

static int submit(fc_h2_stream *s, const head_text *t, const nghttp2_nv *fields, size_t n)
{
    nghttp2_session *session = s->h2->session;
    bool interim = s->h2->server && t->head.status < 200;
    if (interim)
        return nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, s->id, NULL, fields, n, NULL);
    bool bare = s->out_eof && !s->ready.bytes && !s->out_trailers;
    nghttp2_data_provider body = h2_stream_body(s);
    if (s->h2->server)
        return nghttp2_submit_response(session, s->id, fields, n, bare ? NULL : &body);
    int32_t id = nghttp2_submit_request(session, NULL, fields, n, bare ? NULL : &body, s);
    if (id > 0)
        s->id = id;
    return id > 0 ? 0 : id;
}

static int submit_head(fc_h2_stream *s, const head_text *t)
{
    const fc_http1_head *head = &t->head;
    const char *base = t->base;
    nghttp2_nv fields[H2_FIELDS_MAX + 4];
    char status[3];
    size_t n = 0;
    if (s->h2->server) {
        for (unsigned i = 3, left = head->status; i-- > 0; left /= 10)
            status[i] = (char)('0' + left % 10);
        fields[n++] = nv(":status", 7, status, 3);
    } else {
        s->method = head->method_id;
        fields[n++] = nv(":method", 7, base + head->method.off, head->method.len);
        fields[n++] = nv(":scheme", 7, s->h2->secure ? "https" : "http", s->h2->secure ? 5 : 4);
        if (head->authority.len)
            fields[n++] = nv(":authority", 10, base + head->authority.off, head->authority.len);
        fields[n++] = nv(":path", 5, base + head->target.off, head->target.len);
    }
    n = put_fields(fields, n, base, head, !s->h2->server);
    int rc = submit(s, t, fields, n);
    return rc == 0 ? 1 : rc == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
}

int h2_write_head(fc_h2_stream *s)
{
    head_text t;
    int rc = find_head(s, &t);
    if (rc == FC_HTTP1_PARTIAL)
        return 0;
    if (rc < 0)
        return -EPIPE;
    fc_outq_consume(&s->conn->out, (size_t)t.len);
    if (!s->h2->server || t.head.status >= 200) {
        s->out = H2_OUT_BODY;
        s->out_framing = t.head.framing;
        s->out_left = t.head.framing == FC_BODY_LENGTH ? t.head.content_length : 0;
        if (t.head.framing == FC_BODY_CHUNKED)
            fc_chunked_init(&s->out_chunks, 0);
    }
    rc = h2_write_body(s); /* before: a body that is whole and empty ends with the head */
    if (rc == 0)
        rc = submit_head(s, &t);
    if (t.hold)
        fc_buf_unref(t.hold);
    return rc;
}

static int write_length(fc_h2_stream *s)
{
    fc_outq *q = &s->conn->out;
    size_t room = s->ready.bytes < H2_READY_BYTES ? H2_READY_BYTES - s->ready.bytes : 0;
    size_t n = q->bytes < room ? q->bytes : room;
    if (n > s->out_left)
        n = (size_t)s->out_left;
    s->out_left -= n;
    return fc_outq_move(q, &s->ready, n);
}

/* The trailer section, from the queue to a block of its own. 1: it was whole. */
static int take_trailers(fc_h2_stream *s)
{
    static const fc_http1_limits limits = {.head_bytes_max = TRAILER_BYTES, .target_bytes_max = 0};
    char room[TRAILER_BYTES];
    const char *p;
    fc_http1_field fields[TRAILERS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = TRAILERS_MAX};
    ssize_t n = fc_outq_peek(&s->conn->out, room, sizeof room, &p);
    int rc = n > 0 ? fc_http1_parse_trailers(p, (size_t)n, 0, &limits, &head) : FC_HTTP1_PARTIAL;
    if (rc == FC_HTTP1_PARTIAL)
        return 0;
    if (rc < 0)
        return -EPIPE;
    if (head.fields_len) {
        if (!(s->out_trailers = fc_buf_get(s->conn->loop->bufs, (size_t)rc)))
            return -ENOMEM;
        memcpy(s->out_trailers->data, p, (size_t)rc);
        s->out_trailers->used = (uint32_t)rc;
    }
    fc_outq_consume(&s->conn->out, (size_t)rc);
    return 1;
}

int h2_write_trailers(fc_h2_stream *s)
{
    static const fc_http1_limits limits = {.head_bytes_max = TRAILER_BYTES, .target_bytes_max = 0};
    fc_http1_field fields[TRAILERS_MAX];
    nghttp2_nv out[TRAILERS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = TRAILERS_MAX};
    const char *base = s->out_trailers->data;
    if (fc_http1_parse_trailers(base, s->out_trailers->used, 0, &limits, &head) < 0)
        return -EPROTO;
    return nghttp2_submit_trailer(s->h2->session, s->id, out, put_fields(out, 0, base, &head, false)) ? -ENOMEM : 0;
}

static int write_chunks(fc_h2_stream *s)
{
    fc_outq *q = &s->conn->out;
    while (q->len && s->ready.bytes < H2_READY_BYTES) {
        fc_slice front = fc_outq_front(q), data;
        size_t used;
        if (!front.n)
            return -EPIPE; /* a file in the middle of chunks: no owner does that */
        switch (fc_chunked_next(&s->out_chunks, front.p, front.n, &used, &data)) {
        case FC_CHUNK_MORE:
            fc_outq_consume(q, used);
            break;
        case FC_CHUNK_DATA: {
            fc_outq_consume(q, (size_t)(data.p - front.p));
            int rc = fc_outq_move(q, &s->ready, data.n);
            if (rc < 0)
                return rc;
            break;
        }
        case FC_CHUNK_LAST:
            fc_outq_consume(q, used);
            s->out = H2_OUT_TRAILERS;
            return 0;
        case FC_CHUNK_ERROR:
            return -EPIPE;
        }
    }
    return 0;
}

int h2_write_body(fc_h2_stream *s)
{
    int rc = 0;
    if (s->out == H2_OUT_BODY && s->out_framing == FC_BODY_CHUNKED)
        rc = write_chunks(s);
    else if (s->out == H2_OUT_BODY && s->out_framing == FC_BODY_LENGTH)
        rc = write_length(s);
    else if (s->out == H2_OUT_BODY && s->out_framing == FC_BODY_CLOSE)
        rc = -EPIPE; /* an end without a frame: its owner speaks HTTP/1.1 and says how long a body is */
    if (rc == 0 && s->out == H2_OUT_TRAILERS)
        rc = take_trailers(s);
    if (rc < 0)
        return rc;
    bool whole = s->out == H2_OUT_TRAILERS ? rc == 1 : s->out == H2_OUT_BODY && s->out_framing != FC_BODY_CHUNKED && !s->out_left;
    if (whole) {
        s->out = H2_OUT_DONE;
        s->out_eof = true;
    }
    return 0;
}
