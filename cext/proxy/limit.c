/* Limits of a route on a request: who is counted, what is charged, what is given back, and who must wait to know it. The
 * rules are in fc/limit.h. */
#include "exchange.h"

/* A query value longer than this is counted by its bytes as sent. */
#define DECODED_MAX 4096
/* A request asks so often; units it asked for go to whoever comes first. */
#define ROUNDS_MAX 3

struct fc_limit_state {
    uint32_t n, told;        /* uses, and those that admitted answers carry */
    uint32_t first;          /* of those that are decided now */
    uint32_t rounds;         /* times it stood in line for these */
    bool knows_user;
    fc_quota_wait *wait;     /* stands in line, or was taken */
    const fc_limit *refused; /* the first that refused */
    const fc_limit *would;   /* the first dry-run one that would have */
    fc_limit_use uses[FC_LIMITS_MAX];
};

_Static_assert(sizeof(struct fc_limit_state) <= FC_BUF_SMALL, "fits a small buffer");
_Static_assert(FC_QUOTA_ASKS_MAX >= FC_LIMITS_MAX, "all of a request's limits may have to be asked for");

static struct fc_limit_state *state_of(const fc_exchange *ex) { return (struct fc_limit_state *)(void *)ex->limited->data; }

static void count_limit(fc_proxy *proxy, const fc_limit *limit, fc_limit_cell cell)
{
    if (proxy->metrics.row)
        proxy->metrics.row[limit->cells[cell]]++;
}

/* --- the key ----------------------------------------------------------------------------------------------------- */

struct scratch {
    fc_addr client;
    char host[FC_HOST_MAX], decoded[DECODED_MAX];
};

static fc_slice part_value(const fc_exchange *ex, const fc_limit *limit, const fc_limit_part *part, struct scratch *s)
{
    const fc_http_req *req = ex->req;
    fc_slice value;
    switch (part->by) {
    case FC_LIMIT_IP:
        s->client = exchange_client(req);
        fc_limit_mask(limit, &s->client);
        return (fc_slice){(const char *)s->client.ip, sizeof s->client.ip};
    case FC_LIMIT_USER:
        return ex->subject;
    case FC_LIMIT_ROUTE:
        return ex->route->name;
    case FC_LIMIT_HOST:
        return exchange_host(req, s->host);
    case FC_LIMIT_HEADER:
        return exchange_only_field(req, part->name);
    case FC_LIMIT_COOKIE:
        return exchange_only_cookie(req, part->name);
    case FC_LIMIT_QUERY:
        break;
    }
    value = exchange_only_query(req, part->name);
    size_t n;
    return fc_limit_decode(value, s->decoded, sizeof s->decoded, &n) ? (fc_slice){s->decoded, n} : value;
}

/* Values are hashed one by one, because the scratch holds one of a kind. */
static uint64_t print_of(const fc_exchange *ex, const fc_limit *limit)
{
    struct scratch scratch;
    uint64_t hashes[FC_LIMIT_PARTS_MAX];
    for (uint32_t i = 0; i < limit->parts_len; i++) {
        fc_slice value = part_value(ex, limit, &limit->parts[i], &scratch);
        hashes[i] = fc_hash(limit->key, value.p, value.n);
    }
    return fc_limit_print(limit, hashes);
}

/* --- charging ---------------------------------------------------------------------------------------------------- */

static void take_place(fc_limit_use *use)
{
    const fc_limit *limit = use->limit;
    uint32_t held;
    use->place = fc_inflight_acquire(limit->places, use->print, limit->at_once, &held);
    bool allowed = use->place >= 0 || (use->place == FC_INFLIGHT_FULL && !limit->full_refuses);
    use->answer = (fc_gcra_answer){
        .limit = limit->at_once,
        .remaining = allowed && held < limit->at_once ? limit->at_once - held : 0,
        .allowed = allowed,
    };
    if (use->place < 0)
        use->place = -1;
}

