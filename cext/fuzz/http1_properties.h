/* http1_properties.h - what must hold for any bytes given to a head parser; shared by the two head fuzzers.
 * `parse` is called with the input, a length and the length at the last look. */
#ifndef FC_FUZZ_HTTP1_PROPERTIES_H
#define FC_FUZZ_HTTP1_PROPERTIES_H

#include <stdlib.h>
#include <string.h>

#include "fc/http1.h"

#define FIELDS 20
#define REQUIRE(cond)                                                                                                  \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            abort();                                                                                                   \
    } while (0)

typedef struct parsed {
    int result;
    fc_http1_head head;
    fc_http1_field fields[FIELDS];
} parsed;

typedef int parse_fn(const char *buf, size_t len, size_t last_len, const fc_http1_limits *limits, fc_http1_head *head);

/* The input is copied to a heap block of exactly its length each time, so that ASan sees any byte too far. */
static parsed look(parse_fn *parse, const char *text, size_t len, size_t last, const fc_http1_limits *limits)
{
    parsed out;
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    memset(&out, 0, sizeof out);
    fc_http1_head head = {.fields = out.fields, .fields_max = FIELDS};
    out.result = parse(copy, len, last, limits, &head);
    free(copy);
    memcpy(&out.head, &head, sizeof head);
    out.head.fields = NULL;
    return out;
}

static void require_same(const parsed *a, const parsed *b)
{
    REQUIRE(a->result == b->result && a->head.error == b->head.error && a->head.error_at == b->head.error_at);
    if (a->result > 0) {
        REQUIRE(a->head.fields_len == b->head.fields_len && a->head.framing == b->head.framing);
        REQUIRE(a->head.content_length == b->head.content_length && a->head.keep_alive == b->head.keep_alive);
        REQUIRE(a->head.authority.off == b->head.authority.off && a->head.authority.len == b->head.authority.len);
        REQUIRE(memcmp(a->fields, b->fields, sizeof a->fields[0] * a->head.fields_len) == 0);
    }
}

static void require_span(fc_span span, size_t end)
{
    REQUIRE(span.off <= end && span.len <= end - span.off);
}

static bool has_control(const char *text, fc_span span)
{
    for (uint32_t i = 0; i < span.len; i++) {
        uint8_t c = (uint8_t)text[span.off + i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static void require_sound(const parsed *p, const char *text, bool folds)
{
    size_t end = (size_t)p->result;
    const fc_span spans[] = {p->head.method, p->head.target, p->head.path, p->head.query, p->head.authority,
                             p->head.reason};
    REQUIRE(p->head.error == FC_HTTP1_OK && p->head.fields_len <= FIELDS);
    for (unsigned i = 0; i < FC_ARRAY_LEN(spans); i++) {
        require_span(spans[i], end);
        REQUIRE(folds || !has_control(text, spans[i]));
    }
    for (uint32_t i = 0; i < p->head.fields_len; i++) {
        const fc_http1_field *f = &p->fields[i];
        require_span(f->name, end);
        require_span(f->value, end);
        REQUIRE(f->name.len > 0 && f->id == fc_http_field_id(text + f->name.off, f->name.len));
        REQUIRE(folds || !has_control(text, f->value));
        REQUIRE(f->id != FC_FIELD_TRANSFER_ENCODING || !p->head.has_length);
    }
}

/* Byte 0 chooses leniencies, byte 1 limits, the rest is the message. */
static void check_head(parse_fn *parse, const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096)
        return;
    const char *text = (const char *)data + 2;
    const size_t len = size - 2;
    fc_http1_limits limits = {.flags = data[0] & 0x7f, .head_bytes_max = data[1] < 128 ? 8192 : data[1],
                              .target_bytes_max = data[1] & 1 ? 16 : 1024};
    fc_http1_limits plain = limits;
    plain.flags |= FC_HTTP1_NO_SIMD;

    const parsed whole = look(parse, text, len, 0, &limits);
    const parsed slow = look(parse, text, len, 0, &plain);
    require_same(&whole, &slow);
    if (whole.result > 0) {
        require_sound(&whole, text, limits.flags & FC_HTTP1_LENIENT_OBS_FOLD);
        REQUIRE((size_t)whole.result <= len && (size_t)whole.result <= limits.head_bytes_max);
    }
    if (whole.result == FC_HTTP1_ERROR)
        REQUIRE(whole.head.error != FC_HTTP1_OK && whole.head.error_at <= len);

    /* Prefixes: undecided until decided, then always the same. Steps keep long inputs cheap. */
    const size_t step = 1 + len / 64;
    bool dripped = false;
    for (size_t n = step; n <= len; n += step) {
        const parsed prefix = look(parse, text, n, 0, &limits);
        if (prefix.result != FC_HTTP1_PARTIAL)
            require_same(&prefix, &whole);
        else
            REQUIRE(whole.result <= 0 || n < (size_t)whole.result);
        if (!dripped) {
            const parsed drip = look(parse, text, n, n - step, &limits);
            if (drip.result != FC_HTTP1_PARTIAL) {
                require_same(&drip, &whole);
                dripped = true;
            } else {
                REQUIRE(prefix.result <= 0);
            }
        }
    }
}

#endif
