/* Fields of a header block to the text of an HTTP/1.1 head, or of trailers. nghttp2 has checked what RFC 9113 8.2 and 8.3
 * ask of them: names in lower case, values without CR, LF and NUL, pseudo fields first and complete, no fields of a
 * connection. What HTTP/1.1 asks besides is checked by who parses the text. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

static fc_slice of(nghttp2_rcbuf *rc)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(rc);
    return (fc_slice){(const char *)v.base, v.len};
}

static bool is(fc_slice s, const char *name, size_t n) { return s.n == n && memcmp(s.p, name, n) == 0; }
#define IS(s, literal) is((s), (literal), sizeof(literal) - 1)

static void forget(nghttp2_rcbuf **rc)
{
    if (*rc)
        nghttp2_rcbuf_decref(*rc);
    *rc = NULL;
}

static void keep(nghttp2_rcbuf **place, nghttp2_rcbuf *rc)
{
    forget(place);
    nghttp2_rcbuf_incref(rc);
    *place = rc;
}

/* Append; a block that is full moves to a larger one, and what fits none is too large a head. */
static int put(fc_h2 *h2, fc_buf **buf, const char *p, size_t n)
{
    if (h2->block.too_large || !n) /* of nothing there may be no address */
        return 0;
    if (!*buf || fc_buf_room(*buf) < n) {
        size_t used = *buf ? (*buf)->used : 0, want = used + n;
        if (want > FC_BUF_LARGE) {
            h2->block.too_large = true;
            return 0;
        }
        fc_buf *wider = fc_buf_get(h2->conn->loop->bufs, want <= FC_BUF_SMALL ? FC_BUF_SMALL : want);
        if (!wider)
            return -ENOMEM;
        if (*buf) {
            memcpy(wider->data, (*buf)->data, used);
            fc_buf_unref(*buf);
        }
        wider->used = (uint32_t)used;
        *buf = wider;
    }
    memcpy((*buf)->data + (*buf)->used, p, n);
    (*buf)->used += (uint32_t)n;
    return 0;
}

#define PUT(h2, literal) put((h2), &(h2)->block.buf, (literal), sizeof(literal) - 1)

static int put_slice(fc_h2 *h2, fc_slice s) { return put(h2, &h2->block.buf, s.p, s.n); }

static int put_line(fc_h2 *h2, fc_slice name, fc_slice value)
{
    int rc = put_slice(h2, name);
    if (rc == 0 && (rc = PUT(h2, ": ")) == 0 && (rc = put_slice(h2, value)) == 0)
        rc = PUT(h2, "\r\n");
    return rc;
}

/* The start line, once the pseudo fields are known. */
static int begin(fc_h2 *h2)
{
    h2_block *b = &h2->block;
    int rc;
    if (b->begun || b->trailers)
        return 0;
    b->begun = true;
    if (!h2->server) {
        rc = PUT(h2, "HTTP/1.1 ");
        if (rc == 0 && b->pseudo[H2_STATUS])
            rc = put_slice(h2, of(b->pseudo[H2_STATUS]));
        return rc ? rc : PUT(h2, " \r\n");
    }
    fc_slice method = b->pseudo[H2_METHOD] ? of(b->pseudo[H2_METHOD]) : (fc_slice){NULL, 0};
    nghttp2_rcbuf *target = b->pseudo[IS(method, "CONNECT") ? H2_AUTHORITY : H2_PATH];
    b->stream->method = (uint8_t)fc_http_method_id(method.p, method.n);
    if ((rc = put_slice(h2, method)) || (rc = PUT(h2, " ")) || (target && (rc = put_slice(h2, of(target)))) ||
        (rc = PUT(h2, " HTTP/1.1\r\n")))
        return rc;
    if (b->pseudo[H2_AUTHORITY])
        return put_line(h2, (fc_slice){"Host", 4}, of(b->pseudo[H2_AUTHORITY]));
    return 0;
}

static void clear(h2_block *b)
{
    for (unsigned i = 0; i < H2_PSEUDOS; i++)
        forget(&b->pseudo[i]);
    forget(&b->length);
    forget(&b->host);
    if (b->buf)
        fc_buf_unref(b->buf);
    if (b->cookies)
        fc_buf_unref(b->cookies);
    *b = (h2_block){0};
}

void h2_block_drop(fc_h2 *h2) { clear(&h2->block); }

void h2_block_begin(fc_h2 *h2, fc_h2_stream *s, bool trailers)
{
    clear(&h2->block);
    h2->block.stream = s;
    h2->block.open = true;
    h2->block.trailers = trailers;
    h2->block.received = h2->received;
}

static int take_pseudo(h2_block *b, fc_slice name, nghttp2_rcbuf *value)
{
    static const struct {
        const char *name;
        uint8_t n;
    } names[H2_PSEUDOS] = {{":method", 7}, {":scheme", 7}, {":authority", 10}, {":path", 5}, {":status", 7}};
    for (unsigned i = 0; i < H2_PSEUDOS; i++)
        if (is(name, names[i].name, names[i].n)) {
            keep(&b->pseudo[i], value);
            return 0;
        }
    return -EPROTO;
}

