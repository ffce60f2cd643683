#include <stdlib.h>
#include <string.h>

#include "resp_number.h"

/* Where the parser stands between two tokens. A blob that arrives whole never leaves VALUE. */
enum { VALUE = 0, PART, CHUNK, CHUNK_PART };
/* PART: inside a blob that comes in parts; CHUNK: in a streamed string, before ";<length>"; CHUNK_PART: inside a chunk.
 * Inside, blob_left == 0 means that CR LF is next. */

/* What a look at the next bytes found. */
typedef enum outcome {
    FAILED = FC_STEP_ERROR,
    WAITING = FC_STEP_MORE,
    TOKEN = FC_STEP_OK, /* after which the value goes on */
    WHOLE,              /* a token that completes a value */
    NO_TOKEN,           /* bytes that are no token of their own */
} outcome;

typedef enum fc_resp_step step;

void fc_resp_init(fc_resp_parser *r, const fc_resp_limits *limits)
{
    *r = (fc_resp_parser){.limits = *limits, .levels = r->few, .room = FC_RESP_LEVELS_INLINE};
}

void fc_resp_free(fc_resp_parser *r)
{
    if (r->levels != r->few)
        free(r->levels);
    r->levels = r->few;
    r->room = FC_RESP_LEVELS_INLINE;
    r->depth = 0;
}

/* at: from the start of the buffer; r->offset grows only at the end of fc_resp_read. */
static step fail(fc_resp_parser *r, fc_resp_error error, size_t at)
{
    r->error = (uint8_t)error;
    r->error_at = r->offset + at;
    return FC_STEP_ERROR;
}

static inline step more(fc_resp_parser *r, size_t need)
{
    r->need = need;
    return FC_STEP_MORE;
}

/* --- the stack ---------------------------------------------------------------------------------------------------- */

/* A value is complete: count it in what it is an element of, and so on outwards. True: nothing is open any more. */
static inline bool ended(fc_resp_parser *r, fc_resp_token *t)
{
    while (r->depth > 0) {
        fc_resp_level *top = &r->levels[r->depth - 1];
        top->left--;
        if (top->streamed) {
            top->half = top->type == FC_RESP_MAP && !top->half;
            return false;
        }
        if (top->left > 0)
            return false;
        t->closes++;
        r->depth--;
        if (top->type == FC_RESP_ATTRIBUTE) {
            r->attributed = true;
            return false;
        }
    }
    return true;
}

static step push(fc_resp_parser *r, size_t at, uint8_t type, bool streamed, uint64_t left)
{
    if (r->depth >= r->limits.depth_max)
        return fail(r, FC_RESP_TOO_DEEP, at);
    if (r->depth == r->room) {
        fc_resp_level *old = r->levels == r->few ? NULL : r->levels;
        fc_resp_level *levels = realloc(old, 2 * (size_t)r->room * sizeof *levels);
        if (!levels)
            return fail(r, FC_RESP_NO_MEMORY, at);
        if (!old)
            memcpy(levels, r->few, sizeof r->few);
        r->levels = levels;
        r->room *= 2;
    }
    r->levels[r->depth++] = (fc_resp_level){.left = left, .type = type, .streamed = streamed};
    return FC_STEP_OK;
}

/* --- types -------------------------------------------------------------------------------------------------------- */

/* Each takes the value whose type byte is p[*at], fills *t, and moves *at behind it. */

/* The text between the type byte and CR LF; *end is the CR. */
static step line(fc_resp_parser *r, const char *p, size_t n, size_t at, size_t *end)
{
    size_t begin = at + 1, i = r->seen ? at + r->seen : begin;
    size_t stop = n - begin > r->limits.line_max ? begin + r->limits.line_max : n;
    while (i < stop && p[i] != '\r' && p[i] != '\n')
        i++;
    *end = i;
    if (i < n && p[i] != '\r' && p[i] != '\n')
        return fail(r, FC_RESP_LINE_TOO_LONG, i);
    switch (fc_resp_crlf(p, n, &i)) {
    case FC_STEP_OK:
        r->seen = 0;
        return FC_STEP_OK;
    case FC_STEP_MORE:
        r->seen = *end - at;
        return more(r, n - at + 1);
    default:
        return fail(r, FC_RESP_BAD_LINE_END, i);
    }
}