/* What is known of a limit that is decided elsewhere, for its fields. */
static void look(fc_limit_use *use, uint64_t now_ns, bool allowed, uint64_t left, uint64_t until_ns)
{
    const fc_limit *limit = use->limit;
    fc_gcra_answer *a = &use->answer;
    fc_limiter_peek(limit->table, &limit->quota, use->print, now_ns, limit->cost, a);
    a->remaining = a->remaining + left < a->limit ? a->remaining + left : a->limit;
    if (!allowed && a->retry_ns == 0)
        a->retry_ns = until_ns > now_ns ? until_ns - now_ns : 1;
    if (allowed)
        a->retry_ns = 0;
    a->allowed = allowed;
}

static void give_back(fc_limit_use *use, uint64_t now_ns)
{
    const fc_limit *limit = use->limit;
    if (use->place >= 0) {
        fc_inflight_release(limit->places, use->place, use->print);
        use->place = -1;
    }
    if (use->charged) {
        if (use->allowance)
            fc_allowance_give_back(limit->allowances, use->print, now_ns, limit->cost);
        else
            fc_limiter_refund(limit->table, &limit->quota, use->print, limit->cost);
        fc_limiter_peek(limit->table, &limit->quota, use->print, now_ns, limit->cost, &use->answer);
        use->answer.allowed = true; /* it did admit */
        use->charged = false;
    }
}

/* True: nobody knows yet. */
static bool take_units(const fc_quota_line *line, uint32_t rounds, fc_limit_use *use, uint64_t now_ns)
{
    const fc_limit *limit = use->limit;
    uint64_t left = 0, until_ns = now_ns;
    if (fc_quota_gone(line)) {
        bool allowed = limit->when_gone == FC_LIMIT_GONE_ADMIT;
        look(use, now_ns, allowed, 0, now_ns + line->retry_ns);
        return false;
    }
    fc_allowance_answer answer =
        fc_allowance_take(limit->allowances, use->print, now_ns, limit->cost, &left, &until_ns);
    if (answer == FC_ALLOWANCE_NONE && rounds < ROUNDS_MAX)
        return true;
    use->charged = use->allowance = answer == FC_ALLOWANCE_TAKEN;
    look(use, now_ns, use->charged, left, until_ns);
    return false;
}

typedef enum outcome { CHARGED, REFUSED, ASK } outcome;

/* Those that may refuse: places first, because they are given back without a trace, then what is decided elsewhere, then
 * all other rates or none. What was got in an earlier round is kept. */
static outcome charge(const fc_quota_line *line, struct fc_limit_state *state, uint64_t now_ns)
{
    fc_limiter_limit rates[FC_LIMITS_MAX];
    fc_limit_use *by_rate[FC_LIMITS_MAX];
    uint32_t len = 0;
    bool allowed = true, ask = false;
    for (uint32_t i = state->first; i < state->n; i++) {
        fc_limit_use *use = &state->uses[i];
        const fc_limit *limit = use->limit;
        if (limit->allowances && !use->charged && !(fc_quota_gone(line) && limit->when_gone == FC_LIMIT_GONE_LOCAL)) {
            bool unknown = take_units(line, state->rounds, use, now_ns);
            use->decided = !unknown;
            ask = ask || unknown;
            allowed = allowed && (use->answer.allowed || limit->dry_run);
        } else if (use->charged || limit->dry_run) {
            continue;
        } else if (limit->table) {
            rates[len] = (fc_limiter_limit){
                .limiter = limit->table, .quota = &limit->quota, .print = use->print, .cost = limit->cost};
            by_rate[len++] = use;
        } else if (use->place < 0) {
            take_place(use);
            allowed = allowed && use->answer.allowed;
        }
    }
    if (allowed && !ask)
        allowed = fc_limiter_hit_all(rates, len, now_ns);
    else
        for (uint32_t i = 0; i < len; i++) {
            fc_limiter_peek(rates[i].limiter, rates[i].quota, rates[i].print, now_ns, rates[i].cost, &rates[i].answer);
            allowed = allowed && rates[i].answer.allowed;
        }
    for (uint32_t i = 0; i < len; i++) {
        by_rate[i]->answer = rates[i].answer;
        by_rate[i]->charged = allowed && !ask && !rates[i].full;
    }
    return !allowed ? REFUSED : ask ? ASK : CHARGED;
}

