/* One request from its head to its last byte: where it goes, how it may end. The states are drawn in fc/proxy.h; what is
 * sent to the upstream is in forward.c, what comes back in relay.c. */
#include "exchange.h"

/* --- the end ----------------------------------------------------------------------------------------------------- */

void exchange_finish(fc_exchange *ex)
{
    if (ex->finished)
        return;
    ex->finished = true;
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    fc_loop_timer_cancel(proxy->server.loop, &ex->total);
    fc_lease_cancel(&ex->lease);
    if (ex->wait.pending)
        fc_auth_leave(&ex->wait);
    if (ex->mirror)
        exchange_mirror_leave(ex);
    if (ex->hook)
        exchange_hook_leave(ex);
    if (ex->has_body)
        fc_outq_clear(&ex->body);
    if (ex->encoder)
        exchange_encode_free(ex);
    if (ex->unpack)
        exchange_unpack_free(ex);
    if (ex->unpack_request)
        exchange_unpack_request_free(ex);
    if (ex->admitted_ns)
        exchange_admit_end(ex);
    uint64_t *row = proxy->metrics.row;
    if (row) {
        unsigned class = ex->answered ? ex->status / 100u - 1 : FC_STATUS_CLASSES - 1;
        row[(ex->route ? ex->route->cells : proxy->metrics.unrouted)[class]]++;
        row[proxy->metrics.cell[FC_CELL_BYTES_IN]] += req->body_in;
        row[proxy->metrics.cell[FC_CELL_BYTES_OUT]] += req->bytes_out;
        uint64_t now = proxy->server.loop->now_ns;
        fc_hist_record(FC_HIST_LATENCY_US, row + (ex->route ? ex->route->duration_us : proxy->metrics.duration_us),
                       (now - req->started_ns) / FC_NS_PER_US);
        if (ex->first_byte_ns)
            fc_hist_record(FC_HIST_LATENCY_US, row + ex->route->upstream_us,
                           (ex->first_byte_ns - ex->leased_ns) / FC_NS_PER_US);
    }
    if (proxy->log)
        access_log_write(ex);
    if (ex->trace.sampled && proxy->tracing.spans)
        exchange_trace_end(ex);
    if (ex->limited)
        exchange_limit_end(ex);
    if (ex->cache)
        exchange_cache_end(ex);
    if (ex->identity)
        fc_buf_unref(ex->identity);
    if (ex->head_out)
        fc_buf_unref(ex->head_out);
    if (ex->in)
        fc_buf_unref(ex->in);
    if (ex->framing)
        fc_buf_unref(ex->framing);
    if (ex->table)
        fc_route_table_unref(ex->table);
    /* ex->flush may still be queued for this batch: it finds `finished` set, and the memory is kept until then. */
    proxy->active--;
}

void exchange_end(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    bool keep = ex->keep_client;
    fc_http_flush(req);
    exchange_finish(ex);
    fc_http_end(req, keep);
}

static void cut(fc_exchange *ex, enum problem problem)
{
    fc_http_req *req = ex->req;
    if (!ex->error)
        ex->error = "answer_cut";
    count(proxy_of(req), FC_CELL_UPSTREAM_FAILURES, 1);
    bool said = ex->grpc && exchange_grpc_cut(ex, problem);
    if (said)
        fc_http_flush(req);
    exchange_finish(ex);
    if (said)
        fc_http_end(req, false);
    else
        fc_http_abort(req);
}

void exchange_cut(fc_exchange *ex) { cut(ex, PROBLEM_UPSTREAM_CLOSED); }

/* What the upstream is to blame for; the rest is our own. */
static bool blames(enum problem problem)
{
    return problem == PROBLEM_BAD_ANSWER || problem == PROBLEM_UPSTREAM_CLOSED || problem == PROBLEM_SEND_TIMEOUT ||
           problem == PROBLEM_FIRST_BYTE_TIMEOUT || problem == PROBLEM_TOTAL_TIMEOUT;
}

void exchange_fail(fc_exchange *ex, enum problem problem, const char *detail, const char *extra)
{
    if (ex->lease.conn && blames(problem))
        fc_lease_told(&ex->lease, FC_OUTCOME_FAILURE);
    if (ex->lease.conn)
        fc_lease_release(&ex->lease, false, 0, true);
    ex->upstream_failed = true;
    if (ex->answered) {
        cut(ex, problem);
        return;
    }
    if (ex->cache && exchange_cache_answer_stale(ex, "stale-if-error"))
        return;
    count(proxy_of(ex->req), FC_CELL_UPSTREAM_FAILURES, 1);
    problem_answer(ex, problem, detail, extra);
}

