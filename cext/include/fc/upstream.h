/* fc/upstream.h - where requests go: endpoints, their pooled connections, and who waits for one.
 *
 * An upstream is a named set of endpoints (resolved addresses with weights) behind one balancer. A caller asks for a
 * connection with fc_upstream_acquire and gets, through its callbacks, a connected socket - pooled if one is idle, fresh
 * otherwise - or the reason why there is none. Endpoints may be replaced while traffic flows: connections of those that
 * stay are kept, those of vanished ones are closed as they become idle.
 *
 * Invariants
 *  1. Per endpoint at most connections_max connections exist (0: no limit); callers beyond it wait, at most pending_max
 *     of them and at most connect_timeout_ms long; more are refused at once.
 *  2. An idle connection is watched: one that becomes readable (the peer closed, or sent bytes nobody asked for) is
 *     dropped and never handed out.
 *  3. A connection that did not end a message exactly at its framing is never pooled (response smuggling).
 *  4. An endpoint that could not be reached is avoided for fail_timeout_ms while others remain.
 *  5. With fc_upstream_watch: what tries came to is shared with the other workers (fc/health.h), and endpoints that are
 *     ill, ejected or behind an open breaker are left out.
 * Belongs to its loop; every worker has pools of its own.
 */
#ifndef FC_UPSTREAM_H
#define FC_UPSTREAM_H

#include <sys/socket.h>

#include "fc/adaptive.h"
#include "fc/balance.h"
#include "fc/conn.h"
#include "fc/h2.h"
#include "fc/health.h"

typedef struct fc_upstream fc_upstream;
typedef struct fc_endpoint fc_endpoint;
typedef struct fc_upconn fc_upconn;
typedef struct fc_lease fc_lease;

typedef struct fc_upstream_settings {
    fc_balance_policy balance;
    double load_factor;         /* of FC_BALANCE_HASH; 0: none */
    uint32_t keepalive;         /* idle connections kept per endpoint */
    uint32_t connections_max;   /* per endpoint; 0: no limit */
    uint32_t pending_max;       /* callers that may wait for a connection, per upstream */
    uint32_t connect_timeout_ms;
    uint32_t idle_timeout_ms;   /* of a pooled connection */
    uint32_t fail_timeout_ms;
    uint32_t out_high, out_low; /* request bytes queued per connection */
    fc_securer *securer;        /* TLS under every connection (fc/tls.h); outlives the upstream. NULL: plain */
    bool h2;                    /* speak HTTP/2 (fc/h2.h): connections handed out are streams of a few sessions per
                                 * endpoint, and connections_max and keepalive count streams: none of them is kept */
    fc_h2_settings streams;
} fc_upstream_settings;

fc_upstream_settings fc_upstream_settings_default(void);

typedef struct fc_endpoint_spec {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char label[108]; /* "10.0.0.7:8080", for logs and metrics */
    char host[256];  /* what a request to it may carry as Host: the name it was configured by */
    uint32_t weight;
} fc_endpoint_spec;

struct fc_endpoint {
    fc_endpoint_spec spec;
    fc_upstream *upstream;
    fc_upconn *idle;          /* most recently used first: the rest ages out */
    struct fc_trunk *trunks;  /* sessions, if its upstream speaks HTTP/2 */
    uint32_t idle_count, open, in_use;
    uint32_t refs;            /* connections, and the upstream's own table while listed */
    int32_t index;            /* in the balancer; -1 once replaced */
    uint64_t down_until_ms;
    uint64_t connects, connect_failures, reuses, requests;
    fc_health_cell *cell;     /* NULL: its upstream is not watched */
    uint64_t key;             /* of the cell */
    uint64_t ejections, opened; /* of this worker's doing */
    fc_health_cell own;       /* where the table had no room */
};

/* What an upstream that is watched has besides. */
typedef struct fc_upstream_health {
    fc_health_settings settings;
    fc_health_table table;
    fc_health_cell *cell, own;
    uint64_t key;
    uint64_t random;   /* slow start */
    uint32_t pid;
    uint64_t opened;   /* times this worker opened the breaker */
    uint64_t stopped;  /* requests it held back */
    uint64_t denied;   /* retries the budget did not allow */
} fc_upstream_health;

struct fc_upstream {
    fc_loop *loop;
    fc_upstream_settings settings;
    const char *name;
    fc_endpoint **endpoints;
    uint32_t endpoints_len;
    fc_balancer *balancer; /* of these endpoints; NULL while there are none */
    uint64_t seed;
    fc_lease *waiting, **waiting_end;
    uint32_t waiting_len;
    fc_timer waiting_timer;
    uint64_t rejected, timed_out;
    fc_upstream_health *health; /* NULL: it is not watched */
    fc_adaptive *adaptive;      /* NULL: it takes as many requests as come */
    uint64_t shed;              /* requests held back for that */
};

