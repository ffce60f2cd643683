#include <stdlib.h>
#include <string.h>

#include "fc/resp.h"

/* A first growth that holds most replies. */
#define ROOM_MIN 512u
#define HEAD_MAX (1u + FC_RESP_INTEGER_MAX + 2u) /* type byte, number, CR LF */

fc_resp_out fc_resp_out_growing(size_t max, uint8_t protocol)
{
    return (fc_resp_out){.max = max, .protocol = protocol};
}

fc_resp_out fc_resp_out_fixed(char *space, size_t room, uint8_t protocol)
{
    return (fc_resp_out){.p = space, .room = room, .protocol = protocol};
}

void fc_resp_out_free(fc_resp_out *out)
{
    if (out->max)
        free(out->p);
    *out = (fc_resp_out){.max = out->max, .protocol = out->protocol};
}

static bool grow(fc_resp_out *out, size_t n)
{
    if (out->failed || n > out->max || out->n > out->max - n) {
        out->failed = true;
        return false;
    }
    size_t room = out->room ? out->room : ROOM_MIN;
    while (room < out->n + n)
        room = room > out->max / 2 ? out->max : room * 2;
    char *p = realloc(out->p, room);
    if (!p) {
        out->failed = true;
        return false;
    }
    out->p = p;
    out->room = room;
    return true;
}

bool fc_resp_reserve(fc_resp_out *out, size_t n)
{
    return FC_LIKELY(out->room - out->n >= n && !out->failed) || grow(out, n);
}

static char *put_bytes(char *to, const char *p, size_t n)
{
    if (n)
        memcpy(to, p, n);
    return to + n;
}

static char *put_crlf(char *to)
{
    to[0] = '\r';
    to[1] = '\n';
    return to + 2;
}

static char *put_head(char *to, char type, uint64_t v)
{
    *to++ = type;
    if (v < 10)
        *to++ = (char)('0' + v);
    else
        to += fc_resp_format_integer(to, (int64_t)v);
    return put_crlf(to);
}

void fc_resp_put_raw(fc_resp_out *out, const char *p, size_t n)
{
    if (fc_resp_reserve(out, n))
        out->n = (size_t)(put_bytes(out->p + out->n, p, n) - out->p);
}