static void on_total(fc_timer *timer, void *ctx)
{
    (void)ctx;
    fc_exchange *ex = FC_CONTAINER_OF(timer, fc_exchange, total);
    if (ex->state == EX_PARK) { /* no upstream is to blame */
        problem_answer(ex, (enum problem)(PROBLEM_AUTH + FC_AUTH_UNAVAILABLE), "verifying the credential took too long",
                       "Retry-After: 1\r\n");
        return;
    }
    if (ex->state == EX_QUOTA) { /* nor here */
        problem_answer(ex, PROBLEM_TOTAL_TIMEOUT, "to know what its limits say took longer than its route allows", NULL);
        return;
    }
    exchange_fail(ex, PROBLEM_TOTAL_TIMEOUT, "the exchange took longer than its route allows", NULL);
}

/* --- from the client --------------------------------------------------------------------------------------------- */

void exchange_drained(fc_exchange *ex)
{
    if (ex->unpack && exchange_unpack_go(ex) != UNPACK_DONE)
        return;
    if (ex->state == EX_CACHED) {
        exchange_cache_drain(ex);
        return;
    }
    if (!ex->lease.conn || !exchange_upstream(ex)->paused || ex->state == EX_HOOK)
        return;
    exchange_watch(ex, ex->state == EX_TUNNEL ? ex->route->tunnel_idle_ms : ex->route->between_bytes_ms);
    fc_conn_resume(exchange_upstream(ex));
}

static void on_drain(fc_http_req *req) { exchange_drained(exchange_of(req)); }

static void on_failed(fc_http_req *req, fc_http_failure why)
{
    static const struct {
        enum problem problem;
        const char *text; /* NULL: there is nobody to tell */
        const char *word; /* for the log, where nothing is answered */
    } failures[] = {
        [FC_HTTP_CLIENT_GONE] = {0, NULL, "client_closed"},
        [FC_HTTP_BODY_MALFORMED] = {PROBLEM_BAD_REQUEST, "the request body's chunked coding is malformed", "bad_request"},
        [FC_HTTP_BODY_TOO_LARGE] = {PROBLEM_BODY_TOO_LARGE, "the request body is larger than this server accepts",
                                    "body_limit"},
        [FC_HTTP_BODY_TIMEOUT] = {PROBLEM_BODY_TIMEOUT, "the request body did not come in time", "body_timeout"},
        [FC_HTTP_WRITE_TIMEOUT] = {0, NULL, "write_timeout"},
        [FC_HTTP_SHUTDOWN] = {0, NULL, "shutdown"},
        [FC_HTTP_NO_MEMORY] = {PROBLEM_OVERLOADED, "out of buffers", "overload"},
    };
    fc_exchange *ex = exchange_of(req);
    if (ex->finished)
        return;
    count(proxy_of(req), FC_CELL_CLIENT_ABORTS, 1);
    fc_lease_cancel(&ex->lease);
    if (failures[why].text && !ex->answered && !req->ended) {
        problem_answer(ex, failures[why].problem, failures[why].text, NULL);
        return;
    }
    if (!ex->answered)
        ex->status = 499; /* nginx's number for it: nothing was answered, and it was not our choice */
    ex->error = failures[why].word;
    exchange_finish(ex);
}

/* 64 random bits in hex: unique enough to find one request among billions of log lines. */
static void make_request_id(fc_exchange *ex)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t v = fc_hash_next(&proxy_of(ex->req)->random);
    for (int i = 0; i < 16; i++, v >>= 4)
        ex->request_id[i] = hex[v & 15];
    ex->request_id_len = 16;
}

static fc_exchange *begin(fc_http_req *req)
{
    fc_exchange *ex = exchange_of(req);
    memset(ex, 0, sizeof *ex);
    ex->req = req;
    ex->grpc_status = -1;
    ex->total.fn = on_total;
    ex->flush.fn = exchange_on_flush;
    make_request_id(ex);
    proxy_of(req)->active++;
    if (proxy_of(req)->tracing.on)
        exchange_trace_begin(ex);
    return ex;
}

static void on_refuse(fc_http_req *req, int status, const char *reason)
{
    fc_exchange *ex = begin(req);
    count(proxy_of(req), FC_CELL_REFUSED, 1);
    problem_answer(ex, problem_of(status), reason, NULL);
}

