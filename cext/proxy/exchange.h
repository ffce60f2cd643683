/* exchange.h - one request on its way through the proxy; shared by the files of this folder only. */
#ifndef FC_PROXY_EXCHANGE_H
#define FC_PROXY_EXCHANGE_H

#include "fc/auth.h"
#include "fc/proxy.h"
#include "fc/text.h"

/* An X-Request-Id of a trusted proxy is taken up to this length; UUIDs and ULIDs are shorter. */
#define FC_REQUEST_ID_MAX 64

enum fc_exchange_state { EX_ROUTE, EX_PARK, EX_QUOTA, EX_CACHE_WAIT, EX_CACHED, EX_HOOK, EX_LEASE, EX_AWAIT, EX_RELAY, EX_UNPACK, EX_TUNNEL };

struct fc_exchange {
    fc_lease lease;
    fc_http_req *req;
    fc_route_table *table;  /* held */
    const fc_route *route;  /* NULL while none is known */
    fc_buf *head_out;       /* our request head; kept until the response begins, for a retry */
    fc_buf *in;             /* received from the upstream, not used yet: data[pos .. used) */
    uint32_t head_out_len;
    uint32_t pos, last_len;
    uint32_t sends;         /* times the head was written to a connection */
    uint8_t state;
    bool request_chunked;   /* how we frame the request body */
    bool request_done;      /* all of it has been queued for the upstream */
    bool body_sent;         /* some of the body has been queued: no retry any more */
    bool deaf;              /* writing to the upstream failed: only what it said before is still read */
    bool client_fin;        /* in a tunnel: the client has ended its side */
    bool answered;          /* a final response head has been queued for the client */
    bool upgrade;           /* the client asked, and we passed it on */
    bool grpc;              /* the client speaks gRPC (grpc.c) */
    int8_t grpc_status;     /* of its answer; -1: none is known */
    bool keep_client;
    bool reply_chunked;     /* how we frame the reply body */
    bool upstream_reusable;
    bool reply_trailers;    /* the reply's last chunk is behind us */
    bool finished;
    bool upstream_failed;   /* no proper answer came of the try at it */
    uint8_t interims;       /* 1xx passed on so far */
    uint8_t reply_framing;  /* how the upstream frames it */
    uint16_t status;
    uint64_t reply_left;
    fc_chunked reply_chunks;
    uint64_t reply_bytes;   /* body bytes relayed */
    uint64_t hash;          /* for consistent hashing */
    size_t out_mark;        /* request bytes still queued when the upstream's deadline was last moved */
    uint64_t leased_ns, first_byte_ns;
    uint64_t admitted_ns;   /* holds a place of adaptive concurrency since; 0: none */
    fc_timer total;
    fc_task flush;          /* request bytes are sent once per batch */
    fc_buf *req_mem;        /* what `flush` lives in, held while it is queued */
    fc_buf *framing;        /* chunk heads and trailers of the request */
    fc_slice subject;       /* who asks, once authenticated; memory the exchange holds */
    fc_buf *limited;        /* what the route's limits said (limit.c); NULL without limits */
    const char *error;      /* one word for the log, from PROTOCOL.md; NULL when all went well */
    char request_id[FC_REQUEST_ID_MAX]; /* the client's where a trusted proxy sent it, or 16 hex digits of ours */
    uint8_t request_id_len;
    uint8_t auth_reason;    /* why nobody is known yet: fc_auth_reason */
    uint32_t auth_next;     /* provider of the route that is asked next */
    fc_auth_wait wait;      /* in EX_PARK */
    fc_buf *identity;       /* the verdict; what subject and the next point into */
    fc_slice identity_fields; /* header lines that tell the upstream */
    fc_trace trace;         /* span 0: none, tracing is off */
    fc_hook_call *hook;     /* to a function of the route, while it is out or its body is gathered */
    bool collecting;        /* body bytes go to the hook */
    bool has_body;          /* `body` is the request's, whole */
    fc_outq body;
    fc_encoder *encoder;    /* of the answer's body; NULL: it goes as it comes */
    uint8_t coding;         /* fc_coding, of the encoder */
    struct exchange_unpack *unpack, *unpack_request; /* the answer's body is decoded; the request's */
    bool coding_varies;     /* the answer depends on Accept-Encoding */
    const fc_mirror *mirror_to;     /* the route's, until the copy has been made */
    struct exchange_mirror *mirror; /* the copy, while it takes the request's body */
    struct cached_use *cache; /* NULL: the cache has nothing to do with it */
    fc_buf *cache_mem;
};

