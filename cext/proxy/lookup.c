/* Values looked up in a request by name: what consistent hashing and limits go by. */
#include <strings.h>

#include "exchange.h"

fc_slice exchange_field(const fc_http_req *req, fc_slice name)
{
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        const fc_http1_field *f = &req->head.fields[i];
        if (f->name.len == name.n && strncasecmp(req->base + f->name.off, name.p, name.n) == 0)
            return fc_http_slice(req, f->value);
    }
    return (fc_slice){NULL, 0};
}

/* "name=value" among parts separated by `sep`, blanks before a part skipped. */
static fc_slice find_pair(fc_slice text, char sep, fc_slice name)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == sep))
            p++;
        const char *stop = memchr(p, sep, (size_t)(end - p));
        if (!stop)
            stop = end;
        if ((size_t)(stop - p) > name.n && p[name.n] == '=' && memcmp(p, name.p, name.n) == 0)
            return (fc_slice){p + name.n + 1, (size_t)(stop - p) - name.n - 1};
        p = stop;
    }
    return (fc_slice){NULL, 0};
}

fc_slice exchange_cookie(const fc_http_req *req, fc_slice name)
{
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        if (req->head.fields[i].id != FC_FIELD_COOKIE)
            continue;
        fc_slice found = find_pair(fc_http_slice(req, req->head.fields[i].value), ';', name);
        if (found.p)
            return found;
    }
    return (fc_slice){NULL, 0};
}

fc_slice exchange_query(const fc_http_req *req, fc_slice name)
{
    return find_pair(fc_http_slice(req, req->head.query), '&', name);
}

fc_slice exchange_only_field(const fc_http_req *req, fc_slice name)
{
    fc_slice found = {NULL, 0};
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        const fc_http1_field *f = &req->head.fields[i];
        if (f->name.len != name.n || strncasecmp(req->base + f->name.off, name.p, name.n) != 0)
            continue;
        if (found.p)
            return (fc_slice){NULL, 0};
        found = fc_http_slice(req, f->value);
    }
    return found;
}

/* Is there a pair of that name behind `found`, which is part of `text`? */
static bool again(fc_slice text, fc_slice found, char sep, fc_slice name)
{
    const char *behind = found.p + found.n;
    return find_pair((fc_slice){behind, (size_t)(text.p + text.n - behind)}, sep, name).p != NULL;
}

fc_slice exchange_only_cookie(const fc_http_req *req, fc_slice name)
{
    fc_slice found = {NULL, 0};
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        if (req->head.fields[i].id != FC_FIELD_COOKIE)
            continue;
        fc_slice text = fc_http_slice(req, req->head.fields[i].value), one = find_pair(text, ';', name);
        if (!one.p)
            continue;
        if (found.p || again(text, one, ';', name))
            return (fc_slice){NULL, 0};
        found = one;
    }
    return found;
}

fc_slice exchange_only_query(const fc_http_req *req, fc_slice name)
{
    fc_slice text = fc_http_slice(req, req->head.query), found = find_pair(text, '&', name);
    return found.p && again(text, found, '&', name) ? (fc_slice){NULL, 0} : found;
}

fc_slice exchange_host(const fc_http_req *req, char lower[FC_HOST_MAX])
{
    fc_slice host = fc_http_slice(req, req->head.authority);
    if (host.n && host.p[host.n - 1] != ']') {
        const char *colon = memrchr(host.p, ':', host.n);
        if (colon)
            host.n = (size_t)(colon - host.p);
    }
    if (host.n > 255)
        host.n = 255;
    for (size_t i = 0; i < host.n; i++)
        lower[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] | 0x20) : host.p[i];
    return (fc_slice){lower, host.n};
}
