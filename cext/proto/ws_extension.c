#include "ws_extension.h"

#include <string.h>

#include "names.h"
#include "scan.h"

#define NAME "permessage-deflate"

enum { SERVER_NO_TAKEOVER = 1, CLIENT_NO_TAKEOVER = 2, SERVER_BITS = 4, CLIENT_BITS = 8 };

static const struct {
    const char *name;
    uint8_t len, bit;
} params[] = {
    {"server_no_context_takeover", 26, SERVER_NO_TAKEOVER},
    {"client_no_context_takeover", 26, CLIENT_NO_TAKEOVER},
    {"server_max_window_bits", 22, SERVER_BITS},
    {"client_max_window_bits", 22, CLIENT_BITS},
};

/* One permessage-deflate as it stands in a field. */
typedef struct mention {
    uint8_t has;
    uint8_t server_bits, client_bits; /* 0: without a value */
    bool acceptable;
} mention;

static void blanks(const char **p, const char *end)
{
    while (*p < end && (**p == ' ' || **p == '\t'))
        ++*p;
}

static bool token(const char **p, const char *end, fc_slice *out)
{
    const char *begin = *p;
    while (*p < end && fc_byte_is(**p, FC_BYTE_TOKEN))
        ++*p;
    *out = (fc_slice){begin, (size_t)(*p - begin)};
    return out->n > 0;
}

bool fc_ws_token(const char *p, size_t n)
{
    fc_slice found;
    const char *end = p + n;
    return token(&p, end, &found) && p == end;
}

bool fc_ws_list_token(const char **p, const char *end, fc_slice *out, bool *bad)
{
    for (blanks(p, end); *p < end && **p == ','; blanks(p, end))
        ++*p;
    if (*p == end)
        return false;
    if (!token(p, end, out)) {
        *bad = true;
        return false;
    }
    blanks(p, end);
    return true;
}

/* A value is a token, or one in quotes (RFC 6455 9.1); unescaped to value[0..*n), cut off at `room`: nothing so long is
 * known. */
static bool value(const char **p, const char *end, char *out, size_t room, size_t *n)
{
    *n = 0;
    if (*p < end && **p != '"') {
        fc_slice plain;
        if (!token(p, end, &plain))
            return false;
        *n = plain.n < room ? plain.n : room;
        memcpy(out, plain.p, *n);
        return true;
    }
    for (++*p; *p < end && **p != '"'; ++*p) {
        if (**p == '\\' && ++*p == end)
            return false;
        if (!fc_byte_is(**p, FC_BYTE_TOKEN))
            return false;
        if (*n < room)
            out[(*n)++] = **p;
    }
    return *n > 0 && *p < end && *(*p)++ == '"';
}

/* 8 to 15 without leading zeros (RFC 7692 7.1.2), or 0. */
static uint8_t window_bits(const char *p, size_t n)
{
    if (n == 1 && (p[0] == '8' || p[0] == '9'))
        return (uint8_t)(p[0] - '0');
    return n == 2 && p[0] == '1' && p[1] >= '0' && p[1] <= '5' ? (uint8_t)(10 + p[1] - '0') : 0;
}

static void add_param(mention *m, fc_slice name, bool has_value, const char *text, size_t n)
{
    uint8_t bit = 0;
    for (size_t i = 0; i < FC_ARRAY_LEN(params); i++)
        if (name.n == params[i].len && memcmp(name.p, params[i].name, name.n) == 0)
            bit = params[i].bit;
    uint8_t bits = has_value ? window_bits(text, n) : 0;
    if (bit == 0 || m->has & bit)
        m->acceptable = false; /* unknown, or twice */
    else if (bit & (SERVER_NO_TAKEOVER | CLIENT_NO_TAKEOVER) ? has_value : has_value && bits == 0)
        m->acceptable = false;
    else if (bit == SERVER_BITS && !has_value)
        m->acceptable = false;
    m->has |= bit;
    if (bit == SERVER_BITS)
        m->server_bits = bits;
    if (bit == CLIENT_BITS)
        m->client_bits = bits;
}

/* The parameters behind a name, up to the ',' or the end. */
static bool read_params(const char **p, const char *end, mention *m)
{
    *m = (mention){.acceptable = true};
    while (*p < end && **p == ';') {
        fc_slice name;
        char text[8];
        size_t n = 0;
        ++*p;
        blanks(p, end);
        if (!token(p, end, &name))
            return false;
        blanks(p, end);
        bool has_value = *p < end && **p == '=';
        if (has_value) {
            ++*p;
            blanks(p, end);
            if (*p == end || !value(p, end, text, sizeof text, &n))
                return false;
            blanks(p, end);
        }
        add_param(m, name, has_value, text, n);
    }
    return *p == end || **p == ',';
}

