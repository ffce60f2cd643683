/* Answering from the cache: looking up, deciding, waiting for who fetches, sending. What goes into it is in
 * cached_store.c. */
#include <stdlib.h>
#include <strings.h>

#include "exchange.h"
#include "cached.h"

/* The first look at an answer that somebody else fetches; each further one waits twice as long, up to the second. */
#define WAIT_STEP_MS 2
#define WAIT_STEP_MAX_MS 32
#define PIECES_PER_TURN 16
#define HEAD_EXTRA 512 /* what exchange_build_reply adds at the most, but for the route's own and ours */

static fc_slice key_slice(const uint64_t key[2]) { return (fc_slice){(const char *)key, CACHED_KEY_BYTES}; }

static uint64_t now_ns(const fc_exchange *ex) { return ex->req->server->loop->now_ns; }

static void drop_text(cached_use *use)
{
    if (use->text)
        fc_buf_unref(use->text);
    use->text = NULL;
}

void exchange_cache_end(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    fc_loop_timer_cancel(exchange_loop(ex), &use->timer);
    if (use->storing)
        fc_cache_put_abort(cache, &use->put);
    if (use->claimed) { /* fetched in vain: the next one may */
        fc_cache_item item;
        if (fc_cache_find(cache, key_slice(use->key), now_ns(ex), &item) == FC_CACHE_PENDING)
            fc_cache_delete(cache, key_slice(use->key), now_ns(ex));
    }
    drop_text(use);
    fc_buf_unref(ex->cache_mem);
    ex->cache = NULL;
    ex->cache_mem = NULL;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static bool send_piece(fc_exchange *ex, fc_buf *buf, uint32_t n)
{
    if (ex->unpack) {
        exchange_unpack(ex, buf, buf->data, n);
        return true;
    }
    if (ex->encoder)
        return exchange_encode(ex, buf->data, n, FC_ENCODE_MORE) == 0;
    ex->reply_bytes += n;
    return fc_http_send(ex->req, buf, buf->data, n) == 0;
}

/* Pieces of the body, as long as the client takes them; others have their turn in between. */
void exchange_cache_drain(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    fc_loop *loop = exchange_loop(ex);
    const fc_cache *cache = proxy_of(ex->req)->cache;
    for (int pieces = 0;; pieces++) {
        if (ex->unpack && exchange_unpack_go(ex) != UNPACK_DONE)
            return;
        if (!use->body_left)
            break;
        if (fc_http_full(ex->req)) {
            fc_http_flush(ex->req);
            if (fc_http_full(ex->req))
                return; /* the server tells when it has fallen */
        }
        if (pieces == PIECES_PER_TURN) {
            fc_loop_timer(loop, &use->timer, fc_loop_now_ms(loop));
            fc_http_flush(ex->req);
            return;
        }
        uint32_t n = use->body_left < FC_BUF_LARGE ? (uint32_t)use->body_left : (uint32_t)FC_BUF_LARGE;
        fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, n);
        bool ok = buf && fc_cache_read(cache, &use->item, (uint32_t)use->body_at, buf->data, n) && send_piece(ex, buf, n);
        if (buf)
            fc_buf_unref(buf);
        if (!ok) { /* evicted or replaced under our eyes: the client learns it from the missing end */
            exchange_cut(ex);
            return;
        }
        use->body_at += n;
        use->body_left -= n;
    }
    if (ex->encoder && exchange_end_encoded(ex) < 0) {
        exchange_cut(ex);
        return;
    }
    if (ex->unpack)
        exchange_unpack_end(ex);
    else
        exchange_end(ex);
}

static bool stays_in_304(fc_slice name)
{
    static const char *const names[] = {"Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary"};
    for (size_t i = 0; i < FC_ARRAY_LEN(names); i++)
        if (name.n == strlen(names[i]) && strncasecmp(name.p, names[i], name.n) == 0)
            return true;
    return false;
}

static void keep_for_304(fc_http1_head *head, const char *base)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < head->fields_len; i++)
        if (stays_in_304((fc_slice){base + head->fields[i].name.off, head->fields[i].name.len}))
            head->fields[kept++] = head->fields[i];
    head->fields_len = kept;
    head->has_length = false;
    head->status = 304;
    head->reason = (fc_span){0, 0};
}

