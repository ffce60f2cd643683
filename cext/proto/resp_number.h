/* resp_number.h - the numbers of fc/resp.h, read from bytes. Private to cext/proto. */
#ifndef FC_RESP_NUMBER_H
#define FC_RESP_NUMBER_H

#include <string.h>

#include "fc/resp.h"

typedef enum fc_resp_step { FC_STEP_ERROR = -1, FC_STEP_MORE = 0, FC_STEP_OK = 1 } fc_resp_step;

/* Two bytes that are there: one comparison in place of two. */
static inline bool fc_resp_is_crlf(const char *p)
{
    uint16_t two, crlf;
    memcpy(&two, p, 2);
    memcpy(&crlf, "\r\n", 2);
    return two == crlf;
}

/* CR LF at p[*at..n); *at goes behind it, after an error it is the offending byte. */
static inline fc_resp_step fc_resp_crlf(const char *p, size_t n, size_t *at)
{
    if (FC_LIKELY(n - *at >= 2 && fc_resp_is_crlf(p + *at))) {
        *at += 2;
        return FC_STEP_OK;
    }
    if (*at == n)
        return FC_STEP_MORE;
    if (p[*at] != '\r')
        return FC_STEP_ERROR;
    if (*at + 1 == n)
        return FC_STEP_MORE;
    ++*at;
    return FC_STEP_ERROR;
}

/* Digits and CR LF at p[*at..n): "0" or no zero in front, at most UINT64_MAX. *at as above; FC_STEP_MORE leaves it. */
static inline fc_resp_step fc_resp_digits(const char *p, size_t n, size_t *at, uint64_t *out)
{
    size_t i = *at;
    uint64_t v = 0;
    for (; i < n; i++) {
        unsigned digit = (unsigned)(uint8_t)p[i] - '0';
        if (digit > 9)
            break;
        bool zero_in_front = v == 0 && i > *at;
        if (FC_UNLIKELY(zero_in_front || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))) {
            *at = i;
            return FC_STEP_ERROR;
        }
    }
    if (i < n && i == *at)
        return FC_STEP_ERROR;
    fc_resp_step step = fc_resp_crlf(p, n, &i);
    if (step != FC_STEP_MORE)
        *at = i;
    *out = v;
    return step;
}

/* The same with a minus sign allowed; no "-0". */
static inline fc_resp_step fc_resp_integer(const char *p, size_t n, size_t *at, int64_t *out)
{
    size_t i = *at;
    bool negative = i < n && p[i] == '-';
    uint64_t v = 0;
    i += negative;
    size_t begin = i;
    if (negative && i < n && p[i] == '0') {
        *at = i;
        return FC_STEP_ERROR;
    }
    fc_resp_step step = fc_resp_digits(p, n, &i, &v);
    if (step == FC_STEP_MORE)
        return step;
    *at = i;
    if (step == FC_STEP_OK && v > (uint64_t)INT64_MAX + negative) {
        *at = begin;
        return FC_STEP_ERROR;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return step;
}

/* p[0..n) is followed by CR. False: not a double, or not a finite one where digits are written. */
bool fc_resp_double(const char *p, size_t n, double *out);
bool fc_resp_big_number(const char *p, size_t n);

#endif
