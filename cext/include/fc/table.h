/* fc/table.h - sorted tables: files of internal keys and values, written once from front to back, then only read.
 *
 * A table is data blocks, one after the other, then what is needed to find things in them, which a reader keeps in
 * memory: a Bloom filter over user keys, range deletions, properties, an index with one separator for each block, a
 * footer (docs/storage/table.md has the bytes). Every byte of the file is under a checksum that is seeded with the
 * table's id and the place it was written to, so a block of another table, or of another place, is no block of this
 * one.
 *
 * The index is one level and stays in memory with the filter: for tables of 64 MiB in blocks of 8 KiB it takes some 450
 * KiB and the filter of half a million keys 640 KiB. A second level would save memory where tables are many and seldom
 * read, and cost the rest a block more for every get; a store that must bound this memory closes tables that nobody
 * asks.
 *
 * Within a block every 16th key is written out, the others without the beginning they share with the one before. A get
 * halves its way between those and then steps over at most 16 entries comparing only bytes that can differ; a hash
 * index in the block would save two comparisons of some five, and is left out.
 *
 * Invariants
 *   1. Entries are added in strictly ascending internal order; anything else is refused (FC_TABLE_EORDER), so a table
 *      that was finished is ordered.
 *   2. A reader never answers from bytes whose checksum is wrong, and checks every number it reads against its bounds
 *      even though the checksum was right. Damage is FC_TABLE_ECORRUPT, and fc_table_damage says where and what: never
 *      other data.
 *   3. A finished file is not durable: fc_table_writer_sync, then fc_disk_sync_dir of its folder, are the caller's to
 *      call before anything refers to the table.
 *   4. After an error a writer answers that error to everything; the file is the caller's to remove.
 *   5. A writer holds one block, a buffer of FC_TABLE_WRITE_BYTES, the separators of the blocks so far, 8 bytes for
 *      each user key (for the filter) and the range deletions; it is bounded by the size at which the caller ends the
 *      table.
 *
 * Thread safety: a writer has one user. A reader may be used by any number of threads; each iterator has one user.
 */
#ifndef FC_TABLE_H
#define FC_TABLE_H

#include "fc/block_cache.h"
#include "fc/codec.h"
#include "fc/disk.h"
#include "fc/iter.h"
#include "fc/range_set.h"

typedef struct fc_table fc_table;
typedef struct fc_table_writer fc_table_writer;

enum {
    FC_TABLE_ECORRUPT = -10501, /* damaged; fc_damage says where */
    FC_TABLE_EFORMAT = -10502,  /* not a table, or of a later version */
    FC_TABLE_EORDER = -10503,   /* not above the entry before */
    FC_TABLE_ESIZE = -10504,    /* a key or value too large, a table of more than 2^32 blocks, an unknown type */
    FC_TABLE_ECODEC = -10505,   /* the block's codec is not on this machine */
};

#define FC_TABLE_WRITE_BYTES (128u << 10)
#define FC_TABLE_BLOCK_MIN 512u
#define FC_TABLE_BLOCK_MAX (1u << 20)

typedef struct fc_table_options {
    uint32_t block_bytes;       /* a data block is ended when it has reached so many, before compression */
    uint32_t restart_interval;  /* 1 to 128 */
    uint32_t filter_bits;       /* for each user key; 0: no filter; at most 32. At 10, 1 % of absent keys pass */
    fc_codec codec;             /* used for a block where it saves an eighth, and when it is there */
    const fc_codecs *codecs;    /* may be NULL */
    fc_hash_key hash_key;       /* of the filter: the store's (fc_lookup.hash_key), else every get hashes again */
    uint64_t id;                /* the table's, say its number */
    uint32_t owner;             /* whose it is, say its keyspace: for when nothing but the file is left */
} fc_table_options;

extern const fc_table_options FC_TABLE_OPTIONS; /* 8 KiB, 16, 10, none, id 0, key 0 */

