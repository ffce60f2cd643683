/* Framing, connection and Host: RFC 9112 3.2, 6 and 9; RFC 9110 7.2, 7.6.1, 7.8, 8.6, 10.1.1, 10.1.4. */
#include "http1_rules.h"

#include <string.h>

#include "names.h"
#include "scan.h"

/* 18 digits cannot overflow 63 bits; a longer body than 888 petabytes is a mistake or an attack. */
#define LENGTH_DIGITS_MAX 18

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

#define SAME_TOKEN(member, literal)                                                                                    \
    ((member).n == sizeof(literal) - 1 && fc_name_same((member).p, literal, sizeof(literal) - 1))

/* The next member of a comma-separated list, without blanks around it; possibly empty. *at is 0 before the first and
 * stands after the comma, or at n + 1 when the list is done. */
static bool list_next(const char *p, size_t n, size_t *at, fc_slice *member)
{
    if (*at > n)
        return false;
    size_t first = *at;
    const char *comma = memchr(p + first, ',', n - first);
    size_t end = comma ? (size_t)(comma - p) : n;
    *at = end + 1;
    while (first < end && is_blank(p[first]))
        first++;
    while (end > first && is_blank(p[end - 1]))
        end--;
    *member = (fc_slice){p + first, end - first};
    return true;
}

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_token(fc_slice member, const char *token, size_t len)
{
    if (member.n != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (fold(member.p[i]) != fold(token[i]))
            return false;
    return true;
}

bool fc_http_list_has(const char *value, size_t len, const char *token, size_t token_len)
{
    size_t at = 0;
    fc_slice member;
    while (list_next(value, len, &at, &member))
        if (same_token(member, token, token_len))
            return true;
    return false;
}

static int apply_length(fc_http1_rules *rules, fc_slice value, size_t off, fc_http1_head *head)
{
    bool repeated = rules->flags & FC_HTTP1_LENIENT_REPEATED_LENGTH;
    if (head->has_length && !repeated)
        return fc_http1_fail(head, FC_HTTP1_BAD_LENGTH, off);
    size_t at = 0;
    fc_slice member = value;
    while (repeated ? list_next(value.p, value.n, &at, &member) : at++ == 0) {
        size_t member_off = off + (size_t)(member.p - value.p);
        uint64_t length = 0;
        for (size_t i = 0; i < member.n; i++) {
            unsigned digit = (unsigned)(uint8_t)member.p[i] - '0';
            if (digit > 9 || i == LENGTH_DIGITS_MAX)
                return fc_http1_fail(head, FC_HTTP1_BAD_LENGTH, member_off + i);
            length = length * 10 + digit;
        }
        if (member.n == 0 || (head->has_length && length != head->content_length))
            return fc_http1_fail(head, FC_HTTP1_BAD_LENGTH, member_off);
        head->has_length = true;
        head->content_length = length;
    }
    return 0;
}

/* Exactly one "chunked" passes (RFC 9112 6.1, 6.3). What is left is sorted into requests that frame wrongly (400) and
 * well-formed lists of codings we do not have (501). */
static int apply_coding(fc_slice value, size_t off, fc_http1_head *head)
{
    if (SAME_TOKEN(value, "chunked"))
        return 0;
    size_t at = 0;
    fc_slice member;
    bool chunked = false;
    while (list_next(value.p, value.n, &at, &member)) {
        size_t len = 0;
        while (len < member.n && fc_byte_is(member.p[len], FC_BYTE_TOKEN))
            len++;
        size_t end = len;
        while (end < member.n && is_blank(member.p[end]))
            end++;
        bool parameters = end < member.n && member.p[end] == ';';
        bool malformed = len == 0 || (end < member.n && !parameters);
        bool is_chunked = SAME_TOKEN(((fc_slice){member.p, len}), "chunked");
        if (malformed || chunked || (is_chunked && parameters))
            return fc_http1_fail(head, FC_HTTP1_BAD_CODING, off + (size_t)(member.p - value.p));
        chunked = is_chunked;
    }
    return fc_http1_fail(head, FC_HTTP1_UNSUPPORTED_CODING, off);
}

static void apply_connection(fc_http1_rules *rules, fc_slice value, fc_http1_head *head)
{
    size_t at = 0;
    fc_slice member;
    while (list_next(value.p, value.n, &at, &member)) {
        if (SAME_TOKEN(member, "keep-alive"))
            rules->persist = true;
        else if (SAME_TOKEN(member, "close"))
            rules->close = true;
        else if (SAME_TOKEN(member, "upgrade"))
            rules->upgrade = true;
        else if (member.n > 0 && !SAME_TOKEN(member, "te"))
            head->connection_names = true;
    }
}

static int apply_expect(fc_slice value, size_t off, fc_http1_head *head)
{
    size_t at = 0;
    fc_slice member;
    while (list_next(value.p, value.n, &at, &member)) {
        if (SAME_TOKEN(member, "100-continue"))
            head->expect_continue = true;
        else if (member.n > 0)
            return fc_http1_fail(head, FC_HTTP1_BAD_EXPECT, off + (size_t)(member.p - value.p));
    }
    return 0;
}

static int apply_host(fc_http1_rules *rules, fc_slice value, const fc_http1_field *field, fc_http1_head *head)
{
    if (rules->seen & FC_FIELD_BIT(FC_FIELD_HOST))
        return fc_http1_fail(head, FC_HTTP1_BAD_HOST, field->name.off);
    rules->host = field->value;
    size_t bad = value.n ? fc_http1_authority_check(value.p, value.n, false) : FC_AUTHORITY_OK;
    return bad == FC_AUTHORITY_OK ? 0 : fc_http1_fail(head, FC_HTTP1_BAD_HOST, field->value.off + bad);
}

int fc_http1_rules_apply(fc_http1_rules *rules, const char *buf, const fc_http1_field *field, fc_http1_head *head)
{
    const fc_slice value = {buf + field->value.off, field->value.len};
    const size_t off = field->value.off;
    int result = 0;
    switch (field->id) {
    case FC_FIELD_HOST:
        result = apply_host(rules, value, field, head);
        break;
    case FC_FIELD_CONTENT_LENGTH:
        result = apply_length(rules, value, off, head);
        break;
    case FC_FIELD_TRANSFER_ENCODING:
        if (head->minor == 0 || (rules->seen & FC_FIELD_BIT(FC_FIELD_TRANSFER_ENCODING)))
            result = fc_http1_fail(head, FC_HTTP1_BAD_CODING, field->name.off);
        else
            result = apply_coding(value, off, head);
        break;
    case FC_FIELD_CONNECTION:
        apply_connection(rules, value, head);
        break;
    case FC_FIELD_TE:
        head->te_trailers |= fc_http_list_has(value.p, value.n, "trailers", 8);
        break;
    case FC_FIELD_EXPECT: /* RFC 9110 10.1.1: the expectation is ignored in a 1.0 request */
        if (head->minor >= 1)
            result = apply_expect(value, off, head);
        break;
    default: /* Upgrade: that it is there is all that counts here */
        break;
    }
    rules->seen |= FC_FIELD_BIT(field->id);
    const uint32_t both = FC_FIELD_BIT(FC_FIELD_CONTENT_LENGTH) | FC_FIELD_BIT(FC_FIELD_TRANSFER_ENCODING);
    if (result == 0 && FC_UNLIKELY((rules->seen & both) == both))
        result = fc_http1_fail(head, FC_HTTP1_LENGTH_AND_CODING, field->name.off);
    return result;
}

static void judge_connection(const fc_http1_rules *rules, fc_http1_head *head)
{
    head->keep_alive = !rules->close && (head->minor >= 1 || rules->persist);
    /* RFC 9110 7.8: Upgrade in a 1.0 message is ignored, and counts only if Connection names it. */
    head->has_upgrade = head->minor >= 1 && rules->upgrade && (rules->seen & FC_FIELD_BIT(FC_FIELD_UPGRADE));
}

int fc_http1_rules_request(const fc_http1_rules *rules, fc_http1_head *head)
{
    judge_connection(rules, head);
    if (head->target_form == FC_TARGET_ORIGIN || head->target_form == FC_TARGET_ASTERISK)
        head->authority = rules->host;
    if (head->minor >= 1 && !(rules->flags & FC_HTTP1_LENIENT_MISSING_HOST)) {
        /* RFC 9112 3.2 demands a Host field, which may be empty where the target URI has no authority. An http URI with an
         * empty host is invalid (RFC 9110 4.2.1), so empty passes only beside a target that brings its own. */
        if (!(rules->seen & FC_FIELD_BIT(FC_FIELD_HOST)))
            return fc_http1_fail(head, FC_HTTP1_BAD_HOST, 0);
        if (head->authority.len == 0)
            return fc_http1_fail(head, FC_HTTP1_BAD_HOST, rules->host.off);
    }
    bool chunked = rules->seen & FC_FIELD_BIT(FC_FIELD_TRANSFER_ENCODING);
    if (head->method_id == FC_METHOD_CONNECT) {
        /* RFC 9110 9.3.6: it has no content, so what follows is either a body (h11) or the tunnel (llhttp). */
        if (chunked)
            return fc_http1_fail(head, FC_HTTP1_BAD_CODING, 0);
        if (head->content_length > 0)
            return fc_http1_fail(head, FC_HTTP1_BAD_LENGTH, 0);
    }
    if (chunked)
        head->framing = FC_BODY_CHUNKED;
    else if (head->content_length > 0)
        head->framing = FC_BODY_LENGTH;
    return 0;
}

int fc_http1_rules_response(const fc_http1_rules *rules, fc_http_method request_method, fc_http1_head *head)
{
    bool chunked = rules->seen & FC_FIELD_BIT(FC_FIELD_TRANSFER_ENCODING);
    judge_connection(rules, head);
    if (head->status == 101 && !head->has_upgrade) /* RFC 9110 7.8: to what? */
        return fc_http1_fail(head, FC_HTTP1_BAD_STATUS, 0);
    if (head->status < 200 || head->status == 204) {
        /* RFC 9112 6.3 rule 1 ends these at the empty line, RFC 9110 8.6 and RFC 9112 6.1 forbid the fields: a peer that
         * believes the field and one that believes the status would disagree. A length of 0 says the same as the status. */
        if (chunked)
            return fc_http1_fail(head, FC_HTTP1_BAD_CODING, 0);
        if (head->content_length > 0)
            return fc_http1_fail(head, FC_HTTP1_BAD_LENGTH, 0);
        return 0;
    }
    if (head->status == 304 || request_method == FC_METHOD_HEAD)
        return 0;
    if (head->status < 300 && request_method == FC_METHOD_CONNECT)
        return 0;
    if (chunked) {
        head->framing = FC_BODY_CHUNKED;
    } else if (!head->has_length) {
        head->framing = FC_BODY_CLOSE;
        head->keep_alive = false;
    } else if (head->content_length > 0) {
        head->framing = FC_BODY_LENGTH;
    }
    return 0;
}