static uint8_t least(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* What a server makes of an offer. It may ask for less than was offered, except that the client's window can only be
 * bounded when the client said that it can do that (RFC 7692 7.1.2.2). */
static void accept_offer(fc_ws_handshake *h, const mention *m)
{
    const fc_deflate_params *own = h->options->deflate;
    h->has_deflate = true;
    h->deflate.server_no_context_takeover = own->server_no_context_takeover || m->has & SERVER_NO_TAKEOVER;
    h->deflate.client_no_context_takeover = own->client_no_context_takeover || m->has & CLIENT_NO_TAKEOVER;
    h->deflate.server_max_window_bits =
        m->has & SERVER_BITS ? least(m->server_bits, own->server_max_window_bits) : own->server_max_window_bits;
    h->answer_client_bits = (m->has & CLIENT_BITS) != 0;
    h->deflate.client_max_window_bits = FC_DEFLATE_BITS_MAX;
    if (m->has & CLIENT_BITS)
        h->deflate.client_max_window_bits =
            least(m->client_bits ? m->client_bits : FC_DEFLATE_BITS_MAX, own->client_max_window_bits);
}

/* What a client makes of the answer: each thing it asked for must be there, nothing it cannot do may be. */
static bool accept_answer(fc_ws_handshake *h, const mention *m)
{
    const fc_deflate_params *own = h->options->deflate;
    bool offered_bits = own->client_max_window_bits < FC_DEFLATE_BITS_MAX || h->options->any_client_bits;
    if (!m->acceptable || h->has_deflate)
        return false;
    if (own->server_no_context_takeover && !(m->has & SERVER_NO_TAKEOVER))
        return false;
    if (own->server_max_window_bits < FC_DEFLATE_BITS_MAX && !(m->has & SERVER_BITS))
        return false;
    if (m->has & SERVER_BITS && m->server_bits > own->server_max_window_bits)
        return false;
    if (m->has & CLIENT_BITS && (!offered_bits || m->client_bits == 0 || m->client_bits > own->client_max_window_bits))
        return false;
    h->has_deflate = true;
    h->deflate.server_no_context_takeover = (m->has & SERVER_NO_TAKEOVER) != 0;
    h->deflate.client_no_context_takeover = own->client_no_context_takeover || m->has & CLIENT_NO_TAKEOVER;
    h->deflate.server_max_window_bits = m->has & SERVER_BITS ? m->server_bits : FC_DEFLATE_BITS_MAX;
    h->deflate.client_max_window_bits = m->has & CLIENT_BITS ? m->client_bits : own->client_max_window_bits;
    return true;
}

fc_ws_refusal fc_ws_extensions_read(fc_ws_handshake *h, const char *p, size_t n)
{
    const char *end = p + n;
    fc_slice name;
    mention m;
    bool bad = false, any = false;
    while (fc_ws_list_token(&p, end, &name, &bad)) {
        any = true;
        if (!read_params(&p, end, &m))
            return FC_WS_BAD_EXTENSIONS;
        bool deflate = name.n == sizeof NAME - 1 && memcmp(name.p, NAME, name.n) == 0;
        if (h->options->accept) {
            if (!deflate || h->options->deflate == NULL || !accept_answer(h, &m))
                return FC_WS_BAD_EXTENSIONS;
        } else if (deflate && h->options->deflate && m.acceptable && !h->has_deflate) {
            accept_offer(h, &m);
        }
    }
    return bad || !any ? FC_WS_BAD_EXTENSIONS : FC_WS_AGREED;
}

static size_t add(char *out, size_t at, const char *text)
{
    size_t n = strlen(text);
    memcpy(out + at, text, n);
    return at + n;
}

static size_t add_bits(char *out, size_t at, const char *text, unsigned bits)
{
    at = add(out, at, text);
    if (bits >= 10)
        out[at++] = '1';
    out[at++] = (char)('0' + bits % 10);
    return at;
}

static size_t write_params(const fc_deflate_params *d, char *out)
{
    size_t at = add(out, 0, NAME);
    if (d->server_no_context_takeover)
        at = add(out, at, "; server_no_context_takeover");
    if (d->client_no_context_takeover)
        at = add(out, at, "; client_no_context_takeover");
    if (d->server_max_window_bits < FC_DEFLATE_BITS_MAX)
        at = add_bits(out, at, "; server_max_window_bits=", d->server_max_window_bits);
    return at;
}

size_t fc_ws_deflate_answer(const fc_ws_handshake *h, char *out)
{
    size_t at = write_params(&h->deflate, out);
    if (h->answer_client_bits && h->deflate.client_max_window_bits < FC_DEFLATE_BITS_MAX)
        at = add_bits(out, at, "; client_max_window_bits=", h->deflate.client_max_window_bits);
    return at;
}

size_t fc_ws_deflate_offer(const fc_ws_handshake_options *options, char *out)
{
    size_t at = write_params(options->deflate, out);
    if (options->deflate->client_max_window_bits < FC_DEFLATE_BITS_MAX)
        at = add_bits(out, at, "; client_max_window_bits=", options->deflate->client_max_window_bits);
    else if (options->any_client_bits)
        at = add(out, at, "; client_max_window_bits");
    return at;
}
