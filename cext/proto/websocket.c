#include "fc/websocket.h"

#include <string.h>

enum { HEAD, PAYLOAD, CONTROL, CLOSED, FAILED };

#define RSV_MASK 0x70u
#define MASK_BIT 0x80u
#define CONTROL_BIT 0x8u
#define LENGTH_16 126u
#define LENGTH_64 127u

void fc_ws_parser_init(fc_ws_parser *w, const fc_ws_options *options)
{
    *w = (fc_ws_parser){
        .frame_max = options->frame_max,
        .message_max = options->message_max,
        .masking = (uint8_t)options->masking,
        .deflate = options->deflate,
        .level = (uint8_t)fc_mask_best(),
        .state = HEAD,
    };
}

fc_ws_answer fc_ws_fail(fc_ws_parser *w, fc_ws_error error, uint64_t at)
{
    w->state = FAILED;
    w->error = (uint8_t)error;
    w->error_at = at;
    return FC_WS_ERROR;
}

bool fc_ws_closed(const fc_ws_parser *w)
{
    return w->state == CLOSED;
}

bool fc_ws_between(const fc_ws_parser *w)
{
    return w->state == HEAD && w->head_len == 0 && w->message == 0;
}

static fc_ws_error check_byte0(const fc_ws_parser *w, uint8_t byte)
{
    uint8_t opcode = byte & 0xf;
    bool control = opcode & CONTROL_BIT;
    uint8_t allowed = w->deflate && !control && opcode != FC_WS_CONTINUATION ? FC_WS_RSV1 : 0;
    if (byte & RSV_MASK & ~allowed)
        return FC_WS_BAD_RSV;
    if (control ? opcode > FC_WS_PONG : opcode > FC_WS_BINARY)
        return FC_WS_BAD_OPCODE;
    if (control)
        return byte & FC_WS_FIN ? FC_WS_OK : FC_WS_CONTROL_FRAGMENTED;
    if (opcode == FC_WS_CONTINUATION)
        return w->message ? FC_WS_OK : FC_WS_NO_START;
    return w->message ? FC_WS_NO_END : FC_WS_OK;
}

static fc_ws_error check_byte1(const fc_ws_parser *w, uint8_t opcode, uint8_t byte)
{
    if (byte & MASK_BIT ? w->masking == FC_WS_MASK_FORBIDDEN : w->masking == FC_WS_MASK_REQUIRED)
        return byte & MASK_BIT ? FC_WS_MASKED : FC_WS_NOT_MASKED;
    if ((opcode & CONTROL_BIT) && (byte & 0x7f) > FC_WS_CONTROL_MAX)
        return FC_WS_CONTROL_TOO_LONG;
    return opcode == FC_WS_CLOSE && (byte & 0x7f) == 1 ? FC_WS_BAD_CLOSE_LENGTH : FC_WS_OK;
}

static uint64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

static fc_ws_error check_bounds(const fc_ws_parser *w, uint8_t byte0, uint64_t n)
{
    uint8_t opcode = byte0 & 0xf;
    if (opcode & CONTROL_BIT)
        return FC_WS_OK;
    if (n > w->frame_max)
        return FC_WS_FRAME_TOO_BIG;
    if (opcode == FC_WS_CONTINUATION ? w->compressed : (byte0 & FC_WS_RSV1) != 0)
        return FC_WS_OK;
    uint64_t before = opcode == FC_WS_CONTINUATION ? w->message_bytes : 0;
    return n > w->message_max - before ? FC_WS_MESSAGE_TOO_BIG : FC_WS_OK;
}

/* Everything a head says, in w. */
static void begin_frame(fc_ws_parser *w, uint8_t byte0, uint64_t n, uint32_t key)
{
    w->opcode = byte0 & 0xf;
    w->left = n;
    w->key = key;
    w->head_len = 0;
    if (w->opcode & CONTROL_BIT) {
        w->control_len = 0;
        w->state = CONTROL;
        return;
    }
    w->fin = (byte0 & FC_WS_FIN) != 0;
    w->state = PAYLOAD;
    if (w->opcode != FC_WS_CONTINUATION) {
        w->message = w->opcode;
        w->message_bytes = 0;
        w->compressed = (byte0 & FC_WS_RSV1) != 0;
        w->fresh = true;
    }
    w->message_bytes += n;
}

/* The head h[0..n), perhaps not complete: its size once it is, 0 before, -1 when it is wrong as far as it goes. Bytes
 * are judged in their order, so that the verdict is the same however they come. */
static int look(fc_ws_parser *w, const uint8_t *h, size_t n)
{
    fc_ws_error error;
    if (n < 1)
        return 0;
    if ((error = check_byte0(w, h[0])) != FC_WS_OK)
        return fc_ws_fail(w, error, w->frame_at);
    if (n < 2)
        return 0;
    if ((error = check_byte1(w, h[0] & 0xf, h[1])) != FC_WS_OK)
        return fc_ws_fail(w, error, w->frame_at + 1);
    uint64_t length = h[1] & 0x7f;
    unsigned size = 2;
    if (length >= LENGTH_16) {
        unsigned bytes = length == LENGTH_16 ? 2 : 8;
        size += bytes;
        if (n < size)
            return 0;
        length = big_endian(h + 2, bytes);
        if (length < (bytes == 2 ? 126u : 65536u) || length >> 63)
            return fc_ws_fail(w, FC_WS_BAD_LENGTH, w->frame_at + 2);
    }
    if ((error = check_bounds(w, h[0], length)) != FC_WS_OK)
        return fc_ws_fail(w, error, w->frame_at + 1);
    uint32_t key = 0;
    if (h[1] & MASK_BIT) {
        if (n < size + 4)
            return 0;
        memcpy(&key, h + size, 4);
        size += 4;
    }
    begin_frame(w, h[0], length, key);
    return (int)size;
}

