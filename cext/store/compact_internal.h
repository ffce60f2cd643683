/* compact_internal.h - the state of a compaction. Private to cext/store.
 *
 * compact.c decides what stays, compact_output.c cuts what stays into tables, compact_ranges.c makes pieces that do not
 * overlap of range deletions that do.
 */
#ifndef FC_STORE_COMPACT_INTERNAL_H
#define FC_STORE_COMPACT_INTERNAL_H

#include "../lsm/bytes.h"
#include "fc/compaction.h"

/* Snapshots cut the sequence numbers into stripes: number i holds those up to snapshots[i] and above the one before,
 * the last one everything newer than all snapshots. Nobody can tell two versions apart that are in the same stripe:
 * the newer one hides the older from everyone. */
typedef struct stripe {
    size_t number;
    fc_range *pieces; /* the stripe's range deletions, the newest at every place, ascending, not overlapping */
    size_t n;
    size_t look;  /* first piece that ends behind the entry that is looked at */
    size_t write; /* first piece that is not wholly in finished outputs */
} stripe;

struct fc_compaction {
    fc_compaction_options options;
    fc_iter *merge;
    uint64_t *snapshots;
    stripe *stripes; /* those with range deletions, ascending */
    size_t stripes_n;
    fc_compaction_counts counts;
    int error;
    bool begun, done;

    bytes key; /* of the entry looked at last, and its stripe */
    bool key_known, key_written;
    size_t key_stripe;
    uint32_t covered; /* entries in a row under range deletions that nobody looks behind */

    fc_table_writer *writer; /* of outputs[outputs_n - 1], or NULL */
    fc_compaction_output *outputs;
    size_t outputs_n, outputs_cap;
    bytes from;            /* where the output begins: range deletions are cut to it */
    size_t border;         /* first table of below[0] that begins behind the entry written last */
    uint64_t border_bytes; /* of the tables of below[0] that the output reaches into */
};

/* Makes pieces of ranges of one stripe; *out is malloc'd. 0 or -ENOMEM. */
int compact_pieces(const fc_range *ranges, size_t n, fc_range **out, size_t *out_n);

/* An entry that stays. `first`: of its key. */
int compact_write(fc_compaction *c, bool first, fc_slice key, uint64_t tag, fc_slice value);
/* Behind the last entry: finishes the outputs, the rest of the range deletions with them. */
int compact_write_end(fc_compaction *c);

/* Whether something older than the inputs may lie in [from, to]. */
bool compact_below(const fc_compaction *c, fc_slice from, fc_slice to);

#endif
