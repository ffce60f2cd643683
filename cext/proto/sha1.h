/* sha1.h - SHA-1 (RFC 3174) of a short string. Private to cext/proto: RFC 6455 needs it, as a checksum and not as a
 * secret, and nothing else here may use it. */
#ifndef FC_SHA1_H
#define FC_SHA1_H

#include "fc/base.h"

#define FC_SHA1_SIZE 20
#define FC_SHA1_INPUT_MAX 119 /* two blocks less the padding: the handshake hashes 60 bytes */

/* REQUIRES: n <= FC_SHA1_INPUT_MAX. */
void fc_sha1(const char *p, size_t n, uint8_t out[FC_SHA1_SIZE]);

#endif
