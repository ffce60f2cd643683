/* cached.h - answers kept in shared memory, for the files cached*.c of this folder and their callers.
 *
 * One entry of the cache (fc/cache.h) for each answer: its metadata is a cached_head and the answer's head as text, its value
 * the body. An answer that varies has a record under the primary key that names the fields, and the answers lie under keys
 * that the fields' values go into. Every entry carries tags: of its URL, of the folders it lies in, and those its origin gave
 * it, so that all variants of a URL, a folder or a tag go out of sight by one store each.
 *
 *                   fresh: answered
 *     LOOK --found-- may be used while another brings a new one: answered
 *       |           \ else: ask the origin, with our validators ----- 304: made fresh, answered
 *       |                                                        \--- fails: answered all the same, if that is allowed
 *     nothing, and nobody fetches it: claimed, fetched, stored while it is relayed
 *       \ somebody does: wait a little, LOOK again
 *
 * Invariants
 *  1. What is answered from the cache was stored whole: an answer that was cut is never committed.
 *  2. The key has scheme, authority, path and query: whatever else decides about an answer must stand in its Vary.
 *  3. A worker that dies while it fetches blocks others no longer than the route's wait.
 */
#ifndef FC_PROXY_CACHED_H
#define FC_PROXY_CACHED_H

#include "fc/cache.h"
#include "fc/freshness.h"

#define CACHED_KEY_BYTES 16u
#define CACHED_URL_MAX 8192u  /* longer ones are not cached */
#define CACHED_FOLDERS_MAX 7u /* purged as prefixes: "/", "/a/", ... */
#define CACHED_TAGS_MAX 7u    /* of an answer's own */
#define CACHED_PASS_NS (10 * FC_NS_PER_S) /* an answer that could not be stored makes nobody wait for so long */
#define CACHED_FIELDS_MAX 256

enum cached_kind { CACHED_ANSWER = 1, CACHED_VARIES, CACHED_PASS };

typedef struct cached_head {
    uint64_t stored_ns;       /* fc_monotonic_ns, when age was initial_age */
    int64_t last_modified;    /* -1 */
    uint32_t initial_age, lifetime, while_revalidate, if_error;
    uint32_t etag_at, etag_len, modified_at, modified_len; /* in the text; 0 bytes: none */
    uint32_t text_len;
    uint16_t status;
    bool must_revalidate, no_cache;
} cached_head;

struct fc_exchange;

/* What a request does with the cache; lives in a buffer of its own. */
typedef struct cached_use {
    fc_slice url;             /* behind this struct */
    uint64_t primary[2], key[2];
    fc_request_facts request;
    fc_cache_item item;       /* what was found */
    cached_head head;         /* of it */
    fc_buf *text;             /* its head's text, behind a cached_head; held while it may be answered with */
    fc_cache_stamp stamp;     /* from before the origin is asked */
    fc_cache_put put;
    struct fc_exchange *exchange;
    bool found, validating, claimed, storing, hit, waited, unsafe, renewed;
    const char *forward;      /* Cache-Status: why the origin was asked; NULL while it was not */
    const char *detail;
    uint32_t age, ttl_s;      /* of a hit */
    uint16_t forward_status;
    uint64_t asked_ns, wait_until_ns, wait_step_ms;
    fc_timer timer;
    uint64_t body_at, body_left; /* of the value, to be sent */
    uint64_t range_from, range_len;
    bool partial, unsatisfiable;
} cached_use;

/* cached_key.c */
/* "scheme://host/path?query" into room; 0 when it does not fit. */
size_t cached_url(const fc_http_req *req, fc_slice path, char room[CACHED_URL_MAX]);
void cached_key_of(const fc_cache *cache, fc_slice url, uint64_t key[2]);
/* The key of the variant for this request's values of the fields named, one a line. */
void cached_variant_of(const fc_cache *cache, const fc_http_req *req, const uint64_t primary[2], fc_slice names,
                       uint64_t key[2]);
/* The tags of a URL and of its folders. */
void cached_tag_url(const fc_cache *cache, fc_cache_stamp *stamp, fc_slice url);
/* "t:a", for each of a comma-separated list. */
void cached_tag_list(const fc_cache *cache, fc_cache_stamp *stamp, fc_slice list);
void cached_forget_url(fc_cache *cache, fc_slice url);

#endif
