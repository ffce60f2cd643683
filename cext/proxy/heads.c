/* Message heads, written anew from parsed facts: nothing of the sender's spelling decides how the next hop reads them. */
#include <string.h>
#include <strings.h>

#include "exchange.h"

/* What we add at the most: Via, forwarding fields with addresses, framing, the trace, Connection. */
#define EXTRA_BYTES 1024

/* --- which fields go on ------------------------------------------------------------------------------------------ */

enum { GO = 0, HOP, FORWARDING, OURS };

/* HOP: RFC 9110 7.6.1 and what frames a message. FORWARDING: believed from trusted peers only. OURS: written below. */
static const uint8_t request_fate[FC_FIELD_COUNT] = {
    [FC_FIELD_CONNECTION] = HOP,        [FC_FIELD_KEEP_ALIVE] = HOP,
    [FC_FIELD_PROXY_CONNECTION] = HOP,  [FC_FIELD_TE] = HOP,
    [FC_FIELD_TRANSFER_ENCODING] = HOP, [FC_FIELD_CONTENT_LENGTH] = HOP,
    [FC_FIELD_UPGRADE] = HOP,           [FC_FIELD_EXPECT] = HOP,
    [FC_FIELD_HOST] = OURS,             [FC_FIELD_MAX_FORWARDS] = OURS,
    [FC_FIELD_FORWARDED] = FORWARDING,  [FC_FIELD_X_FORWARDED_FOR] = FORWARDING,
    [FC_FIELD_X_REAL_IP] = FORWARDING,  [FC_FIELD_X_FORWARDED_HOST] = FORWARDING,
    [FC_FIELD_X_REQUEST_ID] = FORWARDING,
    [FC_FIELD_X_FORWARDED_PROTO] = FORWARDING, [FC_FIELD_X_FORWARDED_PORT] = FORWARDING,
};

static const uint8_t reply_fate[FC_FIELD_COUNT] = {
    [FC_FIELD_CONNECTION] = HOP,        [FC_FIELD_KEEP_ALIVE] = HOP,
    [FC_FIELD_PROXY_CONNECTION] = HOP,  [FC_FIELD_TE] = HOP,
    [FC_FIELD_TRANSFER_ENCODING] = HOP, [FC_FIELD_CONTENT_LENGTH] = HOP,
    [FC_FIELD_UPGRADE] = HOP,           [FC_FIELD_TRAILER] = HOP,
};

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

/* Is this field named by Connection, and so meant for us alone? Routing, identity and framing cannot be removed that way
 * (RFC 9110 7.6.1: not to be listed; the attack is to make a proxy strip what the next hop trusts). */
static bool named_by_connection(const char *base, const fc_http1_head *head, const fc_http1_field *field)
{
    switch (field->id) {
    case FC_FIELD_HOST:
    case FC_FIELD_AUTHORIZATION:
    case FC_FIELD_COOKIE:
    case FC_FIELD_FORWARDED:
    case FC_FIELD_X_FORWARDED_FOR:
    case FC_FIELD_X_FORWARDED_HOST:
    case FC_FIELD_X_FORWARDED_PROTO:
    case FC_FIELD_X_FORWARDED_PORT:
    case FC_FIELD_X_REAL_IP:
    case FC_FIELD_VIA:
    case FC_FIELD_CONTENT_TYPE:
        return false;
    default:
        break;
    }
    fc_slice name = at(base, field->name);
    for (uint32_t i = 0; i < head->fields_len; i++)
        if (head->fields[i].id == FC_FIELD_CONNECTION) {
            fc_slice list = at(base, head->fields[i].value);
            if (fc_http_list_has(list.p, list.n, name.p, name.n))
                return true;
        }
    return false;
}

bool exchange_shadows_forwarding(fc_slice name)
{
    char folded[20];
    if (name.n < 9 || name.n > 17 || (name.p[0] | 0x20) != 'x' || !memchr(name.p, '_', name.n))
        return false;
    for (size_t i = 0; i < name.n; i++)
        folded[i] = name.p[i] == '_' ? '-' : name.p[i];
    return strncasecmp(folded, "x-forwarded-", 12) == 0 || (name.n == 9 && strncasecmp(folded, "x-real-ip", 9) == 0);
}

