/* Any value of traceparent: in bounds, and what is taken comes back as the same bytes but for version and unknown flags. */
#include <stdlib.h>
#include <string.h>

#include "fc/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const fc_trace nothing;
    fc_trace trace = {0};
    char *value = malloc(size + 1); /* of exactly this size, so that a byte too many is seen */
    if (!value)
        return 0;
    memcpy(value, data, size);
    if (!fc_traceparent_read(&trace, (fc_slice){value, size})) {
        if (memcmp(&trace, &nothing, sizeof trace) != 0)
            abort();
    } else {
        char out[FC_TRACEPARENT_LEN];
        fc_traceparent_write(&trace, trace.parent, out);
        if (memcmp(out + 2, value + 2, 51) != 0 || !trace.parent || size < sizeof out)
            abort();
        fc_trace again = {0};
        if (!fc_traceparent_read(&again, (fc_slice){out, sizeof out}) || memcmp(&again, &trace, sizeof trace) != 0)
            abort();
    }
    free(value);
    return 0;
}
