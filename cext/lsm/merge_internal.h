/* merge_internal.h - what a view asks of its merge beyond an iterator's calls. Private to cext/lsm. */
#ifndef FC_LSM_MERGE_INTERNAL_H
#define FC_LSM_MERGE_INTERNAL_H

#include "fc/merge.h"

/* Everything below `seq` in [from, until) is deleted: moves the sources that hold nothing newer on to until (backwards:
 * to before from). REQUIRES: valid; the direction is that of the last call. */
void merge_skip(fc_iter *merge, const fc_range_cover *cover);

#endif
