#include "fc/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_v4(fc_addr *a, const void *four)
{
    memcpy(a->ip, mapped_prefix, 12);
    memcpy(a->ip + 12, four, 4);
    a->is_v4 = 1;
    a->is_ip = 1;
}

fc_addr fc_addr_from(const struct sockaddr *sa)
{
    fc_addr a = {0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        set_v4(&a, &in->sin_addr);
        a.port = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        memcpy(a.ip, &in6->sin6_addr, 16);
        a.port = ntohs(in6->sin6_port);
        a.is_ip = 1;
        a.is_v4 = memcmp(a.ip, mapped_prefix, 12) == 0;
    }
    return a;
}

size_t fc_addr_text(const fc_addr *a, char out[FC_ADDR_TEXT_MAX])
{
    if (!a->is_ip) {
        memcpy(out, "unix", 5);
        return 4;
    }
    if (a->is_v4) { /* every proxied request prints one: ten times faster than inet_ntop */
        char *p = out;
        for (int i = 12; i < 16; i++) {
            unsigned v = a->ip[i];
            if (v >= 100)
                *p++ = (char)('0' + v / 100);
            if (v >= 10)
                *p++ = (char)('0' + v / 10 % 10);
            *p++ = (char)('0' + v % 10);
            *p++ = '.';
        }
        *--p = 0;
        return (size_t)(p - out);
    }
    if (!inet_ntop(AF_INET6, a->ip, out, FC_ADDR_TEXT_MAX))
        out[0] = 0;
    return strlen(out);
}

static bool parse_port(const char *p, size_t n, uint16_t *port)
{
    unsigned v = 0;
    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(p[i] - '0');
    }
    *port = (uint16_t)v;
    return v <= 65535;
}

bool fc_addr_parse(const char *p, size_t n, fc_addr *out)
{
    char text[FC_ADDR_TEXT_MAX];
    memset(out, 0, sizeof *out);
    bool bracketed = n && p[0] == '[';
    const char *end = p + n;
    if (bracketed) {
        const char *close = memchr(p, ']', n);
        if (!close || (close + 1 < end && (close[1] != ':' || !parse_port(close + 2, (size_t)(end - close - 2), &out->port))))
            return false;
        p++;
        n = (size_t)(close - p);
    } else {
        const char *colon = memchr(p, ':', n);
        if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) { /* one colon: IPv4 with a port */
            if (!parse_port(colon + 1, (size_t)(end - colon - 1), &out->port))
                return false;
            n = (size_t)(colon - p);
        }
    }
    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, p, n);
    text[n] = 0;
    struct in_addr v4;
    if (!bracketed && inet_pton(AF_INET, text, &v4) == 1) {
        set_v4(out, &v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, out->ip) != 1)
        return false;
    out->is_ip = 1;
    out->is_v4 = memcmp(out->ip, mapped_prefix, 12) == 0;
    return true;
}

bool fc_net_parse(const char *p, size_t n, fc_net *out)
{
    const char *slash = memchr(p, '/', n);
    size_t addr_len = slash ? (size_t)(slash - p) : n;
    fc_addr a;
    if (!fc_addr_parse(p, addr_len, &a) || a.port)
        return false;
    unsigned width = memchr(p, ':', addr_len) ? 128 : 32, bits = width; /* how it is written decides how bits count */
    if (slash) {
        uint16_t v;
        if (!parse_port(slash + 1, n - addr_len - 1, &v) || v > width)
            return false;
        bits = v;
    }
    memcpy(out->ip, a.ip, 16);
    out->bits = (uint8_t)(bits + (128 - width));
    return true;
}

bool fc_net_has(const fc_net *net, const fc_addr *a)
{
    if (!a->is_ip)
        return false;
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->ip, a->ip, whole) != 0)
        return false;
    return rest == 0 || ((net->ip[whole] ^ a->ip[whole]) >> (8 - rest)) == 0;
}