/* What a table holds. Slices belong to whoever answered. */
typedef struct fc_table_properties {
    uint64_t id;
    uint32_t owner;
    uint64_t entries, keys; /* versions, and user keys they are of */
    uint64_t deletes, expiring, ranges;
    uint64_t key_bytes, value_bytes; /* before compression, tags included */
    uint64_t blocks, data_bytes, file_bytes;
    uint64_t first_seq, last_seq;       /* ranges included; 0, 0 of an empty table */
    uint64_t first_expiry, last_expiry; /* ms; of the expiring ones */
    fc_slice smallest, largest;         /* user keys; no entry and no range reaches outside [smallest, largest] */
} fc_table_properties;

/* Where a file is damaged. */
typedef struct fc_damage {
    char name[FC_DISK_NAME_MAX + 1];
    uint64_t offset;
    const char *what; /* one sentence */
} fc_damage;

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* A new file; -EEXIST when there is one. -EINVAL for options out of range. */
int fc_table_writer_open(fc_disk *disk, const char *name, const fc_table_options *options, fc_table_writer **out);
/* 0 or an error. A version of a key, of a type for which fc_type_is_point holds. */
int fc_table_add(fc_table_writer *w, fc_slice user, uint64_t tag, fc_slice value);
/* In any order, at any time before finish; an empty range is left out. */
int fc_table_add_range(fc_table_writer *w, const fc_range *range);
/* What the file would have about now if it were finished. */
uint64_t fc_table_writer_bytes(const fc_table_writer *w);
/* Writes the rest. The slices of *properties, if not NULL, are readable until the writer is closed. */
int fc_table_finish(fc_table_writer *w, fc_table_properties *properties);
int fc_table_writer_sync(fc_table_writer *w);
/* Closes the file, finished or not. */
void fc_table_writer_close(fc_table_writer *w);

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* cache and codecs may be NULL and must outlive the table. `damage`, if not NULL, is filled in with FC_TABLE_ECORRUPT
 * and FC_TABLE_EFORMAT. */
int fc_table_open(fc_disk *disk, const char *name, fc_block_cache *cache, const fc_codecs *codecs, fc_damage *damage,
                  fc_table **out);
/* REQUIRES: no iterator and no call is left. Its blocks leave the cache. */
void fc_table_close(fc_table *t);

const fc_table_properties *fc_table_get_properties(const fc_table *t);
const fc_range_set *fc_table_ranges(const fc_table *t);
/* Bytes that the open table keeps outside the cache. */
uint64_t fc_table_memory(const fc_table *t);
/* The first damage that any thread met; false when none was. */
bool fc_table_damage(const fc_table *t, fc_damage *out);

/* FC_FOUND, FC_DELETED, FC_NOT_HERE, or an error. */
int fc_table_get(fc_table *t, const fc_lookup *lookup, fc_found *out);
/* False: the key is not in the table, nor under a range deletion of it. Reads nothing. */
bool fc_table_may_have(const fc_table *t, const fc_lookup *lookup);

/* NULL without memory. `how` may be NULL. */
fc_iter *fc_table_iter(fc_table *t, const fc_read_options *how);

/* About how many bytes of data blocks lie between the keys. Reads nothing. */
uint64_t fc_table_bytes_between(const fc_table *t, fc_slice from, fc_slice to);

/* A look at every block, one for each call: 1, more to do; 0, it is over; or the error. Begin with zeros. Past the
 * cache, so that it is the disk that is looked at.
 *
 * After FC_TABLE_ECORRUPT, unless it was over, the next call goes on behind the damage. fc_table_damage keeps saying
 * the first: who wants each has the table to himself and calls fc_table_forget_damage in between. */
typedef struct fc_table_check {
    uint64_t block; /* next one, of fc_table_properties.blocks */
    uint64_t entries, deletes, expiring;
    uint64_t damaged; /* blocks that were */
    bool over;
} fc_table_check;

int fc_table_verify(fc_table *t, fc_table_check *check);
void fc_table_forget_damage(fc_table *t);

const char *fc_table_strerror(int error);

#endif