static inline fc_exchange *exchange_of(fc_http_req *req) { return (fc_exchange *)fc_http_app(req); }
static inline fc_proxy *proxy_of(const fc_http_req *req) { return (fc_proxy *)req->server->app; }

static inline void count(fc_proxy *proxy, fc_proxy_cell cell, uint64_t n)
{
    if (proxy->metrics.row)
        proxy->metrics.row[proxy->metrics.cell[cell]] += n;
}

/* --- heads.c: what we say to the other side ---------------------------------------------------------------------- */

/* The request head for the upstream, in ex->head_out, but for its end. 0, or the status to answer with. */
int exchange_build_request(fc_exchange *ex, const fc_router_match *match);
/* Complete it for the endpoint that was leased. False when it does not fit. */
bool exchange_seal_request(fc_exchange *ex);
void exchange_build_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, fc_text *out);
void exchange_build_interim(fc_exchange *ex, const char *base, const fc_http1_head *head, fc_text *out);
/* The client as far as trusted proxies tell. */
fc_addr exchange_client(const fc_http_req *req);
/* What the client speaks to us: "http" or "https". */
static inline fc_slice exchange_scheme(const fc_http_req *req)
{
    return fc_http_secure(req) ? (fc_slice){"https", 5} : (fc_slice){"http", 4};
}
/* The value of the first field, cookie or query parameter of that name; empty when there is none. */
fc_slice exchange_field(const fc_http_req *req, fc_slice name);
fc_slice exchange_cookie(const fc_http_req *req, fc_slice name);
fc_slice exchange_query(const fc_http_req *req, fc_slice name);
/* The same, but empty also when there are several. */
fc_slice exchange_only_field(const fc_http_req *req, fc_slice name);
fc_slice exchange_only_cookie(const fc_http_req *req, fc_slice name);
fc_slice exchange_only_query(const fc_http_req *req, fc_slice name);
/* The host asked for, in `lower`: lower case, without port, cut to the longest a name can be. */
#define FC_HOST_MAX 256
fc_slice exchange_host(const fc_http_req *req, char lower[FC_HOST_MAX]);

/* The number in Max-Forwards; false without a valid one. */
bool exchange_max_forwards(const fc_http_req *req, uint64_t *hops);
/* X_Forwarded_For reaches CGI and WSGI applications under the same name as X-Forwarded-For. */
bool exchange_shadows_forwarding(fc_slice name);

/* Does the peer belong to the proxies whose word is taken? */
bool exchange_believes(const fc_http_req *req);

/* --- trace.c; REQUIRES: tracing is on ------------------------------------------------------------------------------ */

void exchange_trace_begin(fc_exchange *ex);
/* Is this a field of the context that came? Then it does not go on: ours does. */
bool exchange_trace_replaces(const fc_exchange *ex, fc_http_field id, fc_slice name);
void exchange_trace_fields(const fc_exchange *ex, fc_text *out);
/* The exchange is over, and sampled. */
void exchange_trace_end(fc_exchange *ex);

/* --- problem.c: answers of our own (RFC 9457) -------------------------------------------------------------------- */

/* The rows of the table in the gateway's PROTOCOL.md: status, type, word in the log. */
enum problem {
    PROBLEM_BAD_REQUEST,
    PROBLEM_NO_ROUTE,
    PROBLEM_METHOD,
    PROBLEM_HEADER_TIMEOUT,
    PROBLEM_BODY_TIMEOUT,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_URL_TOO_LONG,
    PROBLEM_QUOTA,
    PROBLEM_EXPECTATION,
    PROBLEM_HEADER_TOO_LARGE,
    PROBLEM_UNKNOWN_CODING,
    PROBLEM_BAD_ANSWER,
    PROBLEM_UPSTREAM_CLOSED,
    PROBLEM_CONNECT_FAILED,
    PROBLEM_NO_TARGET,
    PROBLEM_NO_HEALTHY_TARGET,
    PROBLEM_BREAKER_OPEN,
    PROBLEM_OVERLOADED,
    PROBLEM_SHED,
    PROBLEM_CONNECT_TIMEOUT,
    PROBLEM_SEND_TIMEOUT,
    PROBLEM_FIRST_BYTE_TIMEOUT,
    PROBLEM_TOTAL_TIMEOUT,
    PROBLEM_NOT_CACHED,
    PROBLEM_VERSION,
    PROBLEM_LOOP,
    PROBLEM_HOOK,
    PROBLEM_AUTH, /* and one for each fc_auth_reason */
    PROBLEM_COUNT = PROBLEM_AUTH + FC_AUTH_REASON_COUNT
};

