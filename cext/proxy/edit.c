/* Edits of heads: values put together, fields and parameters changed on their way. */
#include <strings.h>

#include "exchange.h"

/* --- values ------------------------------------------------------------------------------------------------------ */

static fc_slice param_of(const fc_router_match *match, fc_slice name)
{
    for (uint32_t i = 0; match && i < match->params_len; i++) {
        const fc_router_param *p = &match->params[i];
        if (p->name.n == name.n && memcmp(p->name.p, name.p, name.n) == 0 && p->value.off != FC_ROUTER_UNSET)
            return (fc_slice){match->path.p + p->value.off, p->value.len};
    }
    return (fc_slice){NULL, 0};
}

/* Of the lines that tell the upstream who asks: "Name: value\r\n", one after the other. */
static fc_slice claim_of(const fc_exchange *ex, fc_slice name)
{
    fc_slice lines = ex->identity_fields;
    while (lines.n) {
        const char *end = memchr(lines.p, '\r', lines.n), *colon = memchr(lines.p, ':', lines.n);
        if (!end || !colon || colon > end)
            break;
        fc_slice line_name = {lines.p, (size_t)(colon - lines.p)};
        if (fc_auth_same_field(line_name, name))
            return (fc_slice){colon + 2, (size_t)(end - colon - 2)};
        lines.n -= (size_t)(end + 2 - lines.p);
        lines.p = end + 2;
    }
    return (fc_slice){NULL, 0};
}

/* `room` holds what has no place of its own. */
static fc_slice part_of(const fc_exchange *ex, const fc_value_part *part, const fc_router_match *match,
                        char room[FC_ADDR_TEXT_MAX])
{
    const fc_http_req *req = ex->req;
    switch (part->kind) {
    case FC_VALUE_LITERAL:
        return part->text;
    case FC_VALUE_PARAM:
        return param_of(match, part->text);
    case FC_VALUE_CLIENT_IP: {
        fc_addr client = exchange_client(req);
        client.port = 0;
        return (fc_slice){room, fc_addr_text(&client, room)};
    }
    case FC_VALUE_REQUEST_ID:
        return (fc_slice){ex->request_id, ex->request_id_len};
    case FC_VALUE_SCHEME:
        return exchange_scheme(req);
    case FC_VALUE_HOST:
        return fc_http_slice(req, req->head.authority);
    case FC_VALUE_METHOD:
        return fc_http_slice(req, req->head.method);
    case FC_VALUE_PATH:
        return fc_http_slice(req, req->head.path);
    case FC_VALUE_QUERY:
        return fc_http_slice(req, req->head.query);
    case FC_VALUE_QUERY_TAIL: /* the '?' stands before it in the target */
        return req->head.has_query ? (fc_slice){req->base + req->head.query.off - 1, req->head.query.len + 1}
                                   : (fc_slice){NULL, 0};
    case FC_VALUE_PARAMETER:
        return exchange_query(req, part->text);
    case FC_VALUE_FIELD:
        return exchange_field(req, part->text);
    case FC_VALUE_COOKIE:
        return exchange_cookie(req, part->text);
    case FC_VALUE_USER:
        return ex->subject;
    case FC_VALUE_CLAIM:
        return claim_of(ex, part->text);
    case FC_VALUE_ENDPOINT:
        return (fc_slice){ex->lease.label, strlen(ex->lease.label)};
    case FC_VALUE_STATUS: {
        fc_text digits = fc_text_at(room, FC_ADDR_TEXT_MAX);
        fc_text_u64(&digits, ex->status);
        return (fc_slice){room, fc_text_len(&digits)};
    }
    }
    return (fc_slice){NULL, 0};
}

/* What is not unreserved (RFC 3986 2.3) as %XX: nothing inserted can end a parameter. Escapes of what comes out of a URL
 * stay what they are. */
