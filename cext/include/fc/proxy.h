/* fc/proxy.h - the reverse proxy: an HTTP/1.1 server whose application is other servers.
 *
 * A proxy takes requests from an fc_http_server, finds their route in an immutable table, leases a connection to an
 * endpoint of the route's upstream and relays both bodies by reference, under watermarks, in constant memory. It never
 * enters the interpreter. One exchange in its states (what the client or the upstream does can end it in any of them):
 *
 *    ROUTE --no route, bad path, limits--> answered by us (problem.c)
 *      |  \  a credential nobody has seen yet: PARK until a verdict comes (fc/auth.h)
 *    LEASE --busy, unreachable--> 502/503/504
 *      |
 *    AWAIT  request head sent, body streaming; the response head is awaited; 1xx are passed on
 *      |                \  it dies before the first byte, or what else the route retries: LEASE again, if idempotent
 *      |                   and attempts and the upstream's budget remain (retry.c)
 *    RELAY  response head sent to the client; its body streaming          101: TUNNEL
 *      |  \  it is unpacked for its client, who is slower than the target: UNPACK, without the connection
 *    DONE   log line, counters, connection back to the pool
 *
 * Framing on both sides is chosen here from parsed facts and never copied (RFC 9112 6, 11.2).
 * A route table is reference-counted: exchanges finish on the table they began with.
 * Everything belongs to one loop.
 */
#ifndef FC_PROXY_H
#define FC_PROXY_H

#include "fc/auth.h"
#include "fc/date.h"
#include "fc/edit.h"
#include "fc/encoder.h"
#include "fc/freshness.h"
#include "fc/hist.h"
#include "fc/hook.h"
#include "fc/http_server.h"
#include "fc/limit.h"
#include "fc/logfile.h"
#include "fc/quota_line.h"
#include "fc/records.h"
#include "fc/router.h"
#include "fc/status_set.h"
#include "fc/trace.h"
#include "fc/upstream.h"

typedef struct fc_proxy fc_proxy;
typedef struct fc_route fc_route;
typedef struct fc_route_table fc_route_table;
typedef struct fc_exchange fc_exchange;

/* --- what a route does ------------------------------------------------------------------------------------------- */

typedef enum fc_host_mode { FC_HOST_PRESERVE, FC_HOST_UPSTREAM, FC_HOST_LITERAL } fc_host_mode;

typedef enum fc_hash_on {
    FC_HASH_CLIENT_IP,
    FC_HASH_PATH,
    FC_HASH_HEADER, /* first field of that name */
    FC_HASH_COOKIE,
    FC_HASH_QUERY,
} fc_hash_on;

/* One piece of a rewritten path. */
typedef enum fc_part_kind { FC_PART_LITERAL, FC_PART_PARAM, FC_PART_TAIL } fc_part_kind;

typedef struct fc_path_part {
    fc_part_kind kind;
    fc_slice text;   /* LITERAL: the bytes; PARAM: the parameter's name (empty: by number) */
    uint32_t number; /* PARAM without name: which; TAIL: the path from this offset on */
} fc_path_part;

#define FC_STATUS_CLASSES 6

/* Who may use a route. */
typedef struct fc_route_auth {
    const fc_auth_provider *const *providers; /* tried in this order */
    uint32_t providers_len;
    bool required;       /* false: a request without any credential goes on as nobody's */
    uint64_t scopes;     /* all of these bits */
    fc_slice scope_text; /* their names, for the challenge */
} fc_route_auth;

/* Longest head of a request or an answer, whatever the settings say. */
#define FC_PROXY_HEAD_BYTES_MAX (60u * 1024u)

/* When a request that reached an endpoint is sent to another one. Connects that fail are no retries: nothing was sent. */
typedef enum fc_retry_on {
    FC_RETRY_RESET = 1,   /* the connection ended before a byte of an answer */
    FC_RETRY_TIMEOUT = 2, /* no first byte within first_byte_ms */
} fc_retry_on;

typedef struct fc_retry_policy {
    uint32_t on;            /* fc_retry_on */
    fc_status_set statuses; /* and answers with these */
    bool any_method;        /* also methods that are not idempotent */
} fc_retry_policy;

/* Shares of a route's traffic. Each has a route of its own, which differs from the one it belongs to in its upstream and
 * what follows from that; the table's router knows nothing of them. */
typedef enum fc_split_on {
    FC_SPLIT_RANDOM, /* every request by itself */
    FC_SPLIT_CLIENT_IP,
    FC_SPLIT_USER,   /* as authentication found out */
    FC_SPLIT_HEADER,
    FC_SPLIT_COOKIE,
    FC_SPLIT_QUERY,
} fc_split_on;

