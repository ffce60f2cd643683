/* ws_log.h - what a stream of WebSocket bytes amounts to, as text: shared by the test and the fuzzer, so that two ways
 * of reading the same bytes can be compared. Each piece of the stream lies in memory of its own. */
#ifndef FC_TEST_WS_LOG_H
#define FC_TEST_WS_LOG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc/ws_reader.h"

typedef struct ws_log {
    fc_grow text;
    fc_ws_answer answer;
    uint8_t error;
    uint64_t error_at, used;
    size_t message; /* bytes of the open message that are in text */
} ws_log;

static inline void ws_log_add(ws_log *log, const fc_ws_event *ev, const char *p, size_t n, bool joined)
{
    char head[64];
    if (ev->opcode & 8) {
        int len = snprintf(head, sizeof head, "\n%x %u %zu:", ev->opcode, ev->code, n);
        /* A control frame between pieces is logged before its message, whose pieces may come on either side. */
        fc_grow_room(&log->text, (size_t)len + n);
        char *at = log->text.p + log->text.len - log->message;
        memmove(at + len + n, at, log->message);
        memcpy(at, head, (size_t)len);
        if (n)
            memcpy(at + len, p, n);
        log->text.len += (size_t)len + n;
        return;
    }
    if (ev->first || joined) {
        int len = snprintf(head, sizeof head, "\n%x%s:", ev->opcode, ev->compressed ? "z" : "");
        fc_grow_add(&log->text, head, (size_t)len);
        log->message = (size_t)len;
    }
    fc_grow_add(&log->text, p, n);
    log->message = ev->last ? 0 : log->message + n;
    if (ev->last)
        fc_grow_add(&log->text, "|", 1);
}

/* Read text[0..n) in pieces of `step` bytes, as messages or (`stream`) as they arrive. */
static inline void ws_log_read(ws_log *log, const fc_ws_options *options, const fc_deflate_params *deflate,
                               const char *text, size_t n, size_t step, bool stream)
{
    fc_ws_reader r;
    fc_ws_event ev;
    *log = (ws_log){.answer = FC_WS_MORE};
    fc_grow_init(&log->text, SIZE_MAX / 2);
    fc_ws_reader_init(&r, options, deflate, 64);
    for (size_t begin = 0; begin < n && log->answer != FC_WS_ERROR; begin += step) {
        size_t piece = n - begin < step ? n - begin : step, at = 0, used;
        char *p = malloc(piece);
        memcpy(p, text + begin, piece);
        do {
            if (!stream) {
                log->answer = fc_ws_read(&r, p + at, piece - at, &used, &ev);
            } else {
                log->answer = fc_ws_next(&r.parser, p + at, piece - at, &used, &ev);
                if (log->answer == FC_WS_DATA && !ev.compressed && !fc_ws_take(&r.parser, &ev, (char *)(uintptr_t)ev.p))
                    log->answer = FC_WS_ERROR;
                if (log->answer == FC_WS_DATA && ev.compressed) {
                    if (!fc_ws_gather(&r, &ev))
                        log->answer = FC_WS_ERROR;
                    ev.p = r.text.p;
                    ev.n = r.text.len;
                }
            }
            if (log->answer > 0)
                ws_log_add(log, &ev, ev.p, ev.n, !stream);
            if (stream && log->answer == FC_WS_DATA && ev.compressed)
                fc_ws_reader_clear(&r);
            at += used;
            if (used > piece || at > piece || r.text.cap > options->message_max + 1)
                abort();
        } while (log->answer > 0);
        if (log->answer == FC_WS_MORE && at != piece)
            abort();
        free(p);
    }
    if (log->answer == FC_WS_ERROR) {
        size_t used = 1;
        if (fc_ws_next(&r.parser, text, n, &used, &ev) != FC_WS_ERROR || used != 0)
            abort();
    }
    log->error = r.parser.error;
    log->error_at = r.parser.error_at;
    log->used = r.parser.at;
    if (log->message) /* what an unfinished message has shown so far depends on the way of reading */
        log->text.len -= log->message;
    fc_ws_reader_free(&r);
}

static inline bool ws_log_same(const ws_log *a, const ws_log *b)
{
    return a->answer == b->answer && a->error == b->error && a->error_at == b->error_at && a->text.len == b->text.len &&
           (a->text.len == 0 || memcmp(a->text.p, b->text.p, a->text.len) == 0);
}

#endif
