/* reply.h - one HTTP/1.1 answer after the other out of received bytes, bodies counted and dropped. Sans-IO. */
#ifndef FC_LOADGEN_REPLY_H
#define FC_LOADGEN_REPLY_H

#include "fc/chunked.h"
#include "fc/http1.h"

#define FC_REPLY_HEAD_MAX 32768u /* an incomplete head is kept by the caller, so it needs a bound */

typedef enum fc_reply_event {
    FC_REPLY_BAD = -1, /* reply->error says why; the connection is of no further use */
    FC_REPLY_MORE = 0, /* show what was not used again, together with what follows */
    FC_REPLY_DONE = 1, /* a complete answer: reply->status, reply->keep_alive */
} fc_reply_event;

typedef struct fc_reply {
    fc_chunked chunked;
    uint64_t left;       /* body bytes to come */
    uint32_t seen;       /* bytes of an incomplete head or trailer section at the last look */
    uint16_t status;
    uint8_t stage, error; /* error: fc_http1_error */
    bool begun;          /* some byte of the current answer has come, an interim one included */
    bool keep_alive;
} fc_reply;

void fc_reply_init(fc_reply *r);
/* Look at p[0..n); *used is how many bytes are behind. After DONE the reply is ready for the next answer. */
fc_reply_event fc_reply_next(fc_reply *r, fc_http_method method, const char *p, size_t n, size_t *used);
/* The peer has closed: is the current answer complete by that (RFC 9112 6.3 rule 8)? */
bool fc_reply_ends_by_close(const fc_reply *r);

#endif
