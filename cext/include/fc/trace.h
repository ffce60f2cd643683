/* fc/trace.h - where a request stands in a trace: the W3C Trace Context field `traceparent`, read and written, and the
 * record of a finished exchange.
 *
 *    00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *    |  trace id                          parent id        flags (1: sampled)
 *    version
 *
 * Read as the specification says (Trace Context, section 3.2): lower-case digits only, version ff and ids of zeros are
 * none, later versions are read as far as this form goes. No memory, no state.
 */
#ifndef FC_TRACE_H
#define FC_TRACE_H

#include <stdbool.h>

#include "fc/base.h"

#define FC_TRACEPARENT_LEN 55

typedef struct fc_trace {
    uint8_t id[16];
    uint64_t span;   /* ours; as big-endian bytes on the wire. Never 0 in a trace */
    uint64_t parent; /* whoever asked us; 0: nobody did, the trace begins here */
    uint64_t client; /* our question to the upstream, which is the upstream's parent; 0: none yet */
    bool sampled;
} fc_trace;

/* The ids and the flag of a field's value, into id, parent and sampled. False: it is none, and nothing was written. */
bool fc_traceparent_read(fc_trace *trace, fc_slice value);
/* FC_TRACEPARENT_LEN bytes: a child of `span`. */
void fc_traceparent_write(const fc_trace *trace, uint64_t span, char *out);
/* 32 lower-case digits. */
void fc_trace_id_write(const uint8_t id[16], char *out);

/* --- what is left of an exchange, for an exporter ----------------------------------------------------------------- */

/* Texts end with 0 and are cut to fit. Times are nanoseconds since 1970. */
typedef struct fc_trace_span {
    uint8_t trace[16];
    uint64_t span, parent, client; /* as in fc_trace; client 0: no upstream was asked */
    uint64_t start_ns, end_ns;     /* of the exchange */
    uint64_t asked_ns, answered_ns; /* of the last try at an upstream, and its answer's head; 0: none */
    uint64_t sent_bytes;
    uint16_t status;               /* 0: none was sent */
    uint8_t tries;                 /* times the request was sent */
    char version[3];               /* of HTTP: 1.0, 1.1, 2.0 */
    bool secure, cached;
    char method[18], error[32], route[64], upstream[64], endpoint[64], host[64], client_address[46], path[130];
} fc_trace_span;

#endif
