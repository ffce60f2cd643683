/* router_table.h - what a built route table is made of; shared by router_build.c, router_rule.c and router.c only.
 *
 * With 10,000 routes the cost of a match is its cache misses, so what matching reads is packed apart from what building
 * knows: one line for a lookup (child_slot), one for a candidate (entry), and the nodes of a route side by side.
 */
#ifndef FC_ROUTER_TABLE_H
#define FC_ROUTER_TABLE_H

#include <string.h>

#include "fc/arena.h"
#include "fc/regex.h"
#include "fc/router.h"

#define NONE UINT32_MAX
#define HOST_MAX 255u /* RFC 1035 2.3.4; a longer one only matches rules for any host */

_Static_assert(FC_REGEX_GROUPS_MAX <= FC_ROUTER_PARAMS_MAX, "a regex's groups fit the answer");

typedef struct cond {
    fc_cond_place place;
    fc_cond_test test;
    fc_slice name; /* header: lower case */
    fc_slice value;
    fc_slice program;
    const fc_regex *regex;
} cond;

typedef struct param {
    fc_slice name;
    uint32_t segment;
} param;

/* A rule under one of its hosts, as far as matching needs it; its index in the array is its rank. */
typedef struct entry {
    _Alignas(64) uint32_t next; /* entry of the same list, of higher rank number; or NONE */
    uint32_t index;
    uint32_t methods;
    uint16_t other_methods_len;
    uint8_t params_len; /* of a template; the last one is the catch-all if below */
    bool below; /* PREFIX that ended with '/', TEMPLATE with a catch-all: at least one more segment must follow */
    uint32_t conds_len;
    const fc_slice *other_methods;
    const cond *conds;
    const param *params;
    const fc_regex *regex; /* REGEX only */
} entry;

typedef struct node {
    uint32_t param; /* node of the parameter child; 0: none */
    uint32_t ends;  /* entries for paths that end here */
    uint32_t opens; /* entries for everything from here on (entry.below: for what is below) */
    uint32_t best;  /* lowest rank in this subtree */
    uint32_t only;  /* the literal child when there is one; 0: none; NONE: several, by hash */
    uint32_t text_len;
    uint32_t literals; /* regexes that begin with the segments down to here: first of literals_len */
    uint32_t literals_len;
    const char *text; /* this node's own segment, if it is a literal child */
} node;

#define CHILD_INLINE 16u

/* Open addressing, linear probing, at most half full. child 0: free. */
typedef struct child_slot {
    uint32_t hash;
    uint32_t parent;
    uint32_t child;
    uint32_t len;
    union {
        char inside[CHILD_INLINE]; /* len <= CHILD_INLINE: no second miss for most segments */
        const char *outside;
    } text;
} child_slot;

_Static_assert(sizeof(entry) == 64 && sizeof(child_slot) == 32, "one line each");

/* Literal beginnings of the regexes of one node, sorted. Those that are prefixes of a path are found from the last one
 * not greater than the path, by way of `parent`: whatever sorts between a prefix of the path and the path begins with
 * that prefix. */
typedef struct literal {
    fc_slice text;
    uint32_t parent; /* longest other literal of the node that this one begins with; or NONE */
    uint32_t entries;
} literal;

typedef struct host_slot {
    fc_slice name; /* p NULL: free; without "*." */
    uint32_t root;
    bool wildcard;
} host_slot;

struct fc_router {
    uint32_t refs;
    uint32_t depth; /* of the deepest node */
    fc_hash_key key;
    uint32_t path_flags;
    uint32_t path_max;
    uint32_t any_root; /* 0: no rule for any host */
    bool wildcards;
    child_slot *children;
    uint32_t children_mask;
    host_slot *hosts;
    uint32_t hosts_mask;
    node *nodes; /* 1.. */
    entry *entries;
    literal *literals;
    uint32_t regex_insts, regex_groups; /* most of any program */
    fc_router_stats stats;
    fc_arena arena;
};

/* Good in all its low bits: segment hashes are uniform and an odd multiple of the parent is a bijection. */
static inline uint32_t fc_router_child_hash(uint64_t segment_hash, uint32_t parent)
{
    return (uint32_t)(segment_hash ^ parent * 0x9E3779B97F4A7C15ull);
}

/* Lower case without port and trailing dot; 0 when nothing usable is left. out has room for HOST_MAX bytes. */
size_t fc_router_host_normalise(fc_slice host, char *out);
/* The slot of this key, or the free one where it belongs. */
host_slot *fc_router_host_slot(host_slot *slots, uint32_t mask, const fc_hash_key *key, fc_slice name, bool wildcard);
child_slot *fc_router_child_slot(child_slot *slots, uint32_t mask, uint32_t hash, uint32_t parent, fc_slice text);

static inline char fc_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool fc_slice_equals(fc_slice a, const char *p, size_t n)
{
    return a.n == n && (n == 0 || memcmp(a.p, p, n) == 0);
}

static inline bool fc_slice_begins(fc_slice a, fc_slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

/* As memcmp, and the shorter first. */
static inline int fc_slice_compare(fc_slice a, fc_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

#endif
