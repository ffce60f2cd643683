/* The exchange in its trace: the context that came is taken or another begun, the upstream gets ours, and what was sampled
 * is left behind for the exporter. W3C Trace Context; the field's form is in fc/trace.h. */
#include "exchange.h"

static uint64_t new_id(fc_proxy *proxy)
{
    uint64_t id;
    while (!(id = fc_hash_next(&proxy->random)))
        ;
    return id;
}

/* Two traceparents are none: which of them is meant cannot be known (section 4.2 of the specification). */
static bool take_context(fc_exchange *ex)
{
    const fc_http_req *req = ex->req;
    bool found = false;
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        const fc_http1_field *f = &req->head.fields[i];
        if (f->id != FC_FIELD_TRACEPARENT)
            continue;
        if (found || !fc_traceparent_read(&ex->trace, fc_http_slice(req, f->value)))
            return false;
        found = true;
    }
    return found;
}

void exchange_trace_begin(fc_exchange *ex)
{
    fc_proxy *proxy = proxy_of(ex->req);
    if (!(proxy->tracing.trust || exchange_believes(ex->req)) || !take_context(ex)) {
        uint64_t high = new_id(proxy), low = new_id(proxy);
        memcpy(ex->trace.id, &high, 8);
        memcpy(ex->trace.id + 8, &low, 8);
        ex->trace.parent = 0;
        ex->trace.sampled = fc_hash_next(&proxy->random) < proxy->tracing.sample;
    }
    ex->trace.span = new_id(proxy);
    ex->trace.client = new_id(proxy);
}

bool exchange_trace_replaces(const fc_exchange *ex, fc_http_field id, fc_slice name)
{
    if (id == FC_FIELD_TRACEPARENT)
        return true;
    /* What others noted belongs to a context that came; without one it means nothing (section 3.3.1). */
    return !ex->trace.parent && id == FC_FIELD_OTHER && name.n == 10 && strncasecmp(name.p, "tracestate", 10) == 0;
}

void exchange_trace_fields(const fc_exchange *ex, fc_text *out)
{
    char value[FC_TRACEPARENT_LEN];
    fc_traceparent_write(&ex->trace, ex->trace.client, value);
    FC_TEXT_LIT(out, "traceparent: ");
    fc_text_put(out, value, sizeof value);
    FC_TEXT_LIT(out, "\r\n");
}

static void put(char *out, size_t room, fc_slice text)
{
    size_t n = text.n < room ? text.n : room - 1;
    if (n)
        memcpy(out, text.p, n);
    memset(out + n, 0, room - n);
}

#define PUT(field, text) put(field, sizeof(field), text)

static fc_slice text_of(const char *text) { return (fc_slice){text, text ? strlen(text) : 0}; }

void exchange_trace_end(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    uint64_t ticket, now = req->server->loop->now_ns, wall = fc_wall_ns();
    fc_trace_span *s = fc_records_put(proxy->tracing.spans, &ticket);
    count(proxy, s ? FC_CELL_SPANS : FC_CELL_SPANS_DROPPED, 1);
    if (!s)
        return;
    char address[FC_ADDR_TEXT_MAX], lower[FC_HOST_MAX];
    fc_addr client = exchange_client(req);
    memcpy(s->trace, ex->trace.id, sizeof s->trace);
    s->span = ex->trace.span;
    s->parent = ex->trace.parent;
    s->client = ex->sends ? ex->trace.client : 0;
    s->start_ns = wall - (now - req->started_ns);
    s->end_ns = wall;
    s->asked_ns = ex->leased_ns ? wall - (now - ex->leased_ns) : 0;
    s->answered_ns = ex->first_byte_ns ? wall - (now - ex->first_byte_ns) : 0;
    s->sent_bytes = req->bytes_out;
    s->status = ex->answered ? ex->status : 0;
    s->tries = ex->sends < 255 ? (uint8_t)ex->sends : 255;
    memcpy(s->version, fc_http_version(req), sizeof s->version);
    s->secure = fc_http_secure(req);
    s->cached = ex->cache && exchange_cache_word(ex) && !ex->sends;
    PUT(s->method, fc_http_slice(req, req->head.method));
    PUT(s->error, text_of(ex->error));
    PUT(s->route, ex->route ? ex->route->name : text_of(""));
    PUT(s->upstream, text_of(ex->route && ex->route->upstream ? ex->route->upstream->name : ""));
    PUT(s->endpoint, text_of(ex->lease.label));
    PUT(s->host, exchange_host(req, lower));
    PUT(s->client_address, ((fc_slice){address, fc_addr_text(&client, address)}));
    PUT(s->path, fc_http_slice(req, req->head.path));
    fc_records_publish(proxy->tracing.spans, ticket);
}
