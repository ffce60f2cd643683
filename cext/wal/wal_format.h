/* wal_format.h - segments and records as bytes. Private to cext/wal; the layout is described in fc/wal.h. */
#ifndef FC_WAL_FORMAT_H
#define FC_WAL_FORMAT_H

#include <stdbool.h>

#include "fc/wal.h"

#define WAL_HEADER 32u   /* of a segment */
#define WAL_RECORD 16u   /* of a record */
#define WAL_ALIGN 8u
#define WAL_END 255      /* type of the last record of a segment that is full */
#define WAL_NAME 24      /* room for "0123456789abcdef.wal" */
#define WAL_SEGMENT_MIN 4096u
#define WAL_SEGMENT_MAX (1u << 30)
#define WAL_POSITION_MAX (UINT64_MAX / 2) /* of a base: a forged one must not make positions wrap */

/* What is said of a segment by its name and its header. */
typedef struct wal_extent {
    uint64_t base, size;
    uint32_t salt;
} wal_extent;

typedef struct wal_head {
    uint32_t length, batch;
    uint8_t type;
} wal_head;

static inline uint64_t wal_record_bytes(uint64_t length)
{
    return (WAL_RECORD + length + WAL_ALIGN - 1) & ~(uint64_t)(WAL_ALIGN - 1);
}

void wal_name(char out[WAL_NAME], uint64_t base);
/* False when it is not the name of a segment. */
bool wal_parse_name(const char *name, uint64_t *base);

void wal_encode_segment(char out[WAL_HEADER], wal_extent e);
/* 0, size and salt, FC_WAL_EFORMAT or FC_WAL_ECORRUPT. */
int wal_decode_segment(const char in[WAL_HEADER], uint64_t base, wal_extent *out);

/* Completes the record whose payload of `head.length` bytes lies at out + WAL_RECORD; begin is its position in the log. */
void wal_seal(char *out, uint32_t salt, uint64_t begin, wal_head head);
/* The header at p alone; false when it cannot be one at that position. */
bool wal_peek(const char *p, uint32_t salt, uint64_t begin, wal_head *head);
/* Is there a record at p, byte `offset` of its segment, of which all bytes are there? */
bool wal_check(const char *p, wal_extent e, uint64_t offset, wal_head *head);

#endif
