/* Messages, control frames, the error and its place do not depend on how a stream is cut, nor on whether it is read as
 * messages or as pieces, with and without permessage-deflate. */
#include "../test/ws_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Byte 0: options; byte 1: the size of the pieces; byte 2: bounds. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 4096)
        return 0;
    fc_ws_options options = {
        .masking = (fc_ws_masking)((data[0] & 3) % 3),
        .frame_max = data[2] & 1 ? 40 : 1 << 20,
        .message_max = data[2] & 2 ? 100 : 1 << 16,
    };
    fc_deflate_params params = FC_DEFLATE_PARAMS;
    params.client_no_context_takeover = params.server_no_context_takeover = data[0] >> 3 & 1;
    const fc_deflate_params *deflate = data[0] & 4 ? &params : NULL;
    const char *text = (const char *)data + 3;
    ws_log logs[3];
    ws_log_read(&logs[0], &options, deflate, text, size - 3, size, false);
    ws_log_read(&logs[1], &options, deflate, text, size - 3, 1 + data[1] % 19, false);
    ws_log_read(&logs[2], &options, deflate, text, size - 3, 1 + data[1] / 19, true);
    if (!ws_log_same(&logs[0], &logs[1]) || !ws_log_same(&logs[0], &logs[2]))
        abort();
    for (int i = 0; i < 3; i++)
        fc_grow_reset(&logs[i].text, 0);
    return 0;
}
