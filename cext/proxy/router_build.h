/* router_build.h - the builder as router_rule.c fills it and router_build.c freezes it. */
#ifndef FC_ROUTER_BUILD_H
#define FC_ROUTER_BUILD_H

#include "router_table.h"

/* A rule as it was added: checked, normalised, copied. */
typedef struct rule {
    uint32_t index;
    int32_t priority;
    fc_router_kind kind;
    bool below;         /* see entry */
    uint8_t params_len;
    uint8_t depth;      /* segments of path */
    uint8_t conditions; /* as precedence counts them; saturates */
    fc_slice path;      /* normalised, parameters as {} and {*}; of a prefix without its last '/' */
    fc_slice shape;     /* TEMPLATE: a byte per segment, 0 literal, 1 parameter, 2 catch-all */
    param *params;
    fc_slice program; /* REGEX */
    const fc_regex *regex;
    fc_slice *hosts; /* normalised; wildcards keep their "*." */
    uint32_t hosts_len;
    uint32_t methods;
    fc_slice *other_methods; /* sorted */
    uint32_t other_methods_len;
    cond *conds; /* sorted */
    uint32_t conds_len;
} rule;

struct fc_router_builder {
    fc_router_limits limits;
    fc_arena arena; /* goes over to the table */
    rule **rules;   /* in the order they were added */
    uint32_t rules_len;
    uint32_t rules_room;
    uint32_t hosts_len;   /* of all rules */
    uint32_t entries_len; /* rules times their hosts */
};

/* A total order of `cond`, used to sort and to find rules that are the same. */
int fc_router_compare_conds(const void *a, const void *b);

#endif
