#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/hash.h"
#include "upstream_internal.h"

/* Endpoints that refuse cost nothing and are all tried; of those that do not answer at all, this many. */
#define CONNECT_ROUNDS 2

static const fc_conn_ops conn_ops;

static fc_upconn *of(fc_conn *conn) { return FC_CONTAINER_OF(conn, fc_upconn, conn); }

fc_upstream_settings fc_upstream_settings_default(void)
{
    return (fc_upstream_settings){
        .balance = FC_BALANCE_ROUND_ROBIN,
        .keepalive = 256,
        .pending_max = 1024,
        .connect_timeout_ms = 5000,
        .idle_timeout_ms = 60 * 1000,
        .fail_timeout_ms = 1000,
        .out_high = 256 * 1024,
        .out_low = 64 * 1024,
        .streams = fc_h2_settings_default(),
    };
}

/* --- idle connections -------------------------------------------------------------------------------------------- */

static void idle_remove(fc_upconn *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->link = NULL;
    c->endpoint->idle_count--;
}

static void idle_push(fc_upconn *c)
{
    fc_endpoint *e = c->endpoint;
    c->lease = NULL;
    c->next = e->idle;
    if (c->next)
        c->next->link = &c->next;
    c->link = &e->idle;
    e->idle = c;
    e->idle_count++;
    fc_conn_deadline(&c->conn, fc_loop_now_ms(c->conn.loop) + e->upstream->settings.idle_timeout_ms);
    fc_conn_resume(&c->conn);
}

void fc_endpoint_unref(fc_endpoint *e)
{
    if (--e->refs == 0)
        free(e);
}

static void drop(fc_upconn *c)
{
    if (c->link)
        idle_remove(c);
    fc_conn_close(&c->conn);
}

/* --- leasing ----------------------------------------------------------------------------------------------------- */

static void lease_taken(fc_lease *lease, fc_upconn *c)
{
    fc_endpoint *e = c->endpoint;
    c->lease = lease;
    c->requests++;
    lease->conn = c;
    lease->attempts++;
    memcpy(lease->label, e->spec.label, sizeof lease->label - 1);
    lease->started_ns = c->conn.loop->now_ns;
    e->in_use++;
    e->requests++;
    if (e->index >= 0)
        fc_balancer_started(e->upstream->balancer, (uint32_t)e->index);
}

static void lease_let_go(fc_upconn *c, uint64_t latency_ns, bool failed)
{
    fc_endpoint *e = c->endpoint;
    fc_lease_forget_endpoint(c->lease, e);
    uint64_t now = c->conn.loop->now_ns;
    if (!latency_ns) /* given up before an answer: it took at least this long, which is not as good as nothing */
        latency_ns = now - c->lease->started_ns;
    c->lease->conn = NULL;
    c->lease = NULL;
    e->in_use--;
    if (e->index >= 0)
        fc_balancer_finished(e->upstream->balancer, (uint32_t)e->index, now, latency_ns, failed);
}

/* Its host without a port and brackets: what its certificate must be for. */
static void name_of(const fc_endpoint *e, char name[sizeof e->spec.host])
{
    const char *host = e->spec.host, *end = strrchr(host, ']');
    if (host[0] == '[' && end) {
        host++;
    } else if (!(end = strchr(host, ':')) || strchr(end + 1, ':')) {
        end = host + strlen(host);
    }
    memcpy(name, host, (size_t)(end - host));
    name[end - host] = 0;
}

int fc_endpoint_secure(fc_endpoint *e, fc_conn *c)
{
    static const fc_hash_key place_key = {0x706c616365206f66ull, 0x6120736572766572ull}; /* tells sessions apart, no more */
    fc_securer *securer = e->upstream->settings.securer;
    char name[sizeof e->spec.host];
    name_of(e, name);
    return securer->secure(securer, c, name, fc_hash(&place_key, &e->spec.addr, e->spec.addr_len));
}

