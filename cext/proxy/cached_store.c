/* What becomes of an origin's answer in the cache: stored while it passes, found to confirm the one we have, or the reason
 * to forget one. */
#include <strings.h>

#include "exchange.h"
#include "cached.h"

static fc_slice key_slice(const uint64_t key[2]) { return (fc_slice){(const char *)key, CACHED_KEY_BYTES}; }

static bool named(fc_slice name, const char *text) { return name.n == strlen(text) && strncasecmp(name.p, text, name.n) == 0; }

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

static int64_t wall_s(void) { return (int64_t)(fc_wall_ns() / FC_NS_PER_S); }

/* --- forgetting -------------------------------------------------------------------------------------------------- */

/* A URI in an answer to an unsafe request: ours only when it has our origin (4.4). */
static void forget_named(fc_exchange *ex, fc_slice value)
{
    char url[CACHED_URL_MAX];
    size_t n = cached_url(ex->req, (fc_slice){"", 0}, url);
    const char *query = n ? memchr(url, '?', n) : NULL;
    n = query ? (size_t)(query - url) : n; /* scheme and authority */
    if (!n || !value.n)
        return;
    if (value.p[0] == '/' && (value.n == 1 || value.p[1] != '/') && n + value.n <= CACHED_URL_MAX) {
        memcpy(url + n, value.p, value.n);
        cached_forget_url(proxy_of(ex->req)->cache, (fc_slice){url, n + value.n});
    } else if (value.n > n && strncasecmp(value.p, url, n) == 0 && value.p[n] == '/' && value.n <= CACHED_URL_MAX) {
        memcpy(url + n, value.p + n, value.n - n);
        cached_forget_url(proxy_of(ex->req)->cache, (fc_slice){url, value.n});
    }
}

static void forget(fc_exchange *ex, const char *base, const fc_http1_head *head)
{
    fc_cache *cache = proxy_of(ex->req)->cache;
    if (head->status < 200 || head->status >= 400)
        return;
    cached_forget_url(cache, ex->cache->url);
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice name = at(base, head->fields[i].name);
        if (named(name, "Location") || named(name, "Content-Location"))
            forget_named(ex, at(base, head->fields[i].value));
    }
}

/* --- the stored head --------------------------------------------------------------------------------------------- */

/* As text that fc_http1_parse_response reads again: without what is the hop's, without length, Age and Cache-Status. */
static size_t put_head(fc_text *out, const char *base, const fc_http1_head *head, const fc_reply_facts *facts,
                       cached_head *h)
{
    FC_TEXT_LIT(out, "HTTP/1.1 ");
    fc_text_u64(out, head->status);
    FC_TEXT_LIT(out, " ");
    fc_text_slice(out, at(base, head->reason));
    FC_TEXT_LIT(out, "\r\n");
    bool has_date = false;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        const fc_http1_field *f = &head->fields[i];
        fc_slice name = at(base, f->name), value = at(base, f->value);
        if (!exchange_reply_goes_on(base, head, f) || named(name, "Age") || named(name, "Cache-Status") ||
            named(name, "CDN-Cache-Control"))
            continue;
        has_date |= f->id == FC_FIELD_DATE;
        fc_text_slice(out, name);
        FC_TEXT_LIT(out, ": ");
        uint32_t where = (uint32_t)fc_text_len(out);
        if (value.p == facts->etag.p)
            h->etag_at = where, h->etag_len = (uint32_t)value.n;
        if (value.p == facts->last_modified_text.p)
            h->modified_at = where, h->modified_len = (uint32_t)value.n;
        fc_text_slice(out, value);
        FC_TEXT_LIT(out, "\r\n");
    }
    if (!has_date) {
        fc_date date = {0};
        FC_TEXT_LIT(out, "Date: ");
        fc_text_put(out, fc_date_now(&date), FC_DATE_LEN);
        FC_TEXT_LIT(out, "\r\n");
    }
    FC_TEXT_LIT(out, "\r\n");
    return fc_text_len(out);
}