static void put_field(fc_text *out, const char *base, const fc_http1_field *field)
{
    fc_text_slice(out, at(base, field->name));
    FC_TEXT_LIT(out, ": ");
    fc_text_slice(out, at(base, field->value));
    FC_TEXT_LIT(out, "\r\n");
}

static void put_edited(fc_text *out, const char *base, const fc_http1_field *field, const fc_edits *edits, uint64_t *seen)
{
    fc_slice renamed;
    switch (exchange_edit(edits, at(base, field->name), seen, &renamed)) {
    case FC_FATE_DROP:
        return;
    case FC_FATE_KEEP:
        put_field(out, base, field);
        return;
    case FC_FATE_RENAME:
        fc_text_slice(out, renamed);
        FC_TEXT_LIT(out, ": ");
        fc_text_slice(out, at(base, field->value));
        FC_TEXT_LIT(out, "\r\n");
    }
}

/* --- who the client is ------------------------------------------------------------------------------------------- */

static bool trusted(const fc_proxy *proxy, const fc_addr *a)
{
    for (uint32_t i = 0; i < proxy->settings.trusted_len; i++)
        if (fc_net_has(&proxy->settings.trusted[i], a))
            return true;
    return false;
}

bool exchange_believes(const fc_http_req *req)
{
    const fc_proxy *proxy = proxy_of(req);
    return proxy->settings.trusted_len && trusted(proxy, &req->conn->peer);
}

/* X-Forwarded-For grows to the right, so the client is the rightmost address that is not one of our own proxies. */
fc_addr exchange_client(const fc_http_req *req)
{
    const fc_proxy *proxy = proxy_of(req);
    fc_addr client = req->conn->peer;
    if (!proxy->settings.trusted_len || !trusted(proxy, &client))
        return client;
    for (uint32_t i = req->head.fields_len; i-- > 0;) {
        const fc_http1_field *f = &req->head.fields[i];
        if (f->id != FC_FIELD_X_FORWARDED_FOR)
            continue;
        fc_slice list = at(req->base, f->value);
        while (list.n) {
            size_t start = list.n;
            while (start && list.p[start - 1] != ',')
                start--;
            fc_slice one = {list.p + start, list.n - start};
            while (one.n && (*one.p == ' ' || *one.p == '\t'))
                one.p++, one.n--;
            while (one.n && (one.p[one.n - 1] == ' ' || one.p[one.n - 1] == '\t'))
                one.n--;
            fc_addr hop;
            if (!fc_addr_parse(one.p, one.n, &hop))
                return client;
            client = hop;
            if (!trusted(proxy, &hop))
                return client;
            list.n = start ? start - 1 : 0;
        }
    }
    return client;
}

static void put_forwarding(fc_text *out, const fc_http_req *req, bool believed)
{
    const fc_proxy *proxy = proxy_of(req);
    const fc_http1_head *head = &req->head;
    char peer[FC_ADDR_TEXT_MAX]; /* "unix" where it has no address */
    size_t peer_len = fc_addr_text(&req->conn->peer, peer);
    bool has_host = false, has_proto = false;
    if (proxy->settings.x_forwarded) {
        FC_TEXT_LIT(out, "X-Forwarded-For: ");
        for (uint32_t i = 0; believed && i < head->fields_len; i++) {
            const fc_http1_field *f = &head->fields[i];
            has_host |= f->id == FC_FIELD_X_FORWARDED_HOST;
            has_proto |= f->id == FC_FIELD_X_FORWARDED_PROTO;
            if (f->id == FC_FIELD_X_FORWARDED_FOR && f->value.len) {
                fc_text_slice(out, at(req->base, f->value));
                FC_TEXT_LIT(out, ", ");
            }
        }
        fc_text_put(out, peer, peer_len);
        FC_TEXT_LIT(out, "\r\n");
        if (!has_proto) {
            FC_TEXT_LIT(out, "X-Forwarded-Proto: ");
            fc_text_slice(out, exchange_scheme(req));
            FC_TEXT_LIT(out, "\r\n");
        }
        if (!has_host && head->authority.len) {
            FC_TEXT_LIT(out, "X-Forwarded-Host: ");
            fc_text_slice(out, at(req->base, head->authority));
            FC_TEXT_LIT(out, "\r\n");
        }
    }
    if (proxy->settings.forwarded) {
        bool v6 = req->conn->peer.is_ip && !req->conn->peer.is_v4;
        FC_TEXT_LIT(out, "Forwarded: for=");
        if (v6)
            FC_TEXT_LIT(out, "\"[");
        if (req->conn->peer.is_ip)
            fc_text_put(out, peer, peer_len);
        else
            FC_TEXT_LIT(out, "unknown"); /* RFC 7239 6.2 */
        if (v6)
            FC_TEXT_LIT(out, "]\"");
        FC_TEXT_LIT(out, ";proto=");
        fc_text_slice(out, exchange_scheme(req));
        if (head->authority.len) {
            FC_TEXT_LIT(out, ";host=\"");
            fc_text_slice(out, at(req->base, head->authority));
            FC_TEXT_LIT(out, "\"");
        }
        FC_TEXT_LIT(out, "\r\n");
    }
}

