/* Credentials in a request's head. Whoever presents two, or half of one, has presented none: guessing which one counts is
 * how a proxy and its upstream come to see two different clients. */
#include <string.h>
#include <strings.h>

#include "fc/auth.h"

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

/* token68 of RFC 9110 11.2: what a bearer token is made of, '=' at its end only. */
static bool is_token68(fc_slice s)
{
    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i], lower = (char)(c | 0x20);
        if (!((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || (c && memchr("-._~+/", c, 6))))
            return false;
    }
    return true;
}

static bool is_visible(fc_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7F)
            return false;
    return s.n > 0;
}

/* "Bearer" SP token; another scheme is somebody else's credential. */
static fc_auth_found bearer(fc_slice value, fc_slice *token)
{
    if (value.n < 6 || strncasecmp(value.p, "bearer", 6) != 0 || (value.n > 6 && value.p[6] != ' '))
        return FC_AUTH_ABSENT;
    size_t from = 6;
    while (from < value.n && value.p[from] == ' ')
        from++;
    *token = (fc_slice){value.p + from, value.n - from};
    return is_token68(*token) && token->n <= FC_AUTH_CREDENTIAL_MAX ? FC_AUTH_FOUND : FC_AUTH_AMBIGUOUS;
}

bool fc_auth_same_field(fc_slice a, fc_slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        char x = a.p[i], y = b.p[i];
        x = x == '_' ? '-' : x >= 'A' && x <= 'Z' ? (char)(x | 0x20) : x;
        y = y == '_' ? '-' : y >= 'A' && y <= 'Z' ? (char)(y | 0x20) : y;
        if (x != y)
            return false;
    }
    return true;
}

size_t fc_auth_parameter(fc_slice query, fc_slice *name, fc_slice *value)
{
    const char *end = memchr(query.p, '&', query.n);
    size_t n = end ? (size_t)(end - query.p) : query.n;
    const char *equals = memchr(query.p, '=', n);
    size_t name_len = equals ? (size_t)(equals - query.p) : n;
    *name = (fc_slice){query.p, name_len};
    *value = equals ? (fc_slice){equals + 1, n - name_len - 1} : (fc_slice){query.p + n, 0};
    return n;
}

/* Unreserved characters: a key we make has no others, so that no decoding decides which key it is. */
static bool is_plain(fc_slice s) { return is_token68(s) && !memchr(s.p, '+', s.n) && !memchr(s.p, '/', s.n); }

static fc_auth_found in_query(fc_slice wanted, fc_slice query, fc_slice *credential)
{
    unsigned seen = 0;
    while (query.n) {
        fc_slice name, value;
        size_t n = fc_auth_parameter(query, &name, &value);
        if (name.n == wanted.n && memcmp(name.p, wanted.p, name.n) == 0) {
            seen++;
            *credential = value;
        }
        n += n < query.n;
        query.p += n;
        query.n -= n;
    }
    if (!seen)
        return FC_AUTH_ABSENT;
    return seen == 1 && is_plain(*credential) && credential->n <= FC_AUTH_CREDENTIAL_MAX ? FC_AUTH_FOUND
                                                                                         : FC_AUTH_AMBIGUOUS;
}

fc_auth_found fc_auth_find(const fc_auth_provider *provider, const fc_http1_head *head, const char *base,
                           fc_slice *credential)
{
    unsigned seen = 0;
    fc_auth_found found = FC_AUTH_ABSENT;
    if (provider->source == FC_AUTH_QUERY)
        return head->has_query ? in_query(provider->name, at(base, head->query), credential) : FC_AUTH_ABSENT;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        const fc_http1_field *f = &head->fields[i];
        fc_slice value = at(base, f->value);
        if (provider->source == FC_AUTH_BEARER) {
            if (f->id != FC_FIELD_AUTHORIZATION)
                continue;
            fc_auth_found this = bearer(value, credential);
            found = this == FC_AUTH_ABSENT ? found : this;
        } else {
            if (!fc_auth_same_field(at(base, f->name), provider->name))
                continue;
            *credential = value;
            found = is_visible(value) && value.n <= FC_AUTH_CREDENTIAL_MAX ? FC_AUTH_FOUND : FC_AUTH_AMBIGUOUS;
        }
        seen++;
    }
    /* Two Authorization fields are one too many even if the other is of another scheme (RFC 9110 5.3: not a list). */
    return found != FC_AUTH_ABSENT && seen > 1 ? FC_AUTH_AMBIGUOUS : found;
}
