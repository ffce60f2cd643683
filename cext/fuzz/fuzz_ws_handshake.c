/* Whatever a client offers, what our server answers is an answer that the same client accepts and understands alike. */
#include <stdlib.h>
#include <string.h>

#include "fc/ws_handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char name[] = "Sec-WebSocket-Extensions";

/* Bytes 0-2: the server's policy; the rest is the offer. When the offer was one of ours, the client must agree. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    fc_deflate_params policy = {data[0] & 1, data[0] >> 1 & 1, (uint8_t)(8 + data[1] % 8), (uint8_t)(8 + data[2] % 8)};
    fc_ws_handshake_options server = {.deflate = &policy};
    fc_ws_handshake h, c;
    char *value = malloc(size - 3), text[FC_WS_DEFLATE_TEXT_MAX];
    memcpy(value, data + 3, size - 3);
    fc_ws_handshake_init(&h, &server);
    fc_ws_handshake_field(&h, name, sizeof name - 1, value, size - 3);
    fc_ws_handshake_field(&h, "Sec-WebSocket-Protocol", 22, value, size - 3);
    free(value);
    const fc_deflate_params *d = &h.deflate;
    if (h.has_deflate && (d->server_max_window_bits < 8 || d->server_max_window_bits > policy.server_max_window_bits ||
                          d->client_max_window_bits < 8 || d->client_max_window_bits > 15))
        abort();

    fc_deflate_params offered = {data[0] >> 2 & 1, data[0] >> 3 & 1, (uint8_t)(8 + data[1] / 8 % 8),
                                 (uint8_t)(8 + data[2] / 8 % 8)};
    fc_ws_handshake_options client = {.deflate = &offered, .any_client_bits = data[0] >> 4 & 1,
                                      .accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="};
    size_t n = fc_ws_deflate_offer(&client, text);
    fc_ws_handshake_init(&h, &server);
    fc_ws_handshake_field(&h, name, sizeof name - 1, text, n);
    if (n > sizeof text || h.refusal != FC_WS_AGREED || !h.has_deflate)
        abort();
    n = fc_ws_deflate_answer(&h, text);
    fc_ws_handshake_init(&c, &client);
    fc_ws_handshake_field(&c, name, sizeof name - 1, text, n);
    /* Without client_max_window_bits in the answer a client keeps to its own bound, a server must expect 15. */
    if (c.refusal != FC_WS_AGREED || !c.has_deflate ||
        c.deflate.server_no_context_takeover != h.deflate.server_no_context_takeover ||
        c.deflate.client_no_context_takeover != h.deflate.client_no_context_takeover ||
        c.deflate.server_max_window_bits != h.deflate.server_max_window_bits ||
        c.deflate.client_max_window_bits > h.deflate.client_max_window_bits)
        abort();
    return 0;
}
