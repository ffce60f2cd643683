#include "wal_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/crc32c.h"
#include "fc/unsafe.h"

#define MAGIC "fcwal001"

/* Numbers on disk are little-endian. */
static void put32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> 8 * i);
}

static uint32_t get32(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)(uint8_t)p[i] << 8 * i;
    return v;
}

static void put64(char *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint64_t get64(const char *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Every checksum starts from salt and position, so that a record elsewhere, or of the segment's life before it was recycled,
 * or one that a payload contains, is none. */
static uint32_t seed(uint32_t salt, uint64_t begin)
{
    char bytes[12];
    put32(bytes, salt);
    put64(bytes + 4, begin);
    return fc_crc32c(0, bytes, sizeof bytes);
}

void wal_name(char out[WAL_NAME], uint64_t base)
{
    snprintf(out, WAL_NAME, "%016llx.wal", (unsigned long long)base);
}

bool wal_parse_name(const char *name, uint64_t *base)
{
    if (strlen(name) != 20 || strcmp(name + 16, ".wal") != 0 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *base = strtoull(name, NULL, 16);
    return true;
}

void wal_encode_segment(char out[WAL_HEADER], wal_extent e)
{
    memcpy(out, MAGIC, 8);
    put64(out + 8, e.base);
    put64(out + 16, e.size);
    put32(out + 24, e.salt);
    put32(out + 28, fc_crc32c_mask(fc_crc32c(0, out, 28)));
}

int wal_decode_segment(const char in[WAL_HEADER], uint64_t base, wal_extent *out)
{
    if (memcmp(in, MAGIC, 8) != 0)
        return memcmp(in, MAGIC, 5) == 0 ? FC_WAL_EFORMAT : FC_WAL_ECORRUPT;
    *out = (wal_extent){get64(in + 8), get64(in + 16), get32(in + 24)};
    bool right = get32(in + 28) == fc_crc32c_mask(fc_crc32c(0, in, 28)) && out->base == base &&
                 base <= WAL_POSITION_MAX && out->size >= WAL_SEGMENT_MIN && out->size <= WAL_SEGMENT_MAX &&
                 out->size % WAL_ALIGN == 0;
    return right ? 0 : FC_WAL_ECORRUPT;
}

static uint32_t check_of(const char *p, uint32_t salt, uint64_t begin)
{
    return fc_crc32c(seed(salt, begin), p + 4, 9) & 0xFFFFFF;
}

void wal_seal(char *out, uint32_t salt, uint64_t begin, wal_head head)
{
    put32(out + 4, head.length);
    put32(out + 8, head.batch);
    out[12] = (char)head.type;
    uint32_t check = check_of(out, salt, begin);
    out[13] = (char)check;
    out[14] = (char)(check >> 8);
    out[15] = (char)(check >> 16);
    put32(out, fc_crc32c_mask(fc_crc32c(seed(salt, begin), out + 4, WAL_RECORD - 4 + head.length)));
}

bool wal_peek(const char *p, uint32_t salt, uint64_t begin, wal_head *head)
{
    *head = (wal_head){get32(p + 4), get32(p + 8), (uint8_t)p[12]};
    uint32_t check = (uint8_t)p[13] | (uint32_t)(uint8_t)p[14] << 8 | (uint32_t)(uint8_t)p[15] << 16;
    return head->type != 0 && head->batch <= begin && check == check_of(p, salt, begin);
}

/* Behind each record but the end mark there is room for one. */
bool wal_check(const char *p, wal_extent e, uint64_t offset, wal_head *head)
{
    uint64_t begin = e.base + offset, room = e.size - offset;
    if (offset > e.size || room < WAL_RECORD || !wal_peek(p, e.salt, begin, head))
        return false;
    uint64_t bytes = wal_record_bytes(head->length);
    if (bytes + (head->type == WAL_END ? 0 : WAL_RECORD) > room)
        return false;
    uint32_t crc = fc_crc32c(seed(e.salt, begin), p + 4, WAL_RECORD - 4 + head->length);
    return get32(p) == fc_crc32c_mask(crc) || FC_UNSAFE(FC_UNSAFE_LOG_TORN_RECORD);
}
