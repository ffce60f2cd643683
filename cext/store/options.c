#include <errno.h>
#include <string.h>

#include "store_internal.h"

#define KEYSPACE_DEFAULTS                                                                                            \
    {                                                                                                                \
        .memtable_bytes = 64u << 20, .memtables_max = 4, .table_bytes = 32u << 20, .level0_tables = 4,               \
        .level_bytes = 256u << 20, .level_factor = 10, .block_bytes = 8192, .restart_interval = 16, .filter_bits = 10 \
    }

const fc_keyspace_options FC_KEYSPACE_OPTIONS = KEYSPACE_DEFAULTS;

const fc_store_options FC_STORE_OPTIONS = {
    .create = true,
    .threaded = true,
    .cache_bytes = 64u << 20,
    .log_bytes_max = 1u << 30,
    .log = FC_WAL_DEFAULTS,
    .defaults = KEYSPACE_DEFAULTS,
};

bool store_keyspace_options_sensible(const fc_keyspace_options *o)
{
    return o->memtable_bytes >= FC_MEMTABLE_MIN_BYTES && o->memtable_bytes <= FC_MEMTABLE_MAX_BYTES &&
           o->memtables_max >= 2 && o->memtables_max <= 1024 && o->table_bytes >= 4096 && o->level0_tables >= 1 &&
           o->level_bytes >= 4096 && o->level_factor >= 2 && o->level_factor <= 1000 &&
           o->block_bytes >= FC_TABLE_BLOCK_MIN && o->block_bytes <= FC_TABLE_BLOCK_MAX && o->restart_interval >= 1 &&
           o->restart_interval <= 128 && o->filter_bits <= 32 && o->codec <= FC_CODEC_ZSTD;
}

bool store_options_sensible(const fc_store_options *o)
{
    return store_keyspace_options_sensible(&o->defaults) && o->cache_bytes >= FC_BLOCK_CACHE_MIN_BYTES &&
           o->log_bytes_max > 0;
}

/* Numbers in this order, behind their count; a later version may add some at the end. */
#define OPTION_NUMBERS(o)                                                                                            \
    {                                                                                                                \
        (o)->memtable_bytes, (o)->memtables_max, (o)->table_bytes, (o)->level0_tables, (o)->level_bytes,             \
            (o)->level_factor, (o)->block_bytes, (o)->restart_interval, (o)->filter_bits, (o)->codec                 \
    }
#define OPTIONS_N 10u

fc_slice store_options_put(char out[STORE_OPTIONS_BYTES], const fc_keyspace_options *o)
{
    const uint64_t numbers[OPTIONS_N] = OPTION_NUMBERS(o);
    char *p = fc_put_varint(out, OPTIONS_N);
    for (size_t i = 0; i < OPTIONS_N; i++)
        p = fc_put_varint(p, numbers[i]);
    return (fc_slice){out, (size_t)(p - out)};
}

bool store_options_get(fc_slice in, fc_keyspace_options *o)
{
    uint64_t numbers[OPTIONS_N] = OPTION_NUMBERS(&FC_KEYSPACE_OPTIONS), n;
    const char *p = fc_get_varint(in.p, in.p + in.n, &n);
    for (size_t i = 0; p && i < n && i < OPTIONS_N; i++)
        p = fc_get_varint(p, in.p + in.n, &numbers[i]);
    *o = (fc_keyspace_options){.memtable_bytes = numbers[0],
                               .memtables_max = (uint32_t)numbers[1],
                               .table_bytes = numbers[2],
                               .level0_tables = (uint32_t)numbers[3],
                               .level_bytes = numbers[4],
                               .level_factor = (uint32_t)numbers[5],
                               .block_bytes = (uint32_t)numbers[6],
                               .restart_interval = (uint32_t)numbers[7],
                               .filter_bits = (uint32_t)numbers[8],
                               .codec = (fc_codec)numbers[9]};
    return p && store_keyspace_options_sensible(o);
}

const char *fc_store_strerror(int error)
{
    switch (error) {
    case 0:
        return "no error";
    case FC_STORE_ECORRUPT:
        return "the store is damaged";
    case FC_STORE_EFORMAT:
        return "not a store, or one of a later version";
    case FC_STORE_ELOCKED:
        return "the store is open already, here or in another process";
    case FC_STORE_ECLOSED:
        return "the store is closed";
    case FC_STORE_EBUSY:
        return "memtables or the log's buffer are full: wait for room, then again";
    case FC_STORE_ECONFLICT:
        return "an expectation of the batch does not hold";
    case FC_STORE_ESIZE:
        return "a key, value or batch is larger than allowed";
    case FC_STORE_ENOKEYSPACE:
        return "there is no such keyspace";
    case FC_STORE_EMISSING:
        return "there is no store here";
    case FC_STORE_EEXISTS:
        return "it is there already";
    default:
        if (error <= -10700)
            return fc_manifest_strerror(error);
        if (error <= -10200) /* FC_EWOULDREAD and what tables answer */
            return fc_table_strerror(error);
        return fc_wal_strerror(error); /* and errno values */
    }
}
