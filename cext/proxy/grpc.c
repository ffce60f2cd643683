/* gRPC calls (the protocol over HTTP/2): who makes one, how long it may take, and our own answers in its language. */
#include <string.h>
#include <strings.h>

#include "exchange.h"

/* Codes of google.rpc.Code that a gateway has reason to say. */
enum { UNKNOWN = 2, INVALID_ARGUMENT = 3, DEADLINE_EXCEEDED = 4, PERMISSION_DENIED = 7, UNIMPLEMENTED = 12, INTERNAL = 13,
       UNAVAILABLE = 14, UNAUTHENTICATED = 16 };

/* As gRPC's own table from HTTP's statuses has it, but for a time limit that is the call's. */
static int status_of(uint16_t status, enum problem problem)
{
    if (problem == PROBLEM_TOTAL_TIMEOUT)
        return DEADLINE_EXCEEDED;
    switch (status) {
    case 400:
        return INTERNAL;
    case 401:
        return UNAUTHENTICATED;
    case 403:
        return PERMISSION_DENIED;
    case 404:
        return UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return UNAVAILABLE;
    default:
        return UNKNOWN;
    }
}

bool exchange_is_grpc(const fc_http_req *req)
{
    if (!req->conn->stream || req->head.method_id != FC_METHOD_POST)
        return false;
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        if (req->head.fields[i].id != FC_FIELD_CONTENT_TYPE)
            continue;
        fc_slice type = fc_http_slice(req, req->head.fields[i].value);
        /* application/grpc-web is another protocol. */
        return type.n >= 16 && strncasecmp(type.p, "application/grpc", 16) == 0 &&
               (type.n == 16 || type.p[16] == '+' || type.p[16] == ';' || type.p[16] == ' ');
    }
    return false;
}

uint32_t exchange_grpc_timeout(const fc_http_req *req)
{
    fc_slice v = exchange_field(req, (fc_slice){"grpc-timeout", 12});
    if (v.n < 2 || v.n > 9) /* 1 to 8 digits and a unit */
        return 0;
    uint64_t n = 0;
    for (size_t i = 0; i < v.n - 1; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return 0;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    switch (v.p[v.n - 1]) {
    case 'H':
        n *= 3600 * 1000ull;
        break;
    case 'M':
        n *= 60 * 1000;
        break;
    case 'S':
        n *= 1000;
        break;
    case 'm':
        break;
    case 'u':
        n = (n + 999) / 1000;
        break;
    case 'n':
        n = (n + 999999) / 1000000;
        break;
    default:
        return 0;
    }
    return n == 0 ? 1 : n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void put_status(fc_exchange *ex, int status, const char *detail, fc_text *out)
{
    static const char hex[] = "0123456789ABCDEF";
    ex->grpc_status = (int8_t)status;
    FC_TEXT_LIT(out, "grpc-status: ");
    fc_text_u64(out, (uint64_t)ex->grpc_status);
    FC_TEXT_LIT(out, "\r\ngrpc-message: ");
    for (const char *p = detail; *p; p++) {
        if (*p >= ' ' && *p < 0x7F && *p != '%') {
            fc_text_put(out, p, 1);
        } else {
            char coded[3] = {'%', hex[(unsigned char)*p >> 4], hex[*p & 15]};
            fc_text_put(out, coded, 3);
        }
    }
    FC_TEXT_LIT(out, "\r\n");
}

void exchange_grpc_fields(fc_exchange *ex, enum problem problem, const char *detail, fc_text *out)
{
    put_status(ex, status_of(ex->status, problem), detail, out);
}

void exchange_grpc_look(fc_exchange *ex, const char *base, const fc_http1_head *fields)
{
    for (uint32_t i = 0; i < fields->fields_len; i++) {
        const fc_http1_field *f = &fields->fields[i];
        if (f->name.len != 11 || strncasecmp(base + f->name.off, "grpc-status", 11) != 0)
            continue;
        const char *v = base + f->value.off;
        bool digits = f->value.len && v[0] >= '0' && v[0] <= '9' && (f->value.len == 1 || (v[1] >= '0' && v[1] <= '9'));
        if (digits && f->value.len <= 2)
            ex->grpc_status = (int8_t)(f->value.len == 1 ? v[0] - '0' : (v[0] - '0') * 10 + v[1] - '0');
    }
}

bool exchange_grpc_cut(fc_exchange *ex, enum problem problem)
{
    char room[256];
    fc_text out = fc_text_at(room, sizeof room);
    if (!ex->reply_chunked || ex->reply_trailers || !ex->req->head.te_trailers)
        return false;
    FC_TEXT_LIT(&out, "0\r\n");
    if (problem == PROBLEM_TOTAL_TIMEOUT)
        put_status(ex, DEADLINE_EXCEEDED, "the call took longer than it may", &out);
    else
        put_status(ex, UNAVAILABLE, "the upstream failed in the middle of its answer", &out);
    FC_TEXT_LIT(&out, "\r\n");
    return !out.overflow && fc_http_send_copy(ex->req, out.start, fc_text_len(&out)) == 0;
}