/* How many bytes of a head are wanted next, to know more of it. */
static size_t wanted(const fc_ws_parser *w)
{
    if (w->head_len < 2)
        return 2;
    unsigned length = w->head[1] & 0x7f;
    return 2u + (length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0) + (w->head[1] & MASK_BIT ? 4 : 0);
}

/* Bytes of p[0..n) used for a head; it is complete when the state has changed. */
static size_t feed_head(fc_ws_parser *w, const char *p, size_t n)
{
    if (FC_LIKELY(w->head_len == 0)) {
        w->frame_at = w->at;
        int size = look(w, (const uint8_t *)p, n);
        if (FC_LIKELY(size > 0))
            return (size_t)size;
        if (size < 0)
            return 0;
    }
    size_t at = 0;
    while (at < n && w->state == HEAD) {
        size_t take = wanted(w) - w->head_len;
        if (take > n - at)
            take = n - at;
        memcpy(w->head + w->head_len, p + at, take);
        w->head_len = (uint8_t)(w->head_len + take);
        at += take;
        look(w, w->head, w->head_len);
    }
    return at;
}

static fc_ws_answer finish_control(fc_ws_parser *w, fc_ws_event *ev)
{
    *ev = (fc_ws_event){.p = w->control, .n = w->control_len, .at = w->at - w->control_len, .frame_at = w->frame_at,
                        .opcode = w->opcode, .first = true, .last = true, .frame_last = true};
    w->state = HEAD;
    if (w->opcode != FC_WS_CLOSE)
        return FC_WS_CONTROL;
    w->state = CLOSED;
    ev->code = FC_WS_NO_CODE;
    if (ev->n == 0)
        return FC_WS_CONTROL;
    ev->code = (uint16_t)big_endian((const uint8_t *)w->control, 2);
    if (!fc_ws_code_valid(ev->code))
        return fc_ws_fail(w, FC_WS_BAD_CLOSE_CODE, ev->at);
    ev->p += 2;
    ev->n -= 2;
    ev->at += 2;
    fc_utf8 state = 0;
    size_t good = fc_utf8_check(&state, ev->p, ev->n);
    if (good < ev->n || !fc_utf8_complete(state))
        return fc_ws_fail(w, FC_WS_BAD_REASON, ev->at + good);
    return FC_WS_CONTROL;
}

static fc_ws_answer piece(fc_ws_parser *w, const char *p, size_t n, fc_ws_event *ev)
{
    w->left -= n;
    bool ends = w->left == 0;
    *ev = (fc_ws_event){.p = p, .n = n, .at = w->at, .frame_at = w->frame_at, .key = w->key, .opcode = w->message,
                        .first = w->fresh, .last = ends && w->fin, .frame_last = ends, .compressed = w->compressed};
    w->fresh = false;
    w->at += n;
    w->key = fc_mask_turn(w->key, n);
    if (ends) {
        w->state = HEAD;
        if (w->fin)
            w->message = 0;
    }
    return FC_WS_DATA;
}

fc_ws_answer fc_ws_next(fc_ws_parser *w, const char *p, size_t n, size_t *used, fc_ws_event *ev)
{
    size_t at = 0, take;
    *used = 0;
    for (;;) {
        switch (w->state) {
        case HEAD:
            take = feed_head(w, p + at, n - at);
            w->at += take;
            at += take;
            if (w->state != HEAD)
                break;
            *used = at;
            return FC_WS_MORE;
        case PAYLOAD:
            take = n - at < w->left ? n - at : (size_t)w->left;
            *used = at + take;
            return take > 0 || w->left == 0 ? piece(w, p + at, take, ev) : FC_WS_MORE;
        case CONTROL:
            take = n - at < w->left ? n - at : (size_t)w->left;
            fc_mask(w->control + w->control_len, p + at, take, w->key, FC_MASK_PLAIN);
            w->key = fc_mask_turn(w->key, take);
            w->control_len = (uint8_t)(w->control_len + take);
            w->left -= take;
            w->at += take;
            *used = at + take;
            return w->left == 0 ? finish_control(w, ev) : FC_WS_MORE;
        case CLOSED:
            w->at += n - at;
            *used = n;
            return FC_WS_MORE;
        default:
            *used = 0;
            return FC_WS_ERROR;
        }
    }
}

bool fc_ws_take(fc_ws_parser *w, const fc_ws_event *ev, char *dst)
{
    if (ev->n > 0) { /* else dst may be NULL */
        if (ev->key)
            fc_mask(dst, ev->p, ev->n, ev->key, (fc_mask_level)w->level);
        else if (dst != ev->p)
            memcpy(dst, ev->p, ev->n);
    }
    if (ev->opcode != FC_WS_TEXT || ev->compressed)
        return true;
    size_t good = ev->n > 0 ? fc_utf8_check(&w->utf8, dst, ev->n) : 0;
    if (FC_LIKELY(good == ev->n && (!ev->last || fc_utf8_complete(w->utf8))))
        return true;
    fc_ws_fail(w, FC_WS_BAD_TEXT, ev->at + good);
    return false;
}

bool fc_ws_code_valid(unsigned code)
{
    /* 1004 is reserved; 1005, 1006 and 1015 are never sent; 1012-1014 are registered; 3000-4999 are applications'. */
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
