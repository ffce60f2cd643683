/* What becomes of an origin's answer in the cache: stored while it passes, found to confirm the one we have, or the reason
 * to forget one. */
#include <strings.h>

#include "exchange.h"
#include "cached.h"

static fc_slice key_slice(const uint64_t key[2]) { return (fc_slice){(const char *)key, CACHED_KEY_BYTES}; }

static bool named(fc_slice name, const char *text) { return name.n == strlen(text) && strncasecmp(name.p, text, name.n) == 0; }

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

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
    h->initial_age = fc_initial_age(facts, (int64_t)(fc_wall_ns() / FC_NS_PER_S), took);
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

static void store(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len)
{
    cached_use *use = ex->cache;
    const fc_cache_policy *policy = ex->route->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    fc_reply_facts facts;
    const char *why = NULL;
    fc_reply_facts_of(head, base, (int64_t)(fc_wall_ns() / FC_NS_PER_S), &facts);
    bool known = head->framing == FC_BODY_LENGTH;
    if (!fc_may_store(&use->request, &facts, policy, &why)) {
        use->detail = why;
    } else if (known && head->content_length > policy->item_max) {
        use->detail = "too-large";
    } else if (facts.vary_len && !set_vary(ex, &facts)) {
        use->detail = "vary";
    } else {
        fc_buf *buf = fc_buf_get(exchange_loop(ex)->bufs, sizeof(cached_head) + head_len + 128);
        if (buf) {
            cached_head h;
            fc_text out = fc_text_at(buf->data + sizeof h, buf->cap - sizeof h);
            fill_head(ex, &facts, &h);
            h.text_len = (uint32_t)put_head(&out, base, head, &facts, &h);
            memcpy(buf->data, &h, sizeof h);
            for (uint32_t i = 0; i < head->fields_len; i++)
                if (named(at(base, head->fields[i].name), "Cache-Tag"))
                    cached_tag_list(cache, &use->stamp, at(base, head->fields[i].value));
            if (!out.overflow)
                begin_put(ex, (fc_slice){buf->data, sizeof h + h.text_len}, &h, known ? head->content_length : 0);
            fc_buf_unref(buf);
        }
        if (!use->storing)
            use->detail = "no-room";
    }
    if (!use->storing)
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

/* The stored answer with the fields of the 304 (3.2, 4.3.4): its new head, and the body copied within the cache. The new
 * text becomes what is answered with. False: it could not be renewed. */
static bool renew(fc_exchange *ex, const char *base, const fc_http1_head *fresh, size_t fresh_len)
{
    cached_use *use = ex->cache;
    fc_cache *cache = proxy_of(ex->req)->cache;
    fc_http1_field old_fields[CACHED_FIELDS_MAX], merged[CACHED_FIELDS_MAX];
    fc_http1_head old = {.fields = old_fields, .fields_max = CACHED_FIELDS_MAX}, head;
    fc_buf *joined = fc_buf_get(exchange_loop(ex)->bufs, use->head.text_len + fresh_len);
    fc_buf *text = fc_buf_get(exchange_loop(ex)->bufs, sizeof(cached_head) + use->head.text_len + fresh_len + 128);
    bool ok = joined && text;
    if (ok) { /* both heads in one buffer, so that spans count from one place */
        memcpy(joined->data, use->text->data + sizeof(cached_head), use->head.text_len);
        memcpy(joined->data + use->head.text_len, base, fresh_len);
        ok = fc_http1_parse_response(joined->data, use->head.text_len, 0, &proxy_of(ex->req)->settings.http.parse,
                                     FC_METHOD_GET, &old) > 0;
    }
    if (ok) {
        uint32_t n = 0;
        head = old;
        head.fields = merged;
        for (uint32_t i = 0; i < old.fields_len; i++)
            if (!replaced_by(fresh, base, at(joined->data, old.fields[i].name)))
                merged[n++] = old.fields[i];
        for (uint32_t i = 0; i < fresh->fields_len && n < CACHED_FIELDS_MAX; i++) {
            if (fresh->fields[i].id == FC_FIELD_CONTENT_LENGTH || !exchange_reply_goes_on(base, fresh, &fresh->fields[i]))
                continue;
            merged[n] = fresh->fields[i];
            merged[n].name.off += use->head.text_len;
            merged[n++].value.off += use->head.text_len;
        }
        head.fields_len = n;
        fc_reply_facts facts;
        cached_head h;
        fc_text out = fc_text_at(text->data + sizeof h, text->cap - sizeof h);
        fc_reply_facts_of(&head, joined->data, (int64_t)(fc_wall_ns() / FC_NS_PER_S), &facts);
        fill_head(ex, &facts, &h);
        h.text_len = (uint32_t)put_head(&out, joined->data, &head, &facts, &h);
        memcpy(text->data, &h, sizeof h);
        ok = !out.overflow && begin_put(ex, (fc_slice){text->data, sizeof h + h.text_len}, &h, use->item.value_len);
        char piece[4096];
        for (uint32_t at_byte = 0; ok && at_byte < use->item.value_len;) {
            uint32_t part = use->item.value_len - at_byte;
            part = part < sizeof piece ? part : (uint32_t)sizeof piece;
            ok = fc_cache_read(cache, &use->item, at_byte, piece, part) &&
                 fc_cache_put_write(cache, &use->put, piece, part, exchange_loop(ex)->now_ns) == 0;
            at_byte += part;
        }
        if (ok) {
            exchange_cache_commit(ex);
            fc_buf_unref(use->text);
            use->text = fc_buf_ref(text);
            use->head = h;
            use->age = h.initial_age;
            use->ttl_s = h.lifetime > h.initial_age ? h.lifetime - h.initial_age : 0;
            use->renewed = fc_cache_find(cache, key_slice(use->key), exchange_loop(ex)->now_ns, &use->item) != FC_CACHE_MISS &&
                           use->item.flags == CACHED_ANSWER;
            ok = use->renewed;
        } else if (use->storing) {
            use->storing = false;
            fc_cache_put_abort(cache, &use->put);
        }
    }
    if (joined)
        fc_buf_unref(joined);
    if (text)
        fc_buf_unref(text);
    return ok;
}

static bool is_failure(unsigned status) { return status == 500 || (status >= 502 && status <= 504); }

bool exchange_cache_on_reply(fc_exchange *ex, const char *base, const fc_http1_head *head, size_t head_len, bool spent)
{
    cached_use *use = ex->cache;
    if (use->unsafe) {
        forget(ex, base, head);
        return false;
    }
    use->forward_status = use->validating || use->found ? head->status : 0;
    bool confirmed = use->validating && head->status == 304;
    if (confirmed || (use->found && is_failure(head->status))) {
        bool took = confirmed ? renew(ex, base, head, head_len) : false;
        uint64_t latency = exchange_loop(ex)->now_ns - ex->leased_ns;
        if (confirmed && !took && !fc_cache_same(proxy_of(ex->req)->cache, &use->item)) {
            /* Evicted meanwhile, and the origin thinks we have it: ask again, for all of it. */
            fc_lease_release(&ex->lease, spent, latency, false);
            exchange_drop_input(ex);
            use->validating = use->found = false;
            exchange_send_on(ex);
            return true;
        }
        if (confirmed) {
            count(proxy_of(ex->req), FC_CELL_CACHE_REVALIDATED, 1);
            fc_lease_release(&ex->lease, spent, latency, false);
            exchange_drop_input(ex);
            if (took && exchange_cache_answer_validated(ex))
                return true;
            problem_answer(ex, PROBLEM_OVERLOADED, "the stored answer was lost while it was validated", "Retry-After: 1\r\n");
            return true;
        }
        if (exchange_cache_answer_stale(ex, "stale-if-error"))
            return true;
    }
    if (ex->req->head.method_id == FC_METHOD_GET)
        store(ex, base, head, head_len);
    return false;
}
