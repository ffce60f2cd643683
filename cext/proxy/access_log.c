/* One JSON object a line; the schema is in the gateway's PROTOCOL.md. Written into the log's buffer, never to the disk. */
#include <time.h>

#include "exchange.h"

/* Path and query are cut to TARGET_MAX each, and an escaped byte takes six: every line fits. */
#define LINE_BYTES (24u * 1024u)
#define TARGET_MAX 1024
#define METHOD_MAX 64
#define AGENT_MAX 256

/* Bytes that JSON cannot carry as they are. Bytes above 0x7F pass when they are valid UTF-8 and become \u00XX otherwise:
 * a log line is UTF-8 whatever a client sends. */
static size_t utf8_len(const unsigned char *p, const unsigned char *end)
{
    size_t n = *p >= 0xF0 && *p <= 0xF4 ? 4 : *p >= 0xE0 && *p < 0xF0 ? 3 : *p >= 0xC2 && *p < 0xE0 ? 2 : 0;
    if (!n || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

static void put_escaped(fc_text *out, fc_slice s)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n, *plain = p;
    while (p < end) {
        if (*p >= 0x20 && *p < 0x7F && *p != '"' && *p != '\\') {
            p++;
            continue;
        }
        size_t wide = *p >= 0x80 ? utf8_len(p, end) : 0;
        if (wide) {
            p += wide;
            continue;
        }
        fc_text_put(out, (const char *)plain, (size_t)(p - plain));
        if (*p == '"' || *p == '\\') {
            char two[2] = {'\\', (char)*p};
            fc_text_put(out, two, 2);
        } else {
            char six[6] = {'\\', 'u', '0', '0', hex[*p >> 4], hex[*p & 15]};
            fc_text_put(out, six, 6);
        }
        plain = ++p;
    }
    fc_text_put(out, (const char *)plain, (size_t)(p - plain));
}

#define KEY(out, name) FC_TEXT_LIT(out, ",\"" name "\":")

static void put_string(fc_text *out, fc_slice s)
{
    FC_TEXT_LIT(out, "\"");
    put_escaped(out, s);
    FC_TEXT_LIT(out, "\"");
}

static void put_two(char *at, unsigned v)
{
    at[0] = (char)('0' + v / 10);
    at[1] = (char)('0' + v % 10);
}

/* RFC 3339 with milliseconds. The part down to the second is kept: gmtime_r and formatting would cost 200 ns a line. */
static void put_time(fc_proxy *proxy, fc_text *out)
{
    uint64_t now_ms = fc_wall_ns() / FC_NS_PER_MS;
    if (now_ms / 1000 != proxy->log_second) {
        proxy->log_second = now_ms / 1000;
        time_t t = (time_t)proxy->log_second;
        struct tm tm;
        gmtime_r(&t, &tm);
        unsigned year = (unsigned)tm.tm_year + 1900;
        char *at = proxy->log_time;
        memcpy(at, "0000-00-00T00:00:00", sizeof proxy->log_time);
        put_two(at, year / 100 % 100);
        put_two(at + 2, year % 100);
        put_two(at + 5, (unsigned)tm.tm_mon + 1);
        put_two(at + 8, (unsigned)tm.tm_mday);
        put_two(at + 11, (unsigned)tm.tm_hour);
        put_two(at + 14, (unsigned)tm.tm_min);
        put_two(at + 17, (unsigned)tm.tm_sec);
    }
    unsigned ms = (unsigned)(now_ms % 1000);
    char tail[6] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '"'};
    FC_TEXT_LIT(out, "{\"time\":\"");
    fc_text_put(out, proxy->log_time, sizeof proxy->log_time);
    fc_text_put(out, tail, sizeof tail);
}

static fc_slice clip(fc_slice s, size_t max)
{
    return (fc_slice){s.p, s.n < max ? s.n : max};
}

static void put_query(const fc_exchange *ex, fc_text *out)
{
    char shown[TARGET_MAX];
    fc_slice query = fc_http_slice(ex->req, ex->req->head.query);
    const fc_route_table *table = ex->table ? ex->table : proxy_of(ex->req)->table; /* a refused head has none yet */
    if (table && table->secret_parameters_len)
        query = (fc_slice){shown, exchange_hide_secrets(table, query, shown, sizeof shown)};
    put_string(out, clip(query, TARGET_MAX));
}

static void put_request(fc_exchange *ex, fc_text *out)
{
    const fc_http_req *req = ex->req;
    const fc_http1_head *head = &req->head;
    char client[FC_ADDR_TEXT_MAX], lower[FC_HOST_MAX];
    fc_addr address = exchange_client(req);
    KEY(out, "client");
    put_string(out, (fc_slice){client, fc_addr_text(&address, client)});
    KEY(out, "method");
    put_string(out, head->method.len ? clip(fc_http_slice(req, head->method), METHOD_MAX) : (fc_slice){"-", 1});
    KEY(out, "host");
    put_string(out, exchange_host(req, lower));
    KEY(out, "path");
    put_string(out, clip(fc_http_slice(req, head->path), TARGET_MAX));
    if (head->has_query) {
        KEY(out, "query");
        put_query(ex, out);
    }
    FC_TEXT_LIT(out, ",\"protocol\":\"HTTP/");
    fc_text_put(out, fc_http_version(req), 3);
    FC_TEXT_LIT(out, "\"");
}

