/* fc/freshness.h - what RFC 9111 says of storing and reusing an answer: decisions on facts of heads, no clock, no cache.
 *
 * Facts are taken from a parsed head once; times are seconds since 1970 by the wall clock, ages and lifetimes seconds.
 * Wherever a sender contradicts himself or writes what is none, the answer counts as stale (4.2.1), never as fresh.
 * We are a shared cache, and stand before an origin: CDN-Cache-Control (RFC 9213) is meant for us.
 */
#ifndef FC_FRESHNESS_H
#define FC_FRESHNESS_H

#include "fc/http1.h"

#define FC_DELTA_MAX 2147483648u /* 1.2.2: what is larger is this */
#define FC_VARY_MAX 16u          /* fields an answer may vary by and still be stored */

/* Directives of one or several Cache-Control fields, of requests and of answers. */
typedef struct fc_cache_control {
    bool present;
    bool no_store, no_cache, no_transform, only_if_cached;
    bool must_revalidate, proxy_revalidate, must_understand, is_public, is_private;
    bool has_max_age, has_s_maxage, has_min_fresh, has_max_stale, max_stale_any;
    bool has_while_revalidate, has_if_error;
    uint32_t max_age, s_maxage, min_fresh, max_stale, while_revalidate, if_error;
    bool contradicts; /* a directive twice with different values, or with one that is no number */
} fc_cache_control;

/* Add one field's value. */
void fc_cache_control_add(fc_cache_control *cc, fc_slice value);

/* Seconds since 1970 of an HTTP-date in any of its three forms (RFC 9110 5.6.7); -1: it is none. `now` resolves the two
 * digits of a year. */
int64_t fc_http_date(fc_slice text, int64_t now);

typedef struct fc_reply_facts {
    uint16_t status;
    fc_cache_control cc;   /* CDN-Cache-Control where it is there and can be read, else Cache-Control */
    int64_t date;          /* or when it came */
    int64_t expires;       /* -1: no such field; 0: one that is no date, which means the past (5.3) */
    int64_t last_modified; /* -1 */
    uint32_t age;
    bool vary_any, set_cookie, has_etag, weak_etag;
    fc_slice etag, last_modified_text;
    uint32_t vary_len;
    fc_slice vary[FC_VARY_MAX];
} fc_reply_facts;

void fc_reply_facts_of(const fc_http1_head *head, const char *base, int64_t now, fc_reply_facts *facts);

typedef struct fc_request_facts {
    fc_cache_control cc;
    bool authorized; /* Authorization is there, or the route asks for credentials */
} fc_request_facts;

void fc_request_facts_of(const fc_http1_head *head, const char *base, fc_request_facts *facts);

/* What the operator says about a route. */
typedef struct fc_cache_policy {
    uint32_t default_ttl_s;   /* of an answer that does not say; 0: by Last-Modified or not at all */
    uint32_t heuristic_max_s; /* bound of what Last-Modified suggests (4.2.2); 0: nothing is guessed */
    uint32_t ttl_max_s;       /* bound of every lifetime; 0: none */
    uint32_t while_revalidate_s, if_error_s; /* of answers that do not say (RFC 5861) */
    uint32_t keep_s;          /* how long past its time an answer with a validator is kept to be validated */
    bool ignore_client;       /* Cache-Control of requests is for other caches */
    bool store_cookies;       /* answers with Set-Cookie may be stored */
    bool collapse;            /* one request fetches for all */
    uint32_t wait_ms;         /* how long others wait for it */
    uint64_t item_max;        /* bytes of a body */
} fc_cache_policy;

/* May it be stored (3)? *why: a word for Cache-Status's detail when not. */
bool fc_may_store(const fc_request_facts *request, const fc_reply_facts *reply, const fc_cache_policy *policy,
                  const char **why);
/* Freshness lifetime (4.2.1, 4.2.2). */
uint32_t fc_lifetime(const fc_reply_facts *reply, const fc_cache_policy *policy);
/* Its age when it came (4.2.3), with the seconds the request took. */
uint32_t fc_initial_age(const fc_reply_facts *reply, int64_t now, uint32_t took_s);

/* What of a stored answer decides about its use. */
typedef struct fc_stored_facts {
    uint32_t lifetime, age;   /* age: now */
    uint32_t while_revalidate, if_error;
    bool must_revalidate;     /* must-revalidate, proxy-revalidate, s-maxage, no-cache (5.2.2) */
    bool no_cache;            /* always to be validated */
    bool invalidated;         /* softly: stale whatever its age */
} fc_stored_facts;

typedef enum fc_reuse {
    FC_REUSE_FRESH,
    FC_REUSE_STALE,            /* the request takes it (max-stale) */
    FC_REUSE_WHILE_REVALIDATE, /* stale, and may be used while somebody brings a new one */
    FC_REUSE_VALIDATE,         /* ask first */
} fc_reuse;

fc_reuse fc_may_reuse(const fc_stored_facts *stored, const fc_cache_control *request, bool ignore_client);
/* May it answer though the origin failed (RFC 5861 4)? */
bool fc_may_reuse_on_error(const fc_stored_facts *stored);

/* --- validators and ranges (RFC 9110 13, 14) ---------------------------------------------------------------------- */

/* Does If-None-Match or If-Modified-Since say that the client has this one? The first wins (13.2.2). */
bool fc_not_modified(const fc_http1_head *request, const char *base, fc_slice etag, int64_t last_modified, int64_t now);

typedef enum fc_range_answer { FC_RANGE_NONE, FC_RANGE_PART, FC_RANGE_UNSATISFIABLE } fc_range_answer;

/* One range of bytes of n; several, other units and what is no range are ignored (14.2), as If-Range may ask (13.1.5). */
fc_range_answer fc_range_of(const fc_http1_head *request, const char *base, fc_slice etag, fc_slice last_modified,
                            uint64_t n, uint64_t *from, uint64_t *len);

#endif
