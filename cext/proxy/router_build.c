/* Freezing a builder: expand rules into entries, rank them, and hang them into one trie per host pattern. Entries are hung
 * from the worst rank to the best, each in front: lists come out in order, and the last rank written into a node is its
 * best. A regex hangs at the node of the whole segments that its literal begins with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router_build.h"

typedef enum host_class { HOST_EXACT = 0, HOST_WILDCARD, HOST_ANY } host_class;

typedef struct draft_entry {
    const rule *rule;
    uint32_t added; /* place of the rule in the builder */
    uint32_t root;  /* node of its host pattern */
    host_class host;
    fc_slice host_name; /* without "*." */
} draft_entry;

/* What only building needs to know of a node, to find the worst case. */
typedef struct draft_node {
    uint32_t parent;
    uint32_t entries; /* here, regexes aside */
    uint64_t regexes; /* most that one path can have to run here */
    bool param;
    uint64_t literal_worst; /* of its literal children, the one with the most visits below */
    uint64_t worst;
} draft_node;

typedef struct build {
    fc_router *r;
    fc_arena *arena;
    draft_entry *drafts;
    uint32_t drafts_len;
    uint32_t segments_max;
    draft_node *nodes;
    child_slot *children; /* sized for the most there could be; copied into one that fits */
    uint32_t children_mask;
    uint32_t *regex_nodes; /* by rank: where a regex hangs */
    uint32_t regexes_len;
} build;

/* --- order ------------------------------------------------------------------------------------------------------ */

static int descending(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int compare_paths(const rule *x, const rule *y)
{
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    switch (x->kind) {
    case FC_ROUTER_TEMPLATE:
        return fc_slice_compare(x->shape, y->shape);
    case FC_ROUTER_REGEX:
        return descending(x->regex->literal.n, y->regex->literal.n);
    case FC_ROUTER_PREFIX:
        return descending(x->path.n + x->below, y->path.n + y->below);
    default:
        return 0;
    }
}

static int compare_precedence(const void *a, const void *b)
{
    const draft_entry *x = a, *y = b;
    if (x->rule->priority != y->rule->priority)
        return x->rule->priority > y->rule->priority ? -1 : 1;
    if (x->host != y->host)
        return x->host < y->host ? -1 : 1;
    int order = x->host == HOST_WILDCARD ? descending(x->host_name.n, y->host_name.n) : 0;
    if (order == 0)
        order = compare_paths(x->rule, y->rule);
    if (order == 0)
        order = descending(x->rule->conditions, y->rule->conditions);
    if (order == 0)
        order = descending(y->added, x->added);
    return order != 0 ? order : fc_slice_compare(x->host_name, y->host_name);
}

static int compare_rules(const rule *x, const rule *y)
{
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->below != y->below)
        return x->below ? 1 : -1;
    int order = x->kind == FC_ROUTER_REGEX ? fc_slice_compare(x->program, y->program)
                                           : fc_slice_compare(x->path, y->path);
    if (order != 0)
        return order;
    if (x->methods != y->methods)
        return x->methods < y->methods ? -1 : 1;
    if (x->other_methods_len != y->other_methods_len)
        return x->other_methods_len < y->other_methods_len ? -1 : 1;
    for (uint32_t i = 0; i < x->other_methods_len && order == 0; i++)
        order = fc_slice_compare(x->other_methods[i], y->other_methods[i]);
    if (order == 0 && x->conds_len != y->conds_len)
        return x->conds_len < y->conds_len ? -1 : 1;
    for (uint32_t i = 0; i < x->conds_len && order == 0; i++)
        order = fc_router_compare_conds(&x->conds[i], &y->conds[i]);
    return order;
}

static int compare_identity(const void *a, const void *b)
{
    const draft_entry *x = a, *y = b;
    if (x->root != y->root)
        return x->root < y->root ? -1 : 1;
    int order = compare_rules(x->rule, y->rule);
    return order != 0 ? order : descending(y->added, x->added);
}

