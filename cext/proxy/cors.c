/* Cross-origin requests: which origins may read answers, and the preflight that asks before. Deciding here keeps answers
 * about it equal on every route, also for those of our own: a browser cannot read a 401 without them. */
#include "exchange.h"

/* One or more labels: letters, digits, '-' and '.', not at an end. A scheme or port in them would make another origin. */
static bool is_labels(fc_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return s.n > 0 && s.p[0] != '.' && s.p[s.n - 1] != '.';
}

bool fc_cors_allows(const fc_cors *cors, fc_slice origin)
{
    if (!origin.n)
        return false;
    for (uint32_t i = 0; i < cors->origins_len; i++) {
        const fc_origin *o = &cors->origins[i];
        if (!o->pattern) {
            if (o->text.n == origin.n && memcmp(o->text.p, origin.p, origin.n) == 0)
                return true;
            continue;
        }
        size_t fixed = o->text.n + o->after.n;
        if (origin.n > fixed && memcmp(origin.p, o->text.p, o->text.n) == 0 &&
            memcmp(origin.p + origin.n - o->after.n, o->after.p, o->after.n) == 0 &&
            is_labels((fc_slice){origin.p + o->text.n, origin.n - fixed}))
            return true;
    }
    return cors->any;
}

static fc_slice origin_of(const fc_exchange *ex)
{
    static const fc_slice name = {"Origin", 6};
    return exchange_only_field(ex->req, name);
}

/* The origin is in the request's head, so it is no longer than that; the rest is ours. */
size_t exchange_cors_room(const fc_exchange *ex)
{
    const fc_cors *cors = ex->route->cors;
    static const fc_slice asked = {"Access-Control-Request-Headers", 30};
    return 400 + origin_of(ex).n + cors->methods.n + cors->headers.n + cors->expose.n + exchange_field(ex->req, asked).n;
}

void exchange_cors_fields(const fc_exchange *ex, fc_text *out)
{
    const fc_cors *cors = ex->route->cors;
    fc_slice origin = origin_of(ex);
    bool star = cors->any && !cors->credentials;
    if (!star)
        FC_TEXT_LIT(out, "Vary: Origin\r\n"); /* also where there is none: a cache must not give this to who has one */
    if (!fc_cors_allows(cors, origin))
        return;
    FC_TEXT_LIT(out, "Access-Control-Allow-Origin: ");
    fc_text_slice(out, star ? (fc_slice){"*", 1} : origin);
    FC_TEXT_LIT(out, "\r\n");
    if (cors->credentials)
        FC_TEXT_LIT(out, "Access-Control-Allow-Credentials: true\r\n");
    if (cors->expose.n) {
        FC_TEXT_LIT(out, "Access-Control-Expose-Headers: ");
        fc_text_slice(out, cors->expose);
        FC_TEXT_LIT(out, "\r\n");
    }
}

bool exchange_wants_preflight(const fc_http_req *req, fc_slice *method)
{
    static const fc_slice origin = {"Origin", 6}, asked = {"Access-Control-Request-Method", 29};
    if (req->head.method_id != FC_METHOD_OPTIONS)
        return false;
    *method = exchange_only_field(req, asked);
    return method->n && exchange_only_field(req, origin).n;
}

void exchange_preflight(fc_exchange *ex, fc_slice method)
{
    static const fc_slice asked = {"Access-Control-Request-Headers", 30};
    const fc_cors *cors = ex->route->cors;
    fc_slice headers = exchange_field(ex->req, asked);
    fc_buf *buf = problem_room(ex, 256 + exchange_answer_room(ex));
    if (!buf)
        return;
    fc_text out = fc_text_at(buf->data, buf->cap);
    FC_TEXT_LIT(&out, "HTTP/1.1 204 No Content\r\n");
    if (fc_cors_allows(cors, origin_of(ex))) {
        FC_TEXT_LIT(&out, "Access-Control-Allow-Methods: ");
        fc_text_slice(&out, cors->methods.n ? cors->methods : method);
        FC_TEXT_LIT(&out, "\r\n");
        if (cors->headers.n || headers.n) {
            FC_TEXT_LIT(&out, "Access-Control-Allow-Headers: ");
            fc_text_slice(&out, cors->headers.n ? cors->headers : headers);
            FC_TEXT_LIT(&out, "\r\n");
        }
        FC_TEXT_LIT(&out, "Access-Control-Max-Age: ");
        fc_text_u64(&out, cors->max_age_s);
        FC_TEXT_LIT(&out, "\r\n");
    }
    problem_finish(ex, buf, &out, 204);
}