/* What of the stored answer this request gets: all of it, a part, or that it has it already. */
static void narrow(fc_exchange *ex, fc_http1_head *head, const char *base)
{
    cached_use *use = ex->cache;
    const fc_http1_head *q = &ex->req->head;
    fc_slice etag = {base + use->head.etag_at, use->head.etag_len};
    fc_slice modified = {base + use->head.modified_at, use->head.modified_len};
    int64_t now = (int64_t)(fc_wall_ns() / FC_NS_PER_S);
    uint64_t n = use->item.value_len;
    use->body_at = 0;
    use->body_left = n;
    head->has_length = head->status != 204;
    head->content_length = n;
    if (head->status != 200)
        return;
    if (fc_not_modified(q, ex->req->base, etag, use->head.last_modified, now)) {
        keep_for_304(head, base);
        use->body_left = 0;
        return;
    }
    switch (fc_range_of(q, ex->req->base, etag, modified, n, &use->range_from, &use->range_len)) {
    case FC_RANGE_NONE:
        return;
    case FC_RANGE_PART:
        head->status = 206;
        use->partial = true;
        use->body_at = use->range_from;
        use->body_left = head->content_length = use->range_len;
        break;
    case FC_RANGE_UNSATISFIABLE:
        head->status = 416;
        use->unsatisfiable = true;
        use->body_left = head->content_length = 0;
        break;
    }
    head->reason = (fc_span){0, 0};
}

bool exchange_cache_answer(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    fc_http_req *req = ex->req;
    fc_proxy *proxy = proxy_of(req);
    fc_http1_field fields[CACHED_FIELDS_MAX];
    fc_http1_head head = {.fields = fields, .fields_max = CACHED_FIELDS_MAX};
    const char *base = use->text->data + sizeof(cached_head);
    if (fc_http1_parse_response(base, use->head.text_len, 0, &proxy->settings.http.parse, FC_METHOD_GET, &head) <= 0)
        return false;
    narrow(ex, &head, base);
    if (req->head.method_id == FC_METHOD_HEAD)
        use->body_left = 0;
    size_t room = use->head.text_len + HEAD_EXTRA + exchange_cache_room(ex) + exchange_answer_room(ex) +
                  (ex->limited ? exchange_limit_room(ex) : 0);
    if (ex->route->coding)
        exchange_code_choose(ex, base, &head);
    size_t joined = !ex->encoder && !ex->unpack && use->body_left + room <= FC_BUF_LARGE ? (size_t)use->body_left : 0;
    fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, room + joined < FC_BUF_LARGE ? room + joined : FC_BUF_LARGE);
    if (!buf) {
        problem_answer(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
        return true;
    }
    use->hit = true;
    ex->status = head.status;
    ex->reply_chunked = ex->encoder || (ex->unpack && req->head.minor > 0);
    ex->keep_client = fc_http_may_keep(req) && req->body_done && (!ex->unpack || ex->reply_chunked);
    fc_text out = fc_text_at(buf->data, buf->cap);
    exchange_build_reply(ex, base, &head, &out);
    if (out.overflow || (joined && (size_t)(out.end - out.p) < joined) ||
        (joined && !fc_cache_read(proxy->cache, &use->item, (uint32_t)use->body_at, out.p, (uint32_t)joined))) {
        use->hit = false;
        if (ex->encoder)
            exchange_encode_free(ex);
        if (ex->unpack)
            exchange_unpack_free(ex);
        fc_buf_unref(buf);
        return false;
    }
    out.p += joined;
    int rc = fc_http_send(req, buf, buf->data, fc_text_len(&out));
    fc_buf_unref(buf);
    ex->answered = true;
    if (rc < 0) {
        exchange_cut(ex);
        return true;
    }
    fc_cache_count(proxy->cache, true);
    count(proxy, FC_CELL_CACHE_HITS, 1);
    ex->reply_bytes += joined;
    use->body_left -= joined;
    ex->state = EX_CACHED;
    exchange_cache_drain(ex);
    return true;
}

bool exchange_cache_answer_stale(fc_exchange *ex, const char *why)
{
    cached_use *use = ex->cache;
    const cached_head *h = &use->head;
    if (!use->found || !use->text || ex->answered)
        return false;
    fc_stored_facts facts = {.lifetime = h->lifetime, .age = use->age, .if_error = h->if_error,
                             .must_revalidate = h->must_revalidate, .no_cache = h->no_cache};
    if (!fc_may_reuse_on_error(&facts))
        return false;
    use->detail = why;
    count(proxy_of(ex->req), FC_CELL_CACHE_STALE, 1);
    if (ex->lease.conn) /* what it says is not what is answered */
        fc_lease_release(&ex->lease, false, 0, false);
    exchange_drop_input(ex);
    return exchange_cache_answer(ex);
}