/* Two rules that are the same under one host: the second could never be reached, so somebody erred. */
static bool has_duplicates(build *w, fc_router_error *error)
{
    qsort(w->drafts, w->drafts_len, sizeof *w->drafts, compare_identity);
    for (uint32_t i = 1; i < w->drafts_len; i++) {
        const draft_entry *x = &w->drafts[i - 1], *y = &w->drafts[i];
        if (x->root != y->root || compare_rules(x->rule, y->rule) != 0)
            continue;
        *error = (fc_router_error){.pair = true, .first = x->rule->index, .second = y->rule->index};
        int len = x->host_name.n < 100 ? (int)x->host_name.n : 100;
        snprintf(error->text, sizeof error->text, "have the same rules for %s%.*s: the second could never be reached.",
                 x->host == HOST_ANY ? "any host" : x->host == HOST_WILDCARD ? "the host *." : "the host ", len,
                 x->host_name.p);
        return true;
    }
    return false;
}

/* --- hosts ------------------------------------------------------------------------------------------------------ */

static uint32_t power_of_two(uint64_t at_least)
{
    uint32_t size = 1;
    while (size < at_least)
        size *= 2;
    return size;
}

/* Roots get the first nodes; they are made here by number only. */
static bool expand(build *w, const fc_router_builder *b)
{
    fc_router *r = w->r;
    uint32_t size = power_of_two(2ull * b->hosts_len + 2);
    r->hosts = fc_arena_array(w->arena, size, sizeof *r->hosts);
    if (r->hosts == NULL)
        return false;
    r->hosts_mask = size - 1;
    for (uint32_t i = 0; i < b->rules_len; i++) {
        const rule *u = b->rules[i];
        if (u->hosts_len == 0) {
            if (r->any_root == 0)
                r->any_root = ++r->stats.nodes;
            w->drafts[w->drafts_len++] = (draft_entry){u, i, r->any_root, HOST_ANY, {"", 0}};
        }
        for (uint32_t j = 0; j < u->hosts_len; j++) {
            fc_slice name = u->hosts[j];
            bool wildcard = name.p[0] == '*';
            if (wildcard)
                name = (fc_slice){name.p + 2, name.n - 2};
            host_slot *slot = fc_router_host_slot(r->hosts, r->hosts_mask, &r->key, name, wildcard);
            if (slot->name.p == NULL) {
                *slot = (host_slot){name, ++r->stats.nodes, wildcard};
                r->stats.hosts++;
                r->wildcards = r->wildcards || wildcard;
            }
            host_class class = wildcard ? HOST_WILDCARD : HOST_EXACT;
            w->drafts[w->drafts_len++] = (draft_entry){u, i, slot->root, class, name};
        }
    }
    r->stats.rules = b->rules_len;
    r->stats.entries = w->drafts_len;
    return true;
}

/* --- tries ------------------------------------------------------------------------------------------------------ */

/* Items of 64 bytes, each on a cache line of its own. */
static void *line_array(fc_arena *arena, uint64_t n, size_t size)
{
    char *p = fc_arena_array(arena, n + 1, size);
    return p != NULL ? p + (-(uintptr_t)p & 63) : NULL;
}

static uint32_t new_node(build *w, uint32_t parent, bool param, fc_slice text)
{
    uint32_t id = ++w->r->stats.nodes;
    w->r->nodes[id] = (node){.ends = NONE, .opens = NONE, .best = NONE, .text = text.p, .text_len = (uint32_t)text.n};
    w->nodes[id] = (draft_node){.parent = parent, .param = param};
    return id;
}

static uint32_t literal_child(build *w, uint32_t parent, fc_slice text)
{
    uint32_t hash = fc_router_child_hash(fc_hash(&w->r->key, text.p, text.n), parent);
    child_slot *slot = fc_router_child_slot(w->children, w->children_mask, hash, parent, text);
    if (slot->child == 0) {
        uint32_t child = new_node(w, parent, false, text);
        *slot = (child_slot){.hash = hash, .parent = parent, .child = child, .len = (uint32_t)text.n};
        if (text.n <= CHILD_INLINE)
            memcpy(slot->text.inside, text.p, text.n);
        else
            slot->text.outside = text.p;
        uint32_t *only = &w->r->nodes[parent].only;
        *only = *only == 0 ? child : NONE;
    }
    return slot->child;
}

