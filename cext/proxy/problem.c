/* Answers of our own: RFC 9457 problem details, and the one OPTIONS that ends here. */
#include "exchange.h"

/* The longest document names FC_LIMITS_MAX limits; the longest head, but for the fields its caller adds. */
#define PROBLEM_BYTES 2048
#define HEAD_BYTES 512

static const struct {
    uint16_t status;
    const char *slug, *title, *word;
} problems[] = {
    [PROBLEM_BAD_REQUEST] = {400, "bad-request", "Bad Request", "bad_request"},
    [PROBLEM_NO_ROUTE] = {404, "no-route", "Not Found", "no_route"},
    [PROBLEM_METHOD] = {405, "method-not-allowed", "Method Not Allowed", "method"},
    [PROBLEM_HEADER_TIMEOUT] = {408, "request-timeout", "Request Timeout", "header_timeout"},
    [PROBLEM_BODY_TIMEOUT] = {408, "request-timeout", "Request Timeout", "body_timeout"},
    [PROBLEM_BODY_TOO_LARGE] = {413, "body-too-large", "Content Too Large", "body_limit"},
    [PROBLEM_URL_TOO_LONG] = {414, "url-too-long", "URI Too Long", "url_limit"},
    /* A type that is registered stands whole: this one is the RateLimit draft's. */
    [PROBLEM_QUOTA] = {429, "https://iana.org/assignments/http-problem-types#quota-exceeded", "Too Many Requests",
                       "rate_limit"},
    [PROBLEM_EXPECTATION] = {417, "expectation-failed", "Expectation Failed", "expectation"},
    [PROBLEM_HEADER_TOO_LARGE] = {431, "header-too-large", "Request Header Fields Too Large", "header_limit"},
    [PROBLEM_UNKNOWN_CODING] = {501, "unknown-coding", "Not Implemented", "not_implemented"},
    [PROBLEM_BAD_ANSWER] = {502, "bad-answer", "Bad Gateway", "bad_answer"},
    [PROBLEM_UPSTREAM_CLOSED] = {502, "bad-answer", "Bad Gateway", "upstream_closed"},
    [PROBLEM_CONNECT_FAILED] = {502, "connect-failed", "Bad Gateway", "connect"},
    [PROBLEM_NO_TARGET] = {503, "no-target", "Service Unavailable", "no_target"},
    [PROBLEM_NO_HEALTHY_TARGET] = {503, "no-target", "Service Unavailable", "no_healthy_target"},
    [PROBLEM_BREAKER_OPEN] = {503, "breaker-open", "Service Unavailable", "breaker_open"},
    [PROBLEM_OVERLOADED] = {503, "overloaded", "Service Unavailable", "overload"},
    [PROBLEM_SHED] = {503, "overloaded", "Service Unavailable", "shed"},
    [PROBLEM_CONNECT_TIMEOUT] = {504, "connect-timeout", "Gateway Timeout", "connect_timeout"},
    [PROBLEM_SEND_TIMEOUT] = {504, "answer-timeout", "Gateway Timeout", "send_timeout"},
    [PROBLEM_FIRST_BYTE_TIMEOUT] = {504, "answer-timeout", "Gateway Timeout", "first_byte_timeout"},
    [PROBLEM_TOTAL_TIMEOUT] = {504, "answer-timeout", "Gateway Timeout", "total_timeout"},
    [PROBLEM_NOT_CACHED] = {504, "not-cached", "Gateway Timeout", "not_cached"},
    [PROBLEM_VERSION] = {505, "http-version", "HTTP Version Not Supported", "version"},
    [PROBLEM_LOOP] = {508, "loop", "Loop Detected", "loop"},
    [PROBLEM_HOOK] = {500, "hook-failed", "Internal Server Error", "hook"},
#define UNAUTHENTICATED(reason, word) [PROBLEM_AUTH + reason] = {401, "unauthenticated", "Unauthorized", word}
    UNAUTHENTICATED(FC_AUTH_MISSING, "no_credential"),
    UNAUTHENTICATED(FC_AUTH_MALFORMED, "token_malformed"),
    UNAUTHENTICATED(FC_AUTH_ALGORITHM, "token_algorithm"),
    UNAUTHENTICATED(FC_AUTH_UNKNOWN_KEY, "token_key"),
    UNAUTHENTICATED(FC_AUTH_SIGNATURE, "token_signature"),
    UNAUTHENTICATED(FC_AUTH_CRITICAL, "token_critical"),
    UNAUTHENTICATED(FC_AUTH_ISSUER, "token_issuer"),
    UNAUTHENTICATED(FC_AUTH_AUDIENCE, "token_audience"),
    UNAUTHENTICATED(FC_AUTH_EXPIRED, "token_expired"),
    UNAUTHENTICATED(FC_AUTH_EARLY, "token_early"),
    UNAUTHENTICATED(FC_AUTH_CLAIM, "token_claim"),
    UNAUTHENTICATED(FC_AUTH_UNKNOWN, "api_key_unknown"),
    UNAUTHENTICATED(FC_AUTH_INACTIVE, "token_inactive"),
    UNAUTHENTICATED(FC_AUTH_REVOKED, "revoked"),
    [PROBLEM_AUTH + FC_AUTH_SCOPE] = {403, "insufficient-scope", "Forbidden", "scope"},
    [PROBLEM_AUTH + FC_AUTH_UNAVAILABLE] = {503, "auth-unavailable", "Service Unavailable", "auth_unavailable"},
    [PROBLEM_AUTH + FC_AUTH_BUSY] = {503, "auth-unavailable", "Service Unavailable", "auth_busy"},
};

