#include "table_format.h"

#include "fc/crc32c.h"

/* Every checksum starts from whose and where: a block of another table, or from another place, does not check. */
uint32_t table_seed(uint64_t id, uint64_t offset)
{
    char both[16];
    fc_put64(both, id);
    fc_put64(both + 8, offset);
    return fc_crc32c(0, both, sizeof both);
}

void table_seal(char *p, size_t n, fc_codec codec, uint64_t id, uint64_t offset)
{
    p[n] = (char)codec;
    fc_put32(p + n + 1, fc_crc32c_mask(fc_crc32c(table_seed(id, offset), p, n + 1)));
}

bool table_check(const char *p, size_t n, uint64_t id, uint64_t offset)
{
    return fc_get32(p + n + 1) == fc_crc32c_mask(fc_crc32c(table_seed(id, offset), p, n + 1));
}

/*  0 id, 8 data_bytes, 16 four sizes, 32 owner, 36 zero, 48 version, 52 checksum of what is before, 56 magic */
void table_put_footer(char out[TABLE_FOOTER], const table_footer *f)
{
    memset(out, 0, TABLE_FOOTER);
    fc_put64(out, f->id);
    fc_put64(out + 8, f->data_bytes);
    for (size_t i = 0; i < META_COUNT; i++)
        fc_put32(out + 16 + 4 * i, f->meta[i]);
    fc_put32(out + 32, f->owner);
    fc_put32(out + 48, TABLE_VERSION);
    fc_put32(out + 52, fc_crc32c_mask(fc_crc32c(0, out, 52)));
    memcpy(out + 56, TABLE_MAGIC, 8);
}

int table_get_footer(const char in[TABLE_FOOTER], uint64_t file_bytes, table_footer *f, const char **what)
{
    *what = "no table ends here";
    if (memcmp(in + 56, TABLE_MAGIC, 8) != 0)
        return FC_TABLE_EFORMAT;
    *what = "the footer's checksum is wrong";
    if (fc_get32(in + 52) != fc_crc32c_mask(fc_crc32c(0, in, 52)))
        return FC_TABLE_ECORRUPT;
    *what = "a later version";
    if (fc_get32(in + 48) != TABLE_VERSION)
        return FC_TABLE_EFORMAT;
    f->id = fc_get64(in);
    f->data_bytes = fc_get64(in + 8);
    f->owner = fc_get32(in + 32);
    uint64_t meta = 0;
    for (size_t i = 0; i < META_COUNT; i++) {
        f->meta[i] = fc_get32(in + 16 + 4 * i);
        meta += meta_bytes(f->meta[i]);
    }
    *what = "the file is longer or shorter than the footer says";
    return f->data_bytes <= file_bytes && meta == file_bytes - TABLE_FOOTER - f->data_bytes ? 0 : FC_TABLE_ECORRUPT;
}

/* In the order of the bytes. */
#define NUMBERS(p)                                                                                                    \
    {                                                                                                                 \
        &(p)->entries, &(p)->keys, &(p)->deletes, &(p)->expiring, &(p)->ranges, &(p)->key_bytes, &(p)->value_bytes,   \
            &(p)->blocks, &(p)->first_seq, &(p)->last_seq, &(p)->first_expiry, &(p)->last_expiry                      \
    }

bool table_put_properties(bytes *out, const fc_table_properties *p, const fc_hash_key *hash_key)
{
    const uint64_t *numbers[] = NUMBERS(p);
    out->n = 0;
    if (!bytes_reserve(out, 16 + (FC_ARRAY_LEN(numbers) + 2) * FC_VARINT64_MAX + p->smallest.n + p->largest.n))
        return false;
    fc_put64(out->p, hash_key->k0);
    fc_put64(out->p + 8, hash_key->k1);
    out->n = 16;
    for (size_t i = 0; i < FC_ARRAY_LEN(numbers); i++)
        bytes_put_varint(out, *numbers[i]);
    bytes_put_slice(out, p->smallest);
    bytes_put_slice(out, p->largest);
    return true;
}

bool table_get_properties(fc_slice in, fc_table_properties *p, fc_hash_key *hash_key)
{
    uint64_t *numbers[] = NUMBERS(p);
    const char *at = in.p + 16, *end = in.p + in.n;
    if (in.n < 16)
        return false;
    *hash_key = (fc_hash_key){fc_get64(in.p), fc_get64(in.p + 8)};
    for (size_t i = 0; i < FC_ARRAY_LEN(numbers); i++)
        if (!(at = fc_get_varint(at, end, numbers[i])))
            return false;
    return (at = get_slice(at, end, &p->smallest)) && (at = get_slice(at, end, &p->largest)) && at == end;
}
