/* Answers in a content coding the client takes (RFC 9110 8.4): which are encoded while they pass, of targets and of the cache,
 * and which are decoded (unpack.c). */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "exchange.h"

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

static bool named(fc_slice name, const char *text) { return name.n == strlen(text) && strncasecmp(name.p, text, name.n) == 0; }

/* Is "text/html; charset=utf-8" of the types? One that ends with a slash stands for all below it. */
static bool is_listed(const fc_coding_policy *policy, fc_slice type)
{
    const char *semicolon = memchr(type.p, ';', type.n);
    size_t n = semicolon ? (size_t)(semicolon - type.p) : type.n;
    while (n && (type.p[n - 1] == ' ' || type.p[n - 1] == '\t'))
        n--;
    for (uint32_t i = 0; i < policy->types_len; i++) {
        fc_slice want = policy->types[i];
        bool whole = want.n == n || (want.n < n && want.p[want.n - 1] == '/');
        if (whole && strncasecmp(type.p, want.p, want.n) == 0)
            return true;
    }
    return false;
}

/* What the head says of the body, as far as codings go. */
typedef struct body_facts {
    bool fixed;       /* it must stay as it is: a part, not to be transformed, none at all */
    bool listed;      /* of a media type that is worth compressing */
    uint8_t codings;  /* how many it has */
    fc_coding coding; /* the one it has, if we know it; else identity */
} body_facts;

static fc_coding coding_of(fc_slice name)
{
    return named(name, "gzip") || named(name, "x-gzip") ? FC_CODING_GZIP : named(name, "br") ? FC_CODING_BR : FC_CODING_IDENTITY;
}

static body_facts look_at(const fc_exchange *ex, const char *base, const fc_http1_head *head)
{
    body_facts facts = {.fixed = ex->grpc || head->status < 200 || head->status == 204 || head->status == 206 ||
                                 head->status == 304};
    for (uint32_t i = 0; i < head->fields_len && !facts.fixed; i++) {
        fc_slice name = at(base, head->fields[i].name), value = at(base, head->fields[i].value);
        if (head->fields[i].id == FC_FIELD_CONTENT_TYPE) {
            facts.listed = is_listed(ex->route->coding, value);
        } else if (named(name, "Content-Encoding")) {
            facts.codings++;
            facts.coding = coding_of(value); /* of a list it is none */
        } else {
            facts.fixed = named(name, "Content-Range") || (named(name, "Cache-Control") &&
                                                           fc_http_list_has(value.p, value.n, "no-transform", 12));
        }
    }
    return facts;
}

static fc_accept_coding accepted_by(const fc_exchange *ex)
{
    const fc_http1_head *q = &ex->req->head;
    fc_accept_coding accepted = {0};
    for (uint32_t i = 0; i < q->fields_len; i++)
        if (named(at(ex->req->base, q->fields[i].name), "Accept-Encoding"))
            fc_accept_coding_read(&accepted, at(ex->req->base, q->fields[i].value));
    return accepted;
}

/* RFC 9110 12.5.3 lets us send any coding to who says nothing; those are the ones that know of none. */
static bool takes(const fc_exchange *ex, fc_coding coding)
{
    fc_accept_coding accepted = accepted_by(ex);
    return fc_accept_coding_best(&accepted, 1u << coding) == coding;
}

static void encode_begin(fc_exchange *ex)
{
    const fc_coding_policy *policy = ex->route->coding;
    fc_accept_coding accepted = accepted_by(ex);
    uint32_t allowed = (policy->gzip_level ? 1u << FC_CODING_GZIP : 0) | (policy->br_quality >= 0 ? 1u << FC_CODING_BR : 0);
    fc_coding coding = ex->req->head.minor ? fc_accept_coding_best(&accepted, allowed) : FC_CODING_IDENTITY;
    if (coding == FC_CODING_IDENTITY)
        return;
    ex->encoder = fc_encoder_new(coding, coding == FC_CODING_GZIP ? policy->gzip_level : policy->br_quality);
    ex->coding = (uint8_t)coding;
    if (ex->encoder)
        proxy_of(ex->req)->coders++;
}

