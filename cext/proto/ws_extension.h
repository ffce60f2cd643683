/* ws_extension.h - Sec-WebSocket-Extensions: its grammar (RFC 6455 9.1) and permessage-deflate in it (RFC 7692 7.1).
 * Private to cext/proto. */
#ifndef FC_WS_EXTENSION_H
#define FC_WS_EXTENSION_H

#include "fc/ws_handshake.h"

/* Comma-separated lists (RFC 9110 5.6.1): the next element's first token, or false at the end. Empty elements are
 * passed over. `*bad` is set where there should have been a token. */
bool fc_ws_list_token(const char **p, const char *end, fc_slice *token, bool *bad);

/* Read one field's value into h. FC_WS_AGREED or FC_WS_BAD_EXTENSIONS. */
fc_ws_refusal fc_ws_extensions_read(fc_ws_handshake *h, const char *p, size_t n);

#endif