/* A connection of its own, or a stream of one that is shared. */
static int begin(fc_endpoint *e, fc_upconn *c)
{
    if (e->upstream->settings.h2)
        return fc_trunk_open(e, c, &conn_ops);
    int rc = fc_conn_connect(&c->conn, e->upstream->loop, (struct sockaddr *)&e->spec.addr, e->spec.addr_len, &conn_ops);
    if (rc == 0)
        e->connects++;
    return rc;
}

static int connect_to(fc_endpoint *e, fc_lease *lease)
{
    fc_upconn *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->endpoint = e;
    int rc = begin(e, c);
    if (rc < 0) {
        free(c);
        return rc;
    }
    c->conn.out_high = e->upstream->settings.out_high;
    c->conn.out_low = e->upstream->settings.out_low;
    e->refs++;
    e->open++;
    if (e->upstream->settings.securer && !e->upstream->settings.h2 && (rc = fc_endpoint_secure(e, &c->conn)) < 0) {
        fc_conn_close(&c->conn);
        return rc;
    }
    if (c->established)
        c->requests++; /* on a session that stood before: it may have ended meanwhile, as a pooled connection may */
    lease_taken(lease, c);
    if (c->established) {
        e->reuses++;
        lease->ops->ready(lease);
        return 0;
    }
    fc_conn_deadline(&c->conn, fc_loop_now_ms(c->conn.loop) + e->upstream->settings.connect_timeout_ms);
    return 0;
}

static void mark_tried(fc_lease *lease, fc_endpoint *e)
{
    if (e->index >= 0)
        lease->tried[e->index / 64] |= 1ull << (e->index % 64);
}

static void mark_down(fc_endpoint *e)
{
    e->down_until_ms = fc_loop_now_ms(e->upstream->loop) + e->upstream->settings.fail_timeout_ms;
}

static void fail(fc_lease *lease, fc_lease_failure why)
{
    fc_lease_forget_upstream(lease);
    lease->ops->failed(lease, why);
}

/* Why there is no endpoint left to try. */
static fc_lease_failure failure_of(const fc_lease *lease, fc_choice choice, bool timed_out)
{
    if (lease->attempts)
        return timed_out ? FC_LEASE_TIMEOUT : FC_LEASE_UNREACHABLE;
    return choice == FC_CHOICE_BROKEN ? FC_LEASE_OPEN : choice == FC_CHOICE_SICK ? FC_LEASE_SICK : FC_LEASE_NO_ENDPOINT;
}

/* Give the lease a connection, or tell why there is none. False when it has to wait. timed_out: how its last connect
 * failed, if one did. */
static bool try_lease(fc_upstream *u, fc_lease *lease, bool fresh, bool timed_out)
{
    for (;;) {
        uint64_t from[FC_BALANCE_WORDS_MAX];
        fc_choice choice = fc_upstream_candidates(u, lease, from);
        if (choice == FC_CHOICE_WAIT)
            return false;
        if (choice != FC_CHOICE_SOME) {
            fail(lease, failure_of(lease, choice, timed_out));
            return true;
        }
        fc_endpoint *e = u->endpoints[fc_balancer_pick(u->balancer, u->loop->now_ns, lease->hash, from)];
        if (u->health && !fc_lease_ask_endpoint(lease, e))
            continue; /* another worker took the last trial: its word says so now */
        if (e->idle && !fresh) {
            fc_upconn *c = e->idle;
            idle_remove(c);
            e->reuses++;
            lease_taken(lease, c);
            fc_conn_deadline(&c->conn, 0);
            lease->ops->ready(lease);
            return true;
        }
        if (e->idle && u->settings.connections_max && e->open >= u->settings.connections_max)
            drop(e->idle); /* an idle connection holds one of the places this fresh one needs */
        int rc = connect_to(e, lease);
        if (rc == 0)
            return true;
        if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS) {
            fc_lease_forget_endpoint(lease, e);
            fail(lease, FC_LEASE_BUSY); /* it is we who have nothing left: no reason to avoid the endpoint */
            return true;
        }
        lease->attempts++;
        memcpy(lease->label, e->spec.label, sizeof lease->label - 1);
        e->connect_failures++;
        fc_lease_told_of(lease, e, FC_OUTCOME_FAILURE);
        mark_tried(lease, e);
        mark_down(e);
        timed_out = false;
    }
}

