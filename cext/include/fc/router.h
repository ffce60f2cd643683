/* fc/router.h - which route does a request take: an immutable table, built once, asked for every request.
 *
 * A rule says: hosts, one path rule, methods, header and query conditions, a priority. All of it must hold. Rules go into
 * a builder; fc_router_build freezes them into a table that never changes, so that a reload is a pointer swap and
 * requests in flight finish on the table they began with.
 *
 * Precedence, the first difference decides
 *    1. priority, higher first
 *    2. host: exact, then the longest wildcard, then any
 *    3. path: exact, then template, then regex, then prefix. Between two templates literal segments beat parameters and
 *       parameters beat a catch-all, from left to right; of two regexes the one with the longer literal beginning; of
 *       two prefixes the longer.
 *    4. more conditions (a method set counts as one, each header and query condition as one)
 *    5. the order in which rules were added
 * This is one total order over (rule, host) pairs, fixed when the table is built: each pair is an entry and its place in
 * the order is its rank. Matching means finding the lowest rank that holds; a rule whose conditions fail is passed over.
 * When no rule holds but some failed by the method only, the answer is FC_ROUTER_METHOD with the union of their methods.
 *
 * Paths. Matching is done on the path normalised by fc/path.h, and out->path is that path. Paths of exact, prefix and
 * template rules are normalised in the same way when added.
 *    exact     /a/b             the same path; a trailing slash matters
 *    prefix    /a               /a, /a/, /a/x, never /ab; a prefix that ends with '/' matches only what is below it
 *    template  /u/{id}/f/{name} a parameter is one whole non-empty segment; {rest*}, last only, is all that follows the
 *                               slash, possibly nothing. Values are raw: still escaped.
 *    regex                      fc/regex.h, must match the whole path; its groups are parameters
 * Hosts. Letter case, port and one trailing dot do not count. "*.example.com" stands for one label or more.
 * Conditions. A header condition holds when any field of that name satisfies it (FC_COND_ABSENT: when there is none);
 * a query condition likewise over the name=value pairs, compared after decoding %XX and '+'. Regexes match whole values.
 * Methods are what is listed: GET does not imply HEAD.
 *
 * Cost. Per host level that applies (exact, each wildcard, any) a trie of segments: at most one hash lookup per node
 * visited. A node has at most one literal child that fits and one parameter child, and as the trie is a tree every node is
 * visited at most once, so trying parameters cannot run away. Subtrees whose best rank is worse than what is found already
 * are skipped. A regex sits at the node of the whole segments of its literal beginning, sorted by that: one binary search
 * there finds those worth running. Building computes the most nodes, entries and regexes that any one request can touch
 * and refuses a table above `visits_max`. Segments beyond the deepest rule are not looked at. What 10,000 routes cost more
 * than ten is cache misses (perf/bench_router.py).
 *
 * Invariants
 *    1. After fc_router_build nothing in the table changes but its reference count.
 *    2. fc_router_find allocates nothing and follows no more than visits_worst nodes, entries and regexes.
 *    3. Slices in the answer point into the request, the scratch or the table; they are good until the scratch is used
 *       again or the table is released.
 *    4. Host names and path segments are hashed with the caller's key (fc/hash.h).
 *
 * Thread and process safety: a table and its reference count belong to one thread, as does a scratch; a table built
 * before fork is shared by copy-on-write, each process counting for itself.
 */
#ifndef FC_ROUTER_H
#define FC_ROUTER_H

#include <stdbool.h>

#include "fc/base.h"
#include "fc/hash.h"
#include "fc/http1.h"
#include "fc/path.h"

/* --- building --------------------------------------------------------------------------------------------------- */

#define FC_ROUTER_PARAMS_MAX 16u  /* parameters of one template */
#define FC_ROUTER_METHODS_MAX 16u /* methods without an fc_http_method, per rule and in one answer */

typedef enum fc_router_kind { /* in order of precedence */
    FC_ROUTER_EXACT = 0,
    FC_ROUTER_TEMPLATE,
    FC_ROUTER_REGEX,
    FC_ROUTER_PREFIX,
    FC_ROUTER_KIND_COUNT
} fc_router_kind;

typedef enum fc_cond_place { FC_COND_HEADER = 0, FC_COND_QUERY } fc_cond_place;
typedef enum fc_cond_test { FC_COND_PRESENT = 0, FC_COND_ABSENT, FC_COND_EQUALS, FC_COND_REGEX } fc_cond_test;

typedef struct fc_router_cond {
    fc_cond_place place;
    fc_cond_test test;
    fc_slice name;    /* header: any letter case; query: decoded */
    fc_slice value;   /* EQUALS; query: decoded */
    fc_slice program; /* REGEX */
} fc_router_cond;