int h2_block_field(fc_h2 *h2, nghttp2_rcbuf *name_rc, nghttp2_rcbuf *value_rc)
{
    h2_block *b = &h2->block;
    fc_slice name = of(name_rc), value = of(value_rc);
    if (!b->stream)
        return 0;
    if (name.n && name.p[0] == ':')
        return take_pseudo(b, name, value_rc);
    int rc = begin(h2);
    if (rc < 0 || b->trailers)
        return rc ? rc : put_line(h2, name, value);
    switch (name.n) {
    case 4:
        /* One that says what :authority says is dropped; another makes two, which no parser of ours lets pass (8.3.1). */
        if (h2->server && IS(name, "host")) {
            fc_slice said = b->pseudo[H2_AUTHORITY] ? of(b->pseudo[H2_AUTHORITY]) : (fc_slice){NULL, 0};
            if (said.n && said.n == value.n && strncasecmp(said.p, value.p, value.n) == 0)
                return 0;
        }
        break;
    case 6:
        if (h2->server && IS(name, "cookie")) {
            if (b->cookies)
                rc = put(h2, &b->cookies, "; ", 2);
            return rc ? rc : put(h2, &b->cookies, value.p, value.n);
        }
        break;
    case 12:
        if (IS(name, "content-type") && value.n >= 16 && memcmp(value.p, "application/grpc", 16) == 0)
            b->grpc = value.n == 16 || value.p[16] != '-'; /* not application/grpc-web */
        break;
    case 14:
        if (IS(name, "content-length")) {
            keep(&b->length, value_rc);
            return 0;
        }
        break;
    }
    return put_line(h2, name, value);
}

static bool is_interim(const h2_block *b)
{
    return b->pseudo[H2_STATUS] && of(b->pseudo[H2_STATUS]).p[0] == '1';
}

/* How the body is framed in text. */
static int put_framing(fc_h2 *h2, bool end_stream)
{
    h2_block *b = &h2->block;
    fc_h2_stream *s = b->stream;
    /* Of a gRPC answer that is only a head the end is said by the coding, so that it stays one on its way. */
    bool bare = !b->length && end_stream && !(b->grpc && !h2->server);
    bool no_body = !h2->server && (s->method == FC_METHOD_HEAD || is(of(b->pseudo[H2_STATUS]), "204", 3) ||
                                   is(of(b->pseudo[H2_STATUS]), "304", 3));
    if (no_body)
        return b->length ? put_line(h2, (fc_slice){"Content-Length", 14}, of(b->length)) : 0;
    if (bare)
        return h2->server ? 0 : PUT(h2, "Content-Length: 0\r\n");
    if (b->length && !b->grpc) {
        fc_slice digits = of(b->length); /* nghttp2 has checked them */
        for (size_t i = 0; i < digits.n; i++)
            s->in_left = s->in_left * 10 + (uint64_t)(digits.p[i] - '0');
        return put_line(h2, (fc_slice){"Content-Length", 14}, digits);
    }
    s->in_chunked = true;
    return PUT(h2, "Transfer-Encoding: chunked\r\n");
}

/* What was read goes behind what the owner has not received yet: an interim head before the final one. */
static int hand_over(fc_h2 *h2, fc_buf **place, uint32_t from)
{
    h2_block *b = &h2->block;
    fc_buf *old = *place;
    if (old) {
        size_t left = old->used - from, both = left + b->buf->used;
        fc_buf *joined = both <= FC_BUF_LARGE ? fc_buf_get(h2->conn->loop->bufs, both) : NULL;
        if (!joined)
            return -ENOMEM;
        memcpy(joined->data, old->data + from, left);
        memcpy(joined->data + left, b->buf->data, b->buf->used);
        joined->used = (uint32_t)both;
        fc_buf_unref(old);
        fc_buf_unref(b->buf);
        b->buf = joined;
    }
    *place = b->buf;
    b->buf = NULL;
    return 0;
}

/* Longer than any head may be, and not at its end: the parser says what that is called. */
static int overfill(fc_h2 *h2)
{
    h2_block *b = &h2->block;
    fc_buf *full = fc_buf_get(h2->conn->loop->bufs, FC_BUF_LARGE);
    if (!full)
        return -ENOMEM;
    full->used = full->cap;
    memset(full->data, 'x', full->cap);
    if (b->buf) {
        memcpy(full->data, b->buf->data, b->buf->used);
        fc_buf_unref(b->buf);
    }
    b->buf = full;
    return 0;
}

int h2_block_end(fc_h2 *h2, bool end_stream)
{
    h2_block *b = &h2->block;
    fc_h2_stream *s = b->stream;
    int rc = 0;
    if (!s || (b->trailers && (!s->conn || !s->in_chunked))) { /* a body with a length has no trailers in text */
        clear(b);
        return 0;
    }
    rc = begin(h2);
    bool interim = !h2->server && is_interim(b);
    if (rc == 0 && b->cookies && (rc = PUT(h2, "Cookie: ")) == 0 &&
        (rc = put(h2, &b->buf, b->cookies->data, b->cookies->used)) == 0)
        rc = PUT(h2, "\r\n");
    if (rc == 0 && !b->trailers && !interim)
        rc = put_framing(h2, end_stream);
    if (rc == 0)
        rc = PUT(h2, "\r\n");
    if (rc == 0 && b->too_large)
        rc = overfill(h2);
    if (rc == 0 && b->trailers)
        rc = hand_over(h2, &s->trailers, 0);
    else if (rc == 0 && (rc = hand_over(h2, &s->text, s->text_pos)) == 0)
        s->text_pos = 0, s->in_head = !interim;
    clear(b);
    return rc;
}
