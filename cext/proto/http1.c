/* Message heads: start line, field lines, verdict. Special fields are in http1_rules.c, targets in http1_target.c. */
#include "fc/http1.h"

#include <string.h>

#include "http1_rules.h"
#include "scan.h"

typedef struct parser {
    const char *buf;
    size_t n; /* bytes that may belong to the head: min(len, head_bytes_max) */
    fc_http1_head *head;
    fc_http1_rules rules;
    fc_scan scan;
} parser;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* `eol` is the first control byte of a line. Position after the line's end; or PARTIAL; or an error, which is `other` when
 * the byte has nothing to do with line ends. */
static inline int line_end(parser *p, size_t eol, fc_http1_error other)
{
    if (eol == p->n)
        return FC_HTTP1_PARTIAL;
    if (FC_LIKELY(p->buf[eol] == '\r')) {
        if (eol + 1 == p->n)
            return FC_HTTP1_PARTIAL;
        if (FC_LIKELY(p->buf[eol + 1] == '\n'))
            return (int)(eol + 2);
    } else if (p->buf[eol] == '\n') {
        if (p->rules.flags & FC_HTTP1_LENIENT_BARE_LF)
            return (int)(eol + 1);
    } else {
        return fc_http1_fail(p->head, other, eol);
    }
    return fc_http1_fail(p->head, FC_HTTP1_BAD_LINE_END, eol);
}

/* Position after "HTTP/1.0" or "HTTP/1.1" at `at`; PARTIAL or ERROR. */
static int parse_version(parser *p, size_t at)
{
    static const char form[] = "HTTP/d.d";
    const char *version = p->buf + at;
    if (FC_LIKELY(p->n - at >= 8 && memcmp(version, "HTTP/1.", 7) == 0 && (version[7] == '1' || version[7] == '0'))) {
        p->head->minor = (uint8_t)(version[7] - '0');
        return (int)(at + 8);
    }
    for (size_t i = 0; i < 8; i++) {
        if (at + i == p->n)
            return FC_HTTP1_PARTIAL;
        bool digit = version[i] >= '0' && version[i] <= '9';
        if (form[i] == 'd' ? !digit : version[i] != form[i])
            return fc_http1_fail(p->head, FC_HTTP1_BAD_VERSION, at + i);
    }
    return fc_http1_fail(p->head, FC_HTTP1_UNSUPPORTED_VERSION, at + 5);
}

/* The end of the target at `at`; *query_at is where its first '?' stands, or that end. */
static size_t target_end(parser *p, size_t at, size_t *query_at)
{
    bool raw = p->rules.flags & FC_HTTP1_LENIENT_TARGET_BYTES;
    uint8_t class = FC_BYTE_PATH;
    for (;;) {
        at = fc_scan_target(p->buf, at, p->n, class, p->scan.level);
        if (at < p->n && p->buf[at] == '?' && class == FC_BYTE_PATH) {
            *query_at = at++;
            p->head->has_query = true;
            class = FC_BYTE_QUERY;
        } else if (raw && at < p->n && fc_byte_is(p->buf[at], FC_BYTE_RAW)) {
            at++;
        } else {
            if (class == FC_BYTE_PATH)
                *query_at = at;
            return at;
        }
    }
}

static int parse_request_line(parser *p, uint32_t target_bytes_max)
{
    fc_http1_head *head = p->head;
    size_t at = 0;
    if (p->n > 0 && (p->buf[0] == '\r' || p->buf[0] == '\n')) { /* one empty line, RFC 9112 2.2 */
        int next = line_end(p, 0, FC_HTTP1_BAD_METHOD);
        if (next < 0)
            return next;
        at = (size_t)next;
    }
    size_t end = fc_scan_nontoken(&p->scan, at);
    if (end == p->n)
        return FC_HTTP1_PARTIAL;
    if (end == at || p->buf[end] != ' ')
        return fc_http1_fail(head, FC_HTTP1_BAD_METHOD, end);
    head->method = (fc_span){(uint32_t)at, (uint32_t)(end - at)};
    head->method_id = (uint8_t)fc_http_method_id(p->buf + at, end - at);

    at = end + 1;
    size_t query_at;
    end = target_end(p, at, &query_at);
    if (end - at > target_bytes_max)
        return fc_http1_fail(head, FC_HTTP1_TARGET_TOO_LONG, at + target_bytes_max);
    if (end == p->n)
        return FC_HTTP1_PARTIAL;
    if (end == at || p->buf[end] != ' ')
        return fc_http1_fail(head, FC_HTTP1_BAD_TARGET, end);
    head->target = (fc_span){(uint32_t)at, (uint32_t)(end - at)};

    int next = parse_version(p, end + 1);
    if (next < 0)
        return next;
    at = (size_t)next;
    if (at < p->n && p->buf[at] != '\r' && p->buf[at] != '\n')
        return fc_http1_fail(head, FC_HTTP1_BAD_VERSION, at);
    next = line_end(p, at, FC_HTTP1_BAD_VERSION);
    if (next < 0)
        return next;
    int bad = fc_http1_target_split(p->buf, (uint32_t)query_at, head);
    return bad ? bad : next;
}

