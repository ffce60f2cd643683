/* Answers of a route that has no upstream: redirects, and what stands in the settings. */
#include "exchange.h"

static fc_slice reason_of(unsigned status)
{
    static const struct {
        uint16_t status;
        const char *text;
    } reasons[] = {
        {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {301, "Moved Permanently"}, {302, "Found"},
        {303, "See Other"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"}, {400, "Bad Request"},
        {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {410, "Gone"},
        {429, "Too Many Requests"}, {451, "Unavailable For Legal Reasons"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return (fc_slice){reasons[i].text, strlen(reasons[i].text)};
    return (fc_slice){"", 0}; /* RFC 9112 4: a reason phrase may be empty */
}

void exchange_answer_fixed(fc_exchange *ex, const fc_router_match *match)
{
    const fc_fixed *fixed = ex->route->fixed;
    bool has_body = fixed->status != 204 && fixed->status != 304;
    bool send_body = has_body && ex->req->head.method_id != FC_METHOD_HEAD;
    size_t inline_body = send_body && fixed->body.n <= 4096 ? fixed->body.n : 0;
    fc_buf *buf = problem_room(ex, 256 + fixed->type.n + exchange_value_room(ex, &fixed->location) + inline_body + exchange_answer_room(ex) +
                                      (ex->limited ? exchange_limit_room(ex) : 0));
    if (!buf)
        return;
    fc_text out = fc_text_at(buf->data, buf->cap);
    FC_TEXT_LIT(&out, "HTTP/1.1 ");
    fc_text_u64(&out, fixed->status);
    FC_TEXT_LIT(&out, " ");
    fc_text_slice(&out, reason_of(fixed->status));
    FC_TEXT_LIT(&out, "\r\n");
    if (fixed->location.parts_len) {
        FC_TEXT_LIT(&out, "Location: ");
        exchange_put_value(&out, ex, &fixed->location, match, false);
        FC_TEXT_LIT(&out, "\r\n");
    }
    if (fixed->type.n && has_body) {
        FC_TEXT_LIT(&out, "Content-Type: ");
        fc_text_slice(&out, fixed->type);
        FC_TEXT_LIT(&out, "\r\n");
    }
    if (has_body) {
        FC_TEXT_LIT(&out, "Content-Length: ");
        fc_text_u64(&out, fixed->body.n);
        FC_TEXT_LIT(&out, "\r\n");
    }
    if (ex->limited)
        exchange_limit_fields(ex, &out);
    problem_finish_with(ex, buf, &out, fixed->status, send_body ? fixed->body : (fc_slice){NULL, 0});
}
