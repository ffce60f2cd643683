/* What each refusal is called and how a server answers it. */
#include "fc/http1.h"

static const struct {
    const char *text;
    int status;
} errors[] = {
    [FC_HTTP1_OK] = {"no error", 400},
    [FC_HTTP1_BAD_METHOD] = {"the method is not a token followed by one space", 400},
    [FC_HTTP1_BAD_TARGET] = {"the request target is not valid for this method", 400},
    [FC_HTTP1_BAD_VERSION] = {"the HTTP version is missing or malformed", 400},
    [FC_HTTP1_UNSUPPORTED_VERSION] = {"only HTTP/1.0 and HTTP/1.1 are spoken here", 505},
    [FC_HTTP1_BAD_STATUS] = {"the status code is not three digits from 100 to 599", 400},
    [FC_HTTP1_BAD_REASON] = {"the reason phrase holds a control character", 400},
    [FC_HTTP1_BAD_LINE_END] = {"a line ends in something else than CR LF", 400},
    [FC_HTTP1_BAD_FIELD_NAME] = {"a field name is not a token followed by a colon", 400},
    [FC_HTTP1_BAD_FIELD_VALUE] = {"a field value holds a control character", 400},
    [FC_HTTP1_OBS_FOLD] = {"a field value is folded over several lines", 400},
    [FC_HTTP1_BAD_HOST] = {"Host is missing, repeated or not a host with an optional port", 400},
    [FC_HTTP1_BAD_LENGTH] = {"Content-Length is repeated, out of place or not a decimal number in range", 400},
    [FC_HTTP1_BAD_CODING] = {"Transfer-Encoding is repeated, out of place or does not end in one chunked", 400},
    [FC_HTTP1_UNSUPPORTED_CODING] = {"a transfer coding other than chunked", 501},
    [FC_HTTP1_LENGTH_AND_CODING] = {"Content-Length and Transfer-Encoding in one message", 400},
    [FC_HTTP1_HEAD_TOO_LARGE] = {"the head is larger than the limit", 431},
    [FC_HTTP1_TARGET_TOO_LONG] = {"the request target is longer than the limit", 414},
    [FC_HTTP1_TOO_MANY_FIELDS] = {"more fields than the limit", 431},
    [FC_HTTP1_BAD_CHUNK] = {"the chunked coding is malformed", 400},
    [FC_HTTP1_BAD_EXPECT] = {"an expectation other than 100-continue", 417},
};

const char *fc_http1_error_text(fc_http1_error error)
{
    return (unsigned)error < FC_ARRAY_LEN(errors) ? errors[error].text : "unknown error";
}

int fc_http1_error_status(fc_http1_error error)
{
    return (unsigned)error < FC_ARRAY_LEN(errors) ? errors[error].status : 400;
}