static uint32_t param_child(build *w, uint32_t parent)
{
    if (w->r->nodes[parent].param == 0) {
        uint32_t child = new_node(w, parent, true, (fc_slice){NULL, 0});
        w->r->nodes[parent].param = child;
    }
    return w->r->nodes[parent].param;
}

/* The node of this path, made where it is not there yet; ranks come from the worst to the best. */
static uint32_t descend(build *w, uint32_t rank, uint32_t at, fc_slice path, bool is_template)
{
    fc_router *r = w->r;
    const char *p = path.p, *end = p + path.n;
    r->nodes[at].best = rank;
    for (uint32_t depth = 1; p < end; depth++) {
        const char *stop = memchr(p + 1, '/', (size_t)(end - p - 1));
        fc_slice seg = {p + 1, (size_t)((stop != NULL ? stop : end) - p - 1)};
        p += 1 + seg.n;
        bool braced = is_template && seg.n > 0 && seg.p[0] == '{';
        if (braced && seg.n == 3) /* {*}: an entry of the node before it */
            break;
        at = braced ? param_child(w, at) : literal_child(w, at, seg);
        r->nodes[at].best = rank;
        if (depth > r->depth)
            r->depth = depth;
    }
    return at;
}

/* The whole segments that a literal begins with: "/a/b/c" has "/a/b". */
static fc_slice whole_segments(const build *w, fc_slice literal)
{
    fc_slice whole = {literal.p, 0};
    uint32_t segments = 0;
    for (size_t i = 0; i < literal.n && literal.p[0] == '/' && segments <= w->segments_max; i++)
        if (literal.p[i] == '/') {
            whole.n = i;
            segments++;
        }
    return whole;
}

static void push(fc_router *r, uint32_t *list, uint32_t rank)
{
    r->entries[rank].next = *list;
    *list = rank;
}

static void hang(build *w, uint32_t rank)
{
    fc_router *r = w->r;
    const draft_entry *d = &w->drafts[rank];
    const rule *u = d->rule;
    if (u->kind == FC_ROUTER_REGEX) {
        w->regex_nodes[rank] = descend(w, rank, d->root, whole_segments(w, u->regex->literal), false);
        w->regexes_len++;
        return;
    }
    uint32_t at = descend(w, rank, d->root, u->path, u->kind == FC_ROUTER_TEMPLATE);
    push(r, u->kind == FC_ROUTER_PREFIX || u->below ? &r->nodes[at].opens : &r->nodes[at].ends, rank);
    w->nodes[at].entries++;
}

static uint64_t count_segments(const build *w)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < w->drafts_len; i++) {
        const rule *u = w->drafts[i].rule;
        fc_slice path = u->kind == FC_ROUTER_REGEX ? whole_segments(w, u->regex->literal) : u->path;
        for (size_t at = 0; at < path.n; at++)
            n += path.p[at] == '/';
    }
    return n;
}

/* Only children are found without the table. */
static bool shrink_children(build *w)
{
    fc_router *r = w->r;
    uint64_t kept = 0;
    for (uint32_t id = 1; id <= r->stats.nodes; id++)
        kept += r->nodes[w->nodes[id].parent].only == NONE && !w->nodes[id].param;
    uint32_t size = power_of_two(2 * kept + 2);
    r->children = line_array(w->arena, size / 2, 2 * sizeof *r->children);
    if (r->children == NULL)
        return false;
    r->children_mask = size - 1;
    for (uint64_t i = 0; i <= w->children_mask; i++) {
        const child_slot *from = &w->children[i];
        if (from->child == 0 || r->nodes[from->parent].only != NONE)
            continue;
        fc_slice text = {r->nodes[from->child].text, from->len};
        *fc_router_child_slot(r->children, r->children_mask, from->hash, from->parent, text) = *from;
    }
    return true;
}