/* --- the request's path ------------------------------------------------------------------------------------------ */

static const fc_router_param *find_param(const fc_router_match *match, const fc_path_part *part)
{
    if (!part->text.n)
        return part->number < match->params_len ? &match->params[part->number] : NULL;
    for (uint32_t i = 0; i < match->params_len; i++)
        if (match->params[i].name.n == part->text.n && memcmp(match->params[i].name.p, part->text.p, part->text.n) == 0)
            return &match->params[i];
    return NULL;
}

static void put_path(fc_text *out, const fc_route *route, const fc_router_match *match)
{
    if (!route->parts) {
        fc_text_slice(out, match->path);
        return;
    }
    char *start = out->p;
    for (uint32_t i = 0; i < route->parts_len; i++) {
        const fc_path_part *part = &route->parts[i];
        fc_slice piece = {NULL, 0};
        if (part->kind == FC_PART_LITERAL) {
            piece = part->text;
        } else if (part->kind == FC_PART_TAIL) {
            size_t skip = part->number < match->path.n ? part->number : match->path.n;
            piece = (fc_slice){match->path.p + skip, match->path.n - skip};
        } else {
            const fc_router_param *param = find_param(match, part);
            if (param && param->value.off != FC_ROUTER_UNSET)
                piece = at(match->path.p, param->value);
        }
        /* Pieces may meet as "/v1/" + "/users", or begin without a slash after a prefix was cut off. */
        if (out->p > start && out->p[-1] == '/')
            while (piece.n && *piece.p == '/')
                piece.p++, piece.n--;
        if (out->p == start && (!piece.n || *piece.p != '/'))
            FC_TEXT_LIT(out, "/");
        fc_text_slice(out, piece);
    }
}

/* --- request ----------------------------------------------------------------------------------------------------- */

static uint32_t count_hops(const fc_proxy *proxy, const fc_http_req *req)
{
    uint32_t hops = 0;
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        if (req->head.fields[i].id != FC_FIELD_VIA)
            continue;
        fc_slice v = at(req->base, req->head.fields[i].value);
        const char *p = v.p, *end = v.p + v.n;
        while ((p = memmem(p, (size_t)(end - p), proxy->settings.name, proxy->name_len))) {
            hops++;
            p += proxy->name_len;
        }
    }
    return hops;
}

/* An id that could not stand in our own answers and logs as it is gives way to ours. */
static void take_request_id(fc_exchange *ex, fc_slice id)
{
    if (!id.n || id.n > FC_REQUEST_ID_MAX)
        return;
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] <= ' ' || id.p[i] >= 0x7F || id.p[i] == '"' || id.p[i] == '\\')
            return;
    ex->request_id_len = (uint8_t)id.n;
    memcpy(ex->request_id, id.p, id.n);
}

bool exchange_max_forwards(const fc_http_req *req, uint64_t *hops)
{
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        if (req->head.fields[i].id != FC_FIELD_MAX_FORWARDS)
            continue;
        fc_slice v = at(req->base, req->head.fields[i].value);
        *hops = 0;
        for (size_t k = 0; k < v.n; k++) {
            if (v.p[k] < '0' || v.p[k] > '9' || *hops > 1000000)
                return false;
            *hops = *hops * 10 + (uint64_t)(v.p[k] - '0');
        }
        return v.n > 0;
    }
    return false;
}