static step text(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t end;
    step found = line(r, p, n, *at, &end);
    if (found != FC_STEP_OK)
        return found;
    t->text = (fc_slice){p + *at + 1, end - *at - 1};
    bool good = true;
    if (t->type == FC_RESP_DOUBLE)
        good = fc_resp_double(t->text.p, t->text.n, &t->real);
    else if (t->type == FC_RESP_BIG_NUMBER)
        good = fc_resp_big_number(t->text.p, t->text.n);
    else
        t->count = t->text.n;
    if (!good)
        return fail(r, t->type == FC_RESP_DOUBLE ? FC_RESP_BAD_DOUBLE : FC_RESP_BAD_BIG_NUMBER, *at + 1);
    *at = end + 2;
    return FC_STEP_OK;
}

static step integer(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t end = *at + 1;
    switch (fc_resp_integer(p, n, &end, &t->integer)) {
    case FC_STEP_OK:
        t->text = (fc_slice){p + *at + 1, end - *at - 3};
        *at = end;
        return FC_STEP_OK;
    case FC_STEP_MORE:
        return more(r, n - *at + 1);
    default:
        return fail(r, FC_RESP_BAD_INTEGER, end);
    }
}

/* "_\r\n" and "#t\r\n". */
static step fixed(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t end = *at + 1;
    if (t->type == FC_RESP_BOOLEAN) {
        if (end == n)
            return more(r, n - *at + 1);
        if (p[end] != 't' && p[end] != 'f')
            return fail(r, FC_RESP_BAD_BOOLEAN, end);
        t->integer = p[end++] == 't';
    }
    switch (fc_resp_crlf(p, n, &end)) {
    case FC_STEP_OK:
        *at = end;
        return FC_STEP_OK;
    case FC_STEP_MORE:
        return more(r, n - *at + 1);
    default:
        return fail(r, t->type == FC_RESP_BOOLEAN ? FC_RESP_BAD_BOOLEAN : FC_RESP_BAD_NULL, end);
    }
}

enum { COUNTED, STREAMED, NOTHING };

/* What follows the type byte of strings and aggregates: a count, '?', or the -1 that is a null in protocol 2. *at goes
 * behind the line. */
static step length(fc_resp_parser *r, const char *p, size_t n, size_t *at, uint64_t *count, int *kind)
{
    char type = p[*at];
    size_t end = *at + 1;
    step found;
    *kind = COUNTED;
    if (FC_LIKELY(end < n && p[end] != '?' && p[end] != '-')) {
        found = fc_resp_digits(p, n, &end, count);
    } else if (end == n) {
        found = FC_STEP_MORE;
    } else if (p[end] == '?') {
        *kind = STREAMED;
        if (!strchr("$*%~", type))
            return fail(r, FC_RESP_BAD_STREAM, end);
        end++;
        found = fc_resp_crlf(p, n, &end);
    } else {
        *kind = NOTHING;
        if (type != FC_RESP_BLOB && type != FC_RESP_ARRAY)
            return fail(r, FC_RESP_BAD_LENGTH, end);
        if (++end == n)
            return more(r, n - *at + 1);
        if (p[end] != '1')
            return fail(r, FC_RESP_BAD_LENGTH, end);
        end++;
        found = fc_resp_crlf(p, n, &end);
    }
    if (found == FC_STEP_OK)
        *at = end;
    else if (found == FC_STEP_MORE)
        return more(r, n - *at + 1);
    else
        return fail(r, FC_RESP_BAD_LENGTH, end);
    return found;
}

static step null(fc_resp_token *t)
{
    t->type = FC_RESP_NULL;
    return FC_STEP_OK;
}

/* A blob of which the buffer has data[0..have) and not all: wait, or begin to hand it out in parts. */
static step blob_begun(fc_resp_parser *r, size_t head, const char *data, size_t have, uint64_t count, size_t *at,
                       fc_resp_token *t)
{
    if (have > count && data[count] != '\r')
        return fail(r, FC_RESP_BAD_LINE_END, *at + head + (size_t)count);
    size_t format = t->type == FC_RESP_VERBATIM ? 4 : 0;
    if (count < r->limits.parts_min || have < format || have > count)
        return more(r, head + (size_t)count + 2);
    t->streamed = true;
    t->count = count;
    t->text = (fc_slice){data, format};
    r->blob_left = count - format;
    r->state = PART;
    *at += head + format;
    return FC_STEP_OK;
}

/* What nearly every blob is: up to four digits of length, and all there. Anything else is for blob(), mistakes too. */
static inline bool quick_blob(const fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t i = *at + 1, count = 0, digits = 0;
    for (unsigned digit; digits < 4 && i < n && (digit = (unsigned)(uint8_t)p[i] - '0') <= 9; digits++, i++)
        count = count * 10 + digit;
    if (digits == 0 || (digits > 1 && p[*at + 1] == '0') || n - i < count + 4 || count > r->limits.blob_max)
        return false;
    const char *data = p + i + 2;
    if (!fc_resp_is_crlf(data - 2) || !fc_resp_is_crlf(data + count))
        return false;
    t->count = count;
    t->text = (fc_slice){data, count};
    *at = i + count + 4;
    return true;
}