void exchange_code_choose(fc_exchange *ex, const char *base, const fc_http1_head *head)
{
    fc_proxy *proxy = proxy_of(ex->req);
    const fc_coding_policy *policy = ex->route->coding;
    body_facts facts = look_at(ex, base, head);
    bool packs = facts.listed && !facts.codings && !(head->has_length && head->content_length < policy->least_bytes) &&
                 (policy->gzip_level || policy->br_quality >= 0);
    bool unpacks = policy->unpack && facts.codings == 1 && facts.coding != FC_CODING_IDENTITY;
    ex->coding_varies = !facts.fixed && (packs || unpacks);
    bool has_body = ex->req->head.method_id != FC_METHOD_HEAD &&
                    (head->framing == FC_BODY_CHUNKED || head->framing == FC_BODY_CLOSE || head->content_length);
    if (!ex->coding_varies || !has_body || proxy->coders >= proxy->settings.coders_max)
        return;
    if (packs)
        encode_begin(ex);
    else if (!takes(ex, facts.coding))
        exchange_unpack_begin(ex, facts.coding);
    if (ex->encoder || ex->unpack) /* without memory for it, it goes as it is */
        count(proxy, ex->encoder ? FC_CELL_ENCODED : FC_CELL_UNPACKED, 1);
}

void exchange_code_choose_request(fc_exchange *ex)
{
    const fc_proxy *proxy = proxy_of(ex->req);
    const fc_http1_head *q = &ex->req->head;
    /* Functions get bodies as they came. */
    bool hooked = ex->route->hooks && ex->route->hooks->request >= 0;
    if (ex->unpack_request || ex->request_done || ex->upgrade || ex->grpc || hooked || proxy->coders >= proxy->settings.coders_max)
        return;
    unsigned codings = 0;
    fc_coding coding = FC_CODING_IDENTITY;
    for (uint32_t i = 0; i < q->fields_len; i++)
        if (named(at(ex->req->base, q->fields[i].name), "Content-Encoding")) {
            codings++;
            coding = coding_of(at(ex->req->base, q->fields[i].value));
        }
    if (codings == 1 && coding != FC_CODING_IDENTITY)
        exchange_unpack_request_begin(ex, coding);
    if (ex->unpack_request)
        count(proxy_of(ex->req), FC_CELL_UNPACKED_REQUESTS, 1);
}

bool exchange_code_changes(fc_slice name)
{
    /* They are about the bytes that are not sent. */
    return named(name, "Accept-Ranges") || named(name, "Content-Encoding") || named(name, "Content-MD5") ||
           named(name, "Content-Digest") || named(name, "Digest");
}

void exchange_code_fields(const fc_exchange *ex, fc_text *out)
{
    if (ex->encoder) {
        const char *name = fc_coding_name((fc_coding)ex->coding);
        FC_TEXT_LIT(out, "Content-Encoding: ");
        fc_text_put(out, name, strlen(name));
        FC_TEXT_LIT(out, "\r\n");
    }
    FC_TEXT_LIT(out, "Vary: Accept-Encoding\r\n");
}

int exchange_send_block(fc_exchange *ex, fc_buf *buf)
{
    char head[FC_CHUNK_HEAD_MAX], *data = buf->data + FC_CHUNK_HEAD_MAX;
    size_t n = buf->used - FC_CHUNK_HEAD_MAX, head_len = fc_chunk_head(head, n);
    ex->reply_bytes += n;
    if (!n || !ex->reply_chunked)
        return n ? fc_http_send(ex->req, buf, data, n) : 0;
    memcpy(data - head_len, head, head_len);
    memcpy(data + n, "\r\n", 2);
    return fc_http_send(ex->req, buf, data - head_len, head_len + n + 2);
}

int exchange_encode(fc_exchange *ex, const char *p, size_t n, fc_encode_op op)
{
    bool more = true;
    for (int rc = 0; more && rc == 0;) {
        fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, FC_BUF_MEDIUM);
        if (!buf)
            return -ENOMEM;
        char *out = buf->data + FC_CHUNK_HEAD_MAX;
        size_t room = buf->cap - FC_CHUNK_HEAD_MAX - 2;
        more = fc_encoder_step(ex->encoder, &p, &n, &out, &room, op);
        buf->used = (uint32_t)(out - buf->data);
        rc = exchange_send_block(ex, buf);
        fc_buf_unref(buf);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int exchange_encode_end(fc_exchange *ex)
{
    int rc = exchange_encode(ex, NULL, 0, FC_ENCODE_END);
    exchange_encode_free(ex);
    return rc;
}

void exchange_encode_free(fc_exchange *ex)
{
    fc_encoder_free(ex->encoder);
    ex->encoder = NULL;
    proxy_of(ex->req)->coders--;
}
