#include "resp_number.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest spelling of a finite double in use is printf's "%f" of -DBL_MAX with its six decimals, 317 characters. */
#define DOUBLE_TEXT_MAX 320u

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t skip_digits(const char *p, size_t n, size_t at)
{
    while (at < n && is_digit(p[at]))
        at++;
    return at;
}

/* [-]digits[.digits][(e|E)[+|-]digits]: what strtod takes besides (blanks, hexadecimal, "infinity") is not RESP. */
static bool is_decimal(const char *p, size_t n)
{
    size_t at = n > 0 && p[0] == '-', begin = at;
    at = skip_digits(p, n, at);
    if (at == begin)
        return false;
    if (at < n && p[at] == '.') {
        begin = ++at;
        at = skip_digits(p, n, at);
        if (at == begin)
            return false;
    }
    if (at < n && (p[at] == 'e' || p[at] == 'E')) {
        at++;
        at += at < n && (p[at] == '+' || p[at] == '-');
        begin = at;
        at = skip_digits(p, n, at);
        if (at == begin)
            return false;
    }
    return at == n;
}

/* 5**0 to 5**27, the last that fits 64 bits. */
static const uint64_t FIVES[] = {
    1ull, 5ull, 25ull, 125ull, 625ull, 3125ull, 15625ull, 78125ull, 390625ull, 1953125ull, 9765625ull,
    48828125ull, 244140625ull, 1220703125ull, 6103515625ull, 30517578125ull, 152587890625ull, 762939453125ull,
    3814697265625ull, 19073486328125ull, 95367431640625ull, 476837158203125ull, 2384185791015625ull,
    11920928955078125ull, 59604644775390625ull, 298023223876953125ull, 1490116119384765625ull,
    7450580596923828125ull,
};

/* The double nearest to w / 10**decimals, decimals at most 27: w / 5**decimals is one division of 128 by 64 bits, whose
 * remainder says which way to round; the powers of two go into the exponent. Nothing in this range is subnormal. strtod
 * takes three times as long. */
static double divided(uint64_t w, unsigned decimals)
{
    if (w == 0)
        return 0.0;
    uint64_t five = FIVES[decimals];
    int shift = 63 - __builtin_clzll(five) + __builtin_clzll(w); /* so that the quotient has 63 or 64 bits */
    unsigned __int128 numerator = (unsigned __int128)w << shift;
    uint64_t quotient = (uint64_t)(numerator / five);
    bool inexact = (unsigned __int128)quotient * five != numerator;
    int extra = (quotient >> 63 ? 64 : 63) - 53;
    uint64_t kept = quotient >> extra, rest = quotient & ((UINT64_C(1) << extra) - 1);
    uint64_t half = UINT64_C(1) << (extra - 1);
    kept += rest > half || (rest == half && (inexact || (kept & 1)));
    uint64_t power = (uint64_t)(1023 + extra - shift - (int)decimals) << 52;
    double scale;
    memcpy(&scale, &power, sizeof scale);
    return (double)kept * scale;
}

/* [-]digits[.digits], few enough for divided(): what servers write for scores and times. */
static bool short_decimal(const char *p, size_t n, double *out)
{
    size_t begin = p[0] == '-', at = begin, point = n;
    uint64_t digits = 0;
    if (n - at > 20) /* 19 digits and a point */
        return false;
    for (; at < n; at++) {
        if (is_digit(p[at])) {
            if (digits > (UINT64_MAX - 9) / 10)
                return false;
            digits = digits * 10 + (uint64_t)(p[at] - '0');
        } else if (p[at] == '.' && point == n && at > begin && at + 1 < n) {
            point = at;
        } else {
            return false;
        }
    }
    double v = divided(digits, point < n ? (unsigned)(n - point - 1) : 0);
    *out = begin ? -v : v;
    return n > begin;
}

/* strtod and printf write the decimal point of the process' locale, so that it must be "C" for them here. Asking for
 * the point first costs nothing; newlocale 150 ns. (The C library's "C" is a constant: there is nothing to free.) */
static bool point_is_dot(void)
{
    const char *point = nl_langinfo(RADIXCHAR);
    return point[0] == '.' && point[1] == '\0';
}

static locale_t c_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

bool fc_resp_double(const char *p, size_t n, double *out)
{
    if (n == 0)
        return false;
    if (n >= 3 && memcmp(p + n - 3, "inf", 3) == 0 && (n == 3 || (n == 4 && p[0] == '-'))) {
        *out = n == 4 ? -INFINITY : INFINITY;
        return true;
    }
    if (n >= 3 && memcmp(p + n - 3, "nan", 3) == 0 && (n == 3 || (n == 4 && p[0] == '-'))) {
        *out = NAN;
        return true;
    }
    if (short_decimal(p, n, out))
        return true;
    if (n > DOUBLE_TEXT_MAX || !is_decimal(p, n))
        return false;
    *out = point_is_dot() ? strtod(p, NULL) : strtod_l(p, NULL, c_locale());
    return isfinite(*out);
}

bool fc_resp_big_number(const char *p, size_t n)
{
    size_t at = n > 0 && p[0] == '-', digits = n - at;
    if (digits == 0 || (p[at] == '0' && n > 1))
        return false;
    return skip_digits(p, n, at) == n;
}

size_t fc_resp_format_integer(char *out, int64_t v)
{
    char digits[FC_RESP_INTEGER_MAX];
    size_t at = sizeof digits;
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (v < 0)
        digits[--at] = '-';
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

size_t fc_resp_format_double(char *out, double v)
{
    if (isnan(v))
        return memcpy(out, "nan", 3), 3u;
    if (isinf(v))
        return v < 0 ? (memcpy(out, "-inf", 4), 4u) : (memcpy(out, "inf", 3), 3u);
    locale_t before = point_is_dot() ? (locale_t)0 : uselocale(c_locale());
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, FC_RESP_DOUBLE_MAX, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    if (before)
        uselocale(before);
    return (size_t)n;
}
