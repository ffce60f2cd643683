#include "fc/hist.h"

#include <math.h>

uint64_t fc_hist_floor(fc_hist_layout l, uint32_t i)
{
    uint32_t base = fc_hist_base(l), last = fc_hist_buckets(l) - 1;
    if (i > last)
        return 0;
    uint32_t per = 1u << l.sub;
    if (i < per)
        return (uint64_t)i << (base - l.sub);
    uint32_t octave = base + (i >> l.sub) - 1;
    return (uint64_t)(per + (i & (per - 1))) << (octave - l.sub);
}

uint64_t fc_hist_quantile(fc_hist_layout l, const uint64_t *cells, double q)
{
    const uint64_t *buckets = cells + FC_HIST_FIRST;
    uint32_t n = fc_hist_buckets(l);
    uint64_t count = 0, seen = 0;
    for (uint32_t i = 0; i < n; i++)
        count += __atomic_load_n(&buckets[i], __ATOMIC_RELAXED);
    if (count == 0)
        return 0;
    double wanted = ceil((q < 0 ? 0 : q > 1 ? 1 : q) * (double)count);
    uint64_t rank = wanted < 1 ? 1 : wanted >= (double)count ? count : (uint64_t)wanted;
    for (uint32_t i = 0; i + 1 < n; i++) {
        seen += __atomic_load_n(&buckets[i], __ATOMIC_RELAXED);
        if (seen >= rank)
            return fc_hist_floor(l, i + 1) - 1;
    }
    return fc_hist_floor(l, n - 1);
}
