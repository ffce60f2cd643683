#include "resp_inline.h"

#include <stdlib.h>
#include <string.h>

/* The rules are those of Redis' sdssplitargs: words between blanks; "..." with \n \r \t \b \a \xHH and \ before
 * anything else; '...' with \' alone; a closing quote ends its word, an opening one may stand inside it. */

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The escape behind the backslash at p[0..n): its byte, and how many bytes it takes. */
static size_t unescape(const char *p, size_t n, char *byte)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    if (n >= 4 && p[1] == 'x' && hex_value(p[2]) >= 0 && hex_value(p[3]) >= 0) {
        *byte = (char)(hex_value(p[2]) << 4 | hex_value(p[3]));
        return 4;
    }
    const char *known = memchr(names, p[1], sizeof names - 1);
    *byte = known ? bytes[known - names] : p[1];
    return 2;
}

/* The quoted text whose opening quote is p[0] to *out; bytes it takes with both quotes, or 0: it is not closed, or a
 * word goes on behind it. */
static size_t quoted(const char *p, size_t n, char **out)
{
    char quote = p[0];
    size_t at = 1;
    while (at < n && p[at] != quote) {
        if (p[at] == '\\' && at + 1 < n && (quote == '"' || p[at + 1] == '\'')) {
            at += unescape(p + at, n - at, (*out)++);
        } else {
            *(*out)++ = p[at++];
        }
    }
    return at < n && (at + 1 == n || is_blank(p[at + 1])) ? at + 1 : 0;
}

static bool bad_quotes(fc_resp_request *request)
{
    request->error = FC_RESP_BAD_INLINE;
    return false;
}

/* Words with quotes lose them, so they are copied; what comes out is never longer. */
static bool split_quoted(fc_resp_request *request, const char *p, size_t n)
{
    request->text = malloc(n);
    if (!request->text) {
        request->error = FC_RESP_NO_MEMORY;
        return false;
    }
    request->base = request->text;
    char *out = request->text;
    for (size_t at = 0; at < n;) {
        if (is_blank(p[at])) {
            at++;
            continue;
        }
        char *begin = out;
        while (at < n && !is_blank(p[at])) {
            if (p[at] != '"' && p[at] != '\'') {
                *out++ = p[at++];
                continue;
            }
            size_t used = quoted(p + at, n - at, &out);
            if (used == 0)
                return bad_quotes(request);
            at += used;
        }
        if (!fc_resp_request_push(request, (size_t)(begin - request->text), (size_t)(out - begin)))
            return false;
    }
    return true;
}

bool fc_resp_split_line(fc_resp_request *request, const char *p, size_t n)
{
    request->base = p;
    if (memchr(p, '\0', n))
        return bad_quotes(request);
    if (memchr(p, '"', n) || memchr(p, '\'', n))
        return split_quoted(request, p, n);
    for (size_t at = 0; at < n;) {
        size_t begin = at;
        while (at < n && !is_blank(p[at]))
            at++;
        if (at > begin && !fc_resp_request_push(request, begin, at - begin))
            return false;
        at += at < n;
    }
    return true;
}
