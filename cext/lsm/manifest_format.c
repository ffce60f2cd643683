#include "manifest_format.h"

#include <stdio.h>

#include "fc/crc32c.h"

static uint32_t seed(uint64_t number, uint64_t offset)
{
    char both[16];
    fc_put64(both, number);
    fc_put64(both + 8, offset);
    return fc_crc32c(0, both, sizeof both);
}

void fc_manifest_name(char out[FC_MANIFEST_NAME_MAX], uint64_t number)
{
    snprintf(out, FC_MANIFEST_NAME_MAX, "MANIFEST-%06llu", (unsigned long long)number);
}

bool fc_manifest_parse_name(const char *name, uint64_t *number)
{
    char again[FC_MANIFEST_NAME_MAX];
    if (strncmp(name, "MANIFEST-", 9) != 0 || strlen(name) >= sizeof again)
        return false;
    *number = strtoull(name + 9, NULL, 10);
    fc_manifest_name(again, *number);
    return strcmp(again, name) == 0;
}

void manifest_put_header(char out[MANIFEST_HEADER], uint64_t number)
{
    memset(out, 0, MANIFEST_HEADER);
    memcpy(out, MANIFEST_MAGIC, 8);
    fc_put64(out + 8, number);
    fc_put32(out + 20, fc_crc32c_mask(fc_crc32c(0, out, 20)));
}

bool manifest_is_header(const char in[MANIFEST_HEADER], uint64_t number)
{
    char right[MANIFEST_HEADER];
    manifest_put_header(right, number);
    return memcmp(in, right, MANIFEST_HEADER) == 0;
}

/*  0 checksum of the rest, 4 length, 8 batch, 12 type, 13 three bytes of the checksum of 4 to 13, 16 payload */
static uint32_t check_of(const char *p, uint64_t number, uint64_t offset)
{
    return fc_crc32c(seed(number, offset), p + 4, 9) << 8;
}

static uint32_t checksum_of(const char *p, uint64_t number, uint64_t offset, uint32_t length)
{
    return fc_crc32c_mask(fc_crc32c(seed(number, offset), p + 4, MANIFEST_RECORD - 4 + (size_t)length));
}

void manifest_seal(char *out, uint64_t number, uint64_t offset, manifest_head head)
{
    fc_put32(out + 4, head.length);
    fc_put32(out + 8, head.batch);
    out[12] = (char)head.type;
    fc_put32(out + 12, check_of(out, number, offset) | head.type);
    fc_put32(out, checksum_of(out, number, offset, head.length));
}

bool manifest_check(const char *p, uint64_t n, uint64_t number, uint64_t offset, manifest_head *head)
{
    if (n < MANIFEST_RECORD)
        return false;
    *head = (manifest_head){fc_get32(p + 4), fc_get32(p + 8), (uint8_t)p[12]};
    return fc_get32(p + 12) == (check_of(p, number, offset) | head->type) && head->batch <= offset &&
           manifest_record_bytes(head->length) <= n && fc_get32(p) == checksum_of(p, number, offset, head->length);
}

size_t manifest_put_current(char out[MANIFEST_CURRENT_BYTES], uint64_t number)
{
    char name[FC_MANIFEST_NAME_MAX];
    fc_manifest_name(name, number);
    uint32_t sum = fc_crc32c_mask(fc_crc32c(0, name, strlen(name)));
    return (size_t)snprintf(out, MANIFEST_CURRENT_BYTES, "%s %08x\n", name, sum);
}

bool manifest_get_current(fc_slice in, uint64_t *number)
{
    char name[FC_MANIFEST_NAME_MAX] = {0}, again[MANIFEST_CURRENT_BYTES];
    const char *space = memchr(in.p, ' ', in.n);
    if (space == NULL || (size_t)(space - in.p) >= sizeof name)
        return false;
    memcpy(name, in.p, (size_t)(space - in.p));
    return fc_manifest_parse_name(name, number) && manifest_put_current(again, *number) == in.n &&
           memcmp(again, in.p, in.n) == 0;
}