static bool hang_all(build *w)
{
    fc_router *r = w->r;
    uint64_t segments = count_segments(w), nodes = segments + r->stats.nodes + 1;
    uint32_t size = power_of_two(2 * segments + 2);
    r->nodes = fc_arena_array(w->arena, nodes, sizeof *r->nodes);
    w->nodes = calloc(nodes, sizeof *w->nodes);
    w->children = calloc(size, sizeof *w->children);
    w->regex_nodes = calloc(w->drafts_len + 1, sizeof *w->regex_nodes);
    if (r->nodes == NULL || w->nodes == NULL || w->children == NULL || w->regex_nodes == NULL)
        return false;
    w->children_mask = size - 1;
    for (uint32_t id = 1; id <= r->stats.nodes; id++)
        r->nodes[id] = (node){.ends = NONE, .opens = NONE, .best = NONE};
    for (uint32_t rank = w->drafts_len; rank-- > 0;)
        hang(w, rank);
    return shrink_children(w);
}

/* --- regexes ---------------------------------------------------------------------------------------------------- */

typedef struct draft_regex {
    fc_slice text;
    uint32_t node;
    uint32_t rank;
} draft_regex;

static int compare_regexes(const void *a, const void *b)
{
    const draft_regex *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    int order = fc_slice_compare(x->text, y->text);
    return order != 0 ? order : descending(y->rank, x->rank);
}

static uint32_t parent_literal(const fc_router *r, const node *n, uint32_t index)
{
    uint32_t at = index > n->literals ? index - 1 : NONE;
    while (at != NONE && !fc_slice_begins(r->literals[index].text, r->literals[at].text))
        at = r->literals[at].parent;
    return at;
}

/* drafts are sorted; consecutive ones of the same node and text share a literal. chain: regexes of a literal and all
 * literals it begins with. */
static void hang_literals(build *w, const draft_regex *drafts, uint64_t *chain)
{
    fc_router *r = w->r;
    for (uint32_t i = 0, run; i < w->regexes_len; i = run) {
        const draft_regex *d = &drafts[i];
        node *n = &r->nodes[d->node];
        if (n->literals_len++ == 0)
            n->literals = r->stats.literals;
        uint32_t index = r->stats.literals++;
        r->literals[index] = (literal){.text = d->text, .entries = NONE};
        uint32_t parent = r->literals[index].parent = parent_literal(r, n, index);
        for (run = i; run < w->regexes_len && drafts[run].node == d->node; run++)
            if (fc_slice_compare(drafts[run].text, d->text) != 0)
                break;
        for (uint32_t j = run; j-- > i;)
            push(r, &r->literals[index].entries, drafts[j].rank);
        chain[index] = run - i + (parent != NONE ? chain[parent] : 0);
        if (chain[index] > w->nodes[d->node].regexes)
            w->nodes[d->node].regexes = chain[index];
    }
}

static bool hang_regexes(build *w)
{
    fc_router *r = w->r;
    draft_regex *drafts = calloc(w->regexes_len + 1, sizeof *drafts);
    uint64_t *chain = calloc(w->regexes_len + 1, sizeof *chain);
    r->literals = fc_arena_array(w->arena, w->regexes_len, sizeof *r->literals);
    bool ok = drafts != NULL && chain != NULL && r->literals != NULL;
    if (ok) {
        for (uint32_t rank = 0, i = 0; i < w->regexes_len; rank++)
            if (w->regex_nodes[rank] != 0)
                drafts[i++] = (draft_regex){w->drafts[rank].rule->regex->literal, w->regex_nodes[rank], rank};
        qsort(drafts, w->regexes_len, sizeof *drafts, compare_regexes);
        hang_literals(w, drafts, chain);
    }
    free(drafts);
    free(chain);
    return ok;
}

static void measure_regex(fc_router *r, const fc_regex *re)
{
    if (re != NULL && re->insts_len > r->regex_insts)
        r->regex_insts = re->insts_len;
    if (re != NULL && re->groups > r->regex_groups)
        r->regex_groups = re->groups;
}

/* --- worst case ------------------------------------------------------------------------------------------------- */

/* Visits below a node: itself, its entries, the worst of its literal children (one path follows one) and its parameter
 * child. Children have higher ids than their parents. */
static void sum_tries(build *w)
{
    for (uint32_t id = w->r->stats.nodes; id > 0; id--) {
        draft_node *n = &w->nodes[id], *parent = &w->nodes[n->parent];
        n->worst += 1 + n->entries + n->regexes + n->literal_worst;
        if (n->param)
            parent->worst += n->worst;
        else if (n->worst > parent->literal_worst)
            parent->literal_worst = n->worst;
    }
}