typedef struct fc_share {
    uint32_t weight;
    const fc_route *route; /* no split of its own */
} fc_share;

typedef struct fc_split {
    fc_split_on on; /* what has no such value goes by chance */
    fc_slice name;
    const fc_share *shares;
    uint32_t total; /* of the weights; more than 0 */
} fc_split;

/* Answers are encoded for clients that take it, and decoded for those that do not. */
typedef struct fc_coding_policy {
    const fc_slice *types; /* media types, as in "text/html" or "text/" */
    uint32_t types_len;
    uint64_t least_bytes;  /* shorter ones, where that is known, are not worth it */
    uint8_t gzip_level;    /* 0: no gzip */
    int8_t br_quality;     /* -1: no br */
    bool unpack_requests;  /* bodies of requests in gzip or br are decoded for the target */
    bool unpack;           /* what comes in a coding the client does not take is decoded */
} fc_coding_policy;

/* Copies of a route's requests go elsewhere as well. */
typedef struct fc_mirror {
    const fc_route *route; /* differs in its upstream and what follows from that */
    uint64_t share;        /* of 2^32: of the requests */
    uint32_t at_once;      /* copies of this worker under way, beyond which there are no more */
} fc_mirror;

struct fc_route {
    fc_slice name;
    fc_upstream *upstream; /* NULL: `fixed` answers, or `split` says who does */
    const fc_fixed *fixed;
    const fc_split *split;
    const fc_mirror *mirror; /* NULL: none */
    const fc_route_hooks *hooks; /* NULL: none. REQUIRES: the proxy has hooks; no cache with one for answers */
    const fc_coding_policy *coding; /* NULL: answers are sent as they come */
    const fc_path_part *parts; /* NULL: the path goes on as it is */
    uint32_t parts_len;
    fc_host_mode host_mode;
    fc_slice host; /* LITERAL */
    fc_hash_on hash_on;
    fc_slice hash_name;
    uint32_t first_byte_ms, between_bytes_ms, total_ms, tunnel_idle_ms; /* 0: no limit */
    uint64_t body_bytes_max;                            /* 0: the listener's */
    uint32_t share_percent; /* of the places an adaptive upstream has, which this route may take */
    uint32_t attempts; /* times an idempotent request may be sent in all; connects that fail do not count */
    fc_retry_policy retry;
    bool log;
    const fc_route_limits *limits; /* NULL: none */
    const fc_route_auth *auth; /* NULL: everybody may */
    const fc_edits *request_edits, *query_edits, *reply_edits; /* NULL: none */
    const fc_cache_policy *cache; /* NULL: nothing is stored. REQUIRES: the proxy has a cache */
    const fc_cors *cors; /* NULL: upstreams say what they like about other origins */
    /* Metric cells, where the proxy has metrics: answers (1xx .. 5xx, and none sent), and histograms FC_HIST_LATENCY_US of
     * the whole exchange and of the upstream's share in it. */
    uint32_t cells[FC_STATUS_CLASSES];
    uint32_t duration_us, upstream_us;
};

struct fc_route_table {
    uint32_t refs;
    fc_router *router;
    fc_route *routes;
    uint32_t routes_len;
    const fc_slice *claimed; /* names of fields that tell upstreams who asks: clients' own are deleted, on all routes */
    uint32_t claimed_len;
    const fc_slice *secret_parameters; /* query parameters that carry credentials: their values are not logged */
    uint32_t secret_parameters_len;
    bool has_cors; /* some route has */
    /* Frees routes and what they point at; called when the last exchange has let go. */
    void (*release)(fc_route_table *table);
};

/* --- counters ---------------------------------------------------------------------------------------------------- */

