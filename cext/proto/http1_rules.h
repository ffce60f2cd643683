/* http1_rules.h - what the special fields of one head mean together. Private to cext/proto.
 *
 * The parser shows each special field to fc_http1_rules_apply as soon as its line is complete, then asks for the verdict.
 * Errors are found in the order of the bytes, so that a head gives the same error however it was split.
 */
#ifndef FC_HTTP1_RULES_H
#define FC_HTTP1_RULES_H

#include "fc/http1.h"

#define FC_FIELD_BIT(id) (1u << (id))
#define FC_RULES_RESPONSE                                                                                              \
    (FC_FIELD_BIT(FC_FIELD_CONTENT_LENGTH) | FC_FIELD_BIT(FC_FIELD_TRANSFER_ENCODING) |                                \
     FC_FIELD_BIT(FC_FIELD_CONNECTION) | FC_FIELD_BIT(FC_FIELD_UPGRADE))
#define FC_RULES_REQUEST                                                                                               \
    (FC_RULES_RESPONSE | FC_FIELD_BIT(FC_FIELD_HOST) | FC_FIELD_BIT(FC_FIELD_TE) | FC_FIELD_BIT(FC_FIELD_EXPECT))
_Static_assert(FC_FIELD_COUNT <= 32, "a field id is a bit in a 32-bit word");

typedef struct fc_http1_rules {
    uint32_t flags;   /* FC_HTTP1_LENIENT_* */
    uint32_t special; /* fields to be shown: FC_RULES_REQUEST, FC_RULES_RESPONSE, or 0 for trailers */
    uint32_t seen;    /* fields met so far, of the special ones */
    fc_span host;
    bool close, persist, upgrade; /* named by Connection */
} fc_http1_rules;

static inline int fc_http1_fail(fc_http1_head *head, fc_http1_error error, size_t at)
{
    head->error = (uint8_t)error;
    head->error_at = (uint32_t)at;
    return FC_HTTP1_ERROR;
}

/* 0 or FC_HTTP1_ERROR. Only for fields whose bit is in rules->special. */
int fc_http1_rules_apply(fc_http1_rules *rules, const char *buf, const fc_http1_field *field, fc_http1_head *head);

/* After the last field: framing, connection, Host. 0 or FC_HTTP1_ERROR. */
int fc_http1_rules_request(const fc_http1_rules *rules, fc_http1_head *head);
int fc_http1_rules_response(const fc_http1_rules *rules, fc_http_method request_method, fc_http1_head *head);

/* The form and parts of the request target; query_at is where its '?' stands, or its end. 0 or FC_HTTP1_ERROR. */
int fc_http1_target_split(const char *buf, uint32_t query_at, fc_http1_head *head);

/* FC_AUTHORITY_OK, or where p[0..n) stops being a host[:port]. An empty host is
 * an error at 0 (RFC 9110 4.2.1); `connect` also demands a port other than 0 (RFC 9110 9.3.6). */
#define FC_AUTHORITY_OK SIZE_MAX
size_t fc_http1_authority_check(const char *p, size_t n, bool connect);

#endif
