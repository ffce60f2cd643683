/* Names of things in the cache: keys of answers and of their variants, tags. */
#include <strings.h>

#include "exchange.h"
#include "cached.h"

size_t cached_url(const fc_http_req *req, fc_slice path, char room[CACHED_URL_MAX])
{
    char lower[FC_HOST_MAX];
    fc_slice authority = fc_http_slice(req, req->head.authority), host = exchange_host(req, lower);
    fc_text out = fc_text_at(room, CACHED_URL_MAX);
    fc_text_slice(&out, exchange_scheme(req));
    FC_TEXT_LIT(&out, "://");
    fc_text_slice(&out, host);
    fc_text_put(&out, authority.p + host.n, authority.n > host.n ? authority.n - host.n : 0); /* the port */
    fc_text_slice(&out, path);
    if (req->head.has_query) {
        FC_TEXT_LIT(&out, "?");
        fc_text_slice(&out, fc_http_slice(req, req->head.query));
    }
    return out.overflow ? 0 : fc_text_len(&out);
}

void cached_key_of(const fc_cache *cache, fc_slice url, uint64_t key[2])
{
    fc_hash128(&cache->options.key, url.p, url.n, key);
}

/* Values as lists: several fields of a name are one (RFC 9110 5.3), and blanks at their ends are none. */
void cached_variant_of(const fc_cache *cache, const fc_http_req *req, const uint64_t primary[2], fc_slice names,
                       uint64_t key[2])
{
    uint64_t sum[2] = {primary[0], primary[1]};
    while (names.n) {
        const char *end = memchr(names.p, '\n', names.n);
        size_t n = end ? (size_t)(end - names.p) : names.n;
        uint64_t one[2] = {0, 0}, count = 0;
        for (uint32_t i = 0; i < req->head.fields_len; i++) {
            const fc_http1_field *f = &req->head.fields[i];
            if (f->name.len != n || strncasecmp(req->base + f->name.off, names.p, n) != 0)
                continue;
            fc_hash128(&cache->options.key, req->base + f->value.off, f->value.len, one);
            uint64_t mixed[5] = {sum[0], sum[1], one[0], one[1], ++count};
            fc_hash128(&cache->options.key, mixed, sizeof mixed, sum);
        }
        uint64_t mixed[3] = {sum[0], sum[1], count}; /* the field's end: absent is not empty, and none runs into the next */
        fc_hash128(&cache->options.key, mixed, sizeof mixed, sum);
        n += end != NULL;
        names.p += n;
        names.n -= n;
    }
    key[0] = sum[0];
    key[1] = sum[1];
}

static void tag(const fc_cache *cache, fc_cache_stamp *stamp, char kind, fc_slice text)
{
    char room[CACHED_URL_MAX + 2] = {kind, ':'};
    if (text.n > CACHED_URL_MAX)
        return;
    memcpy(room + 2, text.p, text.n);
    fc_cache_stamp_tag(cache, stamp, (fc_slice){room, text.n + 2});
}

void cached_tag_url(const fc_cache *cache, fc_cache_stamp *stamp, fc_slice url)
{
    tag(cache, stamp, 'u', url);
    const char *query = memchr(url.p, '?', url.n), *p = memmem(url.p, url.n, "://", 3) + 3;
    const char *end = query ? query : url.p + url.n;
    for (uint32_t i = 0; i < CACHED_FOLDERS_MAX && (p = memchr(p, '/', (size_t)(end - p))); i++)
        tag(cache, stamp, 'p', (fc_slice){url.p, (size_t)(++p - url.p)});
}

void cached_tag_list(const fc_cache *cache, fc_cache_stamp *stamp, fc_slice list)
{
    for (uint32_t i = 0; i < CACHED_TAGS_MAX && list.n; i++) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        fc_slice one = {list.p, n};
        while (one.n && (*one.p == ' ' || *one.p == '\t'))
            one.p++, one.n--;
        while (one.n && (one.p[one.n - 1] == ' ' || one.p[one.n - 1] == '\t'))
            one.n--;
        if (one.n)
            tag(cache, stamp, 't', one);
        n += comma != NULL;
        list.p += n;
        list.n -= n;
    }
}

void cached_forget_url(fc_cache *cache, fc_slice url)
{
    char room[CACHED_URL_MAX + 2] = "u:";
    if (url.n > CACHED_URL_MAX)
        return;
    memcpy(room + 2, url.p, url.n);
    fc_cache_invalidate(cache, (fc_slice){room, url.n + 2}, false);
}
