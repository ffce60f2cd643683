/* fc/crc32c.h - the checksum of log records and table blocks.
 *
 * CRC-32C (Castagnoli; RFC 3720 12.1 and appendix B.4): finds every burst of up to 32 flipped bits, and x86 computes it in
 * hardware. With SSE4.2 and PCLMULQDQ, looked for at run time, three streams at once (some 20 GB/s); elsewhere eight
 * table lookups for each eight bytes (some 2 GB/s). It is no defence against somebody who means to deceive.
 *
 * Invariants
 *   1. fc_crc32c(fc_crc32c(0, a, m), b, n) is the checksum of a followed by b; that of nothing is 0.
 *   2. Equal bytes have equal checksums on every machine and by either path.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_CRC32C_H
#define FC_CRC32C_H

#include "fc/base.h"

/* crc: 0, or the checksum of what came before. */
uint32_t fc_crc32c(uint32_t crc, const void *p, size_t n);

/* The path for machines without the instructions; here so that tests can compare. */
uint32_t fc_crc32c_portable(uint32_t crc, const void *p, size_t n);

/* A checksum to be stored beside its bytes. The CRC of bytes that contain their own CRC tells little (a record in a record:
 * a log that is copied through a log), so what is stored is rotated and offset, as in LevelDB's log format. */
static inline uint32_t fc_crc32c_mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

static inline uint32_t fc_crc32c_unmask(uint32_t masked)
{
    uint32_t rotated = masked - 0xA282EAD8u;
    return (rotated >> 17) | (rotated << 15);
}

#endif