typedef enum fc_lease_failure {
    FC_LEASE_NO_ENDPOINT = 1, /* the upstream has none that takes traffic (name not resolved, weights 0) */
    FC_LEASE_UNREACHABLE,     /* every endpoint has been tried, and the last one refused */
    FC_LEASE_BUSY,            /* pending_max reached, or no descriptor or memory left for a connection */
    FC_LEASE_TIMEOUT,         /* waited connect_timeout_ms for a free connection, or for the last untried endpoint */
    FC_LEASE_SICK,            /* all that are left are known to be ill, and there is no panic */
    FC_LEASE_OPEN,            /* the breaker of the upstream, or those of all endpoints left, hold requests back */
} fc_lease_failure;

/* A caller's hold on a connection; embedded in it. */
typedef struct fc_lease_ops {
    void (*ready)(fc_lease *lease);                        /* lease->conn is connected */
    void (*failed)(fc_lease *lease, fc_lease_failure why); /* nothing is held any more */
    /* As fc_conn_ops, for as long as the connection is leased. */
    void (*read)(fc_lease *lease);
    void (*drain)(fc_lease *lease);
    void (*sent)(fc_lease *lease);
    void (*timeout)(fc_lease *lease);
    void (*broken)(fc_lease *lease, int err);
} fc_lease_ops;

struct fc_lease {
    const fc_lease_ops *ops;
    fc_upstream *upstream;
    fc_upconn *conn;     /* NULL while waiting */
    fc_lease *next, **link; /* in the waiting line; link is NULL elsewhere */
    uint64_t asked_ms;   /* when it was asked for */
    uint64_t since_ms;   /* waiting since */
    uint64_t hash;       /* for consistent hashing */
    uint64_t tried[FC_BALANCE_WORDS_MAX]; /* endpoints already tried for this request, by index */
    uint64_t started_ns;
    uint32_t attempts;   /* connections taken or tried so far */
    uint8_t trials;      /* places of half-open breakers it holds */
    bool told;           /* what this try came to is known already */
    const char *trouble; /* why TLS with the endpoint last tried did not stand; static text or NULL */
    char label[64];      /* of the endpoint last tried, cut to fit; "" before the first */
};

struct fc_upconn {
    fc_conn conn;
    fc_endpoint *endpoint;
    fc_lease *lease;     /* NULL while idle */
    fc_upconn *next, **link; /* in the idle list */
    uint32_t requests;   /* leases so far: > 1 means the connection was pooled */
    bool established;
};

fc_upstream *fc_upstream_new(fc_loop *loop, const char *name, const fc_upstream_settings *settings, uint64_t seed);
/* Closes idle connections. REQUIRES: no lease is out and nobody waits. */
void fc_upstream_free(fc_upstream *u);
/* From now on it takes as many requests at once as its latency allows. 0, -EINVAL or -ENOMEM. */
int fc_upstream_adapt(fc_upstream *u, const fc_adaptive_options *options);
/* Replace the endpoints (at most FC_BALANCE_TARGETS_MAX). 0, or -errno and nothing changed. */
int fc_upstream_set_endpoints(fc_upstream *u, const fc_endpoint_spec *specs, uint32_t n);

/* Ask for a connection. The lease is zero before its first use. `ready` or `failed` may run before this returns.
 * fresh: no pooled connection (a retry after one turned out dead). */
void fc_upstream_acquire(fc_upstream *u, fc_lease *lease, const fc_lease_ops *ops, uint64_t hash, bool fresh);
/* Give it back. reusable: the exchange ended exactly at its framing. latency_ns: 0 when there is none to learn from. */
void fc_lease_release(fc_lease *lease, bool reusable, uint64_t latency_ns, bool failed);
/* Leave the waiting line, or drop the connection whatever its state. */
void fc_lease_cancel(fc_lease *lease);
/* The endpoint was at fault: do not choose it again for this request, nor for others while it is down. */
void fc_lease_avoid(fc_lease *lease, bool unreachable);
/* Could the request go to an endpoint it has not tried yet, besides the one it holds? */
bool fc_lease_has_other(const fc_lease *lease);

/* --- what workers know together (fc/health.h) ---------------------------------------------------------------------- */

/* Before the first endpoints are set. The table is copied; its memory must outlive the upstream. 0 or -ENOMEM. */
int fc_upstream_watch(fc_upstream *u, const fc_health_settings *settings, const fc_health_table *table, uint32_t pid);
/* The cells are in use: at least every FC_HEALTH_STALE_MS / 2. */
void fc_upstream_touch(fc_upstream *u);
/* What the leased connection's try came to; only the first call for a try counts. */
void fc_lease_told(fc_lease *lease, fc_outcome outcome);
void fc_lease_told_status(fc_lease *lease, uint32_t status);
/* Until a breaker that stands in the way lets something through; 0: none is known to. */
uint64_t fc_upstream_wait_ms(const fc_upstream *u);
/* A request for the upstream's retry budget, and a retry from it. */
void fc_upstream_count_request(fc_upstream *u);
bool fc_upstream_may_retry(fc_upstream *u);

static inline bool fc_upconn_reused(const fc_upconn *c) { return c->requests > 1; }

#endif
