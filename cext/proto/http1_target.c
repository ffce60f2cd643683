/* Request targets and authorities: RFC 9112 3.2, RFC 3986 3.2. */
#include <arpa/inet.h>
#include <string.h>

#include "http1_rules.h"
#include "scan.h"

/* Digits of a port up to 65535; an empty port is valid grammar (RFC 3986 3.2.3) and means the scheme's default. */
static size_t port_check(const char *p, size_t at, size_t n, bool connect)
{
    unsigned port = 0;
    size_t first = at;
    for (; at < n; at++) {
        unsigned digit = (unsigned)(uint8_t)p[at] - '0';
        if (digit > 9)
            return at;
        port = port * 10 + digit;
        if (port > 65535)
            return first;
    }
    return connect && port == 0 ? first : FC_AUTHORITY_OK;
}

/* '%' is refused although reg-name has pct-encoded: no resolver uses it, and whether "%65xample" is "example" is a thing
 * two implementations answer differently. So are IPvFuture and zone identifiers, which nobody sends. Control characters
 * have been refused before, so no NUL can cut an address short. */
size_t fc_http1_authority_check(const char *p, size_t n, bool connect)
{
    size_t at = 0;
    if (n > 0 && p[0] == '[') {
        char text[INET6_ADDRSTRLEN];
        struct in6_addr address;
        const char *close = memchr(p, ']', n);
        size_t len = close ? (size_t)(close - p) - 1 : n;
        if (len >= sizeof text)
            return 0;
        memcpy(text, p + 1, len);
        text[len] = 0;
        if (inet_pton(AF_INET6, text, &address) != 1)
            return 0;
        at = len + 2;
    } else {
        while (at < n && fc_byte_is(p[at], FC_BYTE_REGNAME))
            at++;
        if (at == 0)
            return 0;
    }
    if (at == n)
        return connect ? n : FC_AUTHORITY_OK;
    return p[at] == ':' ? port_check(p, at + 1, n, connect) : at;
}

static size_t scheme_len(const char *p, size_t n)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (unsigned i = 0; i < FC_ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]), same = 0;
        while (same < len && same < n && (p[same] | (p[same] >= 'A' && p[same] <= 'Z' ? 0x20 : 0)) == schemes[i][same])
            same++;
        if (same == len)
            return len;
    }
    return 0;
}

static int absolute_split(const char *buf, uint32_t query_at, fc_http1_head *head)
{
    uint32_t off = head->target.off, end = off + head->target.len;
    size_t scheme = scheme_len(buf + off, head->target.len);
    if (scheme == 0)
        return fc_http1_fail(head, FC_HTTP1_BAD_TARGET, off);
    uint32_t host = off + (uint32_t)scheme;
    const char *slash = host < query_at ? memchr(buf + host, '/', query_at - host) : NULL;
    uint32_t host_end = slash ? (uint32_t)(slash - buf) : query_at;
    size_t bad = fc_http1_authority_check(buf + host, host_end - host, false);
    if (bad != FC_AUTHORITY_OK)
        return fc_http1_fail(head, FC_HTTP1_BAD_TARGET, host + bad);
    head->target_form = FC_TARGET_ABSOLUTE;
    head->authority = (fc_span){host, host_end - host};
    head->path = (fc_span){host_end, query_at - host_end};
    if (!slash && !(head->method_id == FC_METHOD_OPTIONS && host_end == end))
        head->path = (fc_span){host - 1, 1};
    return 0;
}

int fc_http1_target_split(const char *buf, uint32_t query_at, fc_http1_head *head)
{
    uint32_t off = head->target.off, end = off + head->target.len;
    if (head->has_query)
        head->query = (fc_span){query_at + 1, end - query_at - 1};
    if (head->method_id == FC_METHOD_CONNECT) {
        size_t bad = fc_http1_authority_check(buf + off, head->target.len, true);
        if (bad != FC_AUTHORITY_OK)
            return fc_http1_fail(head, FC_HTTP1_BAD_TARGET, off + bad);
        head->target_form = FC_TARGET_AUTHORITY;
        head->authority = head->target;
        head->path = (fc_span){end, 0};
        return 0;
    }
    if (buf[off] == '/') {
        head->target_form = FC_TARGET_ORIGIN;
        head->path = (fc_span){off, query_at - off};
        return 0;
    }
    if (buf[off] == '*' && head->target.len == 1 && head->method_id == FC_METHOD_OPTIONS) {
        head->target_form = FC_TARGET_ASTERISK;
        head->path = head->target;
        return 0;
    }
    return absolute_split(buf, query_at, head);
}