/* A request meets at most one exact host, the wildcards that are its suffixes, and the rules for any host. */
static uint64_t worst_of_host(const build *w, const host_slot *host)
{
    const fc_router *r = w->r;
    uint64_t worst = w->nodes[host->root].worst;
    for (size_t i = 0; i < host->name.n; i++) {
        if (host->name.p[i] != '.')
            continue;
        fc_slice suffix = {host->name.p + i + 1, host->name.n - i - 1};
        const host_slot *slot = fc_router_host_slot(r->hosts, r->hosts_mask, &r->key, suffix, true);
        if (slot->name.p != NULL)
            worst += w->nodes[slot->root].worst;
    }
    return worst;
}

static bool is_bounded(build *w, uint32_t visits_max, fc_router_error *error)
{
    fc_router *r = w->r;
    uint64_t worst = 0;
    sum_tries(w);
    for (uint32_t i = 0; i <= r->hosts_mask; i++)
        if (r->hosts[i].name.p != NULL && worst_of_host(w, &r->hosts[i]) > worst)
            worst = worst_of_host(w, &r->hosts[i]);
    if (r->any_root != 0)
        worst += w->nodes[r->any_root].worst;
    r->stats.visits_worst = worst < UINT32_MAX ? (uint32_t)worst : UINT32_MAX;
    if (worst <= visits_max)
        return true;
    *error = (fc_router_error){.pair = false};
    snprintf(error->text, sizeof error->text,
             "one request could have to try %llu nodes and rules, the most allowed is %u: too many rules share a path or "
             "a regular expression's beginning.",
             (unsigned long long)worst, visits_max);
    return false;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static bool rank_entries(build *w)
{
    fc_router *r = w->r;
    qsort(w->drafts, w->drafts_len, sizeof *w->drafts, compare_precedence);
    r->entries = line_array(w->arena, w->drafts_len, sizeof *r->entries);
    for (uint32_t rank = 0; r->entries != NULL && rank < w->drafts_len; rank++) {
        const rule *u = w->drafts[rank].rule;
        r->entries[rank] = (entry){
            .next = NONE,
            .index = u->index,
            .methods = u->methods,
            .other_methods = u->other_methods,
            .other_methods_len = (uint16_t)u->other_methods_len,
            .conds = u->conds,
            .conds_len = u->conds_len,
            .params = u->params,
            .params_len = u->params_len,
            .below = u->below,
            .regex = u->regex,
        };
        measure_regex(r, u->regex);
        for (uint32_t i = 0; i < u->conds_len; i++)
            measure_regex(r, u->conds[i].regex);
    }
    return r->entries != NULL;
}

fc_router *fc_router_build(fc_router_builder *b, fc_router_error *error)
{
    *error = (fc_router_error){.pair = false};
    snprintf(error->text, sizeof error->text, "the routes need more than %zu bytes of memory.", b->limits.bytes_max);
    build w = {.arena = &b->arena, .segments_max = b->limits.segments_max};
    w.drafts = calloc(b->entries_len + 1, sizeof *w.drafts);
    w.r = fc_arena_alloc(&b->arena, sizeof *w.r);
    bool ok = w.drafts != NULL && w.r != NULL;
    if (ok) {
        w.r->refs = 1;
        w.r->key = b->limits.key;
        w.r->path_flags = b->limits.path_flags;
        w.r->path_max = b->limits.path_max;
        ok = expand(&w, b) && !has_duplicates(&w, error) && rank_entries(&w) && hang_all(&w) && hang_regexes(&w)
             && is_bounded(&w, b->limits.visits_max, error);
    }
    free(w.drafts);
    free(w.nodes);
    free(w.children);
    free(w.regex_nodes);
    if (!ok)
        return NULL;
    w.r->stats.bytes = b->arena.bytes;
    w.r->arena = b->arena;
    fc_arena_init(&b->arena, b->limits.bytes_max);
    b->rules_len = b->hosts_len = b->entries_len = 0;
    return w.r;
}