static void put_encoded(fc_text *out, fc_slice s, bool has_escapes)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                     c == '_' || c == '~' || (c == '%' && has_escapes);
        if (plain)
            fc_text_put(out, (const char *)&c, 1);
        else
            fc_text_put(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

static bool of_url(fc_value_kind kind)
{
    return kind == FC_VALUE_PARAM || kind == FC_VALUE_PATH || kind == FC_VALUE_QUERY || kind == FC_VALUE_QUERY_TAIL ||
           kind == FC_VALUE_PARAMETER;
}

void exchange_put_value(fc_text *out, const fc_exchange *ex, const fc_value *value, const fc_router_match *match,
                        bool in_query)
{
    char room[FC_ADDR_TEXT_MAX];
    for (uint32_t i = 0; i < value->parts_len; i++) {
        fc_slice part = part_of(ex, &value->parts[i], match, room);
        if (in_query && value->parts[i].kind != FC_VALUE_LITERAL)
            put_encoded(out, part, of_url(value->parts[i].kind));
        else
            fc_text_slice(out, part);
    }
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

static bool same_name(fc_slice a, fc_slice b, bool exact)
{
    return a.n == b.n && (exact ? memcmp(a.p, b.p, a.n) : strncasecmp(a.p, b.p, a.n)) == 0;
}

fc_fate exchange_edit(const fc_edits *edits, fc_slice name, uint64_t *seen, fc_slice *renamed)
{
    fc_fate fate = FC_FATE_KEEP;
    for (uint32_t i = 0; i < edits->len; i++) {
        const fc_edit *e = &edits->edits[i];
        if (!same_name(e->name, name, edits->exact))
            continue;
        *seen |= 1ull << i;
        if (e->kind == FC_EDIT_REMOVE || e->kind == FC_EDIT_SET)
            return FC_FATE_DROP;
        if (e->kind == FC_EDIT_RENAME) {
            *renamed = e->value.parts[0].text;
            fate = FC_FATE_RENAME;
        }
    }
    return fate;
}

void exchange_put_edits(fc_text *out, const fc_exchange *ex, const fc_edits *edits, uint64_t seen,
                        const fc_router_match *match)
{
    for (uint32_t i = 0; i < edits->len; i++) {
        const fc_edit *e = &edits->edits[i];
        if (e->kind < FC_EDIT_SET || (e->kind == FC_EDIT_DEFAULT && seen >> i & 1) ||
            (e->secure_only && !fc_http_secure(ex->req)))
            continue;
        char *line = out->p;
        fc_text_slice(out, e->name);
        FC_TEXT_LIT(out, ": ");
        char *value = out->p;
        exchange_put_value(out, ex, &e->value, match, false);
        if (out->p == value) { /* what it was to be made of is not there */
            out->p = line;
            continue;
        }
        FC_TEXT_LIT(out, "\r\n");
    }
}

/* What parts that the request decides come to, each being used once: all of its head, escaped, and what we know of it. */
static size_t dynamic_room(const fc_exchange *ex, uint32_t parts)
{
    const fc_http1_head *head = &ex->req->head;
    fc_span last = head->fields_len ? head->fields[head->fields_len - 1].value : head->target;
    return parts ? parts * (size_t)(FC_ADDR_TEXT_MAX + FC_REQUEST_ID_MAX) + 3 * (size_t)(last.off + last.len) +
                       ex->subject.n + ex->identity_fields.n
                 : 0;
}

size_t exchange_edits_room(const fc_exchange *ex, const fc_edits *edits)
{
    return edits->room + dynamic_room(ex, edits->dynamic);
}

size_t exchange_value_room(const fc_exchange *ex, const fc_value *value)
{
    size_t literal = 0;
    uint32_t dynamic = 0;
    for (uint32_t i = 0; i < value->parts_len; i++) {
        literal += value->parts[i].text.n;
        dynamic += value->parts[i].kind != FC_VALUE_LITERAL;
    }
    return literal + dynamic_room(ex, dynamic);
}

/* --- the query --------------------------------------------------------------------------------------------------- */

static void put_parameter(fc_text *out, bool *first, fc_slice name, fc_slice rest)
{
    fc_text_put(out, *first ? "?" : "&", 1);
    *first = false;
    fc_text_slice(out, name);
    fc_text_slice(out, rest);
}

void exchange_put_edited_query(fc_text *out, const fc_exchange *ex, const fc_edits *edits, const fc_router_match *match)
{
    fc_slice query = fc_http_slice(ex->req, ex->req->head.query);
    bool first = true, more = ex->req->head.has_query;
    uint64_t seen = 0;
    while (more) {
        fc_slice name, value, renamed = {NULL, 0};
        size_t n = fc_auth_parameter(query, &name, &value);
        fc_slice rest = {name.p + name.n, n - name.n};
        bool withheld = ex->route->auth && exchange_withholds_parameter(ex, name);
        fc_fate fate = exchange_edit(edits, name, &seen, &renamed);
        if (!withheld && fate != FC_FATE_DROP)
            put_parameter(out, &first, fate == FC_FATE_RENAME ? renamed : name, rest);
        more = n < query.n;
        query.p += n + more;
        query.n -= n + more;
    }
    for (uint32_t i = 0; i < edits->len; i++) {
        const fc_edit *e = &edits->edits[i];
        if (e->kind < FC_EDIT_SET || (e->kind == FC_EDIT_DEFAULT && seen >> i & 1))
            continue;
        put_parameter(out, &first, e->name, (fc_slice){"=", 1});
        exchange_put_value(out, ex, &e->value, match, true);
    }
}