/* The problem for a status with which the server refuses a head. */
enum problem problem_of(int status);
/* Queue a complete answer and end the request. `extra` are further header lines with CRLF, or NULL. */
void problem_answer(fc_exchange *ex, enum problem problem, const char *detail, const char *extra);
/* With further members of the document, each after a comma; or NULL. */
void problem_answer_with(fc_exchange *ex, enum problem problem, const char *detail, const char *extra,
                         const char *members);

/* OPTIONS that ends here: 204 with what we can do. */
void problem_options(fc_exchange *ex);

/* Room for an answer of ours, or NULL, and then the exchange has ended. */
fc_buf *problem_room(fc_exchange *ex, size_t n);
/* `out` is the head but for what every answer has; complete it, send it with the body, and end. Takes the buffer. A head
 * that did not fit is answered 431: it is the client's values that made it long. */
void problem_finish_with(fc_exchange *ex, fc_buf *buf, fc_text *out, uint16_t status, fc_slice body);
static inline void problem_finish(fc_exchange *ex, fc_buf *buf, fc_text *out, uint16_t status)
{
    problem_finish_with(ex, buf, out, status, (fc_slice){NULL, 0});
}

/* --- edit.c: what the route changes (fc/edit.h) --------------------------------------------------------------------- */

typedef enum fc_fate { FC_FATE_KEEP, FC_FATE_DROP, FC_FATE_RENAME } fc_fate;

/* What becomes of a field or parameter that came; `seen` gathers which edits met theirs. */
fc_fate exchange_edit(const fc_edits *edits, fc_slice name, uint64_t *seen, fc_slice *renamed);
/* Fields that are set, added, or missed. match NULL: there are no parameters. */
void exchange_put_edits(fc_text *out, const fc_exchange *ex, const fc_edits *edits, uint64_t seen,
                        const fc_router_match *match);
size_t exchange_edits_room(const fc_exchange *ex, const fc_edits *edits);
size_t exchange_value_room(const fc_exchange *ex, const fc_value *value);
void exchange_put_value(fc_text *out, const fc_exchange *ex, const fc_value *value, const fc_router_match *match,
                        bool in_query);
/* "?" and the query as edits and credentials leave it; nothing when nothing is left. */
void exchange_put_edited_query(fc_text *out, const fc_exchange *ex, const fc_edits *edits, const fc_router_match *match);

/* --- cors.c; REQUIRES ex->route->cors ------------------------------------------------------------------------------- */

size_t exchange_cors_room(const fc_exchange *ex);
void exchange_cors_fields(const fc_exchange *ex, fc_text *out);
/* Does it ask whether *method may be used across origins? Of any route. */
bool exchange_wants_preflight(const fc_http_req *req, fc_slice *method);
void exchange_preflight(fc_exchange *ex, fc_slice method);

/* --- grpc.c ------------------------------------------------------------------------------------------------------- */

/* Is it a gRPC call? Over HTTP/2 only. */
bool exchange_is_grpc(const fc_http_req *req);
/* The rest REQUIRE ex->grpc. The time it gives itself, in ms; 0: it says nothing. */
uint32_t exchange_grpc_timeout(const fc_http_req *req);
/* The lines in which a call learns what has come of it: one of our problems, or 0. */
void exchange_grpc_fields(fc_exchange *ex, enum problem problem, const char *detail, fc_text *out);
/* See what the upstream says has come of it: in its head, or its trailers. */
void exchange_grpc_look(fc_exchange *ex, const char *base, const fc_http1_head *fields);
/* End an answer that has begun by saying that it failed. False: that cannot be said any more. */
bool exchange_grpc_cut(fc_exchange *ex, enum problem problem);

/* --- fixed.c; REQUIRES ex->route->fixed ----------------------------------------------------------------------------- */

void exchange_answer_fixed(fc_exchange *ex, const fc_router_match *match);

/* --- admit.c; REQUIRES: the upstream is adaptive ------------------------------------------------------------------- */

/* A place for this exchange; false: answered 503. */
bool exchange_admit(fc_exchange *ex);
/* The place is free. REQUIRES ex->admitted_ns. */
void exchange_admit_end(fc_exchange *ex);