static void wait_remove(fc_lease *lease)
{
    fc_upstream *u = lease->upstream;
    *lease->link = lease->next;
    if (lease->next)
        lease->next->link = lease->link;
    else
        u->waiting_end = lease->link;
    lease->link = NULL;
    u->waiting_len--;
}

static void on_waiting_timer(fc_timer *timer, void *ctx)
{
    fc_upstream *u = FC_CONTAINER_OF(timer, fc_upstream, waiting_timer);
    uint64_t now = fc_loop_now_ms(ctx);
    while (u->waiting && u->waiting->since_ms + u->settings.connect_timeout_ms <= now) {
        fc_lease *lease = u->waiting;
        wait_remove(lease);
        u->timed_out++;
        fail(lease, FC_LEASE_TIMEOUT);
    }
    if (u->waiting)
        fc_loop_timer(u->loop, timer, u->waiting->since_ms + u->settings.connect_timeout_ms);
}

static void wait_in_line(fc_upstream *u, fc_lease *lease)
{
    if (u->waiting_len >= u->settings.pending_max) {
        u->rejected++;
        fail(lease, FC_LEASE_BUSY);
        return;
    }
    lease->since_ms = fc_loop_now_ms(u->loop);
    lease->next = NULL;
    lease->link = u->waiting_end;
    *u->waiting_end = lease;
    u->waiting_end = &lease->next;
    if (u->waiting_len++ == 0)
        fc_loop_timer(u->loop, &u->waiting_timer, lease->since_ms + u->settings.connect_timeout_ms);
}

static void serve_waiting(fc_upstream *u)
{
    while (u->waiting) {
        fc_lease *lease = u->waiting;
        uint64_t from[FC_BALANCE_WORDS_MAX];
        if (fc_upstream_candidates(u, lease, from) == FC_CHOICE_WAIT)
            return;
        wait_remove(lease);
        if (!try_lease(u, lease, false, false)) {
            wait_in_line(u, lease);
            return;
        }
    }
}

void fc_upstream_acquire(fc_upstream *u, fc_lease *lease, const fc_lease_ops *ops, uint64_t hash, bool fresh)
{
    lease->ops = ops;
    lease->upstream = u;
    lease->conn = NULL;
    lease->link = NULL;
    lease->hash = hash;
    lease->asked_ms = fc_loop_now_ms(u->loop);
    if (u->health && !fc_lease_ask_upstream(lease)) {
        lease->ops->failed(lease, FC_LEASE_OPEN);
        return;
    }
    /* First come, first served: nobody overtakes the waiting line. */
    if (u->waiting || !try_lease(u, lease, fresh, false))
        wait_in_line(u, lease);
}

void fc_lease_release(fc_lease *lease, bool reusable, uint64_t latency_ns, bool failed)
{
    fc_upconn *c = lease->conn;
    fc_endpoint *e = c->endpoint;
    fc_upstream *u = e->upstream;
    fc_lease_forget_upstream(lease);
    lease_let_go(c, latency_ns, failed);
    if (reusable)
        e->down_until_ms = 0;
    /* readable: bytes behind the response, or the end of the stream. Either way nothing to build on. */
    bool keep = reusable && !u->settings.h2 && e->index >= 0 && !c->conn.readable && !c->conn.peer_closed && !c->conn.out.len &&
                e->idle_count < u->settings.keepalive;
    if (keep)
        idle_push(c);
    else
        drop(c);
    if (u->waiting)
        serve_waiting(u);
}

void fc_lease_cancel(fc_lease *lease)
{
    if (lease->link)
        wait_remove(lease);
    if (lease->conn)
        fc_lease_release(lease, false, 0, false);
    else
        fc_lease_forget_upstream(lease);
}

