/* Any sequence of calls does to the job index what it does to the model, an array searched from end to end. */
#include <stdlib.h>

#include "jobindex_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two bytes of settings, then steps of six bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 1500)
        return 0;
    fc_jobindex_options o = FC_JOBINDEX_OPTIONS;
    model m = {.oldest_every = data[0] % 5, .max_jobs = data[1] % 64 + 1};
    o.oldest_every = m.oldest_every;
    o.max_jobs = m.max_jobs;
    fc_jobindex *ix = fc_jobindex_new(&o);
    const char *wrong = NULL;
    for (size_t i = 2; i + 6 <= size && wrong == NULL; i += 6)
        wrong = model_step(&m, ix, data + i);
    if (wrong == NULL)
        wrong = fc_jobindex_check(ix);
    if (wrong != NULL) {
        fprintf(stderr, "%s\n", wrong);
        abort();
    }
    fc_jobindex_free(ix);
    return 0;
}