/* --- hook.c: functions of the operator's own (fc/hook.h) ------------------------------------------------------------- */

/* REQUIRES: the route has one for requests, and the head has been built. What follows is exchange_send_built. */
void exchange_hook_request(fc_exchange *ex);
/* REQUIRES: the route has one for answers. True: its body is to be gathered with exchange_hook_body; false: parked, or
 * over. exchange_hooked_reply follows. */
bool exchange_hook_reply(fc_exchange *ex, const char *head, size_t n);
/* REQUIRE ex->collecting. False: more than the function takes. */
bool exchange_hook_body(fc_exchange *ex, const char *p, size_t n);
void exchange_hook_body_end(fc_exchange *ex);
/* REQUIRES ex->hook. */
void exchange_hook_leave(fc_exchange *ex);
/* Queue the request's stored body. 0 or -errno. */
int exchange_hook_put_body(const fc_exchange *ex, fc_outq *to);

/* --- encode.c ----------------------------------------------------------------------------------------------------- */

/* REQUIRES ex->route->coding. Is this answer, before its head is built, to be encoded? Then ex->encoder is set, and the
 * body must be chunked. Or to be decoded? Then ex->unpack is, and its length is not known. */
void exchange_code_choose(fc_exchange *ex, const char *base, const fc_http1_head *head);
/* Lines for its head; REQUIRES ex->coding_varies. */
void exchange_code_fields(const fc_exchange *ex, fc_text *out);
/* Is the body of this request, before its head is built, to be decoded? Then ex->unpack_request is set. */
void exchange_code_choose_request(fc_exchange *ex);
/* A field that does not hold for the body in another coding. */
bool exchange_code_changes(fc_slice name);
/* These REQUIRE ex->encoder. Bytes of the body, as chunks. 0 or -errno. */
int exchange_encode(fc_exchange *ex, const char *p, size_t n, fc_encode_op op);
/* All of it; the last chunk is the caller's. */
int exchange_encode_end(fc_exchange *ex);
void exchange_encode_free(fc_exchange *ex);

/* What has been put into the block behind FC_CHUNK_HEAD_MAX bytes goes out: as a chunk, its framing written around it, or as
 * it is. REQUIRES: 2 bytes are free behind it. */
int exchange_send_block(fc_exchange *ex, fc_buf *buf);

/* --- unpack.c ----------------------------------------------------------------------------------------------------- */

enum unpack_state {
    UNPACK_DONE,  /* nothing waits: more may come */
    UNPACK_WAITS, /* for the client, or for others' turn; exchange_drained follows */
    UNPACK_OVER,  /* the exchange has ended */
};

/* The body of the answer is to be decoded: ex->unpack is set, unless there is no memory. */
void exchange_unpack_begin(fc_exchange *ex, fc_coding coding);
/* The rest REQUIRE ex->unpack. Bytes of the body; REQUIRES: none wait. What follows is exchange_unpack_go. */
void exchange_unpack(fc_exchange *ex, fc_buf *buf, const char *p, size_t n);
enum unpack_state exchange_unpack_go(fc_exchange *ex);
bool exchange_unpack_waits(const fc_exchange *ex);
/* That was all of it: the exchange ends when the client has it. */
void exchange_unpack_end(fc_exchange *ex);
void exchange_unpack_free(fc_exchange *ex);
/* The same with the body of the request, towards the target: before its head is built. */
void exchange_unpack_request_begin(fc_exchange *ex, fc_coding coding);
/* The rest REQUIRE ex->unpack_request. Bytes of the body; the client is paused while they wait. */
void exchange_unpack_request(fc_exchange *ex, fc_buf *buf, const char *p, size_t n);
void exchange_unpack_request_end(fc_exchange *ex);
/* The target has taken enough that more may be queued. */
void exchange_unpack_request_drained(fc_exchange *ex);
void exchange_unpack_request_free(fc_exchange *ex);

/* --- mirror.c ----------------------------------------------------------------------------------------------------- */

/* Send a copy of the request, whose head has been built, as spec says. */
void exchange_mirror(fc_exchange *ex, const fc_mirror *spec);
/* These REQUIRE ex->mirror. */
void exchange_mirror_body(fc_exchange *ex, fc_buf *buf, const char *p, size_t n);
void exchange_mirror_body_end(fc_exchange *ex);
/* The exchange is over; the copy goes on if its request is whole. */
void exchange_mirror_leave(fc_exchange *ex);
void exchange_mirrors_end(fc_proxy *proxy);

