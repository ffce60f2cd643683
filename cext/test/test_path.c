#include "fc/path.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Exact-size heap copies, so that a sanitizer sees a read or write past the end. */
static fc_path_result normalise(const char *path, uint32_t flags, const char *want)
{
    size_t n = strlen(path), at = 99;
    char *in = malloc(n + !n), *out = malloc(n + !n);
    memcpy(in, path, n);
    fc_path_result result = fc_path_normalise(in, n, flags, out, n, &at);
    if (want != NULL) {
        CHECK(result >= 0 && at == strlen(want));
        CHECK(memcmp(result == FC_PATH_SAME ? in : out, want, at) == 0);
    }
    free(in);
    free(out);
    return result;
}

int main(void)
{
    CHECK(normalise("/a/b.c/.d", 0, "/a/b.c/.d") == FC_PATH_SAME);
    CHECK(normalise("/a%2Fb", 0, "/a%2Fb") == FC_PATH_SAME);
    CHECK(normalise("/a/../%61%2f", 0, "/a%2F") == FC_PATH_CHANGED);
    CHECK(normalise("/..", 0, "/") == FC_PATH_CHANGED);
    CHECK(normalise("/../..//", FC_PATH_MERGE_SLASHES, "/") == FC_PATH_CHANGED);
    CHECK(normalise("/a//", FC_PATH_MERGE_SLASHES, "/a/") == FC_PATH_CHANGED);
    CHECK(normalise("/a//", 0, "/a//") == FC_PATH_SAME);
    CHECK(normalise("", 0, NULL) == FC_PATH_NOT_ABSOLUTE);
    CHECK(normalise("/%", 0, NULL) == FC_PATH_BAD_ESCAPE);
    CHECK(normalise("/%1", 0, NULL) == FC_PATH_BAD_ESCAPE);
    CHECK(normalise("/%00", 0, NULL) == FC_PATH_NUL);
    CHECK(normalise("/%5C", FC_PATH_REFUSE_ENCODED_SLASH, NULL) == FC_PATH_ENCODED_SLASH);

    size_t at;
    char out[4];
    CHECK(fc_path_normalise("/abcd", 5, 0, out, 4, &at) == FC_PATH_SAME && at == 5);
    CHECK(fc_path_normalise("/a/..", 5, 0, out, 4, &at) == FC_PATH_TOO_LONG && at == 4);
    for (fc_path_result r = FC_PATH_TOO_LONG; r <= FC_PATH_CHANGED; r++)
        CHECK(strlen(fc_path_error_text(r)) > 5);
    return check_done("test_path");
}
