#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "fc/websocket.h"

size_t fc_ws_head_write(char *out, uint8_t byte0, uint64_t n, const uint32_t *mask)
{
    uint8_t *h = (uint8_t *)out, bit = mask ? 0x80 : 0;
    unsigned bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;
    h[0] = byte0;
    h[1] = bit | (uint8_t)(bytes == 0 ? n : bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < bytes; i++)
        h[2 + i] = (uint8_t)(n >> (8 * (bytes - 1 - i)));
    if (mask)
        memcpy(h + 2 + bytes, mask, 4);
    return 2 + bytes + (mask ? 4 : 0);
}

size_t fc_ws_frame_write(char *out, uint8_t byte0, const char *p, size_t n, const uint32_t *mask, fc_mask_level level)
{
    size_t head = fc_ws_head_write(out, byte0, n, mask);
    if (mask)
        fc_mask(out + head, p, n, *mask, level);
    else if (n)
        memcpy(out + head, p, n);
    return head + n;
}

int fc_ws_key_next(fc_ws_keys *keys, uint32_t *key)
{
    if (keys->left == 0) {
        size_t got = 0;
        while (got < sizeof keys->keys) { /* a signal may cut it short while the pool is not ready */
            ssize_t n = getrandom((char *)keys->keys + got, sizeof keys->keys - got, 0);
            if (n < 0 && errno != EINTR)
                return -errno;
            got += n > 0 ? (size_t)n : 0;
        }
        keys->left = FC_ARRAY_LEN(keys->keys);
    }
    *key = keys->keys[--keys->left];
    keys->keys[keys->left] = 0; /* a key is used once, and not found in memory afterwards */
    return 0;
}

static const struct {
    const char *name, *text;
    uint16_t code;
} errors[] = {
    [FC_WS_OK] = {"ok", "no error", 1000},
    [FC_WS_BAD_RSV] = {"bad_rsv", "a reserved bit is set that no extension uses here", 1002},
    [FC_WS_BAD_OPCODE] = {"bad_opcode", "the opcode is reserved", 1002},
    [FC_WS_CONTROL_FRAGMENTED] = {"control_fragmented", "a control frame is fragmented", 1002},
    [FC_WS_CONTROL_TOO_LONG] = {"control_too_long", "a control frame has more than 125 bytes", 1002},
    [FC_WS_NOT_MASKED] = {"not_masked", "a client's frame is not masked", 1002},
    [FC_WS_MASKED] = {"masked", "a server's frame is masked", 1002},
    [FC_WS_BAD_LENGTH] = {"bad_length", "the length is not in its shortest form, or has its highest bit set", 1002},
    [FC_WS_NO_START] = {"no_start", "a continuation without a message to continue", 1002},
    [FC_WS_NO_END] = {"no_end", "a new message inside a fragmented one", 1002},
    [FC_WS_BAD_CLOSE_LENGTH] = {"bad_close_length", "the payload of a Close frame is one byte", 1002},
    [FC_WS_BAD_CLOSE_CODE] = {"bad_close_code", "the close code may not be sent", 1002},
    [FC_WS_BAD_REASON] = {"bad_reason", "the close reason is not UTF-8", 1007},
    [FC_WS_BAD_TEXT] = {"bad_text", "text is not UTF-8", 1007},
    [FC_WS_BAD_DEFLATE] = {"bad_deflate", "compressed data cannot be expanded", 1007},
    [FC_WS_FRAME_TOO_BIG] = {"frame_too_big", "a frame is over its limit", 1009},
    [FC_WS_MESSAGE_TOO_BIG] = {"message_too_big", "a message is over its limit", 1009},
    [FC_WS_NO_MEMORY] = {"no_memory", "out of memory", 1011},
};
_Static_assert(FC_ARRAY_LEN(errors) == FC_WS_ERROR_COUNT, "each error has its row");

const char *fc_ws_error_name(fc_ws_error error)
{
    return errors[error].name;
}

const char *fc_ws_error_text(fc_ws_error error)
{
    return errors[error].text;
}

uint16_t fc_ws_error_code(fc_ws_error error)
{
    return errors[error].code;
}
