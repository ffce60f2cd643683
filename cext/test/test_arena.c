#include "fc/arena.h"

#include <stdint.h>
#include <string.h>

#include "check.h"

int main(void)
{
    fc_arena a;
    fc_arena_init(&a, 100000);
    char *before = NULL;
    for (size_t n = 0; n < 200; n++) {
        char *p = fc_arena_alloc(&a, n);
        CHECK(p != NULL && (uintptr_t)p % 16 == 0);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == 0);
        memset(p, 0xFF, n);
        CHECK(n <= 1 || p != before);
        before = p;
    }
    char *copy = fc_arena_copy(&a, "abc\0d", 5);
    CHECK(copy != NULL && memcmp(copy, "abc\0d\0", 6) == 0);
    CHECK(fc_arena_copy(&a, NULL, 0) != NULL);
    CHECK(a.bytes <= a.max);

    size_t bytes = a.bytes;
    CHECK(fc_arena_alloc(&a, 100000) == NULL);
    CHECK(fc_arena_alloc(&a, SIZE_MAX) == NULL);
    CHECK(fc_arena_array(&a, SIZE_MAX / 2, 4) == NULL);
    CHECK(fc_arena_copy(&a, "", SIZE_MAX) == NULL);
    CHECK(a.bytes == bytes);
    CHECK(fc_arena_alloc(&a, 10) != NULL);

    size_t got = 0;
    while (fc_arena_alloc(&a, 1000) != NULL)
        got++;
    CHECK(got > 20 && a.bytes <= 100000);
    fc_arena_free(&a);
    CHECK(a.bytes == 0);

    fc_arena_init(&a, 64); /* less than one ordinary chunk */
    CHECK(fc_arena_alloc(&a, 16) != NULL);
    CHECK(fc_arena_alloc(&a, 64) == NULL);
    fc_arena_free(&a);
    return check_done("test_arena");
}
