#include "fc/ws_handshake.h"

#include <string.h>

#include "fc/http1.h"
#include "names.h"
#include "sha1.h"
#include "ws_extension.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */

static void base64(const uint8_t *p, size_t n, char *out)
{
    for (; n >= 3; p += 3, n -= 3, out += 4) {
        uint32_t word = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        for (unsigned i = 0; i < 4; i++)
            out[i] = alphabet[word >> (18 - 6 * i) & 63];
    }
    if (n == 0)
        return;
    uint32_t word = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);
    out[0] = alphabet[word >> 18];
    out[1] = alphabet[word >> 12 & 63];
    out[2] = n == 2 ? alphabet[word >> 6 & 63] : '=';
    out[3] = '=';
}

bool fc_ws_key_valid(const char *key, size_t n)
{
    if (n != FC_WS_KEY_SIZE || key[22] != '=' || key[23] != '=')
        return false;
    for (unsigned i = 0; i < 22; i++)
        if (key[i] == 0 || strchr(alphabet, key[i]) == NULL)
            return false;
    return true;
}

void fc_ws_accept(const char key[FC_WS_KEY_SIZE], char out[FC_WS_ACCEPT_SIZE])
{
    char text[FC_WS_KEY_SIZE + sizeof guid - 1];
    uint8_t digest[FC_SHA1_SIZE];
    memcpy(text, key, FC_WS_KEY_SIZE);
    memcpy(text + FC_WS_KEY_SIZE, guid, sizeof guid - 1);
    fc_sha1(text, sizeof text, digest);
    base64(digest, sizeof digest, out);
}

void fc_ws_key_write(const uint8_t nonce[16], char out[FC_WS_KEY_SIZE])
{
    base64(nonce, 16, out);
}

void fc_ws_handshake_init(fc_ws_handshake *h, const fc_ws_handshake_options *options)
{
    *h = (fc_ws_handshake){.options = options, .deflate = FC_DEFLATE_PARAMS};
}

static void count(uint8_t *n)
{
    *n = *n ? 2 : 1;
}

static bool equal(fc_slice a, fc_slice b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Names of protocols are compared letter for letter (RFC 6455 11.3.4). */
static fc_ws_refusal read_protocols(fc_ws_handshake *h, const char *p, size_t n)
{
    const char *end = p + n;
    fc_slice name;
    bool bad = false, any = false, known = false;
    while (fc_ws_list_token(&p, end, &name, &bad)) {
        if (p < end && *p != ',')
            return FC_WS_BAD_PROTOCOLS;
        if (any && h->options->accept)
            return FC_WS_BAD_PROTOCOLS; /* a server answers one */
        any = true;
        for (size_t i = 0; i < h->options->protocols_len && h->protocol.p == NULL; i++)
            if (equal(name, h->options->protocols[i])) {
                h->protocol = name;
                known = true;
            }
    }
    if (bad || !any || (h->options->accept && !known))
        return FC_WS_BAD_PROTOCOLS;
    return FC_WS_AGREED;
}

static bool named(const char *name, size_t n, const char *lower)
{
    return n == strlen(lower) && fc_name_same(name, lower, n);
}

void fc_ws_handshake_field(fc_ws_handshake *h, const char *name, size_t name_len, const char *p, size_t n)
{
    fc_ws_refusal why = FC_WS_AGREED;
    if (named(name, name_len, "upgrade")) {
        h->upgrade |= fc_http_list_has(p, n, "websocket", 9);
    } else if (named(name, name_len, "connection")) {
        h->connection |= fc_http_list_has(p, n, "upgrade", 7);
    } else if (named(name, name_len, "sec-websocket-key")) {
        count(&h->keys);
        h->key = (fc_slice){p, n};
    } else if (named(name, name_len, "sec-websocket-version")) {
        count(&h->versions);
        h->version = n == 2 && memcmp(p, "13", 2) == 0;
    } else if (named(name, name_len, "sec-websocket-accept")) {
        count(&h->accepts);
        h->key = (fc_slice){p, n};
    } else if (named(name, name_len, "sec-websocket-protocol")) {
        count(&h->protocols);
        why = h->options->accept && h->protocols > 1 ? FC_WS_BAD_PROTOCOLS : read_protocols(h, p, n);
    } else if (named(name, name_len, "sec-websocket-extensions")) {
        why = fc_ws_extensions_read(h, p, n);
    }
    if (why != FC_WS_AGREED && h->refusal == FC_WS_AGREED)
        h->refusal = (uint8_t)why;
}

fc_ws_refusal fc_ws_server_verdict(const fc_ws_handshake *h, bool is_get, unsigned minor)
{
    if (!is_get)
        return FC_WS_NOT_GET;
    if (minor < 1)
        return FC_WS_OLD_HTTP;
    if (!h->upgrade || !h->connection)
        return FC_WS_NO_UPGRADE;
    if (h->versions != 1 || !h->version)
        return FC_WS_BAD_VERSION;
    if (h->keys != 1 || !fc_ws_key_valid(h->key.p, h->key.n))
        return FC_WS_BAD_KEY;
    return (fc_ws_refusal)h->refusal;
}

fc_ws_refusal fc_ws_client_verdict(const fc_ws_handshake *h, unsigned status)
{
    if (status != 101)
        return FC_WS_BAD_STATUS;
    if (!h->upgrade || !h->connection)
        return FC_WS_NO_UPGRADE;
    if (h->accepts != 1 || !equal(h->key, (fc_slice){h->options->accept, FC_WS_ACCEPT_SIZE}))
        return FC_WS_BAD_ACCEPT;
    return (fc_ws_refusal)h->refusal;
}

static const struct {
    const char *name, *text;
    uint16_t status;
} refusals[] = {
    [FC_WS_AGREED] = {"ok", "agreed", 101},
    [FC_WS_NOT_GET] = {"not_get", "the method is not GET", 405},
    [FC_WS_OLD_HTTP] = {"old_http", "the version is below HTTP/1.1", 400},
    [FC_WS_NO_UPGRADE] = {"no_upgrade", "Upgrade and Connection do not ask for websocket", 426},
    [FC_WS_BAD_VERSION] = {"bad_version", "Sec-WebSocket-Version is not 13", 426},
    [FC_WS_BAD_KEY] = {"bad_key", "Sec-WebSocket-Key is not 16 bytes in base64, once", 400},
    [FC_WS_BAD_PROTOCOLS] = {"bad_protocols", "Sec-WebSocket-Protocol is malformed or names what was not offered", 400},
    [FC_WS_BAD_EXTENSIONS] = {"bad_extensions", "Sec-WebSocket-Extensions is malformed or not what was offered", 400},
    [FC_WS_BAD_STATUS] = {"bad_status", "the status is not 101", 502},
    [FC_WS_BAD_ACCEPT] = {"bad_accept", "Sec-WebSocket-Accept does not belong to the key", 502},
};
_Static_assert(FC_ARRAY_LEN(refusals) == FC_WS_REFUSAL_COUNT, "each refusal has its row");

const char *fc_ws_refusal_name(fc_ws_refusal why)
{
    return refusals[why].name;
}

const char *fc_ws_refusal_text(fc_ws_refusal why)
{
    return refusals[why].text;
}

uint16_t fc_ws_refusal_status(fc_ws_refusal why)
{
    return refusals[why].status;
}