typedef struct fc_router_rule {
    uint32_t index; /* handed back by matching; also names the rule in errors */
    int32_t priority;
    fc_router_kind kind;
    fc_slice path;    /* all but REGEX */
    fc_slice program; /* REGEX */
    const fc_slice *hosts;
    uint32_t hosts_len; /* 0: any host */
    uint32_t methods;   /* 1u << fc_http_method for each */
    const fc_slice *other_methods;
    uint32_t other_methods_len; /* none of both: any method */
    const fc_router_cond *conds;
    uint32_t conds_len;
} fc_router_rule;

typedef struct fc_router_limits {
    uint32_t path_flags;   /* FC_PATH_*, for rules and requests */
    uint32_t path_max;     /* bytes of a request's path; of a query value that a regex can match */
    uint32_t segments_max; /* of one rule; at most 255 */
    uint32_t visits_max;   /* nodes, entries and regexes one request may touch */
    size_t bytes_max;      /* of the table's memory */
    fc_hash_key key;       /* random */
} fc_router_limits;

/* 16 KB of path: above the parser's default for targets. 32 segments: twice the deepest public API. 4096 visits: 50 us.
 * 256 MB: some 400,000 routes. */
#define FC_ROUTER_LIMITS \
    ((fc_router_limits){.path_max = 16384, .segments_max = 32, .visits_max = 4096, .bytes_max = (size_t)256 << 20})

typedef struct fc_router_error {
    char text[240];  /* one sentence */
    bool pair;       /* two rules collide: first and second are their indexes */
    uint32_t first;
    uint32_t second;
} fc_router_error;

typedef struct fc_router_builder fc_router_builder;
typedef struct fc_router fc_router;

fc_router_builder *fc_router_builder_new(const fc_router_limits *limits);
/* Copies everything it needs. 0, or -1 with the reason in *error; the builder is then as before. */
int fc_router_builder_add(fc_router_builder *b, const fc_router_rule *rule, fc_router_error *error);
/* Freezes the rules; the builder is used up either way and must still be freed. NULL with the reason in *error. */
fc_router *fc_router_build(fc_router_builder *b, fc_router_error *error);
void fc_router_builder_free(fc_router_builder *b);

fc_router *fc_router_ref(fc_router *r);
void fc_router_unref(fc_router *r); /* frees at zero; NULL is fine */

typedef struct fc_router_stats {
    uint32_t rules, entries, hosts, nodes, literals;
    uint32_t visits_worst;
    size_t bytes;
} fc_router_stats;

fc_router_stats fc_router_get_stats(const fc_router *r);

/* --- matching --------------------------------------------------------------------------------------------------- */

typedef struct fc_router_request {
    fc_http_method method_id;
    fc_slice method; /* looked at only for FC_METHOD_OTHER */
    fc_slice host;   /* with or without port; empty when there is none */
    fc_slice path;   /* as sent */
    fc_slice query;  /* without '?'; empty when there is none */
    const fc_http1_field *fields;
    uint32_t fields_len;
    const char *buf; /* what the fields' spans count from */
} fc_router_request;

typedef struct fc_router_param {
    fc_slice name; /* empty for a regex group without one */
    fc_span value; /* in out->path; off is FC_ROUTER_UNSET for a regex group that took no part */
} fc_router_param;

#define FC_ROUTER_UNSET UINT32_MAX

typedef enum fc_router_answer {
    FC_ROUTER_FOUND = 0,
    FC_ROUTER_NONE,     /* 404 */
    FC_ROUTER_METHOD,   /* 405 with allowed and other_methods */
    FC_ROUTER_BAD_PATH, /* 400, or 414 for FC_PATH_TOO_LONG: path_error and error_at */
} fc_router_answer;

typedef struct fc_router_match {
    uint32_t index;
    fc_slice path; /* normalised: the request's own bytes when they were normal */
    uint32_t params_len;
    fc_router_param params[FC_ROUTER_PARAMS_MAX];
    uint32_t allowed; /* 1u << fc_http_method for each */
    uint32_t other_methods_len;
    fc_slice other_methods[FC_ROUTER_METHODS_MAX]; /* further ones are left out */
    fc_path_result path_error;
    size_t error_at;
} fc_router_match;

typedef struct fc_router_scratch fc_router_scratch;

fc_router_scratch *fc_router_scratch_new(void);
/* Make room for matching against r: once for every table that is put to use. 0, or -1 without memory. */
int fc_router_scratch_fit(fc_router_scratch *s, const fc_router *r);
void fc_router_scratch_free(fc_router_scratch *s);

/* Members of *out that the answer has no use for are not set. The scratch must have been fitted to r. */
fc_router_answer fc_router_find(const fc_router *r, const fc_router_request *q, fc_router_match *out,
                                fc_router_scratch *s);

#endif
