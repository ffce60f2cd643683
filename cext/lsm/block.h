/* block.h - the inside of a data block: sorted entries that leave out what they share with the one before. Private to
 * cext/lsm; the bytes are in docs/storage/table.md.
 *
 * Readers believe nothing: every length is checked against the block, whatever its checksum said.
 */
#ifndef FC_LSM_BLOCK_H
#define FC_LSM_BLOCK_H

#include "bytes.h"
#include "fc/ikey.h"

/* --- building --------------------------------------------------------------------------------------------------- */

typedef struct block_builder {
    bytes out, key; /* key: of the last entry */
    uint32_t *restarts;
    uint32_t restart_n, restart_cap, interval, since_restart;
} block_builder;

void block_builder_free(block_builder *b);
/* REQUIRES: above the last entry. False without memory. */
bool block_add(block_builder *b, fc_slice user, uint64_t tag, fc_slice value);
/* Appends the restarts; out is the block then. */
bool block_finish(block_builder *b);
void block_reset(block_builder *b);
static inline size_t block_bytes(const block_builder *b) { return b->out.n + 4 * (size_t)b->restart_n + 4; }

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* A place in a block. */
typedef struct block_cursor {
    const char *p;
    uint32_t end;       /* of the entries */
    uint32_t restart_n; /* their offsets lie at end */
    uint32_t at, next;  /* offsets of the entry and of the one after; at == end: none */
    bytes key;
    uint64_t tag;
    fc_slice value;
} block_cursor;

typedef enum block_answer {
    BLOCK_END = 0, /* no (further) entry */
    BLOCK_HERE = 1,
    BLOCK_DAMAGED = -1,
    BLOCK_NO_MEMORY = -2,
} block_answer;

/* Keeps the key's memory. */
block_answer block_open(block_cursor *c, const char *p, size_t n);
/* Whether the restarts ascend and each is where an entry begins that shares nothing. A search that bisects other ones
 * finds an entry or not by the path it happens to take. */
bool block_restarts_sound(const block_cursor *c);
block_answer block_first(block_cursor *c);
block_answer block_last(block_cursor *c);
block_answer block_next(block_cursor *c);
block_answer block_prev(block_cursor *c);
block_answer block_seek(block_cursor *c, fc_slice user, uint64_t tag);
/* The newest version of the key at or below the tag, without a key being put together: tag and value of the cursor
 * only. */
block_answer block_get(block_cursor *c, fc_slice user, uint64_t tag);

#endif