static void fill_head(fc_exchange *ex, const fc_reply_facts *facts, cached_head *h)
{
    const fc_cache_policy *policy = ex->route->cache;
    const fc_cache_control *cc = &facts->cc;
    uint64_t now = exchange_loop(ex)->now_ns;
    uint32_t took = (uint32_t)((now - ex->leased_ns) / FC_NS_PER_S);
    memset(h, 0, sizeof *h);
    h->stored_ns = now;
    h->last_modified = facts->last_modified;
    h->initial_age = fc_initial_age(facts, wall_s(), took);
    h->lifetime = fc_lifetime(facts, policy);
    h->while_revalidate = cc->has_while_revalidate ? cc->while_revalidate : policy->while_revalidate_s;
    h->if_error = cc->has_if_error ? cc->if_error : policy->if_error_s;
    h->must_revalidate = cc->must_revalidate || cc->proxy_revalidate || cc->has_s_maxage;
    h->no_cache = cc->no_cache;
    h->status = facts->status;
}

/* --- storing ----------------------------------------------------------------------------------------------------- */

/* "accept-encoding\nuser-agent": under the primary key, so that requests find their variant. False: too many. */
static bool set_vary(fc_exchange *ex, const fc_reply_facts *facts)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    char names[1024];
    fc_text out = fc_text_at(names, sizeof names);
    for (uint32_t i = 0; i < facts->vary_len; i++) {
        if (i)
            FC_TEXT_LIT(&out, "\n");
        fc_text_slice(&out, facts->vary[i]);
    }
    if (out.overflow)
        return false;
    fc_slice list = {names, fc_text_len(&out)};
    fc_cache_new n = {.key = key_slice(use->primary), .meta = list, .flags = CACHED_VARIES, .stamp = &use->stamp,
                      .fresh_until = FC_CACHE_NEVER, .keep_until = FC_CACHE_NEVER};
    cached_variant_of(cache, ex->req, use->primary, list, use->key);
    return fc_cache_set(cache, &n, false, exchange_loop(ex)->now_ns) == 1;
}

/* Nobody is to wait for what cannot be stored. */
static void pass(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    uint64_t now = exchange_loop(ex)->now_ns;
    fc_cache_new n = {.key = key_slice(use->key), .flags = CACHED_PASS, .fresh_until = now + CACHED_PASS_NS,
                      .keep_until = now + CACHED_PASS_NS, .stamp = &use->stamp};
    if (use->claimed)
        fc_cache_set(proxy_of(ex->req)->cache, &n, false, now);
    use->claimed = false;
}

static bool begin_put(fc_exchange *ex, fc_slice meta, const cached_head *h, uint64_t length)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    uint64_t now = exchange_loop(ex)->now_ns;
    uint64_t left = h->lifetime > h->initial_age ? h->lifetime - h->initial_age : 0;
    uint32_t longer = h->while_revalidate > h->if_error ? h->while_revalidate : h->if_error;
    if ((h->etag_len || h->modified_len) && ex->route->cache->keep_s > longer)
        longer = ex->route->cache->keep_s;
    fc_cache_new n = {.key = key_slice(use->key), .meta = meta, .value = {NULL, length}, .flags = CACHED_ANSWER,
                      .stamp = &use->stamp, .fresh_until = now + left * FC_NS_PER_S,
                      .keep_until = now + (left + longer) * FC_NS_PER_S};
    if (left + longer == 0 || fc_cache_put_begin(cache, &use->put, &n, now) != 0)
        return false;
    use->storing = true;
    return true;
}

