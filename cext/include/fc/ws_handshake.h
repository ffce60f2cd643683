/* fc/ws_handshake.h - the opening handshake (RFC 6455 section 4, RFC 7692 sections 5 and 7), without sockets.
 *
 * Who has parsed an HTTP head shows its fields one by one and asks for the verdict:
 *
 *     fc_ws_handshake h;
 *     fc_ws_handshake_init(&h, &options);
 *     for each field: fc_ws_handshake_field(&h, name, name_len, value, value_len);
 *     fc_ws_refusal why = fc_ws_server_verdict(&h, is_get, minor_version);   // or fc_ws_client_verdict(&h, status)
 *
 * One object for both sides. At a server `options.protocols` is what it speaks and `options.deflate` how far it goes
 * with permessage-deflate; at a client they are what it offered. Afterwards `h.protocol` and `h.deflate` are what was
 * agreed.
 *
 * Server: the first protocol in the client's order that it speaks; the first acceptable offer of permessage-deflate. An
 * offer with an unknown, repeated or malformed parameter is declined, and the next one looked at (RFC 7692 7.1). Other
 * extensions are declined by silence. A field that is not a list at all is refused with 400.
 * Client: whatever the answer holds that was not offered, or is not what was offered, fails the connection.
 *
 * Not checked: Origin and Host, which are the caller's policy, and that protocols differ from each other.
 *
 * Invariants: slices point into the fields shown, which must stay as long as they are used. Nothing is allocated.
 * Thread safety: one owner.
 */
#ifndef FC_WS_HANDSHAKE_H
#define FC_WS_HANDSHAKE_H

#include "fc/base.h"
#include "fc/deflate.h"

#define FC_WS_KEY_SIZE 24u    /* Sec-WebSocket-Key: 16 bytes in base64 */
#define FC_WS_ACCEPT_SIZE 28u /* Sec-WebSocket-Accept: a SHA-1 in base64 */
#define FC_WS_DEFLATE_TEXT_MAX 160u

typedef enum fc_ws_refusal {
    FC_WS_AGREED = 0,
    FC_WS_NOT_GET,          /* 405 */
    FC_WS_OLD_HTTP,         /* below 1.1: 400 */
    FC_WS_NO_UPGRADE,       /* Upgrade or Connection do not ask for it: 426 */
    FC_WS_BAD_VERSION,      /* not 13: 426, and Sec-WebSocket-Version: 13 */
    FC_WS_BAD_KEY,          /* missing, repeated, not 16 bytes in base64: 400 */
    FC_WS_BAD_PROTOCOLS,    /* not a list of tokens; at a client: not offered, or several */
    FC_WS_BAD_EXTENSIONS,   /* not a list of extensions; at a client: not offered, or not as offered */
    FC_WS_BAD_STATUS,       /* at a client: not 101 */
    FC_WS_BAD_ACCEPT,       /* at a client: missing, repeated, of another key */
    FC_WS_REFUSAL_COUNT
} fc_ws_refusal;

/* A short name, a sentence, and the HTTP status a server answers (502 where only a client can see it). */
const char *fc_ws_refusal_name(fc_ws_refusal why);
const char *fc_ws_refusal_text(fc_ws_refusal why);
uint16_t fc_ws_refusal_status(fc_ws_refusal why);

typedef struct fc_ws_handshake_options {
    const fc_slice *protocols;
    size_t protocols_len;
    const fc_deflate_params *deflate; /* NULL: no compression */
    const char *accept;               /* at a client: FC_WS_ACCEPT_SIZE bytes expected. NULL at a server */
    bool any_client_bits;             /* at a client: client_max_window_bits was offered without a value */
} fc_ws_handshake_options;

typedef struct fc_ws_handshake {
    const fc_ws_handshake_options *options;
    fc_slice key, protocol;    /* protocol.p NULL: none */
    fc_deflate_params deflate; /* if has_deflate */
    bool has_deflate;
    bool answer_client_bits;   /* the offer allows the answer to name client_max_window_bits */
    bool upgrade, connection, version;
    uint8_t keys, accepts, versions, protocols; /* fields of that name, up to 2 */
    uint8_t refusal;
} fc_ws_handshake;

void fc_ws_handshake_init(fc_ws_handshake *h, const fc_ws_handshake_options *options);
void fc_ws_handshake_field(fc_ws_handshake *h, const char *name, size_t name_len, const char *value, size_t len);
fc_ws_refusal fc_ws_server_verdict(const fc_ws_handshake *h, bool is_get, unsigned minor);
fc_ws_refusal fc_ws_client_verdict(const fc_ws_handshake *h, unsigned status);

/* Is this what Sec-WebSocket-Key may be? */
bool fc_ws_key_valid(const char *key, size_t n);
void fc_ws_accept(const char key[FC_WS_KEY_SIZE], char out[FC_WS_ACCEPT_SIZE]);
/* 16 bytes, random, to a key. */
void fc_ws_key_write(const uint8_t nonce[16], char out[FC_WS_KEY_SIZE]);

/* The value of Sec-WebSocket-Extensions, at most FC_WS_DEFLATE_TEXT_MAX bytes; returns its length. A server's answer,
 * from h; a client's offer, from its options. */
size_t fc_ws_deflate_answer(const fc_ws_handshake *h, char *out);
size_t fc_ws_deflate_offer(const fc_ws_handshake_options *options, char *out);

/* Is the n-byte string a token (RFC 9110 5.6.2), as names of protocols are? */
bool fc_ws_token(const char *p, size_t n);

#endif