int exchange_build_request(fc_exchange *ex, const fc_router_match *match)
{
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    const fc_http1_head *head = &req->head;
    const fc_route *route = ex->route;
    bool believed = exchange_believes(req), tracing = ex->trace.span != 0;
    size_t literal = 0;
    for (uint32_t i = 0; i < route->parts_len; i++)
        literal += route->parts[i].text.n + head->target.len; /* no parameter is longer than the target */
    size_t identity = ex->identity_fields.n;
    fc_span last = head->fields_len ? head->fields[head->fields_len - 1].value : head->target;
    size_t head_len = last.off + last.len;
    size_t room = head_len + 2 * head->fields_len + literal + route->host.n + identity + EXTRA_BYTES;
    if (route->request_edits)
        room += exchange_edits_room(ex, route->request_edits);
    if (route->query_edits)
        room += exchange_edits_room(ex, route->query_edits);
    bool validating = ex->cache && exchange_cache_validating(ex);
    if (validating)
        room += exchange_cache_conditions_room(ex);
    ex->head_out = fc_buf_get(req->conn->conn.loop->bufs, room < FC_BUF_LARGE ? room : FC_BUF_LARGE);
    if (!ex->head_out)
        return 503;
    fc_text out = fc_text_at(ex->head_out->data, ex->head_out->cap);
    fc_text_slice(&out, fc_http_slice(req, head->method));
    FC_TEXT_LIT(&out, " ");
    put_path(&out, route, match);
    if (route->query_edits) {
        exchange_put_edited_query(&out, ex, route->query_edits, match);
    } else if (head->has_query && route->auth) {
        exchange_put_query(&out, ex, fc_http_slice(req, head->query));
    } else if (head->has_query) {
        FC_TEXT_LIT(&out, "?");
        fc_text_slice(&out, fc_http_slice(req, head->query));
    }
    FC_TEXT_LIT(&out, " HTTP/1.1\r\n");
    if (route->host_mode != FC_HOST_UPSTREAM) {
        FC_TEXT_LIT(&out, "Host: ");
        fc_text_slice(&out, route->host_mode == FC_HOST_LITERAL ? route->host : fc_http_slice(req, head->authority));
        FC_TEXT_LIT(&out, "\r\n");
    }
    bool has_via = false;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        const fc_http1_field *f = &head->fields[i];
        switch (request_fate[f->id]) {
        case FORWARDING:
            if (f->id == FC_FIELD_X_REQUEST_ID) {
                if (believed)
                    take_request_id(ex, at(req->base, f->value));
                continue;
            }
            /* With x_forwarded we write For ourselves; the others pass from trusted peers. */
            if (!believed || (f->id == FC_FIELD_X_FORWARDED_FOR && proxy->settings.x_forwarded))
                continue;
            break;
        case GO:
            has_via |= f->id == FC_FIELD_VIA;
            if (f->id == FC_FIELD_OTHER && !believed && exchange_shadows_forwarding(at(req->base, f->name)))
                continue;
            break;
        default:
            continue;
        }
        if (head->connection_names && named_by_connection(req->base, head, f))
            continue;
        if (ex->table->claimed_len && exchange_claims_field(ex->table, at(req->base, f->name)))
            continue;
        if (route->auth && exchange_withholds(ex, f))
            continue;
        if (validating && exchange_is_condition(at(req->base, f->name)))
            continue;
        if (tracing && exchange_trace_replaces(ex, f->id, at(req->base, f->name)))
            continue;
        if (ex->unpack_request && exchange_code_changes(at(req->base, f->name)))
            continue;
        if (route->request_edits)
            put_edited(&out, req->base, f, route->request_edits, &seen);
        else
            put_field(&out, req->base, f);
    }
    if (validating)
        exchange_cache_put_conditions(ex, &out);
    if (route->request_edits)
        exchange_put_edits(&out, ex, route->request_edits, seen, match);
    if (has_via && count_hops(proxy, req) >= proxy->settings.hops_max)
        return 508;
    put_forwarding(&out, req, believed);
    if (ex->identity_fields.n)
        fc_text_slice(&out, ex->identity_fields);
    FC_TEXT_LIT(&out, "Via: ");
    fc_text_put(&out, fc_http_version(req), 3);
    FC_TEXT_LIT(&out, " ");
    fc_text_put(&out, proxy->settings.name, proxy->name_len);
    FC_TEXT_LIT(&out, "\r\n");
    if (head->framing == FC_BODY_CHUNKED || ex->unpack_request) {
        FC_TEXT_LIT(&out, "Transfer-Encoding: chunked\r\n");
    } else if (head->has_length) {
        FC_TEXT_LIT(&out, "Content-Length: ");
        fc_text_u64(&out, head->content_length);
        FC_TEXT_LIT(&out, "\r\n");
    }
    FC_TEXT_LIT(&out, "X-Request-Id: ");
    fc_text_put(&out, ex->request_id, ex->request_id_len);
    FC_TEXT_LIT(&out, "\r\n");
    if (tracing)
        exchange_trace_fields(ex, &out);
    if (head->expect_continue)
        FC_TEXT_LIT(&out, "Expect: 100-continue\r\n");
    if (head->te_trailers)
        FC_TEXT_LIT(&out, "TE: trailers\r\n");
    if (ex->upgrade) {
        for (uint32_t i = 0; i < head->fields_len; i++)
            if (head->fields[i].id == FC_FIELD_UPGRADE)
                put_field(&out, req->base, &head->fields[i]);
        if (head->te_trailers)
            FC_TEXT_LIT(&out, "Connection: upgrade, TE\r\n");
        else
            FC_TEXT_LIT(&out, "Connection: upgrade\r\n");
    } else if (head->te_trailers) {
        FC_TEXT_LIT(&out, "Connection: TE\r\n");
    }
    uint64_t hops;
    if (head->method_id == FC_METHOD_OPTIONS && exchange_max_forwards(req, &hops)) {
        FC_TEXT_LIT(&out, "Max-Forwards: ");
        fc_text_u64(&out, hops - 1); /* 0 was answered here */
        FC_TEXT_LIT(&out, "\r\n");
    }
    if (route->host_mode != FC_HOST_UPSTREAM)
        FC_TEXT_LIT(&out, "\r\n");
    if (out.overflow)
        return 431;
    ex->head_out_len = (uint32_t)fc_text_len(&out);
    return 0;
}

