/* Input: one byte of flags, then a path. What fc/path.h promises of any result is checked. */
#include "fc/path.h"

#include <stdlib.h>
#include <string.h>

static void check_is_normal(const char *p, size_t n, uint32_t flags)
{
    size_t start = 1;
    if (n == 0 || p[0] != '/' || memchr(p, 0, n) != NULL)
        abort();
    for (size_t i = 1; i <= n; i++) {
        if (i < n && p[i] != '/')
            continue;
        size_t len = i - start;
        if ((len == 1 && p[start] == '.') || (len == 2 && memcmp(p + start, "..", 2) == 0))
            abort();
        if (len == 0 && i < n && (flags & FC_PATH_MERGE_SLASHES))
            abort();
        start = i + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint32_t flags = data[0] & 3;
    const char *in = (const char *)data + 1;
    size_t n = size - 1, at, again_at;
    char *out = malloc(n + 1), *again = malloc(n + 1);
    fc_path_result result = fc_path_normalise(in, n, flags, out, n, &at);
    if (result < 0 && at > n)
        abort();
    if (result >= 0) {
        const char *normal = result == FC_PATH_SAME ? in : out;
        if (at > n)
            abort();
        check_is_normal(normal, at, flags);
        if (fc_path_normalise(normal, at, flags, again, at, &again_at) != FC_PATH_SAME || again_at != at)
            abort();
    }
    free(out);
    free(again);
    return 0;
}