/* --- looking up -------------------------------------------------------------------------------------------------- */

/* Metadata of what was found, into a buffer of its own. */
static bool read_head(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    drop_text(use);
    if (use->item.meta_len < sizeof(cached_head) || use->item.meta_len > FC_BUF_LARGE ||
        !(use->text = fc_buf_get(exchange_loop(ex)->bufs, use->item.meta_len)))
        return false;
    if (!fc_cache_read_meta(proxy_of(ex->req)->cache, &use->item, use->text->data))
        return false;
    memcpy(&use->head, use->text->data, sizeof use->head);
    return use->head.text_len == use->item.meta_len - sizeof(cached_head);
}

/* The entry that is for this request, its key in use->key. */
static fc_cache_state find(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    const fc_cache *cache = proxy_of(ex->req)->cache;
    char names[1024];
    memcpy(use->key, use->primary, sizeof use->key);
    fc_cache_state state = fc_cache_find(cache, key_slice(use->key), now_ns(ex), &use->item);
    if ((state != FC_CACHE_FRESH && state != FC_CACHE_STALE) || use->item.flags != CACHED_VARIES)
        return state;
    if (use->item.meta_len > sizeof names || !fc_cache_read_meta(cache, &use->item, names))
        return FC_CACHE_MISS;
    cached_variant_of(cache, ex->req, use->primary, (fc_slice){names, use->item.meta_len}, use->key);
    return fc_cache_find(cache, key_slice(use->key), now_ns(ex), &use->item);
}

static bool has_conditions(const fc_http_req *req)
{
    for (uint32_t i = 0; i < req->head.fields_len; i++) {
        fc_slice name = fc_http_slice(req, req->head.fields[i].name);
        if (exchange_is_condition(name))
            return true;
    }
    return false;
}

/* May this request fetch for others, and they wait for it? */
static bool may_claim(const fc_exchange *ex)
{
    const cached_use *use = ex->cache;
    return ex->route->cache->collapse && ex->req->head.method_id == FC_METHOD_GET && !use->request.authorized &&
           (use->validating || !has_conditions(ex->req));
}

static enum cache_look ask_origin(fc_exchange *ex, const char *why)
{
    cached_use *use = ex->cache;
    use->forward = why;
    fc_cache_count(proxy_of(ex->req)->cache, false);
    count(proxy_of(ex->req), FC_CELL_CACHE_MISSES, 1);
    return CACHE_FORWARD;
}

/* Fetch, or wait for who does. */
static enum cache_look fetch(fc_exchange *ex, const char *why)
{
    cached_use *use = ex->cache;
    fc_loop *loop = exchange_loop(ex);
    fc_cache *cache = proxy_of(ex->req)->cache;
    if (!may_claim(ex) || (use->wait_until_ns && now_ns(ex) >= use->wait_until_ns))
        return ask_origin(ex, why);
    uint64_t wait_ns = ex->route->cache->wait_ms * FC_NS_PER_MS;
    if (fc_cache_claim(cache, key_slice(use->key), now_ns(ex) + wait_ns, now_ns(ex)) != 0) {
        use->claimed = true;
        return ask_origin(ex, why);
    }
    if (!use->wait_until_ns) {
        use->wait_until_ns = now_ns(ex) + wait_ns;
        use->wait_step_ms = WAIT_STEP_MS;
        count(proxy_of(ex->req), FC_CELL_CACHE_COLLAPSED, 1);
    }
    use->waited = true;
    ex->state = EX_CACHE_WAIT;
    fc_loop_timer(loop, &use->timer, fc_loop_now_ms(loop) + use->wait_step_ms);
    use->wait_step_ms = use->wait_step_ms < WAIT_STEP_MAX_MS ? use->wait_step_ms * 2 : WAIT_STEP_MAX_MS;
    return CACHE_HANDLED;
}