static step blob(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t data = *at;
    uint64_t count;
    int kind;
    step found = length(r, p, n, &data, &count, &kind);
    if (found != FC_STEP_OK)
        return found;
    if (kind == NOTHING) {
        *at = data;
        return null(t);
    }
    if (kind == STREAMED) {
        t->streamed = true;
        r->blob_room = r->limits.blob_max;
        r->state = CHUNK;
        *at = data;
        return FC_STEP_OK;
    }
    if (count > r->limits.blob_max)
        return fail(r, FC_RESP_BLOB_TOO_LONG, *at + 1);
    size_t have = n - data;
    if (t->type == FC_RESP_VERBATIM && (count < 4 || (have >= 4 && p[data + 3] != ':')))
        return fail(r, FC_RESP_BAD_VERBATIM, count < 4 ? *at + 1 : data + 3);
    if (have < count || have - count < 2)
        return blob_begun(r, data - *at, p + data, have, count, at, t);
    size_t end = data + (size_t)count;
    t->text = (fc_slice){p + data, (size_t)count};
    if (fc_resp_crlf(p, n, &end) != FC_STEP_OK)
        return fail(r, FC_RESP_BAD_LINE_END, end);
    t->count = count;
    *at = end;
    return FC_STEP_OK;
}

static step aggregate(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t end = *at;
    uint64_t count;
    int kind;
    step found = length(r, p, n, &end, &count, &kind);
    if (found != FC_STEP_OK)
        return found;
    if (kind == NOTHING) {
        *at = end;
        return null(t);
    }
    bool pairs = t->type == FC_RESP_MAP || t->type == FC_RESP_ATTRIBUTE, streamed = kind == STREAMED;
    uint64_t limit = r->limits.elements_max;
    if (streamed) {
        count = limit < UINT64_MAX / 2 ? (limit << pairs) + 1 : UINT64_MAX;
    } else {
        if (count > limit || (pairs && count > UINT64_MAX / 2))
            return fail(r, FC_RESP_TOO_MANY, *at + 1);
        t->count = count;
        count <<= pairs;
    }
    t->streamed = streamed;
    t->closes = count == 0;
    if (count > 0 && push(r, *at, t->type, streamed, count) != FC_STEP_OK)
        return FC_STEP_ERROR;
    *at = end;
    return FC_STEP_OK;
}

/* ".\r\n" */
static step stream_end(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    fc_resp_level *top = r->depth ? &r->levels[r->depth - 1] : NULL;
    if (!top || !top->streamed || top->half || r->attributed)
        return fail(r, FC_RESP_BAD_STREAM, *at);
    size_t end = *at + 1;
    switch (fc_resp_crlf(p, n, &end)) {
    case FC_STEP_OK:
        r->depth--;
        t->closes = 1;
        *at = end;
        return FC_STEP_OK;
    case FC_STEP_MORE:
        return more(r, n - *at + 1);
    default:
        return fail(r, FC_RESP_BAD_LINE_END, end);
    }
}

/* A streamed aggregate has what it may have, and another element begins. */
static inline bool overfull(const fc_resp_parser *r, uint8_t type)
{
    const fc_resp_level *top = &r->levels[r->depth - 1];
    return top->streamed && top->left == 1 && type != FC_RESP_END && type != FC_RESP_ATTRIBUTE;
}

/* One value, or the head of one. */
static inline outcome value(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    step found;
    bool whole = true;
    *t = (fc_resp_token){.type = (uint8_t)p[*at], .text = {p + *at, 0}};
    if (r->depth > 0 && FC_UNLIKELY(overfull(r, t->type)))
        return (outcome)fail(r, FC_RESP_TOO_MANY, *at);
    switch (t->type) {
    case FC_RESP_BLOB:
        if (FC_LIKELY(quick_blob(r, p, n, at, t))) {
            found = FC_STEP_OK;
            break;
        }
        /* fall through */
    case FC_RESP_BLOB_ERROR:
    case FC_RESP_VERBATIM:
        found = blob(r, p, n, at, t);
        whole = !t->streamed;
        break;
    case FC_RESP_INTEGER:
        found = integer(r, p, n, at, t);
        break;
    case FC_RESP_SIMPLE:
    case FC_RESP_ERROR:
    case FC_RESP_DOUBLE:
    case FC_RESP_BIG_NUMBER:
        found = text(r, p, n, at, t);
        break;
    case FC_RESP_NULL:
    case FC_RESP_BOOLEAN:
        found = fixed(r, p, n, at, t);
        break;
    case FC_RESP_ARRAY:
    case FC_RESP_MAP:
    case FC_RESP_SET:
    case FC_RESP_PUSH:
    case FC_RESP_ATTRIBUTE:
        found = aggregate(r, p, n, at, t);
        whole = t->type == FC_RESP_NULL || (t->closes > 0 && t->type != FC_RESP_ATTRIBUTE);
        break;
    case FC_RESP_END:
        found = stream_end(r, p, n, at, t);
        break;
    default:
        return (outcome)fail(r, FC_RESP_BAD_TYPE, *at);
    }
    if (found != FC_STEP_OK)
        return (outcome)found;
    r->attributed = t->type == FC_RESP_ATTRIBUTE && t->closes > 0;
    return whole ? WHOLE : TOKEN;
}

