/* fc/crc16.h - the key slots of Redis Cluster.
 *
 * A key belongs to slot CRC16(key) mod 16384 (Redis Cluster specification, "Key distribution model"): CRC-16/XMODEM,
 * polynomial 0x1021, start 0, not reflected; "123456789" gives 0x31C3. Keys that must share a slot carry a hash tag.
 *
 * Thread and process safety: pure functions.
 */
#ifndef FC_CRC16_H
#define FC_CRC16_H

#include "fc/base.h"

#define FC_CRC16_SLOTS 16384u

/* crc: 0, or the checksum of what came before. */
uint16_t fc_crc16(uint16_t crc, const void *p, size_t n);

/* What of the key is hashed: the bytes between its first '{' and the next '}' if there is at least one, otherwise all. */
fc_slice fc_crc16_tag(const char *key, size_t n);

static inline uint32_t fc_crc16_slot(const char *key, size_t n)
{
    fc_slice tag = fc_crc16_tag(key, n);
    return fc_crc16(0, tag.p, tag.n) % FC_CRC16_SLOTS;
}

#endif