enum problem problem_of(int status)
{
    for (unsigned i = 0; i < FC_ARRAY_LEN(problems); i++)
        if (problems[i].status == status)
            return (enum problem)i;
    return PROBLEM_BAD_REQUEST;
}

static void put_common(fc_exchange *ex, fc_text *out, const char *extra)
{
    FC_TEXT_LIT(out, "\r\nDate: ");
    fc_text_put(out, fc_date_now(&proxy_of(ex->req)->date), FC_DATE_LEN);
    FC_TEXT_LIT(out, "\r\n");
    if (extra)
        fc_text_put(out, extra, strlen(extra));
    /* Better an answer without them than half a line. */
    fc_text before = *out;
    exchange_answer_fields(ex, 0, out);
    if (out->overflow && !before.overflow)
        *out = before;
    if (!ex->keep_client)
        FC_TEXT_LIT(out, "Connection: close\r\n");
    else if (ex->req->head.minor == 0)
        FC_TEXT_LIT(out, "Connection: keep-alive\r\n");
}

/* Send, write the log line, end. */
static void finish(fc_exchange *ex, fc_buf *buf, const fc_text *out)
{
    fc_http_req *req = ex->req;
    bool keep = ex->keep_client;
    fc_http_send(req, buf, out->start, fc_text_len(out));
    fc_buf_unref(buf);
    ex->answered = true;
    exchange_finish(ex);
    fc_http_end(req, keep);
}

fc_buf *problem_room(fc_exchange *ex, size_t n)
{
    fc_buf *buf = fc_buf_get(ex->req->server->loop->bufs, n < FC_BUF_LARGE ? n : FC_BUF_LARGE);
    if (!buf) { /* not even room to say so */
        exchange_finish(ex);
        fc_http_abort(ex->req);
    }
    return buf;
}

void problem_finish_with(fc_exchange *ex, fc_buf *buf, fc_text *out, uint16_t status, fc_slice body)
{
    fc_http_req *req = ex->req;
    ex->status = status;
    ex->keep_client = fc_http_may_keep(req) && req->body_done;
    out->p -= 2; /* the line's end, which put_common begins with */
    put_common(ex, out, NULL);
    FC_TEXT_LIT(out, "\r\n");
    if (out->overflow) {
        fc_buf_unref(buf);
        problem_answer(ex, PROBLEM_HEADER_TOO_LARGE, "what this route answers with would be too large", NULL);
        return;
    }
    if (body.n && body.n <= (size_t)(out->end - out->p))
        fc_text_slice(out, body), body.n = 0;
    if (body.n) {
        int rc = fc_http_send(req, buf, out->start, fc_text_len(out));
        out->start = out->p;
        if (rc < 0 || fc_http_send_copy(req, body.p, body.n) < 0) {
            fc_buf_unref(buf);
            ex->answered = true; /* a part of it */
            exchange_cut(ex);
            return;
        }
    }
    finish(ex, buf, out);
}