/* "GET, POST", from what the router says would have been allowed. */
static void answer_method(fc_exchange *ex, const fc_router_match *match)
{
    char allow[512];
    fc_text out = fc_text_at(allow, sizeof allow - 1);
    FC_TEXT_LIT(&out, "Allow: ");
    bool first = true;
    for (unsigned m = 1; m < FC_METHOD_COUNT + match->other_methods_len; m++) {
        fc_slice name;
        if (m < FC_METHOD_COUNT) {
            const char *text = fc_http_method_name((fc_http_method)m);
            name = (fc_slice){text, match->allowed & (1u << m) ? strlen(text) : 0};
        } else {
            name = match->other_methods[m - FC_METHOD_COUNT];
        }
        if (!name.n)
            continue;
        if (!first)
            FC_TEXT_LIT(&out, ", ");
        fc_text_slice(&out, name);
        first = false;
    }
    FC_TEXT_LIT(&out, "\r\n");
    *out.p = 0;
    problem_answer(ex, PROBLEM_METHOD, "no route takes this method here", out.overflow ? NULL : allow);
}

/* OPTIONS that asks about us: the server as a whole, or whoever is the last hop the client allows. */
static bool last_hop(const fc_http_req *req)
{
    uint64_t hops;
    return req->head.method_id == FC_METHOD_OPTIONS && (req->head.target_form == FC_TARGET_ASTERISK ||
                                                        (exchange_max_forwards(req, &hops) && hops == 0));
}

/* Upgrade: h2c would give the client a connection on which it chooses paths and hosts that no route here has seen. */
static bool may_upgrade(const fc_http_req *req)
{
    const fc_http1_head *head = &req->head;
    if (!head->has_upgrade || head->framing != FC_BODY_NONE || head->minor == 0)
        return false;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice list = fc_http_slice(req, head->fields[i].value);
        if (head->fields[i].id == FC_FIELD_UPGRADE && fc_http_list_has(list.p, list.n, "h2c", 3))
            return false;
    }
    return true;
}

static uint64_t affinity(const fc_exchange *ex, const fc_router_match *match)
{
    const fc_http_req *req = ex->req;
    const fc_route *route = ex->route;
    fc_slice key = match->path;
    fc_addr client;
    switch (route->hash_on) {
    case FC_HASH_CLIENT_IP:
        client = exchange_client(req);
        key = (fc_slice){(const char *)client.ip, sizeof client.ip};
        break;
    case FC_HASH_PATH:
        break;
    case FC_HASH_HEADER:
        key = exchange_field(req, route->hash_name);
        break;
    case FC_HASH_COOKIE:
        key = exchange_cookie(req, route->hash_name);
        break;
    case FC_HASH_QUERY:
        key = exchange_query(req, route->hash_name);
        break;
    }
    return fc_hash(&proxy_of(req)->hash_key, key.p, key.n);
}

/* method: NULL: the request's own. */
static fc_router_answer find_route(fc_exchange *ex, const fc_slice *method, fc_router_match *match)
{
    const fc_http_req *req = ex->req;
    const fc_http1_head *head = &req->head;
    fc_router_request q = {
        .method_id = method ? fc_http_method_id(method->p, method->n) : (fc_http_method)head->method_id,
        .method = method ? *method : fc_http_slice(req, head->method),
        .host = fc_http_slice(req, head->authority),
        .path = fc_http_slice(req, head->path),
        .query = fc_http_slice(req, head->query),
        .fields = head->fields,
        .fields_len = head->fields_len,
        .buf = req->base,
    };
    return fc_router_find(ex->table->router, &q, match, proxy_of(req)->scratch);
}

static void answer_unrouted(fc_exchange *ex, fc_router_answer answer, const fc_router_match *match)
{
    count(proxy_of(ex->req), FC_CELL_UNROUTED, 1);
    if (answer == FC_ROUTER_METHOD)
        answer_method(ex, match);
    else if (answer == FC_ROUTER_BAD_PATH)
        problem_answer(ex, match->path_error == FC_PATH_TOO_LONG ? PROBLEM_URL_TOO_LONG : PROBLEM_BAD_REQUEST,
                       fc_path_error_text(match->path_error), NULL);
    else
        problem_answer(ex, PROBLEM_NO_ROUTE, "no route matches this host and path", NULL);
}

static void send_on(fc_exchange *ex, const fc_router_match *match)
{
    if (ex->route->upstream->adaptive && !ex->admitted_ns && !exchange_admit(ex))
        return;
    if (ex->head_out) /* asked once already, with conditions */
        fc_buf_unref(ex->head_out);
    ex->head_out = NULL;
    if (ex->route->coding && ex->route->coding->unpack_requests)
        exchange_code_choose_request(ex);
    int status = exchange_build_request(ex, match);
    if (status) {
        problem_answer(ex, problem_of(status),
                       status == 508 ? "this request has passed through here too often" : "the request head does not fit",
                       NULL);
        return;
    }
    if (ex->route->upstream->settings.balance == FC_BALANCE_HASH)
        ex->hash = affinity(ex, match);
    if (ex->route->hooks && ex->route->hooks->request >= 0)
        exchange_hook_request(ex);
    else
        exchange_send_built(ex);
}

