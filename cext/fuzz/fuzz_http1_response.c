#include "http1_properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int after_get(const char *buf, size_t len, size_t last, const fc_http1_limits *limits, fc_http1_head *head)
{
    return fc_http1_parse_response(buf, len, last, limits, FC_METHOD_GET, head);
}

static int after_head(const char *buf, size_t len, size_t last, const fc_http1_limits *limits, fc_http1_head *head)
{
    int result = fc_http1_parse_response(buf, len, last, limits, FC_METHOD_HEAD, head);
    if (result > 0 && head->framing != FC_BODY_NONE)
        abort();
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_head(after_get, data, size);
    check_head(after_head, data, size);
    check_head(fc_http1_parse_trailers, data, size);
    return 0;
}
