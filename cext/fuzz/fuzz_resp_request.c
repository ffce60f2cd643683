/* Requests: lengths, arguments, errors and their place do not depend on how the input was cut; and what fc_resp_request
 * reads from an array of blobs is what fc_resp_read reads, where both take it. */
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
    uint8_t error;
    size_t error_at, used, n, requests;
    char text[16384];
} outcome;

static const fc_resp_request_limits LIMITS = {.args_max = 60, .bulk_max = 500, .bytes_max = 2000, .inline_max = 300};

/* An array of blobs is read by the other parser as well. */
static void compare(const fc_resp_request *r, const char *p, size_t n)
{
    fc_resp_limits limits = FC_RESP_LIMITS;
    fc_resp_parser other;
    fc_resp_token tokens[80];
    size_t used, count;
    fc_resp_init(&other, &limits);
    REQUIRE(fc_resp_read(&other, p, n, &used, tokens, 80, &count) == FC_RESP_DONE && used == n);
    REQUIRE(count == 1 + (size_t)r->argc);
    for (uint32_t i = 0; i < r->argc; i++)
        REQUIRE(tokens[i + 1].text.p == r->base + r->args[i].off && tokens[i + 1].text.n == r->args[i].len);
    fc_resp_free(&other);
}

static void read_all(const char *text, size_t n, size_t step, outcome *o)
{
    fc_resp_request r;
    fc_resp_request_init(&r, &LIMITS);
    o->error = FC_RESP_OK;
    o->error_at = o->used = o->n = o->requests = 0;
    for (size_t shown = 0; shown < n && r.error == FC_RESP_OK;) {
        shown = n - shown < step ? n : shown + step;
        size_t have = shown - o->used, at = 0;
        char *p = malloc(have);
        memcpy(p, text + o->used, have);
        int64_t used;
        while ((used = fc_resp_request_parse(&r, p + at, have - at)) > 0) {
            REQUIRE((size_t)used <= have - at && r.argc <= LIMITS.args_max);
            for (uint32_t i = 0; i < r.argc; i++) {
                REQUIRE(o->n + r.args[i].len + 1 <= sizeof o->text);
                if (r.args[i].len)
                    memcpy(o->text + o->n, r.base + r.args[i].off, r.args[i].len);
                o->n += r.args[i].len;
                o->text[o->n++] = '|';
            }
            o->text[o->n++] = ';';
            if (p[at] == '*' && p[at + 1] != '-')
                compare(&r, p + at, (size_t)used);
            at += (size_t)used;
            o->requests++;
        }
        REQUIRE(used < 0 || r.need > have - at);
        o->used += at;
        free(p);
    }
    o->error = r.error;
    o->error_at = o->used + r.error_at;
    fc_resp_request_free(&r);
}

/* Byte 0 chooses the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static outcome whole, pieces;
    if (size < 2 || size > 4096)
        return 0;
    const char *text = (const char *)data + 1;
    read_all(text, size - 1, size, &whole);
    read_all(text, size - 1, 1 + data[0] % 23, &pieces);
    REQUIRE(whole.error == pieces.error && whole.used == pieces.used && whole.requests == pieces.requests);
    REQUIRE(whole.error == FC_RESP_OK || whole.error_at == pieces.error_at);
    REQUIRE(whole.n == pieces.n && memcmp(whole.text, pieces.text, whole.n) == 0);
    return 0;
}