void exchange_send_built(fc_exchange *ex)
{
    if (ex->mirror_to) {
        exchange_mirror(ex, ex->mirror_to);
        ex->mirror_to = NULL; /* once, however often it is asked */
    }
    exchange_acquire(ex, false);
}

/* Nothing stands in the way any more. */
static void forward(fc_exchange *ex, const fc_router_match *match)
{
    if (ex->route->fixed) {
        exchange_answer_fixed(ex, match);
        return;
    }
    ex->mirror_to = ex->route->mirror;
    if (ex->route->split)
        ex->route = exchange_split(ex);
    if (!ex->route->cache || exchange_cache_look(ex, match) == CACHE_FORWARD)
        send_on(ex, match);
}

/* Who asks is known. */
static void identified(fc_exchange *ex, const fc_router_match *match)
{
    if (!ex->route->limits || exchange_limit(ex, true))
        forward(ex, match);
}

/* Within the limits that need not know who asks. */
static void enter(fc_exchange *ex, const fc_router_match *match)
{
    if (!ex->route->auth || exchange_authenticate(ex))
        identified(ex, match);
}

/* What the router found lay in its scratch, which other requests have used meanwhile. The table is the same, so is the
 * route. */
static void again(fc_exchange *ex, void (*then)(fc_exchange *ex, const fc_router_match *match))
{
    fc_router_match match;
    fc_router_answer answer = find_route(ex, NULL, &match);
    if (answer == FC_ROUTER_FOUND)
        then(ex, &match);
    else
        answer_unrouted(ex, answer, &match);
}

void exchange_enter(fc_exchange *ex) { again(ex, enter); }
void exchange_go_on(fc_exchange *ex) { again(ex, identified); }
void exchange_admitted(fc_exchange *ex) { again(ex, forward); }
void exchange_send_on(fc_exchange *ex) { again(ex, send_on); }

/* A preflight belongs to the route that would take the request it announces. True: answered. */
static bool preflight(fc_exchange *ex)
{
    fc_slice method;
    fc_router_match match;
    if (!exchange_wants_preflight(ex->req, &method) || find_route(ex, &method, &match) != FC_ROUTER_FOUND ||
        !ex->table->routes[match.index].cors)
        return false;
    ex->route = &ex->table->routes[match.index];
    exchange_preflight(ex, method);
    return true;
}

static void on_request(fc_http_req *req)
{
    fc_exchange *ex = begin(req);
    fc_proxy *proxy = proxy_of(req);
    const fc_http1_head *head = &req->head;
    ex->request_done = req->body_done;
    ex->grpc = req->patient = exchange_is_grpc(req);
    if (head->method_id == FC_METHOD_CONNECT || head->method_id == FC_METHOD_TRACE) {
        /* CONNECT would make an open relay of us; TRACE shows a script what the browser hides from it. */
        problem_answer(ex, PROBLEM_METHOD, "this server takes neither CONNECT nor TRACE", "Allow: GET, HEAD\r\n");
        return;
    }
    if (last_hop(req)) {
        problem_options(ex);
        return;
    }
    if (!proxy->table) {
        problem_answer(ex, PROBLEM_NO_ROUTE, "no routes are configured", NULL);
        return;
    }
    fc_router_match match;
    ex->table = proxy->table;
    ex->table->refs++;
    if (ex->table->has_cors && preflight(ex))
        return;
    fc_router_answer answer = find_route(ex, NULL, &match);
    if (answer != FC_ROUTER_FOUND) {
        answer_unrouted(ex, answer, &match);
        return;
    }
    ex->route = &ex->table->routes[match.index];
    uint64_t max = ex->route->body_bytes_max;
    if (max && head->framing == FC_BODY_LENGTH && head->content_length > max) {
        problem_answer(ex, PROBLEM_BODY_TOO_LARGE, "the request body is larger than this route accepts", NULL);
        return;
    }
    ex->upgrade = may_upgrade(req);
    ex->request_chunked = head->framing == FC_BODY_CHUNKED;
    uint32_t total_ms = ex->route->total_ms, own_ms = ex->grpc ? exchange_grpc_timeout(req) : 0;
    if (own_ms && (!total_ms || own_ms < total_ms))
        total_ms = own_ms;
    if (total_ms)
        fc_loop_timer(proxy->server.loop, &ex->total, fc_loop_now_ms(proxy->server.loop) + total_ms);
    if (!ex->route->limits || exchange_limit(ex, false))
        enter(ex, &match);
}

const fc_http_ops exchange_http_ops = {
    .request = on_request,
    .refuse = on_refuse,
    .body = exchange_on_body,
    .body_end = exchange_on_body_end,
    .drain = on_drain,
    .failed = on_failed,
};
