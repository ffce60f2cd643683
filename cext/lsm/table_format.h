/* table_format.h - a table as bytes, and an open one. Private to cext/lsm; the layout is in docs/storage/table.md. */
#ifndef FC_LSM_TABLE_FORMAT_H
#define FC_LSM_TABLE_FORMAT_H

#include "bytes.h"
#include "fc/table.h"

#define TABLE_MAGIC "fctbl001"
#define TABLE_VERSION 1u
#define TABLE_FOOTER 64u
#define TABLE_TRAILER 5u /* behind each block: codec, checksum */
#define TABLE_RAW_MAX (FC_KEY_MAX + FC_VALUE_MAX + FC_TABLE_BLOCK_MAX + 4096u) /* of a block that is not compressed */

#define TABLE_NOW_BYTES 65536u /* a larger block is not copied from the kernel's memory by who must not wait */

/* What lies between the data blocks and the footer, in this order. A size without trailer; 0: not there at all. */
enum { META_FILTER, META_RANGES, META_PROPERTIES, META_INDEX, META_COUNT };

typedef struct table_footer {
    uint64_t id, data_bytes;
    uint32_t owner;
    uint32_t meta[META_COUNT];
} table_footer;

static inline uint64_t meta_bytes(uint32_t n) { return n ? (uint64_t)n + TABLE_TRAILER : 0; }

void table_put_footer(char out[TABLE_FOOTER], const table_footer *f);
/* 0, FC_TABLE_EFORMAT or FC_TABLE_ECORRUPT; *what says why. */
int table_get_footer(const char in[TABLE_FOOTER], uint64_t file_bytes, table_footer *f, const char **what);

/* What a block's checksum starts from. */
uint32_t table_seed(uint64_t id, uint64_t offset);
/* The trailer of the n bytes at p, which are at that offset of the file. */
void table_seal(char *p, size_t n, fc_codec codec, uint64_t id, uint64_t offset);
/* Whether n bytes and trailer are what was written there. */
bool table_check(const char *p, size_t n, uint64_t id, uint64_t offset);

/* fc_table_properties without what the footer says. */
bool table_put_properties(bytes *out, const fc_table_properties *p, const fc_hash_key *hash_key);
/* Slices point into `in`. */
bool table_get_properties(fc_slice in, fc_table_properties *p, fc_hash_key *hash_key);

/* --- an open table ---------------------------------------------------------------------------------------------- */

/* Separator i is at or above every key of block i and below every key of block i + 1. `words` are eight bytes of each,
 * from where they first differ on, so that the search reads one dense array. */
typedef struct table_index {
    uint32_t n;
    size_t common; /* bytes that all separators begin with */
    uint64_t *words, *tags, *offsets; /* offsets: n + 1 of them, of blocks in the file */
    uint32_t *key_ends; /* in keys: separator i is [key_ends[i - 1], key_ends[i]) */
    bytes keys;
} table_index;

struct fc_table {
    fc_file *file;
    fc_block_cache *cache;
    const fc_codecs *codecs;
    fc_cached_file *cached; /* NULL without a cache */
    char *meta; /* what the slices below point into */
    fc_slice filter;
    fc_hash_key hash_key;
    fc_table_properties properties;
    fc_range_set ranges;
    void *range_memory;
    table_index index;
    int damaged; /* 0, 1 being noted, 2 noted */
    fc_damage damage;
};

/* table_index.c */

/* Decodes the index block of a file with so many bytes of data; false: it is none, or there is no memory (*memory). */
bool table_index_open(table_index *x, fc_slice in, uint64_t blocks, uint64_t data_bytes, bool *memory);
void table_index_close(table_index *x);
/* The block in which the internal key is or would be; x->n: above all. */
uint32_t table_index_find(const table_index *x, fc_slice user, uint64_t tag);
static inline fc_slice table_separator(const table_index *x, uint32_t i)
{
    uint32_t from = i ? x->key_ends[i - 1] : 0;
    return (fc_slice){x->keys.p + from, x->key_ends[i] - from};
}

/* table_read.c */

/* Notes the damage and returns FC_TABLE_ECORRUPT. */
int table_damaged(fc_table *t, uint64_t offset, const char *what);
/* Block i with a reference. `past`: not from the cache. */
int table_load(fc_table *t, uint32_t i, bool memory_only, bool keep_out, bool past, fc_block **out);

#endif