/* Cells of the process's metrics row (fc/metrics.h) that are not per route. */
typedef enum fc_proxy_cell {
    FC_CELL_BYTES_IN,
    FC_CELL_BYTES_OUT,
    FC_CELL_CONNECTS,          /* upstream connections opened */
    FC_CELL_REUSES,            /* leases served from the pool */
    FC_CELL_STALE_RETRIES,
    FC_CELL_ENDPOINT_RETRIES,
    FC_CELL_REFUSED,           /* heads that never became requests */
    FC_CELL_UNROUTED,          /* 404, 405, bad paths */
    FC_CELL_CLIENT_ABORTS,
    FC_CELL_UPSTREAM_FAILURES, /* 502 and 504 of our making, and cut answers */
    FC_CELL_LOG_DROPPED,
    FC_CELL_CACHE_HITS,
    FC_CELL_CACHE_MISSES,      /* requests that asked the origin though their route has a cache */
    FC_CELL_CACHE_STALE,       /* hits past their time */
    FC_CELL_CACHE_REVALIDATED, /* hits that the origin confirmed */
    FC_CELL_CACHE_STORED,
    FC_CELL_CACHE_COLLAPSED,   /* requests that waited for another's answer */
    FC_CELL_SPANS,             /* sampled exchanges handed to the exporter */
    FC_CELL_SPANS_DROPPED,     /* and those it was too slow for */
    FC_CELL_MIRRORS,           /* copies of requests made for other upstreams */
    FC_CELL_MIRRORS_ANSWERED,  /* those of them that were answered, whatever was said */
    FC_CELL_MIRRORS_FAILED,    /* that their targets failed */
    FC_CELL_MIRRORS_DROPPED,   /* that were not sent, or not to the end: too many, too slow, or the client gone */
    FC_CELL_ENCODED,           /* answers compressed on their way */
    FC_CELL_UNPACKED,          /* and unpacked */
    FC_CELL_UNPACKED_REQUESTS,
    FC_CELL_HOOKS,             /* calls of the operator's own functions */
    FC_CELL_COUNT
} fc_proxy_cell;

typedef struct fc_proxy_metrics {
    uint64_t *row;                  /* NULL: counted nowhere */
    uint32_t cell[FC_CELL_COUNT];
    uint32_t unrouted[FC_STATUS_CLASSES]; /* as a route's cells, for requests that no route took */
    uint32_t duration_us;                 /* the same of a route's duration_us */
} fc_proxy_metrics;

/* --- the proxy --------------------------------------------------------------------------------------------------- */

typedef struct fc_proxy_settings {
    fc_http_settings http;
    const char *name;            /* our pseudonym in Via; a token */
    const fc_net *trusted;       /* peers whose forwarding fields are believed */
    uint32_t trusted_len;
    bool x_forwarded, forwarded; /* which fields we write (RFC 7239 for the second) */
    uint32_t hops_max;           /* answers 508 when Via names us this often */
    bool log_subject;            /* the log says who asked */
    uint32_t coders_max;         /* bodies that may be compressed or unpacked at one time; others are sent as they are */
    double log_sample;           /* share of requests that are logged, 0..1; failures always are */
} fc_proxy_settings;

/* How exchanges stand in traces (fc/trace.h). */
typedef struct fc_proxy_tracing {
    bool on;           /* false: traceparent is a field like any other */
    bool trust;        /* take the context of every client; false: of trusted proxies alone */
    uint64_t sample;   /* of 2^64: share of traces that begin here and are sampled */
    fc_records *spans; /* of fc_trace_span; NULL: the context is passed on, and nothing kept */
} fc_proxy_tracing;

struct fc_proxy {
    fc_http_server server;
    fc_proxy_settings settings;
    fc_route_table *table;
    fc_router_scratch *scratch;
    fc_logfile *log;
    fc_cache *cache;      /* NULL: no route of any table may ask for it */
    fc_hooks *hooks;      /* NULL: no route of any table may ask for it */
    fc_auth *auth;        /* NULL: no route of any table may ask for it */
    fc_quota_line *quotas; /* NULL: no route of any table may have a limit with allowances */
    fc_proxy_metrics metrics;
    fc_proxy_tracing tracing;
    uint64_t random;      /* sampling and balancing, not secrets */
    fc_hash_key hash_key; /* for consistent hashing: the same in all workers */
    size_t name_len;
    fc_date date;
    uint32_t active;      /* exchanges under way */
    struct exchange_mirror *mirrors; /* copies of requests under way */
    uint32_t mirrors_len;
    uint32_t coders;      /* bodies that are compressed or unpacked now */
    uint64_t log_second; /* the second `log_time` stands for */
    char log_time[19];
    double log_share;
};

/* Settings, name and trusted nets are copied. 0 or -ENOMEM. */
int fc_proxy_init(fc_proxy *proxy, fc_loop *loop, const fc_proxy_settings *settings, uint64_t seed);
/* Copies of requests that are under way end. Before the upstreams do. */
void fc_proxy_stop(fc_proxy *proxy);
/* REQUIRES: the server has been stopped and its connections have gone. */
void fc_proxy_close(fc_proxy *proxy);
/* Take a table (with its caller's reference); the old one is let go. 0 or -ENOMEM. */
int fc_proxy_set_table(fc_proxy *proxy, fc_route_table *table);
void fc_route_table_unref(fc_route_table *table);

#endif