static int parse_status_line(parser *p)
{
    fc_http1_head *head = p->head;
    int next = parse_version(p, 0);
    if (next < 0)
        return next;
    size_t at = (size_t)next;
    if (at == p->n)
        return FC_HTTP1_PARTIAL;
    if (p->buf[at] != ' ')
        return fc_http1_fail(head, FC_HTTP1_BAD_VERSION, at);
    for (unsigned i = 0; i < 3; i++) {
        if (++at == p->n)
            return FC_HTTP1_PARTIAL;
        unsigned digit = (unsigned)(uint8_t)p->buf[at] - '0';
        if (digit > 9 || (i == 0 && (digit == 0 || digit > 5)))
            return fc_http1_fail(head, FC_HTTP1_BAD_STATUS, at);
        head->status = (uint16_t)(head->status * 10 + digit);
    }
    if (++at == p->n)
        return FC_HTTP1_PARTIAL;
    if (p->buf[at] == ' ')
        at++;
    else if (!(p->rules.flags & FC_HTTP1_LENIENT_NO_REASON_SPACE) || (p->buf[at] != '\r' && p->buf[at] != '\n'))
        return fc_http1_fail(head, FC_HTTP1_BAD_STATUS, at);
    size_t eol = fc_scan_ctl(&p->scan, at);
    head->reason = (fc_span){(uint32_t)at, (uint32_t)(eol - at)};
    return line_end(p, eol, FC_HTTP1_BAD_REASON);
}

/* Under FC_HTTP1_LENIENT_OBS_FOLD: as long as the line after *eol continues this one, blank out the line end between them
 * (RFC 9112 5.2). Doing it in place keeps values contiguous, and a second look at the same bytes sees spaces. */
static int unfold(parser *p, size_t *eol, int next)
{
    while (next > 0) {
        if ((size_t)next == p->n)
            return FC_HTTP1_PARTIAL;
        if (!is_blank(p->buf[next]))
            return next;
        memset((char *)(uintptr_t)p->buf + *eol, ' ', (size_t)next - *eol);
        *eol = fc_scan_ctl(&p->scan, (size_t)next);
        next = line_end(p, *eol, FC_HTTP1_BAD_FIELD_VALUE);
    }
    return next;
}

/* What parse_fields does with a line that is not simply name ":" value CR LF: the end of the section (eol is then the line's
 * begin), something to be lenient about, something to wait for, or an error. */
typedef struct odd_line {
    size_t colon, eol;
    int next; /* after the line end; or PARTIAL or ERROR */
} odd_line;

static __attribute__((noinline, cold)) odd_line parse_odd_line(parser *p, size_t at, size_t name_end, size_t eol)
{
    fc_http1_head *head = p->head;
    odd_line line = {name_end, eol, FC_HTTP1_PARTIAL};
    if (name_end == p->n)
        return line;
    if (name_end == at && (p->buf[at] == '\r' || p->buf[at] == '\n')) {
        line.next = line_end(p, at, FC_HTTP1_BAD_LINE_END);
        return line;
    }
    if (name_end > at && head->fields_len == head->fields_max) {
        line.next = fc_http1_fail(head, FC_HTTP1_TOO_MANY_FIELDS, at);
        return line;
    }
    if (p->rules.flags & FC_HTTP1_LENIENT_SPACE_BEFORE_COLON)
        while (line.colon < p->n && is_blank(p->buf[line.colon]))
            line.colon++;
    if (line.colon == p->n)
        return line;
    if (name_end == at || p->buf[line.colon] != ':') {
        bool fold = name_end == at && is_blank(p->buf[at]) && head->fields_len > 0;
        line.next = fc_http1_fail(head, fold ? FC_HTTP1_OBS_FOLD : FC_HTTP1_BAD_FIELD_NAME, name_end);
        return line;
    }
    line.next = line_end(p, eol, FC_HTTP1_BAD_FIELD_VALUE);
    if (p->rules.flags & FC_HTTP1_LENIENT_OBS_FOLD)
        line.next = unfold(p, &line.eol, line.next);
    return line;
}

