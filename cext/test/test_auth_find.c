/* Credentials in heads: what is one, what is none, and what is two. */
#include <string.h>

#include "check.h"
#include "fc/auth.h"

#define FIELDS 16

static const fc_http1_limits limits = {.flags = 0, .head_bytes_max = 40000, .target_bytes_max = 20000};
static const fc_auth_provider bearer = {.source = FC_AUTH_BEARER};
static const fc_auth_provider header = {.source = FC_AUTH_HEADER, .name = {"X-API-Key", 9}};
static const fc_auth_provider query = {.source = FC_AUTH_QUERY, .name = {"key", 3}};

static fc_auth_found find(const fc_auth_provider *provider, const char *target, const char *lines, fc_slice *credential)
{
    static char head[40000];
    static fc_http1_field fields[FIELDS];
    fc_http1_head parsed = {.fields = fields, .fields_max = FIELDS};
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, lines);
    CHECK(fc_http1_parse_request(head, (size_t)n, 0, &limits, &parsed) == n);
    return fc_auth_find(provider, &parsed, head, credential);
}

static bool finds(const fc_auth_provider *provider, const char *target, const char *lines, const char *want)
{
    fc_slice c = {NULL, 0};
    return find(provider, target, lines, &c) == FC_AUTH_FOUND && c.n == strlen(want) && memcmp(c.p, want, c.n) == 0;
}

static fc_auth_found only(const fc_auth_provider *provider, const char *target, const char *lines)
{
    fc_slice c;
    return find(provider, target, lines, &c);
}

static void test_bearer(void)
{
    CHECK(finds(&bearer, "/", "Authorization: Bearer abc.def.ghi\r\n", "abc.def.ghi"));
    CHECK(finds(&bearer, "/", "authorization: bEARER   a-._~+/9==\r\n", "a-._~+/9=="));
    static const char *const absent[] = {
        "",
        "Authorization: Basic YTpi\r\n",
        "Authorization: Bearerabc\r\n",
        "Authorization: Bear abc\r\n",
        "Authorization:\r\n",
        "Authorization: Bearer\tabc\r\n", /* RFC 9110 11.4: 1*SP */
        "Proxy-Authorization: Bearer abc\r\n",
        "X-Authorization: Bearer abc\r\n",
        "Authorization: Basic a\r\nAuthorization: Digest b\r\n",
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(absent); i++)
        CHECK(only(&bearer, "/", absent[i]) == FC_AUTH_ABSENT);
    static const char *const ambiguous[] = {
        "Authorization: Bearer\r\n",
        "Authorization: Bearer a b\r\n",
        "Authorization: Bearer a,b\r\n",
        "Authorization: Bearer a, Bearer b\r\n",
        "Authorization: Bearer a=b\r\n",
        "Authorization: Bearer ==\r\n",
        "Authorization: Bearer a\xc3\xa9\r\n",
        "Authorization: Bearer \"a\"\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n",
        "Authorization: Bearer a\r\nAuthorization: Basic b\r\n",
        "Authorization: Basic b\r\nauthorization: bearer a\r\n",
    };
    for (size_t i = 0; i < FC_ARRAY_LEN(ambiguous); i++)
        CHECK(only(&bearer, "/", ambiguous[i]) == FC_AUTH_AMBIGUOUS);
    static char lines[FC_AUTH_CREDENTIAL_MAX + 100];
    int prefix = sprintf(lines, "Authorization: Bearer ");
    memset(lines + prefix, 'a', FC_AUTH_CREDENTIAL_MAX + 1);
    strcpy(lines + prefix + FC_AUTH_CREDENTIAL_MAX, "\r\n");
    CHECK(only(&bearer, "/", lines) == FC_AUTH_FOUND);
    strcpy(lines + prefix + FC_AUTH_CREDENTIAL_MAX, "a\r\n");
    CHECK(only(&bearer, "/", lines) == FC_AUTH_AMBIGUOUS);
}

static void test_header(void)
{
    CHECK(finds(&header, "/", "x-api-key:  k-1 \r\n", "k-1"));
    CHECK(finds(&header, "/", "X_API_Key: k\r\n", "k")); /* the same field to CGI and WSGI applications */
    CHECK(only(&header, "/", "X-API-Keys: k\r\nX-API-Ke: k\r\n") == FC_AUTH_ABSENT);
    CHECK(only(&header, "/", "X-API-Key: a\r\nX-API-Key: a\r\n") == FC_AUTH_AMBIGUOUS);
    CHECK(only(&header, "/", "X-API-Key: a\r\nx_api-key: b\r\n") == FC_AUTH_AMBIGUOUS);
    CHECK(only(&header, "/", "X-API-Key:\r\n") == FC_AUTH_AMBIGUOUS);
    CHECK(only(&header, "/", "X-API-Key: a b\r\n") == FC_AUTH_AMBIGUOUS);
    CHECK(only(&header, "/", "X-API-Key: \xff\r\n") == FC_AUTH_AMBIGUOUS);
}

static void test_query(void)
{
    CHECK(finds(&query, "/?key=a-1._~", "", "a-1._~"));
    CHECK(finds(&query, "/?x=1&key=ab&y", "", "ab"));
    CHECK(finds(&query, "/?&&key=ab&", "", "ab"));
    static const char *const absent[] = {"/", "/?", "/?Key=a", "/?keys=a", "/?x=key", "/?x=key=a", "/?%6Bey=a", "/key=a"};
    for (size_t i = 0; i < FC_ARRAY_LEN(absent); i++)
        CHECK(only(&query, absent[i], "") == FC_AUTH_ABSENT);
    static const char *const ambiguous[] = {"/?key", "/?key=", "/?key=a&key=a", "/?key&x&key=a", "/?key=a%62", "/?key=a+b",
                                            "/?key=a=b", "/?key=a/b"};
    for (size_t i = 0; i < FC_ARRAY_LEN(ambiguous); i++)
        CHECK(only(&query, ambiguous[i], "") == FC_AUTH_AMBIGUOUS);
}

int main(void)
{
    test_bearer();
    test_header();
    test_query();
    return check_done("test_auth_find");
}
