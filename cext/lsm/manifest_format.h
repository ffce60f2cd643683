/* manifest_format.h - manifests as bytes. Private to cext/lsm; the layout is in docs/storage/manifest.md. */
#ifndef FC_LSM_MANIFEST_FORMAT_H
#define FC_LSM_MANIFEST_FORMAT_H

#include "bytes.h"
#include "fc/manifest.h"

#define MANIFEST_MAGIC "fcman001"
#define MANIFEST_HEADER 24u /* of the file: magic, number, zeros, checksum */
#define MANIFEST_RECORD 16u /* of a record */
#define MANIFEST_ALIGN 8u
#define MANIFEST_CURRENT "CURRENT"
#define MANIFEST_CURRENT_BYTES 64u /* room for a name and its checksum */

typedef enum manifest_type { MANIFEST_EDIT = 1, MANIFEST_SEAL = 2 } manifest_type;

typedef struct manifest_head {
    uint32_t length; /* of the payload */
    uint32_t batch;  /* bytes from the beginning of the batch to the record */
    uint8_t type;
} manifest_head;

static inline uint64_t manifest_record_bytes(uint64_t length)
{
    return (MANIFEST_RECORD + length + MANIFEST_ALIGN - 1) & ~(uint64_t)(MANIFEST_ALIGN - 1);
}

void manifest_put_header(char out[MANIFEST_HEADER], uint64_t number);
bool manifest_is_header(const char in[MANIFEST_HEADER], uint64_t number);
/* Completes the record whose payload lies at out + MANIFEST_RECORD. */
void manifest_seal(char *out, uint64_t number, uint64_t offset, manifest_head head);
/* The record at p, with n bytes behind p. */
bool manifest_check(const char *p, uint64_t n, uint64_t number, uint64_t offset, manifest_head *head);

/* Length of what CURRENT holds for the number. */
size_t manifest_put_current(char out[MANIFEST_CURRENT_BYTES], uint64_t number);
bool manifest_get_current(fc_slice in, uint64_t *number);

#endif
