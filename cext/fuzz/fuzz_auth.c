/* Input: a request head. What fc_auth_find says of a bearer token is what a slow reader with other means says. */
#include <stdlib.h>
#include <string.h>

#include "fc/auth.h"

#define FIELDS 64

/* By RFC 6750 2.1 and RFC 9110 11.4, on a copy in lower case and with counts instead of early ends. */
static fc_auth_found slow(const char *p, size_t n, size_t *from)
{
    char scheme[8] = "";
    for (size_t i = 0; i < n && i < 7; i++)
        scheme[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] - 'A' + 'a' : p[i]);
    if (strcmp(scheme, "bearer") != 0 && strcmp(scheme, "bearer ") != 0)
        return FC_AUTH_ABSENT;
    size_t spaces = strspn(p + 6, " "), token = 6 + spaces, plain = 0, equals = 0;
    while (token + plain < n && p[token + plain] != '=' &&
           strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", p[token + plain]))
        plain++;
    while (token + plain + equals < n && p[token + plain + equals] == '=')
        equals++;
    *from = token;
    return plain && token + plain + equals == n && n - token <= FC_AUTH_CREDENTIAL_MAX ? FC_AUTH_FOUND : FC_AUTH_AMBIGUOUS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const fc_http1_limits limits = {.head_bytes_max = 60000, .target_bytes_max = 20000};
    static const fc_auth_provider bearer = {.source = FC_AUTH_BEARER};
    static const fc_auth_provider query = {.source = FC_AUTH_QUERY, .name = {"key", 3}};
    fc_http1_field fields[FIELDS];
    fc_http1_head head = {.fields = fields, .fields_max = FIELDS};
    const char *base = (const char *)data;
    if (fc_http1_parse_request(base, size, 0, &limits, &head) <= 0)
        return 0;
    fc_auth_found want = FC_AUTH_ABSENT;
    size_t count = 0, from = 0;
    fc_slice token = {NULL, 0}, found = {NULL, 0};
    for (uint32_t i = 0; i < head.fields_len; i++) {
        if (fields[i].id != FC_FIELD_AUTHORIZATION)
            continue;
        char *copy = malloc(fields[i].value.len + 1); /* where a read too far is seen, and strings end */
        memcpy(copy, base + fields[i].value.off, fields[i].value.len);
        copy[fields[i].value.len] = 0;
        fc_auth_found this = slow(copy, fields[i].value.len, &from);
        free(copy);
        count++;
        if (this != FC_AUTH_ABSENT) {
            want = this;
            token = (fc_slice){base + fields[i].value.off + from, fields[i].value.len - from};
        }
    }
    if (want != FC_AUTH_ABSENT && count > 1)
        want = FC_AUTH_AMBIGUOUS;
    if (fc_auth_find(&bearer, &head, base, &found) != want)
        abort();
    if (want == FC_AUTH_FOUND && (found.p != token.p || found.n != token.n))
        abort();
    if (fc_auth_find(&query, &head, base, &found) == FC_AUTH_FOUND &&
        (found.p < base + head.query.off || found.p + found.n > base + head.query.off + head.query.len ||
         memcmp(found.p - 4, "key=", 4) != 0))
        abort();
    return 0;
}
