#include <stdlib.h>
#include <string.h>

#include "resp_inline.h"
#include "resp_number.h"

/* FRESH until something of a request is read that need not be read again. */
enum { FRESH = 0, LINE, ARGUMENT, PAYLOAD };

void fc_resp_request_init(fc_resp_request *request, const fc_resp_request_limits *limits)
{
    *request = (fc_resp_request){.limits = *limits, .args = request->few, .room = FC_RESP_ARGS_INLINE, .need = 1};
}

static void give_back(fc_resp_request *request)
{
    if (request->args != request->few)
        free(request->args);
    request->args = request->few;
    request->room = FC_RESP_ARGS_INLINE;
}

void fc_resp_request_free(fc_resp_request *request)
{
    give_back(request);
    free(request->text);
    request->text = NULL;
}

static int64_t fail(fc_resp_request *request, fc_resp_error error, size_t at)
{
    request->error = (uint8_t)error;
    request->error_at = at;
    return -1;
}

static int64_t more(fc_resp_request *request, size_t at, size_t need)
{
    request->at = at;
    request->need = need;
    return 0;
}

static bool grow(fc_resp_request *request)
{
    fc_span *old = request->args == request->few ? NULL : request->args;
    fc_span *args = realloc(old, 2 * (size_t)request->room * sizeof *args);
    if (!args) {
        request->error = FC_RESP_NO_MEMORY;
        return false;
    }
    if (!old)
        memcpy(args, request->few, sizeof request->few);
    request->args = args;
    request->room *= 2;
    return true;
}

static inline bool push(fc_resp_request *request, size_t off, size_t len)
{
    if (FC_UNLIKELY(request->argc == request->room) && !grow(request))
        return false;
    request->args[request->argc++] = (fc_span){(uint32_t)off, (uint32_t)len};
    return true;
}

bool fc_resp_request_push(fc_resp_request *request, size_t off, size_t len)
{
    if (request->argc == request->limits.args_max) {
        request->error = FC_RESP_BAD_ARGUMENT_COUNT;
        return false;
    }
    return push(request, off, len);
}

/* A line up to LF; CR before it is dropped, so that netcat users need not send it. */
static int64_t inline_command(fc_resp_request *request, const char *p, size_t n)
{
    size_t max = request->limits.inline_max;
    if (max == 0)
        return fail(request, FC_RESP_BAD_INLINE, 0);
    size_t stop = n < max ? n : max;
    const char *end = memchr(p + request->at, '\n', stop - request->at);
    if (!end) {
        if (stop == max)
            return fail(request, FC_RESP_INLINE_TOO_LONG, max);
        request->state = LINE;
        return more(request, n, n + 1);
    }
    size_t len = (size_t)(end - p);
    request->state = FRESH;
    request->at = 0;
    if (!fc_resp_split_line(request, p, len - (len > 0 && p[len - 1] == '\r')))
        return fail(request, (fc_resp_error)request->error, 0);
    return (int64_t)len + 1;
}

/* "*<count>\r\n". Redis answers nothing to a count of 0 or -1, so these are requests without arguments. */
static int64_t header(fc_resp_request *request, const char *p, size_t n, size_t *at)
{
    uint64_t count = 0;
    size_t end = 1;
    fc_resp_step found;
    if (FC_UNLIKELY(n > 1 && p[1] == '-')) {
        end = 2;
        if (n > 2 && p[2] != '1')
            return fail(request, FC_RESP_BAD_ARGUMENT_COUNT, 2);
        end += n > 2;
        found = n > 2 ? fc_resp_crlf(p, n, &end) : FC_STEP_MORE;
    } else {
        found = fc_resp_digits(p, n, &end, &count);
    }
    if (found == FC_STEP_MORE)
        return more(request, 0, n + 1);
    if (found == FC_STEP_ERROR || count > request->limits.args_max)
        return fail(request, FC_RESP_BAD_ARGUMENT_COUNT, found == FC_STEP_ERROR ? end : 1);
    request->left = (uint32_t)count;
    *at = end;
    return 1;
}

/* What is left of a previous, complete request. */
static inline void begin(fc_resp_request *request)
{
    request->argc = 0;
    if (FC_UNLIKELY(request->text != NULL)) {
        free(request->text);
        request->text = NULL;
    }
    if (FC_UNLIKELY(request->room > FC_RESP_ARGS_KEPT))
        give_back(request);
}

int64_t fc_resp_request_parse(fc_resp_request *request, const char *p, size_t n)
{
    if (FC_UNLIKELY(request->error != FC_RESP_OK))
        return -1;
    size_t at = request->at, bytes_max = request->limits.bytes_max;
    if (request->state == FRESH) {
        begin(request);
        if (n == 0)
            return more(request, 0, 1);
        if (p[0] == '*') {
            int64_t found = header(request, p, n, &at);
            if (found <= 0)
                return found;
            request->state = ARGUMENT;
        }
    }
    if (FC_UNLIKELY(request->state <= LINE))
        return inline_command(request, p, n);

    uint32_t left = request->left, bulk_max = request->limits.bulk_max;
    uint64_t bulk = request->bulk;
    bool payload = request->state == PAYLOAD;
    for (; left > 0; left--) {
        if (!payload) {
            size_t end = at + 1;
            if (at < n && FC_UNLIKELY(p[at] != '$'))
                return fail(request, FC_RESP_BAD_ARGUMENT, at);
            fc_resp_step found = at < n ? fc_resp_digits(p, n, &end, &bulk) : FC_STEP_MORE;
            if (found == FC_STEP_MORE) {
                request->state = ARGUMENT;
                request->left = left;
                return more(request, at, n + 1 > at + 4 ? n + 1 : at + 4); /* "$0\r\n" at least */
            }
            if (found == FC_STEP_ERROR || bulk > bulk_max)
                return fail(request, FC_RESP_BAD_ARGUMENT_LENGTH, found == FC_STEP_ERROR ? end : at + 1);
            at = end;
            if (FC_UNLIKELY(bulk + 2 > bytes_max || at > bytes_max - bulk - 2))
                return fail(request, FC_RESP_REQUEST_TOO_LONG, at);
        }
        size_t end = at + (size_t)bulk;
        fc_resp_step found = n > end ? fc_resp_crlf(p, n, &end) : FC_STEP_MORE;
        if (FC_UNLIKELY(found != FC_STEP_OK)) {
            if (found == FC_STEP_ERROR)
                return fail(request, FC_RESP_BAD_LINE_END, end);
            request->state = PAYLOAD;
            request->left = left;
            request->bulk = (uint32_t)bulk;
            return more(request, at, at + (size_t)bulk + 2);
        }
        if (!push(request, at, (size_t)bulk))
            return fail(request, FC_RESP_NO_MEMORY, at);
        payload = false;
        at = end;
    }
    request->state = FRESH;
    request->at = 0;
    request->base = p;
    return (int64_t)at;
}
