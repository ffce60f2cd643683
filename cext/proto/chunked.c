#include "fc/chunked.h"

/* 16 hex digits hold 64 bits; the 64th is refused so that sizes stay positive in signed arithmetic elsewhere. Leading
 * zeros count, or a chunk line could be of any length. */
#define SIZE_DIGITS_MAX 16

enum { SIZE, EXT_BLANK, EXT, SIZE_LF, DATA, DATA_CR, DATA_LF, LAST, FAILED };

void fc_chunked_init(fc_chunked *d, uint32_t ext_max)
{
    *d = (fc_chunked){.ext_max = ext_max, .state = SIZE};
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* One byte of a chunk-size: a further digit, or what may follow the last (RFC 9112 7.1.1). */
static int size_byte(fc_chunked *d, char c)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (d->digits == SIZE_DIGITS_MAX || d->left >> 59)
            return FAILED;
        d->digits++;
        d->left = d->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (d->digits == 0)
        return FAILED;
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXT;
    return c == ' ' || c == '\t' ? EXT_BLANK : FAILED;
}

/* Any byte but a control character may stand in an extension: they are dropped, so what they mean is of no interest, only
 * that everybody agrees where the line ends. Blanks before the first ';' are BWS and must have a ';' after them. */
static int ext_byte(fc_chunked *d, char c)
{
    if (d->state == EXT && c == '\r')
        return SIZE_LF;
    if (++d->ext_bytes > d->ext_max || c == 0x7f || ((uint8_t)c < 0x20 && c != '\t'))
        return FAILED;
    if (d->state == EXT_BLANK && c != ' ' && c != '\t')
        return c == ';' ? EXT : FAILED;
    return d->state;
}

static int after_size(fc_chunked *d, char c)
{
    if (c != '\n')
        return FAILED;
    d->digits = 0;
    d->ext_bytes = 0;
    return d->left > 0 ? DATA : LAST;
}

fc_chunk fc_chunked_next(fc_chunked *d, const char *p, size_t n, size_t *used, fc_slice *data)
{
    size_t at = 0;
    *data = (fc_slice){NULL, 0};
    while (d->state != LAST && d->state != FAILED && at < n) {
        int next = FAILED;
        switch (d->state) {
        case SIZE:
            next = size_byte(d, p[at]);
            break;
        case EXT_BLANK:
        case EXT:
            next = ext_byte(d, p[at]);
            break;
        case SIZE_LF:
            next = after_size(d, p[at]);
            break;
        case DATA:
            *data = (fc_slice){p + at, n - at < d->left ? n - at : (size_t)d->left};
            d->left -= data->n;
            if (d->left == 0)
                d->state = DATA_CR;
            *used = at + data->n;
            return FC_CHUNK_DATA;
        case DATA_CR:
            next = p[at] == '\r' ? DATA_LF : FAILED;
            break;
        case DATA_LF:
            next = p[at] == '\n' ? SIZE : FAILED;
            break;
        }
        d->state = (uint8_t)next;
        at += next != FAILED;
    }
    *used = at;
    if (d->state == FAILED)
        return FC_CHUNK_ERROR;
    return d->state == LAST ? FC_CHUNK_LAST : FC_CHUNK_MORE;
}

size_t fc_chunk_head(char *out, uint64_t n)
{
    static const char digits[] = "0123456789abcdef";
    unsigned shift = n ? (63u - (unsigned)__builtin_clzll(n)) & ~3u : 0;
    size_t len = 0;
    for (;; shift -= 4) {
        out[len++] = digits[n >> shift & 15];
        if (shift == 0)
            break;
    }
    out[len++] = '\r';
    out[len++] = '\n';
    return len;
}
