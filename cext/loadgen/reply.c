#include "reply.h"

#define FIELDS_MAX 256

enum { HEAD, LENGTH, CHUNKED, TRAILERS, UNTIL_CLOSE };

static const fc_http1_limits limits = {.head_bytes_max = FC_REPLY_HEAD_MAX, .target_bytes_max = FC_REPLY_HEAD_MAX};

void fc_reply_init(fc_reply *r) { *r = (fc_reply){.stage = HEAD}; }

bool fc_reply_ends_by_close(const fc_reply *r) { return r->stage == UNTIL_CLOSE; }

static fc_reply_event bad(fc_reply *r, uint8_t error)
{
    r->error = error;
    return FC_REPLY_BAD;
}

static fc_reply_event done(fc_reply *r)
{
    r->stage = HEAD;
    r->begun = false;
    return FC_REPLY_DONE;
}

/* A head or trailer section: its length, or <= 0 with the event to answer in *event. */
static int parse(fc_reply *r, fc_http_method method, const char *p, size_t n, fc_http1_head *head, fc_reply_event *event)
{
    int len = r->stage == HEAD ? fc_http1_parse_response(p, n, r->seen, &limits, method, head)
                               : fc_http1_parse_trailers(p, n, r->seen, &limits, head);
    r->seen = len == FC_HTTP1_PARTIAL ? (uint32_t)n : 0;
    if (len > 0)
        return len;
    *event = len == FC_HTTP1_PARTIAL ? FC_REPLY_MORE : bad(r, head->error);
    return 0;
}

static void choose_body(fc_reply *r, const fc_http1_head *head)
{
    r->status = head->status;
    /* After 101 the connection speaks something else, which is of no use here. */
    r->keep_alive = head->keep_alive && head->framing != FC_BODY_CLOSE && head->status != 101;
    r->left = head->framing == FC_BODY_LENGTH ? head->content_length : 0;
    r->stage = head->framing == FC_BODY_CHUNKED ? CHUNKED : head->framing == FC_BODY_CLOSE ? UNTIL_CLOSE : LENGTH;
    fc_chunked_init(&r->chunked, FC_CHUNK_EXT_MAX);
}

fc_reply_event fc_reply_next(fc_reply *r, fc_http_method method, const char *p, size_t n, size_t *used)
{
    fc_http1_field fields[FIELDS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = FIELDS_MAX};
    fc_reply_event event;
    size_t at = 0, part;
    fc_slice data;
    r->begun |= n > 0;
    for (;; at += part) {
        *used = at;
        switch (r->stage) {
        case HEAD:
            if (at == n)
                return FC_REPLY_MORE;
            part = (size_t)parse(r, method, p + at, n - at, &head, &event);
            if (!part)
                return event;
            if (head.status >= 200 || head.status == 101)
                choose_body(r, &head);
            break;
        case LENGTH:
            part = r->left < n - at ? (size_t)r->left : n - at;
            r->left -= part;
            *used = at + part;
            return r->left ? FC_REPLY_MORE : done(r);
        case CHUNKED:
            switch (fc_chunked_next(&r->chunked, p + at, n - at, &part, &data)) {
            case FC_CHUNK_ERROR:
                return bad(r, FC_HTTP1_BAD_CHUNK);
            case FC_CHUNK_MORE:
                *used = n;
                return FC_REPLY_MORE;
            case FC_CHUNK_LAST:
                r->stage = TRAILERS;
                break;
            case FC_CHUNK_DATA:
                break;
            }
            break;
        case TRAILERS:
            if (at == n)
                return FC_REPLY_MORE;
            part = (size_t)parse(r, method, p + at, n - at, &head, &event);
            if (!part)
                return event;
            *used = at + part;
            return done(r);
        default: /* until the peer closes */
            *used = n;
            return FC_REPLY_MORE;
        }
    }
}