/* Begin to store an answer with this head: its text and its own tags. The text, behind a cached_head, or NULL: no room. */
static fc_buf *begin(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len,
                     const fc_reply_facts *facts, uint64_t length)
{
    cached_use *use = ex->cache;
    fc_buf *text = fc_buf_get(exchange_loop(ex)->bufs, sizeof(cached_head) + head_len + 128);
    if (!text)
        return NULL;
    cached_head h;
    fc_text out = fc_text_at(text->data + sizeof h, text->cap - sizeof h);
    fill_head(ex, facts, &h);
    h.text_len = (uint32_t)put_head(&out, base, head, facts, &h);
    memcpy(text->data, &h, sizeof h);
    for (uint32_t i = 0; i < head->fields_len; i++)
        if (named(at(base, head->fields[i].name), "Cache-Tag"))
            cached_tag_list(proxy_of(ex->req)->cache, &use->stamp, at(base, head->fields[i].value));
    if (!out.overflow && begin_put(ex, (fc_slice){text->data, sizeof h + h.text_len}, &h, length))
        return text;
    fc_buf_unref(text);
    return NULL;
}

static void store(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len)
{
    cached_use *use = ex->cache;
    const fc_cache_policy *policy = ex->route->cache;
    fc_reply_facts facts;
    fc_reply_facts_of(head, base, wall_s(), &facts);
    uint64_t length = head->framing == FC_BODY_LENGTH ? head->content_length : 0; /* or not known */
    if (!fc_may_store(&use->request, &facts, policy, &use->detail)) {
        pass(ex);
        return;
    }
    use->detail = length > policy->item_max ? "too-large" : facts.vary_len && !set_vary(ex, &facts) ? "vary" : NULL;
    fc_buf *text = use->detail ? NULL : begin(ex, base, head, head_len, &facts, length);
    if (text) {
        fc_buf_unref(text);
        return;
    }
    use->detail = use->detail ? use->detail : "no-room";
    pass(ex);
}

void exchange_cache_store(fc_exchange *ex, const char *p, size_t n)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    if (use->put.length + n > ex->route->cache->item_max ||
        fc_cache_put_write(cache, &use->put, p, n, exchange_loop(ex)->now_ns) != 0) {
        use->storing = false;
        fc_cache_put_abort(cache, &use->put);
        pass(ex);
    }
}

void exchange_cache_commit(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    use->storing = false;
    if (fc_cache_put_commit(proxy_of(ex->req)->cache, &use->put, exchange_loop(ex)->now_ns) == 1) {
        use->claimed = false;
        count(proxy_of(ex->req), FC_CELL_CACHE_STORED, 1);
    }
}

/* --- confirming -------------------------------------------------------------------------------------------------- */

static bool replaced_by(const fc_http1_head *fresh, const char *base, fc_slice name)
{
    for (uint32_t i = 0; i < fresh->fields_len; i++) {
        fc_slice other = at(base, fresh->fields[i].name);
        if (other.n == name.n && strncasecmp(other.p, name.p, name.n) == 0)
            return true;
    }
    return false;
}

/* The fields of the stored head but for those the 304 brings anew, and these (3.2). Both heads stand in one buffer, so that
 * spans count from one place: the 304's `shift` bytes behind the stored one. */
static void merge(const fc_http1_head *old, const char *old_base, const fc_http1_head *fresh, const char *base,
                  uint32_t shift, fc_http1_head *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < old->fields_len; i++)
        if (!replaced_by(fresh, base, at(old_base, old->fields[i].name)))
            out->fields[n++] = old->fields[i];
    for (uint32_t i = 0; i < fresh->fields_len && n < out->fields_max; i++) {
        if (fresh->fields[i].id == FC_FIELD_CONTENT_LENGTH || !exchange_reply_goes_on(base, fresh, &fresh->fields[i]))
            continue;
        out->fields[n] = fresh->fields[i];
        out->fields[n].name.off += shift;
        out->fields[n++].value.off += shift;
    }
    out->fields_len = n;
}

/* The stored body into the insertion that has begun. */
static bool copy_body(fc_exchange *ex)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    char piece[4096];
    for (uint32_t done = 0, n; done < use->item.value_len; done += n) {
        n = use->item.value_len - done < sizeof piece ? use->item.value_len - done : (uint32_t)sizeof piece;
        if (!fc_cache_read(cache, &use->item, done, piece, n) ||
            fc_cache_put_write(cache, &use->put, piece, n, exchange_loop(ex)->now_ns) != 0) {
            use->storing = false;
            fc_cache_put_abort(cache, &use->put);
            return false;
        }
    }
    return true;
}

