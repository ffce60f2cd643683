/* Replies. (1) Cut independence: status, error and its place, and what was read are the same however the input is cut,
 * with strings whole or in parts and any number of tokens at a time. (2) Round trip: values written again by
 * fc_resp_out in protocol 3 and read again are the same. */
#include <stdlib.h>
#include <string.h>

#include "fc/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond) \
    do {              \
        if (!(cond))  \
            abort();  \
    } while (0)

typedef struct outcome {
    fc_resp_status status;
    uint8_t error;
    uint64_t error_at;
    size_t used;      /* behind the last complete value */
    fc_resp_out kept; /* the complete values, written again */
} outcome;

static const fc_resp_limits LIMITS = {
    .blob_max = 300, .elements_max = 40, .line_max = 60, .depth_max = 12, .parts_min = UINT64_MAX};

/* The stack a reader of tokens needs: what kind of end a streamed aggregate has, and the type of a streamed string. */
typedef struct writer {
    fc_resp_out out;
    bool streamed[32];
    size_t depth;
    char text[1024]; /* of a string in parts */
    size_t text_n;
    uint8_t text_type;
} writer;

static void write_string(writer *w, uint8_t type, const char *p, size_t n)
{
    switch (type) {
    case FC_RESP_SIMPLE: fc_resp_put_simple(&w->out, p, n); break;
    case FC_RESP_ERROR: fc_resp_put_error(&w->out, p, n); break;
    case FC_RESP_BIG_NUMBER: fc_resp_put_big_number(&w->out, p, n); break;
    case FC_RESP_BLOB: fc_resp_put_blob(&w->out, p, n); break;
    case FC_RESP_BLOB_ERROR: fc_resp_put_blob_error(&w->out, p, n); break;
    case FC_RESP_VERBATIM: REQUIRE(n >= 4 && p[3] == ':'); fc_resp_put_verbatim(&w->out, p, p + 4, n - 4); break;
    default: abort();
    }
}

static void write_token(writer *w, const fc_resp_token *t)
{
    switch (t->type) {
    case FC_RESP_INTEGER: fc_resp_put_integer(&w->out, t->integer); break;
    case FC_RESP_BOOLEAN: fc_resp_put_boolean(&w->out, t->integer); break;
    case FC_RESP_DOUBLE: fc_resp_put_double(&w->out, t->real); break;
    case FC_RESP_NULL: fc_resp_put_null(&w->out); break;
    case FC_RESP_ARRAY: case FC_RESP_MAP: case FC_RESP_SET: case FC_RESP_PUSH: case FC_RESP_ATTRIBUTE:
        REQUIRE(w->depth < sizeof w->streamed);
        w->streamed[w->depth++] = t->streamed;
        if (t->streamed)
            fc_resp_put_stream(&w->out, (char)t->type);
        else
            fc_resp_put_aggregate(&w->out, (char)t->type, t->count);
        break;
    case FC_RESP_END: fc_resp_put_end(&w->out, FC_RESP_ARRAY); break;
    case FC_RESP_PART:
        if (t->text.n == 0) {
            write_string(w, w->text_type, w->text, w->text_n);
        } else {
            REQUIRE(w->text_n + t->text.n <= sizeof w->text);
            memcpy(w->text + w->text_n, t->text.p, t->text.n);
            w->text_n += t->text.n;
        }
        break;
    default:
        if (t->streamed) {
            w->text_type = t->type;
            w->text_n = t->text.n;
            if (t->text.n)
                memcpy(w->text, t->text.p, t->text.n);
        } else {
            write_string(w, t->type, t->text.p, t->text.n);
        }
    }
    REQUIRE(t->closes <= w->depth);
    w->depth -= t->closes;
}

static void read_all(const char *text, size_t n, size_t step, size_t room, uint64_t parts_min, outcome *o)
{
    fc_resp_limits limits = LIMITS;
    fc_resp_parser r;
    fc_resp_token tokens[8];
    writer w = {.out = fc_resp_out_growing(1 << 20, 3)};
    size_t consumed = 0, kept_n = 0;
    limits.parts_min = parts_min;
    fc_resp_init(&r, &limits);
    *o = (outcome){.status = FC_RESP_MORE};
    for (size_t shown = 0; shown < n && o->status >= FC_RESP_MORE;) {
        shown = n - shown < step ? n : shown + step;
        char *p = malloc(shown - consumed); /* its own block, so that a byte too far is seen */
        memcpy(p, text + consumed, shown - consumed);
        size_t at = 0, have = shown - consumed;
        do {
            size_t used, count;
            o->status = fc_resp_read(&r, p + at, have - at, &used, tokens, room, &count);
            REQUIRE(used <= have - at && count <= room && (o->status != FC_RESP_FULL || count == room));
            for (size_t i = 0; i < count; i++)
                write_token(&w, &tokens[i]);
            at += used;
            if (o->status == FC_RESP_DONE) {
                REQUIRE(w.depth == 0 && !fc_resp_inside(&r) && !w.out.failed);
                o->used = consumed + at;
                kept_n = w.out.n;
            }
        } while (o->status > FC_RESP_MORE);
        REQUIRE(o->status != FC_RESP_MORE || at == have || r.need > have - at);
        consumed += at;
        free(p);
    }
    o->error = r.error;
    o->error_at = r.error_at;
    w.out.n = kept_n;
    o->kept = w.out;
    fc_resp_free(&r);
}

static void same(const outcome *a, const outcome *b)
{
    REQUIRE(a->status == b->status && a->error == b->error && a->error_at == b->error_at && a->used == b->used);
    REQUIRE(a->kept.n == b->kept.n && (a->kept.n == 0 || memcmp(a->kept.p, b->kept.p, a->kept.n) == 0));
}

/* Byte 0 chooses the size of the pieces, byte 1 the number of tokens and what strings come in parts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 4096)
        return 0;
    outcome whole, pieces, again;
    const char *text = (const char *)data + 2;
    size_t n = size - 2;
    read_all(text, n, n, 8, UINT64_MAX, &whole);
    read_all(text, n, 1 + data[0] % 23, 1 + data[1] % 8, data[1] & 64 ? UINT64_MAX : data[1] >> 4, &pieces);
    same(&whole, &pieces);
    if (whole.kept.n) {
        read_all(whole.kept.p, whole.kept.n, 1 + data[0] % 23, 8, 3, &again);
        REQUIRE(again.status == FC_RESP_MORE && again.used == whole.kept.n && again.kept.n == whole.kept.n);
        REQUIRE(memcmp(again.kept.p, whole.kept.p, whole.kept.n) == 0);
        fc_resp_out_free(&again.kept);
    }
    fc_resp_out_free(&whole.kept);
    fc_resp_out_free(&pieces.kept);
    return 0;
}