/* type, text, CR LF */
static void put_line(fc_resp_out *out, char type, const char *p, size_t n)
{
    if (!fc_resp_reserve(out, n + 3))
        return;
    char *begin = out->p + out->n, *to = begin;
    *to++ = type;
    to = put_bytes(to, p, n);
    for (char *at = begin + 1; at < to; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    out->n = (size_t)(put_crlf(to) - out->p);
}

/* type, length, CR LF, a prefix and the text, CR LF */
static void put_string(fc_resp_out *out, char type, const char *prefix, size_t prefix_n, const char *p, size_t n)
{
    if (!fc_resp_reserve(out, HEAD_MAX + prefix_n + n + 2))
        return;
    char *to = put_head(out->p + out->n, type, prefix_n + n);
    to = put_bytes(to, prefix, prefix_n);
    out->n = (size_t)(put_crlf(put_bytes(to, p, n)) - out->p);
}

void fc_resp_put_simple(fc_resp_out *out, const char *p, size_t n) { put_line(out, FC_RESP_SIMPLE, p, n); }

void fc_resp_put_error(fc_resp_out *out, const char *p, size_t n) { put_line(out, FC_RESP_ERROR, p, n); }

void fc_resp_put_blob_error(fc_resp_out *out, const char *p, size_t n)
{
    if (out->protocol < 3)
        put_line(out, FC_RESP_ERROR, p, n);
    else
        put_string(out, FC_RESP_BLOB_ERROR, NULL, 0, p, n);
}

void fc_resp_put_integer(fc_resp_out *out, int64_t v)
{
    if (!fc_resp_reserve(out, HEAD_MAX))
        return;
    char *to = out->p + out->n;
    *to++ = FC_RESP_INTEGER;
    to += fc_resp_format_integer(to, v);
    out->n = (size_t)(put_crlf(to) - out->p);
}

void fc_resp_put_blob(fc_resp_out *out, const char *p, size_t n) { put_string(out, FC_RESP_BLOB, NULL, 0, p, n); }

void fc_resp_put_null(fc_resp_out *out)
{
    if (out->protocol < 3)
        fc_resp_put_raw(out, "$-1\r\n", 5);
    else
        fc_resp_put_raw(out, "_\r\n", 3);
}

void fc_resp_put_null_array(fc_resp_out *out)
{
    if (out->protocol < 3)
        fc_resp_put_raw(out, "*-1\r\n", 5);
    else
        fc_resp_put_raw(out, "_\r\n", 3);
}

void fc_resp_put_double(fc_resp_out *out, double v)
{
    char digits[FC_RESP_DOUBLE_MAX];
    size_t n = fc_resp_format_double(digits, v);
    if (out->protocol < 3)
        fc_resp_put_blob(out, digits, n);
    else
        put_line(out, FC_RESP_DOUBLE, digits, n);
}

void fc_resp_put_boolean(fc_resp_out *out, bool v)
{
    if (out->protocol < 3)
        fc_resp_put_integer(out, v);
    else
        fc_resp_put_raw(out, v ? "#t\r\n" : "#f\r\n", 4);
}

void fc_resp_put_big_number(fc_resp_out *out, const char *digits, size_t n)
{
    if (out->protocol < 3)
        fc_resp_put_blob(out, digits, n);
    else
        put_line(out, FC_RESP_BIG_NUMBER, digits, n);
}

void fc_resp_put_verbatim(fc_resp_out *out, const char format[3], const char *p, size_t n)
{
    const char prefix[4] = {format[0], format[1], format[2], ':'};
    if (out->protocol < 3)
        fc_resp_put_blob(out, p, n);
    else
        put_string(out, FC_RESP_VERBATIM, prefix, sizeof prefix, p, n);
}

void fc_resp_put_aggregate(fc_resp_out *out, char type, uint64_t count)
{
    if (out->protocol < 3) {
        if (type == FC_RESP_ATTRIBUTE) {
            out->failed = true;
            return;
        }
        count <<= type == FC_RESP_MAP;
        type = FC_RESP_ARRAY;
    }
    if (fc_resp_reserve(out, HEAD_MAX))
        out->n = (size_t)(put_head(out->p + out->n, type, count) - out->p);
}

void fc_resp_put_stream(fc_resp_out *out, char type)
{
    const char head[4] = {type, '?', '\r', '\n'};
    if (out->protocol < 3)
        out->failed = true;
    else
        fc_resp_put_raw(out, head, sizeof head);
}

void fc_resp_put_part(fc_resp_out *out, const char *p, size_t n)
{
    if (n)
        put_string(out, FC_RESP_PART, NULL, 0, p, n);
}

void fc_resp_put_end(fc_resp_out *out, char type)
{
    if (type == FC_RESP_BLOB)
        fc_resp_put_raw(out, ";0\r\n", 4);
    else
        fc_resp_put_raw(out, ".\r\n", 3);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static size_t digits_of(uint64_t v)
{
    size_t n = 1;
    for (; v >= 10; v /= 10)
        n++;
    return n;
}

size_t fc_resp_command_size(const fc_resp_arg *args, size_t argc)
{
    size_t size = 1 + digits_of(argc) + 2;
    for (size_t i = 0; i < argc; i++)
        size += 1 + digits_of(args[i].n) + 2 + args[i].n + 2;
    return size;
}

char *fc_resp_command_write(char *out, const fc_resp_arg *args, size_t argc)
{
    out = put_head(out, FC_RESP_ARRAY, argc);
    for (size_t i = 0; i < argc; i++)
        out = put_crlf(put_bytes(put_head(out, FC_RESP_BLOB, args[i].n), args[i].p, args[i].n));
    return out;
}
