/* fc/table_salvage.h - what can still be read of a damaged table (fc/table.h).
 *
 * The parts of the file are believed one by one, each for its own checksum: a damaged filter costs nothing, damaged
 * range deletions cost those, a damaged data block costs its entries. Without an index the blocks are found one
 * behind the other: a block's length is the one for which its checksum is right and all of it reads as entries in
 * order. Behind a damaged block there the next one is looked for where an entry could begin; that cannot be seen of a
 * compressed one, so a table of compressed blocks whose index and one block are damaged is lost from that block on.
 *
 * Invariants
 *   1. Only entries of blocks whose checksum is right are given, in strictly ascending internal order.
 *   2. Every byte of data that is not given is in a loss that is.
 *   3. Nothing is written. The file is held in memory as a whole.
 *
 * Thread safety: one user at a time.
 */
#ifndef FC_TABLE_SALVAGE_H
#define FC_TABLE_SALVAGE_H

#include "fc/table.h"

typedef struct fc_table_salvage fc_table_salvage;

/* Something that cannot be read. Every lost key is at or above `from` and at or below `to`, where they are known. */
typedef struct fc_salvage_loss {
    uint64_t offset, bytes;
    const char *what;
    bool from_known, to_known;
    fc_slice from, to; /* readable during the call */
} fc_salvage_loss;

/* A nonzero answer of entry or range stops, and is the answer. */
typedef struct fc_salvage_sink {
    int (*entry)(void *ctx, fc_slice user, uint64_t tag, fc_slice value);
    int (*range)(void *ctx, const fc_range *range);
    void (*loss)(void *ctx, const fc_salvage_loss *loss);
    void *ctx;
} fc_salvage_sink;

/* The table must be the one with this id: any other's blocks are damage here. Pieces that the disk cannot read are,
 * too. 0, -ENOENT, -ENOMEM. */
int fc_table_salvage_open(fc_disk *disk, const char *name, uint64_t id, const fc_codecs *codecs, fc_table_salvage **out);
/* About one block: 1, more to do; 0, that was all; or an error (FC_TABLE_ECODEC, -ENOMEM, the sink's). */
int fc_table_salvage_step(fc_table_salvage *s, const fc_salvage_sink *sink);
/* Whose table it is; false: the footer is damaged. */
bool fc_table_salvage_owner(const fc_table_salvage *s, uint32_t *owner);
void fc_table_salvage_close(fc_table_salvage *s);

#endif
