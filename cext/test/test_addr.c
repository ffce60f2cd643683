/* Addresses and networks: texts both ways, against inet_pton, and what is refused. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "check.h"
#include "fc/addr.h"

static bool parse(const char *text, fc_addr *a) { return fc_addr_parse(text, strlen(text), a); }

static bool prints(const char *in, const char *out, int port)
{
    fc_addr a;
    char text[FC_ADDR_TEXT_MAX];
    if (!parse(in, &a))
        return false;
    size_t n = fc_addr_text(&a, text);
    return n == strlen(out) && strcmp(text, out) == 0 && a.port == port;
}

static bool in_net(const char *net_text, const char *addr_text)
{
    fc_net net;
    fc_addr a;
    CHECK(fc_net_parse(net_text, strlen(net_text), &net));
    CHECK(parse(addr_text, &a));
    return fc_net_has(&net, &a);
}

static void texts(void)
{
    CHECK(prints("10.0.0.1", "10.0.0.1", 0));
    CHECK(prints("255.1.20.199:8080", "255.1.20.199", 8080));
    CHECK(prints("::1", "::1", 0));
    CHECK(prints("[2001:db8::1]", "2001:db8::1", 0));
    CHECK(prints("[2001:db8::1]:443", "2001:db8::1", 443));
    CHECK(prints("::ffff:10.1.2.3", "10.1.2.3", 0));
    static const char *const bad[] = {"", "10.0.0", "10.0.0.256", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:x", "[::1", "[::1]x",
                                      "[10.0.0.1]", "[::1]:", "[]", "unknown", "_hidden", "1:2:3", " 10.0.0.1", "10.0.0.1 ",
                                      "1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222"};
    fc_addr a;
    for (size_t i = 0; i < FC_ARRAY_LEN(bad); i++)
        CHECK(!parse(bad[i], &a));
}

static void from_sockets(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(99), .sin_addr.s_addr = htonl(0x7f000001)};
    fc_addr a = fc_addr_from((struct sockaddr *)(void *)&in), b;
    CHECK(a.is_ip && a.is_v4 && a.port == 99);
    CHECK(parse("127.0.0.1", &b) && memcmp(a.ip, b.ip, 16) == 0);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    a = fc_addr_from((struct sockaddr *)(void *)&in6);
    CHECK(a.is_ip && !a.is_v4 && a.port == 7);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    a = fc_addr_from((struct sockaddr *)(void *)&un);
    char text[FC_ADDR_TEXT_MAX];
    CHECK(!a.is_ip && fc_addr_text(&a, text) == 4 && strcmp(text, "unix") == 0);
}

static void networks(void)
{
    CHECK(in_net("10.0.0.0/8", "10.255.0.1") && !in_net("10.0.0.0/8", "11.0.0.1"));
    CHECK(in_net("10.1.2.3", "10.1.2.3") && !in_net("10.1.2.3", "10.1.2.2"));
    CHECK(in_net("10.1.2.128/25", "10.1.2.200") && !in_net("10.1.2.128/25", "10.1.2.127"));
    CHECK(in_net("0.0.0.0/0", "200.1.1.1") && !in_net("0.0.0.0/0", "2001:db8::1"));
    CHECK(in_net("::/0", "2001:db8::1") && in_net("::/0", "1.2.3.4"));
    CHECK(in_net("2001:db8::/33", "2001:db8:7fff::1") && !in_net("2001:db8::/33", "2001:db8:8000::1"));
    CHECK(in_net("::ffff:10.0.0.0/104", "10.9.9.9") && !in_net("::ffff:10.0.0.0/104", "11.9.9.9"));
    static const char *const bad[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/x", "10.0.0.0:80/8", "10.0.0/8"};
    fc_net net;
    for (size_t i = 0; i < FC_ARRAY_LEN(bad); i++)
        CHECK(!fc_net_parse(bad[i], strlen(bad[i]), &net));
    fc_addr unix_peer = {0};
    CHECK(fc_net_parse("::/0", 4, &net) && !fc_net_has(&net, &unix_peer));
}

static void every_v4_text_is_inet_ntops(void)
{
    srand(5);
    for (int i = 0; i < 20000; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = (uint32_t)rand() ^ (uint32_t)rand() << 16};
        fc_addr a = fc_addr_from((struct sockaddr *)(void *)&in);
        char ours[FC_ADDR_TEXT_MAX], theirs[FC_ADDR_TEXT_MAX];
        fc_addr_text(&a, ours);
        inet_ntop(AF_INET, &in.sin_addr, theirs, sizeof theirs);
        CHECK(strcmp(ours, theirs) == 0);
    }
}

int main(void)
{
    texts();
    from_sockets();
    networks();
    every_v4_text_is_inet_ntops();
    return check_done("test_addr");
}
