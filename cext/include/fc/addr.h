/* fc/addr.h - IP addresses as sixteen bytes and a port; networks to test them against.
 *
 * IPv4 is kept in IPv4-mapped form (::ffff:a.b.c.d), so one comparison serves both families. Unix peers have no address
 * and print as "unix". Pure; no name service.
 */
#ifndef FC_ADDR_H
#define FC_ADDR_H

#include "fc/base.h"

struct sockaddr;

typedef struct fc_addr {
    uint8_t ip[16];
    uint16_t port; /* host order */
    uint8_t is_ip; /* 0 for unix sockets */
    uint8_t is_v4;
} fc_addr;

#define FC_ADDR_TEXT_MAX 46 /* INET6_ADDRSTRLEN */

fc_addr fc_addr_from(const struct sockaddr *sa);
/* Textual address without port, NUL-terminated; returns its length. */
size_t fc_addr_text(const fc_addr *a, char out[FC_ADDR_TEXT_MAX]);
/* Parse an address without port ("10.0.0.1", "2001:db8::1", "[2001:db8::1]", optionally ":port" after it, as in
 * X-Forwarded-For and Forwarded); false when it is not one. */
bool fc_addr_parse(const char *p, size_t n, fc_addr *out);

typedef struct fc_net {
    uint8_t ip[16];
    uint8_t bits; /* 0..128, counted in the mapped form (an IPv4 /8 is 104) */
} fc_net;

/* "10.0.0.0/8", "2001:db8::/32", or a single address. */
bool fc_net_parse(const char *p, size_t n, fc_net *out);
bool fc_net_has(const fc_net *net, const fc_addr *a);

#endif