bool exchange_seal_request(fc_exchange *ex)
{
    ex->head_out->used = ex->head_out_len;
    if (ex->route->host_mode != FC_HOST_UPSTREAM)
        return true;
    /* Which host is meant is known only now, so its line is the last one: a retry elsewhere writes it again. */
    fc_text out = fc_text_at(ex->head_out->data + ex->head_out_len, ex->head_out->cap - ex->head_out_len);
    const char *host = ex->lease.conn->endpoint->spec.host;
    FC_TEXT_LIT(&out, "Host: ");
    fc_text_put(&out, host, strlen(host));
    FC_TEXT_LIT(&out, "\r\n\r\n");
    ex->head_out->used += (uint32_t)fc_text_len(&out);
    return !out.overflow;
}

/* --- reply ------------------------------------------------------------------------------------------------------- */

static void put_status(fc_text *out, unsigned status, fc_slice reason)
{
    FC_TEXT_LIT(out, "HTTP/1.1 ");
    fc_text_u64(out, status);
    FC_TEXT_LIT(out, " ");
    fc_text_slice(out, reason);
    FC_TEXT_LIT(out, "\r\n");
}

/* "Access-Control-...": where a route has CORS of its own, upstreams have no say in it. */
static bool is_cors(fc_slice name) { return name.n > 15 && strncasecmp(name.p, "access-control-", 15) == 0; }

/* RFC 9110 8.8.1: another coding makes other bytes, which a strong validator must tell apart. */
static void put_weak(fc_text *out, const char *base, const fc_http1_field *field)
{
    fc_slice value = at(base, field->value);
    fc_text_slice(out, at(base, field->name));
    FC_TEXT_LIT(out, ": W/");
    fc_text_slice(out, value);
    FC_TEXT_LIT(out, "\r\n");
}

static bool is_strong_etag(const char *base, const fc_http1_field *field)
{
    return field->name.len == 4 && strncasecmp(base + field->name.off, "ETag", 4) == 0 && field->value.len &&
           base[field->value.off] == '"';
}

