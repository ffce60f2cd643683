/* The names the data plane treats in some special way, and nothing else about them. */
#include "fc/http1.h"

#include <string.h>

#include "names.h"

/* A perfect hash over (length, first letter, last letter but one), found by trying all small multipliers. Two names in
 * one slot would be an overridden initialiser, which is a warning under -Wextra, and test_http1.c looks up each name. */
#define NAME_SLOTS 64u
#define NAME_MAX_LEN 19u
#define NAME_MIN_LEN 2u
#define NAME_HASH(len, first, penultimate) (((len) + 33u * (uint8_t)(first) + 39u * (uint8_t)(penultimate)) % NAME_SLOTS)
#define NAME(first, penultimate, name, id) \
    [NAME_HASH(sizeof(name) - 1, first, penultimate)] = {name, sizeof(name) - 1, id}

static const struct {
    char name[30]; /* makes an entry 32 bytes, so that a slot is a shift and not a multiplication */
    uint8_t len;
    uint8_t id;
} field_names[NAME_SLOTS] = {
    NAME('h', 's', "host", FC_FIELD_HOST),
    NAME('c', 't', "content-length", FC_FIELD_CONTENT_LENGTH),
    NAME('t', 'n', "transfer-encoding", FC_FIELD_TRANSFER_ENCODING),
    NAME('c', 'o', "connection", FC_FIELD_CONNECTION),
    NAME('k', 'v', "keep-alive", FC_FIELD_KEEP_ALIVE),
    NAME('p', 'o', "proxy-connection", FC_FIELD_PROXY_CONNECTION),
    NAME('t', 't', "te", FC_FIELD_TE),
    NAME('t', 'e', "trailer", FC_FIELD_TRAILER),
    NAME('u', 'd', "upgrade", FC_FIELD_UPGRADE),
    NAME('e', 'c', "expect", FC_FIELD_EXPECT),
    NAME('v', 'i', "via", FC_FIELD_VIA),
    NAME('f', 'e', "forwarded", FC_FIELD_FORWARDED),
    NAME('x', 'o', "x-forwarded-for", FC_FIELD_X_FORWARDED_FOR),
    NAME('x', 's', "x-forwarded-host", FC_FIELD_X_FORWARDED_HOST),
    NAME('x', 't', "x-forwarded-proto", FC_FIELD_X_FORWARDED_PROTO),
    NAME('x', 'r', "x-forwarded-port", FC_FIELD_X_FORWARDED_PORT),
    NAME('x', 'i', "x-real-ip", FC_FIELD_X_REAL_IP),
    NAME('m', 'd', "max-forwards", FC_FIELD_MAX_FORWARDS),
    NAME('c', 'o', "cdn-loop", FC_FIELD_CDN_LOOP),
    NAME('a', 'o', "authorization", FC_FIELD_AUTHORIZATION),
    NAME('c', 'i', "cookie", FC_FIELD_COOKIE),
    NAME('u', 'n', "user-agent", FC_FIELD_USER_AGENT),
    NAME('r', 'e', "referer", FC_FIELD_REFERER),
    NAME('c', 'p', "content-type", FC_FIELD_CONTENT_TYPE),
    NAME('d', 't', "date", FC_FIELD_DATE),
    NAME('s', 'e', "server", FC_FIELD_SERVER),
    NAME('p', 't', "proxy-authenticate", FC_FIELD_PROXY_AUTHENTICATE),
    NAME('p', 'o', "proxy-authorization", FC_FIELD_PROXY_AUTHORIZATION),
    NAME('t', 'n', "traceparent", FC_FIELD_TRACEPARENT),
    NAME('x', 'i', "x-request-id", FC_FIELD_X_REQUEST_ID),
};

fc_http_field fc_http_field_id(const char *name, size_t len)
{
    if (len - NAME_MIN_LEN > NAME_MAX_LEN - NAME_MIN_LEN)
        return FC_FIELD_OTHER;
    unsigned slot = NAME_HASH((unsigned)len, (uint8_t)name[0] | 0x20, (uint8_t)name[len - 2] | 0x20);
    if (field_names[slot].len != len || !fc_name_same(name, field_names[slot].name, len))
        return FC_FIELD_OTHER;
    return (fc_http_field)field_names[slot].id;
}

static const struct {
    char name[8];
    uint8_t len;
} method_names[FC_METHOD_COUNT] = {
    [FC_METHOD_OTHER] = {"", 0},         [FC_METHOD_GET] = {"GET", 3},         [FC_METHOD_HEAD] = {"HEAD", 4},
    [FC_METHOD_POST] = {"POST", 4},      [FC_METHOD_PUT] = {"PUT", 3},         [FC_METHOD_DELETE] = {"DELETE", 6},
    [FC_METHOD_CONNECT] = {"CONNECT", 7}, [FC_METHOD_OPTIONS] = {"OPTIONS", 7}, [FC_METHOD_TRACE] = {"TRACE", 5},
    [FC_METHOD_PATCH] = {"PATCH", 5},    [FC_METHOD_QUERY] = {"QUERY", 5},
};

/* Methods are case-sensitive (RFC 9110 9.1). GET is by far the most frequent and is met first. */
fc_http_method fc_http_method_id(const char *name, size_t len)
{
    for (unsigned id = FC_METHOD_GET; id < FC_METHOD_COUNT; id++)
        if (method_names[id].len == len && memcmp(method_names[id].name, name, len) == 0)
            return (fc_http_method)id;
    return FC_METHOD_OTHER;
}

const char *fc_http_method_name(fc_http_method method)
{
    return (unsigned)method < FC_METHOD_COUNT ? method_names[method].name : "";
}