/* --- split.c; REQUIRES ex->route->split ----------------------------------------------------------------------------- */

/* The route of the share this exchange belongs to. */
const fc_route *exchange_split(fc_exchange *ex);

/* What the route adds to every answer, the target's and ours: CORS, edits. */
static inline size_t exchange_answer_room(const fc_exchange *ex)
{
    const fc_route *route = ex->route;
    if (FC_LIKELY(!route || (!route->cors && !route->reply_edits)))
        return 0;
    return (route->cors ? exchange_cors_room(ex) : 0) +
           (route->reply_edits ? exchange_edits_room(ex, route->reply_edits) : 0);
}
static inline void exchange_answer_fields(const fc_exchange *ex, uint64_t seen, fc_text *out)
{
    const fc_route *route = ex->route;
    if (FC_LIKELY(!route || (!route->cors && !route->reply_edits)))
        return;
    if (route->cors)
        exchange_cors_fields(ex, out);
    if (route->reply_edits)
        exchange_put_edits(out, ex, route->reply_edits, seen, NULL);
}

/* --- limit.c: the route's limits (fc/limit.h) -------------------------------------------------------------------- */

/* Those that need no user, or those that do. False: the request was refused and answered, or waits until that is known;
 * then exchange_enter or exchange_admitted is called. REQUIRES: the route has some. */
bool exchange_limit(fc_exchange *ex, bool knows_user);
/* For the head of the answer; REQUIRES ex->limited. */
size_t exchange_limit_room(const fc_exchange *ex);
void exchange_limit_fields(const fc_exchange *ex, fc_text *out);
/* Which limit refused the request, and which would have if it were no dry run; NULL: none. */
const fc_limit *exchange_limit_refused(const fc_exchange *ex);
const fc_limit *exchange_limit_would(const fc_exchange *ex);
/* The request is over: places are free, counters know. REQUIRES ex->limited. */
void exchange_limit_end(fc_exchange *ex);

/* --- auth.c ------------------------------------------------------------------------------------------------------- */

/* REQUIRES: the route asks for it. True: go on, ex->subject says for whom. False: answered, or parked until a verdict
 * comes; then exchange_go_on is called. */
bool exchange_authenticate(fc_exchange *ex);
/* Does a provider of this table write this field? Then clients may not, on any route. */
bool exchange_claims_field(const fc_route_table *table, fc_slice name);
/* Is this the credential of a provider that keeps it from the upstream? The route has such. */
bool exchange_withholds(const fc_exchange *ex, const fc_http1_field *field);
bool exchange_withholds_parameter(const fc_exchange *ex, fc_slice name);
/* "?" and the query without such credentials; nothing when nothing is left. */
void exchange_put_query(fc_text *out, const fc_exchange *ex, fc_slice query);
/* The query for the log, without values of parameters that carry credentials; cut to the room. Its length. */
size_t exchange_hide_secrets(const fc_route_table *table, fc_slice query, char *room, size_t room_len);

/* --- cached*.c: the response cache (cached.h) ------------------------------------------------------------------------ */

enum cache_look {
    CACHE_FORWARD, /* ask the origin; what it says is watched */
    CACHE_HANDLED, /* answered, or waiting */
    CACHE_LOST,    /* inside: what was found is no more */
};

/* REQUIRES: the route has a cache. */
enum cache_look exchange_cache_look(fc_exchange *ex, const fc_router_match *match);
/* The rest REQUIRE ex->cache. The answer's head is here; spent: its connection can be used again. True: answered by what
 * is stored, or asked once more; the exchange must not be touched further. */
bool exchange_cache_on_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len, bool spent);
void exchange_cache_store(fc_exchange *ex, const char *p, size_t n); /* REQUIRES exchange_cache_storing */
void exchange_cache_commit(fc_exchange *ex);
bool exchange_cache_storing(const fc_exchange *ex);
/* The origin failed: answer with what is stored, if that is allowed. */
bool exchange_cache_answer_stale(fc_exchange *ex, const char *why);
/* Answer with what was found. False: it is no more, and nothing has been sent. */
bool exchange_cache_answer(fc_exchange *ex);
void exchange_cache_drain(fc_exchange *ex);
size_t exchange_cache_room(const fc_exchange *ex);
void exchange_cache_fields(const fc_exchange *ex, fc_text *out);
/* Our validators instead of the client's conditions? And their lines. */
bool exchange_cache_validating(const fc_exchange *ex);
void exchange_cache_put_conditions(const fc_exchange *ex, fc_text *out);
size_t exchange_cache_conditions_room(const fc_exchange *ex);
/* A field by which a client makes a request conditional, or asks for a part. */
bool exchange_is_condition(fc_slice name);
void exchange_cache_end(fc_exchange *ex);
/* For the log: hit, stale, revalidated, miss, or NULL. */
const char *exchange_cache_word(const fc_exchange *ex);

