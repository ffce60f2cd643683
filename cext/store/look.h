/* look.h - what checks and repair share: the files of a store, and one table looked at block by block. Private to
 * cext/store. */
#ifndef FC_STORE_LOOK_H
#define FC_STORE_LOOK_H

#include "fc/store_check.h"
#include "store_internal.h"

/* The files in a store's folder, by their names. */
typedef struct store_files {
    bool current;
    uint64_t *tables, *manifests; /* numbers, ascending */
    size_t tables_n, manifests_n, tables_cap, manifests_cap;
    bool segments; /* of a log */
    uint64_t largest; /* of all numbers */
} store_files;

int store_files_list(fc_disk *disk, store_files *f);
void store_files_free(store_files *f);
/* Anything of a store at all? */
bool store_files_any(const store_files *f);
/* Bytes of a file; 0 when it is not there. */
uint64_t store_file_bytes(fc_disk *disk, const char *name);
/* Takes the store's lock: 0, FC_STORE_ELOCKED, or an error. On a disk that cannot be written to nobody has it open:
 * *out is NULL. */
int store_lock(fc_disk *disk, fc_file **out);

typedef void (*store_problem_fn)(void *ctx, fc_problem_kind kind, const char *name, uint64_t offset, const char *what);

typedef struct store_look {
    fc_table *table; /* NULL: none, or it cannot be opened */
    fc_table_check check;
    char name[STORE_NAME];
    uint64_t problems;
    bool missing, unreadable; /* what kinds there were */
    store_problem_fn fn; /* may be NULL */
    void *ctx;
} store_look;

/* Opens a table and compares it with `meta`, if that is not NULL. 1: there are blocks to look at; 0: there are none;
 * or an error that is no problem of the table's. */
int store_look_open(store_look *l, fc_disk *disk, const fc_codecs *codecs, uint64_t number, const fc_table_meta *meta);
/* The next block: 1, 0 when that was all, or an error. */
int store_look_step(store_look *l);
void store_look_close(store_look *l);

#endif