static enum cache_look decide(fc_exchange *ex, fc_cache_state state)
{
    cached_use *use = ex->cache;
    const cached_head *h = &use->head;
    const fc_cache_policy *policy = ex->route->cache;
    /* Who stored it may have looked at the clock after us. */
    uint64_t resided = now_ns(ex) > h->stored_ns ? now_ns(ex) - h->stored_ns : 0, age = h->initial_age + resided / FC_NS_PER_S;
    use->age = age < FC_DELTA_MAX ? (uint32_t)age : FC_DELTA_MAX;
    use->found = true;
    fc_stored_facts facts = {.lifetime = h->lifetime, .age = use->age, .while_revalidate = h->while_revalidate,
                             .if_error = h->if_error, .must_revalidate = h->must_revalidate, .no_cache = h->no_cache,
                             .invalidated = state == FC_CACHE_STALE && h->lifetime > use->age};
    use->ttl_s = h->lifetime > use->age ? h->lifetime - use->age : 0;
    switch (fc_may_reuse(&facts, &use->request.cc, policy->ignore_client)) {
    case FC_REUSE_FRESH:
    case FC_REUSE_STALE:
        return exchange_cache_answer(ex) ? CACHE_HANDLED : CACHE_LOST;
    case FC_REUSE_WHILE_REVALIDATE:
        /* One request brings the new one; the others need not wait for it. */
        use->validating = true;
        if (ex->req->head.method_id != FC_METHOD_GET ||
            fc_cache_claim(proxy_of(ex->req)->cache, key_slice(use->key), now_ns(ex) + policy->wait_ms * FC_NS_PER_MS,
                           now_ns(ex)) == 0) {
            use->validating = false;
            count(proxy_of(ex->req), FC_CELL_CACHE_STALE, 1);
            return exchange_cache_answer(ex) ? CACHE_HANDLED : CACHE_LOST;
        }
        use->claimed = true;
        return ask_origin(ex, "stale");
    case FC_REUSE_VALIDATE:
        break;
    }
    use->validating = ex->req->head.method_id == FC_METHOD_GET && (h->etag_len || h->modified_len);
    bool fresh = facts.lifetime > facts.age && !facts.invalidated && !facts.no_cache;
    return fetch(ex, fresh ? "request" : "stale"); /* RFC 9211 2.2: whose fault it is */
}

static enum cache_look look(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    fc_cache_state state = find(ex);
    bool there = state == FC_CACHE_FRESH || state == FC_CACHE_STALE;
    enum cache_look result = CACHE_LOST;
    use->found = use->validating = false;
    if (there && use->item.flags == CACHED_ANSWER && read_head(ex))
        result = decide(ex, state);
    if (result != CACHE_LOST)
        return result;
    use->found = use->validating = false;
    if (use->request.cc.only_if_cached && !ex->route->cache->ignore_client) { /* 5.2.1.7 */
        problem_answer(ex, PROBLEM_NOT_CACHED, "no stored answer may be used for this request", NULL);
        return CACHE_HANDLED;
    }
    if (there && use->item.flags == CACHED_PASS)
        return ask_origin(ex, "uri-miss"); /* the last one could not be stored: nobody waits for this one */
    return fetch(ex, memcmp(use->key, use->primary, sizeof use->key) ? "vary-miss" : "uri-miss");
}

static void on_timer(fc_timer *timer, void *ctx)
{
    (void)ctx;
    fc_exchange *ex = FC_CONTAINER_OF(timer, cached_use, timer)->exchange;
    if (ex->state == EX_CACHED) {
        exchange_cache_drain(ex);
        return;
    }
    ex->state = EX_ROUTE;
    if (look(ex) == CACHE_FORWARD)
        exchange_send_on(ex);
}

static bool safe(const fc_http_req *req)
{
    switch (req->head.method_id) {
    case FC_METHOD_GET:
    case FC_METHOD_HEAD:
    case FC_METHOD_OPTIONS:
    case FC_METHOD_TRACE:
    case FC_METHOD_QUERY:
        return true;
    default:
        return false;
    }
}

enum cache_look exchange_cache_look(fc_exchange *ex, const fc_router_match *match)
{
    fc_http_req *req = ex->req;
    const fc_http1_head *head = &req->head;
    char url[CACHED_URL_MAX];
    bool reads = (head->method_id == FC_METHOD_GET || head->method_id == FC_METHOD_HEAD) && req->body_done && !ex->upgrade &&
                 head->framing == FC_BODY_NONE;
    if (!reads && safe(req))
        return CACHE_FORWARD;
    size_t n = cached_url(req, match->path, url);
    if (!n || !(ex->cache_mem = fc_buf_get(exchange_loop(ex)->bufs, sizeof(cached_use) + n)))
        return CACHE_FORWARD; /* no room for a cache is no reason to refuse */
    cached_use *use = ex->cache = (cached_use *)(void *)ex->cache_mem->data;
    fc_cache *cache = proxy_of(req)->cache;
    memset(use, 0, sizeof *use);
    use->exchange = ex;
    use->url = (fc_slice){memcpy(use + 1, url, n), n};
    use->timer.fn = on_timer;
    use->unsafe = !reads;
    if (use->unsafe) {
        use->forward = "method";
        return CACHE_FORWARD;
    }
    cached_key_of(cache, use->url, use->primary);
    fc_cache_stamp_now(cache, &use->stamp);
    cached_tag_url(cache, &use->stamp, use->url);
    fc_request_facts_of(head, req->base, &use->request);
    use->request.authorized |= ex->route->auth != NULL;
    return look(ex);
}