/* Store the stored answer anew, with this head; what is answered with is then that. */
static void replace(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len,
                    const fc_reply_facts *facts)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    fc_buf *text = begin(ex, base, head, head_len, facts, use->item.value_len);
    fc_cache_item item;
    if (text && copy_body(ex)) {
        exchange_cache_commit(ex);
        fc_cache_state state = fc_cache_find(cache, key_slice(use->key), exchange_loop(ex)->now_ns, &item);
        if ((state == FC_CACHE_FRESH || state == FC_CACHE_STALE) && item.flags == CACHED_ANSWER) {
            fc_buf_unref(use->text);
            use->text = fc_buf_ref(text);
            use->item = item;
            memcpy(&use->head, text->data, sizeof use->head);
            use->age = use->head.initial_age;
            use->ttl_s = use->head.lifetime > use->age ? use->head.lifetime - use->age : 0;
            use->renewed = true;
        }
    }
    if (text)
        fc_buf_unref(text);
}

/* The origin confirms the stored answer by a 304 (4.3.4): it lives on with the 304's fields, if those let it. */
static void renew(fc_exchange *ex, const char *base, const fc_http1_head *fresh, size_t fresh_len)
{
    cached_use *use = ex->cache;
    fc_proxy *proxy = proxy_of(ex->req);
    fc_http1_field old_fields[CACHED_FIELDS_MAX], merged[CACHED_FIELDS_MAX];
    fc_http1_head old = {.fields = old_fields, .fields_max = CACHED_FIELDS_MAX};
    size_t old_len = use->head.text_len;
    fc_buf *both = fc_buf_get(exchange_loop(ex)->bufs, old_len + fresh_len);
    if (!both)
        return;
    memcpy(both->data, use->text->data + sizeof(cached_head), old_len);
    memcpy(both->data + old_len, base, fresh_len);
    if (fc_http1_parse_response(both->data, old_len, 0, &proxy->settings.http.parse, FC_METHOD_GET, &old) > 0) {
        fc_http1_head head = old;
        fc_reply_facts facts;
        const char *why;
        head.fields = merged;
        head.fields_max = CACHED_FIELDS_MAX;
        merge(&old, both->data, fresh, base, (uint32_t)old_len, &head);
        fc_reply_facts_of(&head, both->data, wall_s(), &facts);
        /* Else it stays as it was, stale, and the next request asks again. */
        if (fc_may_store(&use->request, &facts, ex->route->cache, &why))
            replace(ex, both->data, &head, old_len + fresh_len, &facts);
    }
    fc_buf_unref(both);
}

static bool is_failure(unsigned status) { return status == 500 || (status >= 502 && status <= 504); }

/* Answer with what the origin has confirmed. */
static void answer_confirmed(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len, bool spent)
{
    cached_use *use = ex->cache;
    fc_proxy *proxy = proxy_of(ex->req);
    renew(ex, base, head, head_len);
    count(proxy, FC_CELL_CACHE_REVALIDATED, 1);
    fc_lease_release(&ex->lease, spent, exchange_loop(ex)->now_ns - ex->leased_ns, false);
    exchange_drop_input(ex);
    bool answered = exchange_cache_answer(ex); /* the old one where it could not be renewed: it is good */
    if (!answered) {
        /* Evicted meanwhile, and the origin thinks we have it: ask again, for all of it. */
        use->validating = use->found = use->renewed = false;
        exchange_send_on(ex);
    }
}

bool exchange_cache_on_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len, bool spent)
{
    cached_use *use = ex->cache;
    if (use->unsafe) {
        forget(ex, base, head);
        return false;
    }
    use->forward_status = use->found ? head->status : 0;
    if (use->validating && head->status == 304) {
        answer_confirmed(ex, base, head, head_len, spent);
        return true;
    }
    if (use->found && is_failure(head->status) && exchange_cache_answer_stale(ex, "stale-if-error"))
        return true;
    if (ex->req->head.method_id == FC_METHOD_GET)
        store(ex, base, head, head_len);
    return false;
}