/* Field lines from `at` up to and including the empty line: its end, PARTIAL or ERROR. */
static int parse_fields(parser *p, size_t at)
{
    const char *const buf = p->buf;
    const uint32_t special = p->rules.special;
    /* A line is simple if it ends before this; where the next line may continue this one, none is. */
    const size_t simple_end = p->rules.flags & FC_HTTP1_LENIENT_OBS_FOLD ? 0 : p->n;
    fc_http1_head *const head = p->head;
    fc_http1_field *field = head->fields, *const fields_end = field + head->fields_max;
    for (;;) {
        /* Both searches start at the line, so that neither waits for the other. A control byte within the name is also
         * not of a token, so eol is the end of the value whenever there is a colon before it. */
        const size_t name_end = fc_scan_nontoken(&p->scan, at);
        size_t eol = fc_scan_ctl(&p->scan, at), colon = name_end, next = eol + 2;
        if (FC_UNLIKELY(next > simple_end || memcmp(buf + eol, "\r\n", 2) != 0 || buf[colon] != ':' || name_end == at ||
                        field == fields_end)) {
            const odd_line line = parse_odd_line(p, at, name_end, eol);
            if (line.next < 0 || line.eol == at)
                return line.next;
            colon = line.colon;
            eol = line.eol;
            next = (size_t)line.next;
        }
        size_t value = colon + 1;
        while (value < eol && is_blank(buf[value]))
            value++;
        while (eol > value && is_blank(buf[eol - 1]))
            eol--;
        field->name = (fc_span){(uint32_t)at, (uint32_t)(name_end - at)};
        field->value = (fc_span){(uint32_t)value, (uint32_t)(eol - value)};
        field->id = fc_http_field_id(buf + at, name_end - at);
        head->fields_len++;
        if ((special & FC_FIELD_BIT(field->id)) && fc_http1_rules_apply(&p->rules, buf, field, head) < 0)
            return FC_HTTP1_ERROR;
        field++;
        at = next;
    }
}

/* Prepare for another look at a head; false when there is nothing new to see: without a line feed among the bytes added
 * since the last look the head cannot have become complete. A head that fills its limit is always looked at. */
static bool parser_init(parser *p, const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                        uint32_t special, fc_http1_head *head)
{
    /* Two pieces, because gcc clears more than 64 bytes at once with `rep stos`, which costs 6 ns more. */
    char *out = (char *)&head->fields_len;
    memset(out, 0, 48);
    memset(out + 48, 0, sizeof *head - offsetof(fc_http1_head, fields_len) - 48);
    if (last_len > 0 && last_len <= len && len < limits->head_bytes_max && !memchr(buf + last_len, '\n', len - last_len))
        return false;
    p->buf = buf;
    p->n = len < limits->head_bytes_max ? len : limits->head_bytes_max;
    p->head = head;
    p->rules = (fc_http1_rules){.flags = limits->flags, .special = special};
    fc_scan_init(&p->scan, buf, p->n, limits->flags & FC_HTTP1_NO_SIMD ? FC_SCAN_PLAIN : fc_scan_best());
    return true;
}

/* A head that is still partial when the limit is full will never fit. */
static int parser_result(parser *p, int result, const fc_http1_limits *limits)
{
    if (result == FC_HTTP1_PARTIAL && p->n == limits->head_bytes_max)
        return fc_http1_fail(p->head, FC_HTTP1_HEAD_TOO_LARGE, p->n);
    return result;
}

int fc_http1_parse_request(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                           fc_http1_head *head)
{
    parser p;
    if (!parser_init(&p, buf, len, last_len, limits, FC_RULES_REQUEST, head))
        return FC_HTTP1_PARTIAL;
    p.rules.flags &= ~FC_HTTP1_LENIENT_SPACE_BEFORE_COLON; /* RFC 9112 5.1: a server MUST refuse it */
    int result = parse_request_line(&p, limits->target_bytes_max);
    if (result > 0)
        result = parse_fields(&p, (size_t)result);
    if (result > 0 && fc_http1_rules_request(&p.rules, head) < 0)
        result = FC_HTTP1_ERROR;
    return parser_result(&p, result, limits);
}

int fc_http1_parse_response(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                            fc_http_method request_method, fc_http1_head *head)
{
    parser p;
    if (!parser_init(&p, buf, len, last_len, limits, FC_RULES_RESPONSE, head))
        return FC_HTTP1_PARTIAL;
    int result = parse_status_line(&p);
    if (result > 0)
        result = parse_fields(&p, (size_t)result);
    if (result > 0 && fc_http1_rules_response(&p.rules, request_method, head) < 0)
        result = FC_HTTP1_ERROR;
    return parser_result(&p, result, limits);
}

int fc_http1_parse_trailers(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits,
                            fc_http1_head *head)
{
    parser p;
    if (!parser_init(&p, buf, len, last_len, limits, 0, head))
        return FC_HTTP1_PARTIAL;
    return parser_result(&p, parse_fields(&p, 0), limits);
}