/* route: NULL for heads that it does not change. */
static bool put_fields(fc_text *out, const char *base, const fc_http1_head *head, bool keep_trailer,
                       const fc_route *route, bool coded, uint64_t *seen)
{
    bool has_date = false;
    const fc_edits *edits = route ? route->reply_edits : NULL;
    bool own_cors = route && route->cors;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        const fc_http1_field *f = &head->fields[i];
        if (reply_fate[f->id] && !(f->id == FC_FIELD_TRAILER && keep_trailer))
            continue;
        if (head->connection_names && named_by_connection(base, head, f))
            continue;
        has_date |= f->id == FC_FIELD_DATE;
        if (own_cors && is_cors(at(base, f->name)))
            continue;
        if (coded && exchange_code_changes(at(base, f->name)))
            continue;
        fc_slice renamed;
        bool weak = coded && is_strong_etag(base, f);
        if (weak && (!edits || exchange_edit(edits, at(base, f->name), seen, &renamed) == FC_FATE_KEEP))
            put_weak(out, base, f);
        else if (edits)
            put_edited(out, base, f, edits, seen);
        else
            put_field(out, base, f);
    }
    return has_date;
}

/* What the answer was received over (RFC 9110 7.6.3). */
static void put_via(fc_text *out, const fc_exchange *ex, unsigned minor)
{
    const fc_proxy *proxy = proxy_of(ex->req);
    bool h2 = ex->route->upstream && ex->route->upstream->settings.h2;
    fc_text_put(out, h2 ? "Via: 2.0 " : minor ? "Via: 1.1 " : "Via: 1.0 ", 9);
    fc_text_put(out, proxy->settings.name, proxy->name_len);
    FC_TEXT_LIT(out, "\r\n");
}

void exchange_build_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, fc_text *out)
{
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    put_status(out, head->status, at(base, head->reason));
    uint64_t seen = 0;
    if (!put_fields(out, base, head, ex->reply_chunked && req->head.te_trailers && !ex->unpack, ex->route,
                    ex->encoder || ex->unpack, &seen)) {
        FC_TEXT_LIT(out, "Date: ");
        fc_text_put(out, fc_date_now(&proxy->date), FC_DATE_LEN);
        FC_TEXT_LIT(out, "\r\n");
    }
    put_via(out, ex, head->minor);
    if (ex->limited)
        exchange_limit_fields(ex, out);
    exchange_answer_fields(ex, seen, out);
    if (ex->cache)
        exchange_cache_fields(ex, out);
    if (ex->coding_varies)
        exchange_code_fields(ex, out);
    if (ex->reply_chunked) {
        FC_TEXT_LIT(out, "Transfer-Encoding: chunked\r\n");
    } else if (head->has_length && head->status != 204 && !ex->unpack) {
        FC_TEXT_LIT(out, "Content-Length: ");
        fc_text_u64(out, head->content_length);
        FC_TEXT_LIT(out, "\r\n");
    }
    bool offers_upgrade = head->status == 426 && head->has_upgrade;
    if (offers_upgrade)
        for (uint32_t i = 0; i < head->fields_len; i++)
            if (head->fields[i].id == FC_FIELD_UPGRADE)
                put_field(out, base, &head->fields[i]);
    if (!ex->keep_client && offers_upgrade)
        FC_TEXT_LIT(out, "Connection: close, upgrade\r\n");
    else if (!ex->keep_client)
        FC_TEXT_LIT(out, "Connection: close\r\n");
    else if (offers_upgrade)
        FC_TEXT_LIT(out, "Connection: upgrade\r\n");
    else if (req->head.minor == 0)
        FC_TEXT_LIT(out, "Connection: keep-alive\r\n");
    FC_TEXT_LIT(out, "\r\n");
}

bool exchange_reply_goes_on(const char *base, const fc_http1_head *head, const fc_http1_field *field)
{
    return !reply_fate[field->id] && !(head->connection_names && named_by_connection(base, head, field));
}

void exchange_build_interim(fc_exchange *ex, const char *base, const fc_http1_head *head, fc_text *out)
{
    put_status(out, head->status, at(base, head->reason));
    put_fields(out, base, head, false, NULL, false, NULL);
    if (head->status == 101) {
        put_via(out, ex, head->minor);
        for (uint32_t i = 0; i < head->fields_len; i++)
            if (head->fields[i].id == FC_FIELD_UPGRADE)
                put_field(out, base, &head->fields[i]);
        FC_TEXT_LIT(out, "Connection: upgrade\r\n");
    }
    FC_TEXT_LIT(out, "\r\n");
}
