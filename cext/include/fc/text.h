/* fc/text.h - building text in a fixed space: appends stop at the end and remember that they had to.
 *
 * The caller checks `overflow` once after a whole head or line was built instead of after every append.
 */
#ifndef FC_TEXT_H
#define FC_TEXT_H

#include <string.h>

#include "fc/base.h"

typedef struct fc_text {
    char *start, *p, *end;
    bool overflow;
} fc_text;

static inline fc_text fc_text_at(char *start, size_t room)
{
    return (fc_text){.start = start, .p = start, .end = start + room};
}

static inline size_t fc_text_len(const fc_text *t) { return (size_t)(t->p - t->start); }

static inline void fc_text_put(fc_text *t, const char *s, size_t n)
{
    if (FC_UNLIKELY((size_t)(t->end - t->p) < n)) {
        t->overflow = true;
        return;
    }
    if (n) /* of nothing there may be no address */
        memcpy(t->p, s, n);
    t->p += n;
}

static inline void fc_text_slice(fc_text *t, fc_slice s) { fc_text_put(t, s.p, s.n); }

/* A string literal. */
#define FC_TEXT_LIT(t, literal) fc_text_put((t), (literal), sizeof(literal) - 1)

static inline void fc_text_u64(fc_text *t, uint64_t v)
{
    char digits[20];
    int i = 20;
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    fc_text_put(t, digits + i, (size_t)(20 - i));
}

#endif