/* A call that ends before it has an answer: a head, and nothing more ("Trailers-Only"). For log and metrics the status is
 * what it is for others. */
static void answer_grpc(fc_exchange *ex, fc_buf *buf, enum problem problem, const char *detail, const char *extra)
{
    fc_text out = fc_text_at(buf->data, buf->cap);
    FC_TEXT_LIT(&out, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc");
    put_common(ex, &out, extra);
    exchange_grpc_fields(ex, problem, detail, &out);
    FC_TEXT_LIT(&out, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    finish(ex, buf, &out);
}

void problem_answer(fc_exchange *ex, enum problem problem, const char *detail, const char *extra)
{
    problem_answer_with(ex, problem, detail, extra, NULL);
}

void problem_answer_with(fc_exchange *ex, enum problem problem, const char *detail, const char *extra,
                         const char *members)
{
    fc_http_req *req = ex->req;
    const char *title = problems[problem].title, *slug = problems[problem].slug;
    ex->status = problems[problem].status;
    ex->error = problems[problem].word;
    fc_lease_cancel(&ex->lease);
    ex->keep_client = fc_http_may_keep(req) && req->body_done;
    char body[PROBLEM_BYTES];
    fc_buf *buf = problem_room(ex, sizeof body + HEAD_BYTES + (extra ? strlen(extra) : 0) + exchange_answer_room(ex));
    if (!buf)
        return;
    if (ex->grpc) {
        answer_grpc(ex, buf, problem, detail, extra);
        return;
    }
    fc_text json = fc_text_at(body, sizeof body);
    FC_TEXT_LIT(&json, "{\"type\":\"");
    if (!strchr(slug, ':'))
        FC_TEXT_LIT(&json, "urn:fastcore:problem:");
    fc_text_put(&json, slug, strlen(slug));
    FC_TEXT_LIT(&json, "\",\"title\":\"");
    fc_text_put(&json, title, strlen(title));
    FC_TEXT_LIT(&json, "\",\"status\":");
    fc_text_u64(&json, ex->status);
    FC_TEXT_LIT(&json, ",\"detail\":\"");
    fc_text_put(&json, detail, strlen(detail)); /* our own words only: nothing to escape */
    FC_TEXT_LIT(&json, "\",\"request_id\":\"");
    fc_text_put(&json, ex->request_id, ex->request_id_len);
    FC_TEXT_LIT(&json, "\"");
    if (members)
        fc_text_put(&json, members, strlen(members));
    FC_TEXT_LIT(&json, "}\n");
    fc_text out = fc_text_at(buf->data, buf->cap);
    FC_TEXT_LIT(&out, "HTTP/1.1 ");
    fc_text_u64(&out, ex->status);
    FC_TEXT_LIT(&out, " ");
    fc_text_put(&out, title, strlen(title));
    FC_TEXT_LIT(&out, "\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\nContent-Length: ");
    fc_text_u64(&out, fc_text_len(&json));
    put_common(ex, &out, extra);
    FC_TEXT_LIT(&out, "\r\n");
    if (req->head.method_id != FC_METHOD_HEAD)
        fc_text_put(&out, json.start, fc_text_len(&json));
    finish(ex, buf, &out);
}

void problem_options(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    ex->status = 204;
    ex->keep_client = fc_http_may_keep(req) && req->body_done;
    fc_buf *buf = problem_room(ex, FC_BUF_SMALL);
    if (!buf)
        return;
    fc_text out = fc_text_at(buf->data, buf->cap);
    FC_TEXT_LIT(&out, "HTTP/1.1 204 No Content");
    put_common(ex, &out, "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, QUERY\r\n");
    FC_TEXT_LIT(&out, "\r\n");
    finish(ex, buf, &out);
}
