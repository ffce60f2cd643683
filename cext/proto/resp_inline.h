/* resp_inline.h - inline commands of fc/resp.h: a line of words as a person types it. Private to cext/proto. */
#ifndef FC_RESP_INLINE_H
#define FC_RESP_INLINE_H

#include "fc/resp.h"

/* Room for one more argument. False: none is allowed or there is no memory; request->error says which. */
bool fc_resp_request_push(fc_resp_request *request, size_t off, size_t len);

/* Split the line p[0..n), which has no line end, into request->args and set request->base. */
bool fc_resp_split_line(fc_resp_request *request, const char *p, size_t n);

#endif
