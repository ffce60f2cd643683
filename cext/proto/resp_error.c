#include "fc/resp.h"

static const char *const TEXTS[FC_RESP_ERROR_COUNT] = {
    [FC_RESP_OK] = "no error",
    [FC_RESP_BAD_TYPE] = "no type begins with this byte here",
    [FC_RESP_BAD_LINE_END] = "CR LF expected",
    [FC_RESP_LINE_TOO_LONG] = "line too long",
    [FC_RESP_BAD_INTEGER] = "bad integer",
    [FC_RESP_BAD_LENGTH] = "bad length",
    [FC_RESP_BLOB_TOO_LONG] = "string too long",
    [FC_RESP_TOO_MANY] = "too many elements",
    [FC_RESP_TOO_DEEP] = "nested too deep",
    [FC_RESP_BAD_DOUBLE] = "bad double",
    [FC_RESP_BAD_BOOLEAN] = "bad boolean",
    [FC_RESP_BAD_NULL] = "bad null",
    [FC_RESP_BAD_BIG_NUMBER] = "bad big number",
    [FC_RESP_BAD_VERBATIM] = "bad verbatim string",
    [FC_RESP_BAD_STREAM] = "bad streamed value",
    [FC_RESP_BAD_ARGUMENT] = "expected '$'",
    [FC_RESP_BAD_ARGUMENT_COUNT] = "invalid multibulk length",
    [FC_RESP_BAD_ARGUMENT_LENGTH] = "invalid bulk length",
    [FC_RESP_REQUEST_TOO_LONG] = "request too long",
    [FC_RESP_INLINE_TOO_LONG] = "too big inline request",
    [FC_RESP_BAD_INLINE] = "unbalanced quotes in request",
    [FC_RESP_NO_MEMORY] = "out of memory",
};

const char *fc_resp_error_text(fc_resp_error error)
{
    return (unsigned)error < FC_RESP_ERROR_COUNT ? TEXTS[error] : "unknown error";
}