static void try_dry(struct fc_limit_state *state, fc_limit_use *use, uint64_t now_ns)
{
    const fc_limit *limit = use->limit;
    if (use->decided)
        use->decided = false;
    else if (limit->table)
        use->charged = fc_limiter_hit(limit->table, &limit->quota, use->print, now_ns, limit->cost, &use->answer) &&
                       use->answer.allowed;
    else
        take_place(use);
    if (!use->answer.allowed && !state->would)
        state->would = limit;
}

/* --- answering --------------------------------------------------------------------------------------------------- */

static void refuse(fc_exchange *ex, struct fc_limit_state *state)
{
    char lines[64 + FC_LIMITS_MAX * (FC_LIMIT_POLICY_MAX + FC_LIMIT_NAME_MAX + 48)];
    char members[64 + FC_LIMITS_MAX * (FC_LIMIT_NAME_MAX + 4)];
    fc_text out = fc_text_at(lines, sizeof lines - 1), json = fc_text_at(members, sizeof members - 1);
    FC_TEXT_LIT(&json, ",\"violated-policies\":[");
    for (uint32_t i = 0; i < state->n; i++) {
        const fc_limit *limit = state->uses[i].limit;
        if (limit->dry_run || state->uses[i].answer.allowed)
            continue;
        if (state->refused)
            FC_TEXT_LIT(&json, ",");
        else
            state->refused = limit;
        FC_TEXT_LIT(&json, "\"");
        fc_text_slice(&json, limit->name);
        FC_TEXT_LIT(&json, "\"");
        count_limit(proxy_of(ex->req), limit, FC_LIMIT_REFUSED);
    }
    FC_TEXT_LIT(&json, "]");
    FC_TEXT_LIT(&out, "Retry-After: ");
    fc_text_u64(&out, fc_limit_retry_after(state->uses, state->n));
    FC_TEXT_LIT(&out, "\r\n");
    fc_limit_put_fields(&out, state->uses, state->n, true);
    *out.p = *json.p = 0;
    problem_answer_with(ex, PROBLEM_QUOTA, "a limit on requests is used up", lines, members);
}

/* --- waiting for what is decided elsewhere ------------------------------------------------------------------------ */

static bool put_ask(fc_quota_wait *wait, const fc_exchange *ex, const fc_limit_use *use)
{
    const fc_limit *limit = use->limit;
    struct scratch scratch;
    fc_quota_ask *ask = &wait->asks[wait->n++];
    *ask = (fc_quota_ask){.print = use->print,
                          .cost = limit->cost,
                          .lease_ns = limit->lease_ns,
                          .quota = limit->quota,
                          .full_refuses = limit->full_refuses,
                          .name_at = (uint32_t)wait->text.len,
                          .name_len = (uint32_t)limit->shared_name.n};
    bool ok = fc_quota_put(wait, limit->shared_name.p, limit->shared_name.n);
    ask->text_at = (uint32_t)wait->text.len;
    for (uint32_t i = 0; ok && i < limit->parts_len; i++) {
        fc_slice value = part_value(ex, limit, &limit->parts[i], &scratch);
        uint32_t n = (uint32_t)value.n;
        ok = fc_quota_put(wait, &n, sizeof n) && fc_quota_put(wait, value.p, value.n);
    }
    ask->text_len = (uint32_t)(wait->text.len - ask->text_at);
    return ok;
}

static void on_settled(fc_quota_wait *wait);

static void stand_in_line(fc_exchange *ex, struct fc_limit_state *state)
{
    fc_http_req *req = ex->req;
    fc_quota_wait *wait = fc_quota_wait_new(proxy_of(req)->quotas, ex, on_settled);
    bool ok = wait != NULL;
    for (uint32_t i = state->first; ok && i < state->n; i++)
        if (state->uses[i].limit->allowances && !state->uses[i].charged && !state->uses[i].decided)
            ok = put_ask(wait, ex, &state->uses[i]);
    if (!ok) {
        if (wait)
            fc_quota_leave(wait, false);
        for (uint32_t i = 0; i < state->n; i++)
            give_back(&state->uses[i], exchange_loop(ex)->now_ns);
        problem_answer(ex, PROBLEM_OVERLOADED, "too many requests wait for what their limits say", "Retry-After: 1\r\n");
        return;
    }
    state->wait = wait;
    state->rounds++;
    ex->state = EX_QUOTA;
    if (!req->body_done)
        fc_http_pause(req);
    fc_quota_submit(wait);
}

