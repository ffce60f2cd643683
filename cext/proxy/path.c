#include "fc/path.h"

#include <stdbool.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 2.3 */
static bool is_unreserved(unsigned char c)
{
    unsigned char lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

/* May be wrong only in one direction: a path it calls plain is normal. "/.well-known" goes the long way. */
static bool is_plain(const char *in, size_t n)
{
    char before = 0;
    for (size_t i = 0; i < n; i++) {
        char c = in[i];
        if (c == '%' || c == 0 || (before == '/' && (c == '.' || c == '/')))
            return false;
        before = c;
    }
    return true;
}

/* One segment from in[*at] up to the next '/' or the end, its escapes normalised, appended to out. */
static fc_path_result copy_segment(const char *in, size_t n, uint32_t flags, size_t *at, char *out, size_t *len)
{
    size_t i = *at, o = *len;
    for (; i < n && in[i] != '/'; i++) {
        *at = i;
        if (in[i] == 0)
            return FC_PATH_NUL;
        if (in[i] != '%') {
            out[o++] = in[i];
            continue;
        }
        int high = i + 2 < n ? hex_digit(in[i + 1]) : -1;
        int low = high < 0 ? -1 : hex_digit(in[i + 2]);
        if (low < 0)
            return FC_PATH_BAD_ESCAPE;
        unsigned char c = (unsigned char)(high << 4 | low);
        if (c == 0)
            return FC_PATH_NUL;
        if ((c == '/' || c == '\\') && (flags & FC_PATH_REFUSE_ENCODED_SLASH))
            return FC_PATH_ENCODED_SLASH;
        if (is_unreserved(c)) {
            out[o++] = (char)c;
        } else {
            out[o++] = '%';
            out[o++] = "0123456789ABCDEF"[high];
            out[o++] = "0123456789ABCDEF"[low];
        }
        i += 2;
    }
    *at = i;
    *len = o;
    return FC_PATH_SAME;
}

static size_t drop_last_segment(const char *out, size_t len)
{
    while (len > 0 && out[len - 1] != '/')
        len--;
    return len > 0 ? len - 1 : 0;
}

fc_path_result fc_path_normalise(const char *in, size_t n, uint32_t flags, char *out, size_t cap, size_t *at)
{
    *at = 0;
    if (n == 0 || in[0] != '/')
        return FC_PATH_NOT_ABSOLUTE;
    if (is_plain(in, n)) {
        *at = n;
        return FC_PATH_SAME;
    }
    if (n > cap) {
        *at = cap;
        return FC_PATH_TOO_LONG;
    }
    size_t i = 0, o = 0;
    while (i < n) {
        size_t before = o;
        out[o++] = '/';
        i++;
        size_t start = o;
        fc_path_result bad = copy_segment(in, n, flags, &i, out, &o);
        if (bad != FC_PATH_SAME) {
            *at = i;
            return bad;
        }
        size_t len = o - start;
        bool last = i == n;
        if (len == 1 && out[start] == '.') {
            o = before;
        } else if (len == 2 && out[start] == '.' && out[start + 1] == '.') {
            o = drop_last_segment(out, before);
        } else {
            if (len == 0 && !last && (flags & FC_PATH_MERGE_SLASHES))
                o = before;
            continue;
        }
        if (last)
            out[o++] = '/';
    }
    *at = o;
    return o == n && memcmp(in, out, n) == 0 ? FC_PATH_SAME : FC_PATH_CHANGED;
}

const char *fc_path_error_text(fc_path_result result)
{
    switch (result) {
    case FC_PATH_BAD_ESCAPE:
        return "'%' is not followed by two hexadecimal digits";
    case FC_PATH_NUL:
        return "the path contains a NUL";
    case FC_PATH_ENCODED_SLASH:
        return "the path contains an encoded slash";
    case FC_PATH_NOT_ABSOLUTE:
        return "the path does not begin with '/'";
    case FC_PATH_TOO_LONG:
        return "the path is too long";
    case FC_PATH_SAME:
    case FC_PATH_CHANGED:
        break;
    }
    return "the path is fine";
}
