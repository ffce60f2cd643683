#include "fc/ws_reader.h"

/* Unmasked at a time on its way into the inflater: stays in the first-level cache. A multiple of four, so that the key
 * need not turn. */
#define CHUNK 4096

void fc_ws_reader_init(fc_ws_reader *r, const fc_ws_options *options, const fc_deflate_params *deflate,
                       uint32_t keep_max)
{
    *r = (fc_ws_reader){.keep_max = keep_max};
    fc_ws_options all = *options;
    all.deflate = deflate != NULL;
    fc_ws_parser_init(&r->parser, &all);
    fc_grow_init(&r->text, all.message_max < SIZE_MAX ? (size_t)all.message_max : SIZE_MAX);
    if (deflate == NULL)
        return;
    bool from_server = options->masking == FC_WS_MASK_FORBIDDEN;
    r->bits = from_server ? deflate->server_max_window_bits : deflate->client_max_window_bits;
    r->takeover = !(from_server ? deflate->server_no_context_takeover : deflate->client_no_context_takeover);
}

void fc_ws_reader_free(fc_ws_reader *r)
{
    fc_inflater_free(r->inflater);
    r->inflater = NULL;
    fc_grow_reset(&r->text, 0);
}

void fc_ws_reader_clear(fc_ws_reader *r)
{
    r->given += r->text.len;
    fc_grow_reset(&r->text, r->keep_max);
}

static fc_deflate_answer inflate_piece(fc_ws_reader *r, const fc_ws_event *ev)
{
    if (r->inflater == NULL && (r->inflater = fc_inflater_new(r->bits, r->takeover)) == NULL)
        return FC_DEFLATE_NOMEM;
    char chunk[CHUNK];
    fc_deflate_answer answer = FC_DEFLATE_OK;
    size_t at = 0;
    do {
        size_t n = ev->n - at < CHUNK ? ev->n - at : CHUNK;
        fc_mask(chunk, ev->p + at, n, ev->key, (fc_mask_level)r->parser.level);
        at += n;
        answer = fc_inflater_run(r->inflater, chunk, n, ev->last && at == ev->n, &r->text);
    } while (at < ev->n && answer == FC_DEFLATE_OK);
    return answer;
}

static bool gather_compressed(fc_ws_reader *r, const fc_ws_event *ev)
{
    fc_ws_parser *w = &r->parser;
    size_t begin = r->text.len;
    fc_deflate_answer answer = inflate_piece(r, ev);
    /* Text first: what came out before the expansion failed is judged as it would have been in smaller pieces. */
    size_t n = r->text.len - begin;
    fc_ws_error error = FC_WS_OK;
    if (ev->opcode == FC_WS_TEXT && n > 0 && fc_utf8_check(&w->utf8, r->text.p + begin, n) < n)
        error = FC_WS_BAD_TEXT;
    else if (answer != FC_DEFLATE_OK)
        error = answer == FC_DEFLATE_BAD ? FC_WS_BAD_DEFLATE
              : answer == FC_DEFLATE_BIG ? FC_WS_MESSAGE_TOO_BIG
                                         : FC_WS_NO_MEMORY;
    else if (ev->opcode == FC_WS_TEXT && ev->last && !fc_utf8_complete(w->utf8))
        error = FC_WS_BAD_TEXT;
    if (error != FC_WS_OK)
        fc_ws_fail(w, error, ev->frame_at);
    return error == FC_WS_OK;
}

bool fc_ws_gather(fc_ws_reader *r, const fc_ws_event *ev)
{
    if (ev->first)
        r->given = 0;
    if (r->text.len == 0) {
        r->text.max = r->parser.message_max < SIZE_MAX ? (size_t)r->parser.message_max - r->given : SIZE_MAX;
        if (r->text.cap > r->text.max)
            fc_grow_reset(&r->text, 0);
    }
    if (ev->compressed)
        return gather_compressed(r, ev);
    if (!fc_grow_room(&r->text, ev->n)) {
        fc_ws_fail(&r->parser, FC_WS_NO_MEMORY, ev->frame_at);
        return false;
    }
    if (!fc_ws_take(&r->parser, ev, r->text.p ? r->text.p + r->text.len : NULL))
        return false;
    r->text.len += ev->n;
    return true;
}

fc_ws_answer fc_ws_read(fc_ws_reader *r, char *p, size_t n, size_t *used, fc_ws_event *ev)
{
    size_t at = 0, step;
    if (r->done) {
        r->done = false;
        fc_ws_reader_clear(r);
    }
    for (;;) {
        fc_ws_answer answer = fc_ws_next(&r->parser, p + at, n - at, &step, ev);
        at += step;
        *used = at;
        if (answer != FC_WS_DATA)
            return answer;
        if (ev->first && ev->last && !ev->compressed)
            return fc_ws_take(&r->parser, ev, (char *)(uintptr_t)ev->p) ? FC_WS_DATA : FC_WS_ERROR;
        if (!fc_ws_gather(r, ev))
            return FC_WS_ERROR;
        if (ev->last) {
            ev->p = r->text.p;
            ev->n = r->text.len;
            r->done = true;
            return FC_WS_DATA;
        }
    }
}