/* A string that is an element, not the last, of an aggregate with a count: most of what is read. False: not such. */
static inline bool inner_blob(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    if (r->depth == 0 || *at == n || p[*at] != FC_RESP_BLOB || r->state != VALUE)
        return false;
    fc_resp_level *top = &r->levels[r->depth - 1];
    if (top->streamed || top->left == 1)
        return false;
    *t = (fc_resp_token){.type = FC_RESP_BLOB};
    if (!quick_blob(r, p, n, at, t))
        return false;
    top->left--;
    r->attributed = false;
    return true;
}

/* --- strings in parts --------------------------------------------------------------------------------------------- */

static outcome part_token(fc_resp_token *t, const char *p, size_t n, outcome found)
{
    *t = (fc_resp_token){.type = FC_RESP_PART, .count = n, .text = {p, n}};
    return found;
}

/* ";<length>\r\n" of a streamed string. */
static outcome chunk(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t end = *at + 1;
    uint64_t count;
    if (p[*at] != ';')
        return (outcome)fail(r, FC_RESP_BAD_STREAM, *at);
    switch (fc_resp_digits(p, n, &end, &count)) {
    case FC_STEP_MORE:
        return (outcome)more(r, n - *at + 1);
    case FC_STEP_ERROR:
        return (outcome)fail(r, FC_RESP_BAD_LENGTH, end);
    default:
        break;
    }
    if (count > r->blob_room)
        return (outcome)fail(r, FC_RESP_BLOB_TOO_LONG, *at + 1);
    *at = end;
    r->blob_room -= count;
    r->blob_left = count;
    r->state = count ? CHUNK_PART : VALUE;
    return count ? NO_TOKEN : part_token(t, p + end, 0, WHOLE);
}

/* What is there of a blob or chunk, or its end. */
static outcome part(fc_resp_parser *r, const char *p, size_t n, size_t *at, fc_resp_token *t)
{
    size_t begin = *at, end = begin;
    if (r->blob_left > 0) {
        size_t have = n - begin < r->blob_left ? n - begin : (size_t)r->blob_left;
        r->blob_left -= have;
        *at += have;
        return part_token(t, p + begin, have, TOKEN);
    }
    switch (fc_resp_crlf(p, n, &end)) {
    case FC_STEP_MORE:
        return (outcome)more(r, 2);
    case FC_STEP_ERROR:
        return (outcome)fail(r, FC_RESP_BAD_LINE_END, end);
    default:
        break;
    }
    *at = end;
    bool counted = r->state == PART;
    r->state = counted ? VALUE : CHUNK;
    return counted ? part_token(t, p + begin, 0, WHOLE) : NO_TOKEN;
}

fc_resp_status fc_resp_read(fc_resp_parser *r, const char *p, size_t n, size_t *used, fc_resp_token *tokens,
                            size_t room, size_t *count)
{
    size_t at = 0, filled = 0;
    outcome found = r->error ? FAILED : TOKEN;
    bool complete = false;
    while (found > WAITING && filled < room && !complete) {
        fc_resp_token *t = &tokens[filled];
        if (inner_blob(r, p, n, &at, t))
            found = TOKEN;
        else if (at == n)
            found = (outcome)more(r, 1);
        else if (FC_LIKELY(r->state == VALUE))
            found = value(r, p, n, &at, t);
        else
            found = r->state == CHUNK ? chunk(r, p, n, &at, t) : part(r, p, n, &at, t);
        filled += found == TOKEN || found == WHOLE;
        complete = found == WHOLE && ended(r, t);
    }
    r->offset += at;
    *used = at;
    *count = filled;
    if (found <= WAITING)
        return found == FAILED ? FC_RESP_FAILED : FC_RESP_MORE;
    return complete ? FC_RESP_DONE : FC_RESP_FULL;
}