/* Does a field of an answer go on to the next hop? (heads.c) */
bool exchange_reply_goes_on(const char *base, const fc_http1_head *head, const fc_http1_field *field);

/* --- access_log.c ------------------------------------------------------------------------------------------------- */

void access_log_write(fc_exchange *ex);

/* --- exchange.c: beginning and end --------------------------------------------------------------------------------- */

extern const fc_http_ops exchange_http_ops;
/* Find the route of the table it holds again, and go on: with who asks, */
void exchange_enter(fc_exchange *ex);
/* with the limits that need to know it, */
void exchange_go_on(fc_exchange *ex);
/* to the target. */
void exchange_admitted(fc_exchange *ex);
/* The same, when limits and cache have had their say. */
void exchange_send_on(fc_exchange *ex);
/* The head has been built, and functions have seen it. */
void exchange_send_built(fc_exchange *ex);
/* All of the answer has been queued. */
void exchange_end(fc_exchange *ex);
/* The client has taken enough that more may be queued. */
void exchange_drained(fc_exchange *ex);
/* Counters, log line, references: the exchange is over whichever way. */
void exchange_finish(fc_exchange *ex);
/* The upstream failed us: answer with a problem, or cut an answer that has begun. */
void exchange_fail(fc_exchange *ex, enum problem problem, const char *detail, const char *extra);
/* The answer cannot be completed: the client learns it from the missing end. */
void exchange_cut(fc_exchange *ex);

static inline fc_conn *exchange_upstream(fc_exchange *ex) { return &ex->lease.conn->conn; }
static inline fc_loop *exchange_loop(fc_exchange *ex) { return ex->req->server->loop; }

/* --- forward.c: towards the upstream ------------------------------------------------------------------------------- */

void exchange_acquire(fc_exchange *ex, bool fresh);
void exchange_on_ready(fc_lease *lease);
void exchange_on_lease_failed(fc_lease *lease, fc_lease_failure why);
/* Bytes of the body as the target gets it. 0 or -ENOMEM. */
int exchange_put_body(fc_exchange *ex, fc_buf *buf, const char *p, size_t n);
/* All of it. trailers: may be NULL. */
void exchange_put_body_end(fc_exchange *ex, const char *base, const fc_http1_head *trailers);
void exchange_on_body(fc_http_req *req, fc_buf *buf, const char *p, size_t n);
void exchange_on_body_end(fc_http_req *req, const char *base, const fc_http1_head *trailers);
void exchange_on_flush(fc_loop *loop, fc_task *task);
void exchange_pass_fin(fc_exchange *ex);
/* The upstream must do something within this time; 0: it need not. */
void exchange_watch(fc_exchange *ex, uint32_t in_ms);
int exchange_put_last_chunk(fc_exchange *ex, fc_conn *to, const char *base, const fc_http1_head *trailers);
/* --- retry.c: the same request at another endpoint ------------------------------------------------------------------ */

/* True: it is on its way again, or has ended; the exchange must not be touched further. */
bool exchange_retry_lost(fc_exchange *ex);
bool exchange_retry_timeout(fc_exchange *ex);
/* The answer's head is at hand. reusable: and nothing of it is left to read. */
bool exchange_retry_status(fc_exchange *ex, uint32_t status, bool reusable);

/* The upstream's connection has ended. clean_end: by FIN, which is how some answers end. */
void exchange_lost(fc_exchange *ex, bool clean_end);

/* --- relay.c: from the upstream ------------------------------------------------------------------------------------ */

extern const fc_lease_ops exchange_lease_ops;
/* The reply has been passed on to its end. */
void exchange_complete(fc_exchange *ex);
void exchange_drop_input(fc_exchange *ex);
/* A function has seen the answer, and its head has been sent; whole: so has its body. */
void exchange_hooked_reply(fc_exchange *ex, bool whole);
/* REQUIRES ex->encoder: its end, and the last chunk. 0 or -errno. */
int exchange_end_encoded(fc_exchange *ex);

#endif