void fc_lease_avoid(fc_lease *lease, bool unreachable)
{
    fc_endpoint *e = lease->conn->endpoint;
    mark_tried(lease, e);
    if (unreachable)
        mark_down(e);
}

bool fc_lease_has_other(const fc_lease *lease)
{
    fc_lease other = *lease;
    uint64_t from[FC_BALANCE_WORDS_MAX];
    mark_tried(&other, lease->conn->endpoint);
    fc_choice choice = fc_upstream_candidates(lease->upstream, &other, from);
    return (choice == FC_CHOICE_SOME || choice == FC_CHOICE_WAIT) && !fc_upstream_stops(lease->upstream);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

/* The connection never stood: on to the next endpoint, which costs the caller nothing but time. */
static void connect_failed(fc_upconn *c, bool timed_out)
{
    fc_lease *lease = c->lease;
    fc_upstream *u = c->endpoint->upstream;
    c->endpoint->connect_failures++;
    lease->trouble = fc_conn_trouble(&c->conn);
    fc_lease_told(lease, FC_OUTCOME_FAILURE);
    fc_lease_avoid(lease, true);
    lease_let_go(c, 0, true);
    drop(c);
    uint64_t spent_ms = fc_loop_now_ms(u->loop) - lease->asked_ms;
    bool patient = !timed_out || spent_ms < (uint64_t)CONNECT_ROUNDS * u->settings.connect_timeout_ms;
    if (!patient)
        fail(lease, FC_LEASE_TIMEOUT);
    else if (!try_lease(u, lease, false, timed_out))
        wait_in_line(u, lease);
    serve_waiting(u); /* the place of the connection that failed is free */
}

static void on_connected(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    c->established = true;
    c->endpoint->down_until_ms = 0;
    fc_conn_deadline(conn, 0);
    c->lease->ops->ready(c->lease);
}

static void on_read(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    if (c->lease && !c->established)
        return; /* reported together with a failed connect; EPOLLOUT decides */
    if (c->lease)
        c->lease->ops->read(c->lease);
    else
        drop(c);
}

static void on_drain(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    if (c->lease)
        c->lease->ops->drain(c->lease);
}

static void on_sent(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    if (c->lease)
        c->lease->ops->sent(c->lease);
}

static void on_timeout(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    if (!c->lease)
        drop(c);
    else if (!c->established)
        connect_failed(c, true);
    else
        c->lease->ops->timeout(c->lease);
}

static void on_broken(fc_conn *conn, int err)
{
    fc_upconn *c = of(conn);
    if (!c->lease)
        drop(c);
    else if (!c->established)
        connect_failed(c, false);
    else
        c->lease->ops->broken(c->lease, err);
}

static void on_closed(fc_conn *conn)
{
    fc_upconn *c = of(conn);
    c->endpoint->open--;
    fc_endpoint_unref(c->endpoint);
    free(c);
}

static const fc_conn_ops conn_ops = {
    .read = on_read,
    .drain = on_drain,
    .sent = on_sent,
    .connected = on_connected,
    .timeout = on_timeout,
    .broken = on_broken,
    .closed = on_closed,
};

/* --- the set of endpoints ---------------------------------------------------------------------------------------- */

fc_upstream *fc_upstream_new(fc_loop *loop, const char *name, const fc_upstream_settings *settings, uint64_t seed)
{
    fc_upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->loop = loop;
    u->settings = *settings;
    u->name = strdup(name);
    u->waiting_end = &u->waiting;
    u->waiting_timer.fn = on_waiting_timer;
    u->seed = seed;
    if (!u->name) {
        fc_upstream_free(u);
        return NULL;
    }
    return u;
}

static void retire(fc_endpoint *e)
{
    e->index = -1;
    while (e->idle)
        drop(e->idle);
    fc_trunks_retire(e);
    fc_endpoint_unref(e);
}

void fc_upstream_free(fc_upstream *u)
{
    if (!u)
        return;
    for (uint32_t i = 0; i < u->endpoints_len; i++)
        retire(u->endpoints[i]);
    fc_loop_timer_cancel(u->loop, &u->waiting_timer);
    fc_balancer_free(u->balancer);
    free(u->endpoints);
    free(u->health);
    free(u->adaptive);
    free((void *)(uintptr_t)u->name);
    free(u);
}

int fc_upstream_adapt(fc_upstream *u, const fc_adaptive_options *options)
{
    fc_adaptive *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    if (!fc_adaptive_init(a, options)) {
        free(a);
        return -EINVAL;
    }
    free(u->adaptive);
    u->adaptive = a;
    return 0;
}

static bool same_place(const fc_endpoint_spec *a, const fc_endpoint_spec *b)
{
    return a->addr_len == b->addr_len && memcmp(&a->addr, &b->addr, a->addr_len) == 0;
}

static fc_endpoint *find(const fc_upstream *u, const fc_endpoint_spec *spec)
{
    for (uint32_t i = 0; i < u->endpoints_len; i++)
        if (u->endpoints[i]->index >= 0 && same_place(&u->endpoints[i]->spec, spec))
            return u->endpoints[i];
    return NULL;
}

/* A balancer for these endpoints that knows what is in flight to those that stay. */
static fc_balancer *make_balancer(const fc_upstream *u, const fc_endpoint_spec *specs, uint32_t n)
{
    static const fc_hash_key name_key = {0x66617374636f7265ull, 0x656e64706f696e74ull}; /* fixed: all workers agree */
    fc_balance_options options = FC_BALANCE_OPTIONS;
    options.policy = u->settings.balance;
    options.load_factor = u->settings.load_factor;
    options.seed = u->seed;
    fc_balance_target *targets = calloc(n, sizeof *targets);
    if (!targets)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        targets[i] = (fc_balance_target){.weight = specs[i].weight,
                                         .id = fc_hash(&name_key, specs[i].label, strlen(specs[i].label))};
    fc_balancer *b = fc_balancer_new(&options, targets, n);
    free(targets);
    return b;
}

int fc_upstream_set_endpoints(fc_upstream *u, const fc_endpoint_spec *specs, uint32_t n)
{
    if (n > FC_BALANCE_TARGETS_MAX)
        return -E2BIG;
    fc_endpoint **table = calloc(n + 1, sizeof *table);
    fc_balancer *balancer = n ? make_balancer(u, specs, n) : NULL;
    if (!table || (n && !balancer))
        goto fail;
    for (uint32_t i = 0; i < n; i++) {
        fc_endpoint *e = find(u, &specs[i]);
        if (!e && (e = calloc(1, sizeof *e))) {
            e->upstream = u;
            e->index = -1;
        }
        if (!(table[i] = e))
            goto fail;
    }
    for (uint32_t i = 0; i < u->endpoints_len; i++)
        u->endpoints[i]->index = -1;
    for (uint32_t i = 0; i < n; i++) {
        table[i]->spec = specs[i];
        table[i]->index = (int32_t)i;
        fc_endpoint_claim(table[i]);
        table[i]->refs++; /* held by the new table before the old one lets go */
        for (uint32_t k = 0; k < table[i]->in_use; k++)
            fc_balancer_started(balancer, i);
    }
    for (uint32_t i = 0; i < u->endpoints_len; i++)
        if (u->endpoints[i]->index < 0)
            retire(u->endpoints[i]);
        else
            u->endpoints[i]->refs--;
    free(u->endpoints);
    fc_balancer_free(u->balancer);
    u->endpoints = table;
    u->endpoints_len = n;
    u->balancer = balancer;
    serve_waiting(u);
    return 0;
fail:
    for (uint32_t i = 0; table && i < n; i++)
        if (table[i] && table[i]->refs == 0)
            free(table[i]);
    free(table);
    fc_balancer_free(balancer);
    return n && !balancer ? -EINVAL : -ENOMEM;
}