/* What has been understood of the head: all of it, or up to the fault it was refused for. */
static uint64_t head_bytes(const fc_http1_head *head)
{
    bool whole = head->target.len && !head->error;
    if (!head->fields_len)
        return head->target.off + head->target.len + (whole ? sizeof " HTTP/1.0\r\n\r\n" - 1 : 0);
    fc_span last = head->fields[head->fields_len - 1].value;
    return last.off + last.len + 4;
}

static void put_sizes(fc_exchange *ex, fc_text *out)
{
    const fc_http_req *req = ex->req;
    KEY(out, "status");
    fc_text_u64(out, ex->status);
    if (ex->grpc_status >= 0) {
        KEY(out, "grpc_status");
        fc_text_u64(out, (uint64_t)ex->grpc_status);
    }
    KEY(out, "bytes_in");
    fc_text_u64(out, head_bytes(&req->head) + req->body_in);
    KEY(out, "bytes_out");
    fc_text_u64(out, req->bytes_out);
    KEY(out, "duration_us");
    fc_text_u64(out, (req->server->loop->now_ns - req->started_ns) / FC_NS_PER_US);
}

static void put_upstream(fc_exchange *ex, fc_text *out)
{
    if (!ex->route)
        return;
    KEY(out, "route");
    put_string(out, ex->route->name);
    if (!ex->lease.label[0])
        return;
    KEY(out, "upstream");
    FC_TEXT_LIT(out, "\"");
    put_escaped(out, (fc_slice){ex->route->upstream->name, strlen(ex->route->upstream->name)});
    FC_TEXT_LIT(out, "/");
    put_escaped(out, (fc_slice){ex->lease.label, strlen(ex->lease.label)});
    FC_TEXT_LIT(out, "\"");
    if (ex->first_byte_ns) {
        KEY(out, "upstream_us");
        fc_text_u64(out, (ex->first_byte_ns - ex->leased_ns) / FC_NS_PER_US);
    }
    if (ex->lease.attempts > 1) {
        KEY(out, "tries");
        fc_text_u64(out, ex->lease.attempts);
    }
}

static void put_limits(const fc_exchange *ex, fc_text *out)
{
    const fc_limit *refused = exchange_limit_refused(ex), *would = exchange_limit_would(ex);
    if (refused) {
        KEY(out, "limit");
        put_string(out, refused->name);
    }
    if (would) {
        KEY(out, "limit_dry_run");
        put_string(out, would->name);
    }
}

/* The first of each, however often a client sends it; two traceparents are none. */
static void put_fields(fc_exchange *ex, fc_text *out)
{
    const fc_http_req *req = ex->req;
    fc_slice agent = {NULL, 0}, referer = {NULL, 0};
    fc_trace trace = ex->trace;
    unsigned traces = trace.span != 0;
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        const fc_http1_field *f = &req->head.fields[i];
        fc_slice v = fc_http_slice(req, f->value);
        if (f->id == FC_FIELD_TRACEPARENT && !ex->trace.span)
            traces += fc_traceparent_read(&trace, v) ? 1 : 2;
        else if (f->id == FC_FIELD_USER_AGENT && !agent.p)
            agent = v;
        else if (f->id == FC_FIELD_REFERER && !referer.p)
            referer = v;
    }
    KEY(out, "request_id");
    put_string(out, (fc_slice){ex->request_id, ex->request_id_len});
    if (ex->subject.n && proxy_of(req)->settings.log_subject) {
        KEY(out, "subject");
        put_string(out, ex->subject);
    }
    if (traces == 1) {
        char id[32];
        fc_trace_id_write(trace.id, id);
        KEY(out, "trace");
        put_string(out, (fc_slice){id, sizeof id});
    }
    if (agent.n) {
        KEY(out, "user_agent");
        put_string(out, clip(agent, AGENT_MAX));
    }
    if (referer.n) {
        const char *query = memchr(referer.p, '?', referer.n);
        KEY(out, "referer");
        put_string(out, clip((fc_slice){referer.p, query ? (size_t)(query - referer.p) : referer.n}, AGENT_MAX));
    }
    put_limits(ex, out);
    const char *cached = ex->cache ? exchange_cache_word(ex) : NULL;
    if (cached) {
        KEY(out, "cache");
        put_string(out, (fc_slice){cached, strlen(cached)});
    }
    if (ex->error) {
        KEY(out, "error");
        put_string(out, (fc_slice){ex->error, strlen(ex->error)});
    }
}

void access_log_write(fc_exchange *ex)
{
    fc_proxy *proxy = proxy_of(ex->req);
    if (ex->route && !ex->route->log)
        return;
    bool failure = ex->error || ex->status >= 500 || exchange_limit_would(ex);
    if (!failure && proxy->settings.log_sample < 1.0) {
        /* Evenly, by accumulating the share: exact over any stretch of requests, and no random numbers. */
        proxy->log_share += proxy->settings.log_sample;
        if (proxy->log_share < 1.0)
            return;
        proxy->log_share -= 1.0;
    }
    char line[LINE_BYTES];
    fc_text out = fc_text_at(line, sizeof line - 2);
    put_time(proxy, &out);
    put_request(ex, &out);
    put_sizes(ex, &out);
    put_upstream(ex, &out);
    put_fields(ex, &out);
    memcpy(out.p, "}\n", 2);
    if (!fc_logfile_put(proxy->log, line, fc_text_len(&out) + 2))
        count(proxy, FC_CELL_LOG_DROPPED, 1);
}
