/* fc/date.h - the Date field's value (IMF-fixdate, RFC 9110 5.6.7), formatted once a second.
 *
 * An fc_date belongs to one thread; zeroed means empty.
 */
#ifndef FC_DATE_H
#define FC_DATE_H

#include "fc/base.h"

#define FC_DATE_LEN 29

typedef struct fc_date {
    uint64_t second;
    char text[FC_DATE_LEN];
} fc_date;

/* FC_DATE_LEN bytes, not NUL-terminated, good until the next call. Reads the wall clock. */
const char *fc_date_now(fc_date *cache);

#endif
