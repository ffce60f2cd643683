/* check.h - all the test runner a C test needs: count, print the place of a failure, go on. */
#ifndef FC_TEST_CHECK_H
#define FC_TEST_CHECK_H

#include <stdio.h>

static unsigned long check_count, check_failed;

#define CHECK(cond)                                                                  \
    do {                                                                             \
        check_count++;                                                               \
        if (!(cond)) {                                                               \
            check_failed++;                                                          \
            fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #cond); \
        }                                                                            \
    } while (0)

static inline int check_done(const char *name)
{
    printf("%s: %lu checks, %lu failed\n", name, check_count, check_failed);
    return check_failed != 0;
}

#endif