/* True: go on. False: answered, or in line. */
static bool decide(fc_exchange *ex, struct fc_limit_state *state)
{
    uint64_t now_ns = exchange_loop(ex)->now_ns;
    switch (charge(proxy_of(ex->req)->quotas, state, now_ns)) {
    case REFUSED:
        for (uint32_t i = state->first; i < state->n; i++) {
            fc_limit_use *use = &state->uses[i];
            if (use->limit->allowances && !use->answer.limit) /* another refused before this was asked for */
                look(use, now_ns, true, 0, now_ns);
        }
        for (uint32_t i = 0; i < state->n; i++)
            give_back(&state->uses[i], now_ns);
        refuse(ex, state);
        return false;
    case ASK:
        stand_in_line(ex, state);
        return false;
    case CHARGED:
        break;
    }
    for (uint32_t i = state->first; i < state->n; i++)
        if (state->uses[i].limit->dry_run)
            try_dry(state, &state->uses[i], now_ns);
    return true;
}

static void on_settled(fc_quota_wait *wait)
{
    fc_exchange *ex = wait->owner;
    struct fc_limit_state *state = state_of(ex);
    state->wait = NULL;
    ex->state = EX_ROUTE;
    if (!decide(ex, state))
        return;
    if (state->knows_user)
        exchange_admitted(ex);
    else
        exchange_enter(ex);
}

bool exchange_limit(fc_exchange *ex, bool knows_user)
{
    fc_loop *loop = exchange_loop(ex);
    const fc_route_limits *set = ex->route->limits;
    if (!ex->limited) {
        ex->limited = fc_buf_get(loop->bufs, sizeof(struct fc_limit_state));
        if (!ex->limited) {
            problem_answer(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
            return false;
        }
        struct fc_limit_state *fresh = state_of(ex);
        fresh->n = fresh->told = 0;
        fresh->refused = fresh->would = NULL;
        fresh->wait = NULL;
    }
    struct fc_limit_state *state = state_of(ex);
    state->first = state->n;
    state->rounds = 0;
    state->knows_user = knows_user;
    for (uint32_t i = 0; i < set->len; i++) {
        const fc_limit *limit = set->limits[i];
        if (limit->needs_user != knows_user)
            continue;
        fc_limit_use *use = &state->uses[state->n++];
        state->told += limit->tells && !limit->dry_run;
        *use = (fc_limit_use){.limit = limit, .print = print_of(ex, limit), .place = -1, .answer = {.allowed = true}};
    }
    return decide(ex, state);
}

size_t exchange_limit_room(const fc_exchange *ex) { return fc_limit_fields_room(state_of(ex)->told); }

void exchange_limit_fields(const fc_exchange *ex, fc_text *out)
{
    const struct fc_limit_state *state = state_of(ex);
    fc_limit_put_fields(out, state->uses, state->n, false);
}

const fc_limit *exchange_limit_refused(const fc_exchange *ex) { return ex->limited ? state_of(ex)->refused : NULL; }

const fc_limit *exchange_limit_would(const fc_exchange *ex) { return ex->limited ? state_of(ex)->would : NULL; }

void exchange_limit_end(fc_exchange *ex)
{
    struct fc_limit_state *state = state_of(ex);
    if (state->wait) {
        fc_quota_leave(state->wait, true);
        for (uint32_t i = 0; i < state->n; i++)
            if (state->uses[i].allowance) /* nobody was served for it */
                give_back(&state->uses[i], exchange_loop(ex)->now_ns);
    }
    for (uint32_t i = 0; i < state->n; i++) {
        fc_limit_use *use = &state->uses[i];
        if (use->place >= 0)
            fc_inflight_release(use->limit->places, use->place, use->print);
        if (state->refused)
            continue;
        count_limit(proxy_of(ex->req), use->limit, use->answer.allowed ? FC_LIMIT_ADMITTED : FC_LIMIT_DRY);
    }
    fc_buf_unref(ex->limited);
    ex->limited = NULL;
}
