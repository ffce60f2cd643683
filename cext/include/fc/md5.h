/* fc/md5.h - MD5 (RFC 1321), for agreeing with memcached clients about where a key lives. It protects nothing.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_MD5_H
#define FC_MD5_H

#include "fc/base.h"

/* out: the digest as four numbers, each of four bytes in little-endian order. */
void fc_md5(uint32_t out[4], const void *p, size_t n);

#endif