const char *exchange_cache_word(const fc_exchange *ex)
{
    const cached_use *use = ex->cache;
    if (use->hit)
        return use->renewed ? "revalidated" : use->age > use->head.lifetime ? "stale" : "hit";
    return use->unsafe ? NULL : "miss";
}

bool exchange_cache_storing(const fc_exchange *ex) { return ex->cache->storing; }

bool exchange_cache_validating(const fc_exchange *ex) { return ex->cache->validating; }

size_t exchange_cache_conditions_room(const fc_exchange *ex)
{
    return 64 + ex->cache->head.etag_len + ex->cache->head.modified_len;
}

void exchange_cache_put_conditions(const fc_exchange *ex, fc_text *out)
{
    const cached_use *use = ex->cache;
    const char *base = use->text->data + sizeof(cached_head);
    if (use->head.etag_len) {
        FC_TEXT_LIT(out, "If-None-Match: ");
        fc_text_put(out, base + use->head.etag_at, use->head.etag_len);
        FC_TEXT_LIT(out, "\r\n");
    }
    if (use->head.modified_len) {
        FC_TEXT_LIT(out, "If-Modified-Since: ");
        fc_text_put(out, base + use->head.modified_at, use->head.modified_len);
        FC_TEXT_LIT(out, "\r\n");
    }
}

bool exchange_is_condition(fc_slice name)
{
    static const char *const names[] = {"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range",
                                        "Range"};
    for (size_t i = 0; i < FC_ARRAY_LEN(names); i++)
        if (name.n == strlen(names[i]) && strncasecmp(name.p, names[i], name.n) == 0)
            return true;
    return false;
}

#define CACHE_FIELDS_BYTES 320 /* their names, seven numbers, the longest words */

size_t exchange_cache_room(const fc_exchange *ex) { return CACHE_FIELDS_BYTES + proxy_of(ex->req)->name_len; }

void exchange_cache_fields(const fc_exchange *ex, fc_text *out)
{
    const cached_use *use = ex->cache;
    const fc_proxy *proxy = proxy_of(ex->req);
    if (use->hit) {
        FC_TEXT_LIT(out, "Age: ");
        fc_text_u64(out, use->age);
        FC_TEXT_LIT(out, "\r\n");
    }
    if (use->partial || use->unsatisfiable) {
        FC_TEXT_LIT(out, "Content-Range: bytes ");
        if (use->partial) {
            fc_text_u64(out, use->range_from);
            FC_TEXT_LIT(out, "-");
            fc_text_u64(out, use->range_from + use->range_len - 1);
        } else {
            FC_TEXT_LIT(out, "*");
        }
        FC_TEXT_LIT(out, "/");
        fc_text_u64(out, use->item.value_len);
        FC_TEXT_LIT(out, "\r\n");
    }
    FC_TEXT_LIT(out, "Cache-Status: "); /* RFC 9211 */
    fc_text_put(out, proxy->settings.name, proxy->name_len);
    if (use->forward) {
        FC_TEXT_LIT(out, "; fwd=");
        fc_text_put(out, use->forward, strlen(use->forward));
        if (use->forward_status) {
            FC_TEXT_LIT(out, "; fwd-status=");
            fc_text_u64(out, use->forward_status);
        }
        if (use->storing || use->renewed)
            FC_TEXT_LIT(out, "; stored");
    } else if (use->hit) {
        FC_TEXT_LIT(out, "; hit; ttl=");
        if (use->age > use->head.lifetime) {
            FC_TEXT_LIT(out, "-");
            fc_text_u64(out, use->age - use->head.lifetime);
        } else {
            fc_text_u64(out, use->ttl_s);
        }
    }
    if (use->waited && use->hit)
        FC_TEXT_LIT(out, "; collapsed");
    if (use->detail) {
        FC_TEXT_LIT(out, "; detail=");
        fc_text_put(out, use->detail, strlen(use->detail));
    }
    FC_TEXT_LIT(out, "\r\n");
}
