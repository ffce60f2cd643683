/* fc/loadgen.h - an HTTP/1.1 load generator on one loop: the same request over and over, every outcome counted once.
 *
 * Closed loop (rate 0): each connection sends its next request when it has room in its pipeline; latency counts from that
 * moment. Open loop: request k is due at start + k / rate whatever the server does, waits in one queue for a free
 * connection, and its latency counts from the moment it was due (Gil Tene's "coordinated omission": a server that stalls
 * for a second must not be asked less, and then praised).
 *
 * Kinds of failure, one for each request that got no complete answer
 *   CONNECT   no connection for it: refused, unreachable, not established in time
 *   RESET     its bytes, or some of them, were written; the connection ended before the first byte of its answer. Also
 *             the oldest request on a new connection that ended before a byte could be written
 *   CUT       the connection ended in the middle of its answer
 *   TIMEOUT   no complete answer within timeout_ns of its writing, or of the answer before it in a pipeline
 *   BAD       an answer came that RFC 9112 does not allow
 * No failure: a connection that the server closes between requests. It is looked for with one MSG_PEEK before a request is
 * written to a connection that has been waiting, and the request goes to a new connection; the same holds for requests
 * of which no byte was written, and for those in a pipeline behind an answer with `Connection: close`, which by RFC 9112
 * 9.6 the server has not processed.
 *
 * Invariants
 *  1. At any moment requests = responses + failures + in flight, for the warm-up and for the measured part each.
 *  2. A request belongs to the part in which it was taken (closed loop) or due (open loop).
 *  3. After fc_load_run answered true nothing is in flight and every connection is closed.
 * One generator belongs to one thread.
 */
#ifndef FC_LOADGEN_H
#define FC_LOADGEN_H

#include "fc/hist.h"
#include "fc/http1.h"

struct sockaddr;

/* Latency in nanoseconds: 16 ns steps up to 1 us, then 64 buckets an octave (1.6 %) up to 137 s. */
#define FC_LOAD_LATENCY ((fc_hist_layout){.sub = 6, .min_log2 = 10, .max_log2 = 37})
#define FC_LOAD_PIPELINE_MAX 1024u
#define FC_LOAD_ERRNOS 134 /* Linux numbers its errors up to 133 */

typedef enum fc_load_failure {
    FC_LOAD_CONNECT,
    FC_LOAD_RESET,
    FC_LOAD_CUT,
    FC_LOAD_TIMEOUT,
    FC_LOAD_BAD,
    FC_LOAD_FAILURES
} fc_load_failure;

typedef struct fc_load_options {
    const struct sockaddr *addr;
    uint32_t addr_len;
    uint32_t connections;   /* at least 1 */
    uint32_t pipeline;      /* requests in flight on one connection: 1..FC_LOAD_PIPELINE_MAX, 1 without keep_alive */
    bool keep_alive;        /* false: a connection for each request, and connecting is part of its latency */
    const char *request;    /* the bytes of one whole request; copied */
    size_t request_len;
    fc_http_method method;  /* of that request: an answer to HEAD has no body */
    double rate;            /* requests a second over all connections; 0 closed loop */
    uint64_t requests_max;  /* measured requests; 0 no limit */
    uint64_t duration_ns;   /* of the measured part; 0 no limit */
    uint64_t warmup_ns;
    uint64_t timeout_ns;
    uint64_t connect_timeout_ns;
} fc_load_options;

typedef struct fc_load_counts {
    uint64_t requests, responses, failures[FC_LOAD_FAILURES];
    uint64_t statuses[600];
    uint64_t connect_errnos[FC_LOAD_ERRNOS]; /* of FC_LOAD_CONNECT */
    uint64_t bad_errors[FC_HTTP1_BAD_EXPECT + 1]; /* of FC_LOAD_BAD, by fc_http1_error */
    uint64_t latency_min, latency_max;       /* ns; min is UINT64_MAX while there are no responses */
    uint64_t *latency;                       /* cells of FC_LOAD_LATENCY */
} fc_load_counts;

typedef enum fc_load_phase { FC_LOAD_PRIME, FC_LOAD_WARM, FC_LOAD_MEASURE, FC_LOAD_DRAIN, FC_LOAD_DONE } fc_load_phase;

/* What has been seen so far. `window` is the measured part: from begin_ns until its duration is over, or until the last
 * answer of a run that requests_max ended. */
typedef struct fc_load_status {
    fc_load_phase phase;
    uint64_t begin_ns, end_ns;   /* of the window; end_ns moves with the clock until the window is over */
    uint64_t window_responses;   /* completed within the window: the rate is this by its length */
    uint64_t window_bytes;       /* received within it, heads included */
    uint64_t bytes_sent, bytes_received; /* over the whole run */
    uint64_t in_flight;          /* taken, neither answered nor failed */
    uint64_t unsent;             /* open loop: due within the window, but there never was a free connection */
    uint64_t opened;             /* connections established */
    uint64_t closed_idle;        /* of them, closed by the server between requests */
    uint64_t connects_failed;    /* attempts without a request waiting for them (they fail no request) */
    uint64_t unasked;            /* connections given up because bytes came that nobody had asked for */
    const fc_load_counts *warm, *measured;
} fc_load_status;

typedef struct fc_load fc_load;

/* NULL with errno set: EINVAL for options that contradict each other, ENOMEM, EMFILE. */
fc_load *fc_load_new(const fc_load_options *options);
void fc_load_free(fc_load *load);
/* Run until the load is done or `slice_ns` has passed; true when it is done. The first call opens the
 * connections (at most 128 at a time, so that no listen queue overflows) before the clock starts. */
bool fc_load_run(fc_load *load, uint64_t slice_ns);
/* End now: connections are closed, requests in flight stay counted as that. */
void fc_load_stop(fc_load *load);
fc_load_status fc_load_status_now(const fc_load *load);

#endif
