#include <stdlib.h>
#include <string.h>

#include "router_table.h"

/* --- scratch ---------------------------------------------------------------------------------------------------- */

typedef struct segment {
    fc_slice text;
    uint64_t hash;
    bool hashed;
} segment;

struct fc_router_scratch {
    uint32_t path_max;
    uint32_t segments_max;
    uint32_t regex_insts, regex_groups;
    char *path;        /* the normalised path, when it is not the request's own */
    char *query_value; /* a decoded query value, for a regex */
    segment *segments;
    fc_regex_scratch *regex;
    uint32_t slots[FC_REGEX_SLOTS_MAX];      /* of the regex rule being tried */
    uint32_t best_slots[FC_REGEX_SLOTS_MAX]; /* of the best so far */
};

fc_router_scratch *fc_router_scratch_new(void)
{
    return calloc(1, sizeof(fc_router_scratch));
}

int fc_router_scratch_fit(fc_router_scratch *s, const fc_router *r)
{
    if (s->path_max < r->path_max || s->path == NULL) {
        char *path = realloc(s->path, r->path_max + 1);
        if (path == NULL)
            return -1;
        s->path = path;
        char *value = realloc(s->query_value, r->path_max + 1);
        if (value == NULL)
            return -1;
        s->query_value = value;
        s->path_max = r->path_max;
    }
    if (s->segments_max < r->depth + 1) {
        segment *segments = realloc(s->segments, (r->depth + 1) * sizeof *segments);
        if (segments == NULL)
            return -1;
        s->segments = segments;
        s->segments_max = r->depth + 1;
    }
    if (s->regex_insts < r->regex_insts || s->regex_groups < r->regex_groups) {
        uint32_t insts = s->regex_insts > r->regex_insts ? s->regex_insts : r->regex_insts;
        uint32_t groups = s->regex_groups > r->regex_groups ? s->regex_groups : r->regex_groups;
        fc_regex_scratch *regex = fc_regex_scratch_new(insts, groups);
        if (regex == NULL)
            return -1;
        fc_regex_scratch_free(s->regex);
        s->regex = regex;
        s->regex_insts = insts;
        s->regex_groups = groups;
    }
    return 0;
}

void fc_router_scratch_free(fc_router_scratch *s)
{
    if (s == NULL)
        return;
    free(s->path);
    free(s->query_value);
    free(s->segments);
    fc_regex_scratch_free(s->regex);
    free(s);
}

/* --- conditions ------------------------------------------------------------------------------------------------- */

static bool is_name(fc_slice lower, const char *p, size_t n)
{
    if (lower.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (fc_ascii_lower(p[i]) != lower.p[i])
            return false;
    return true;
}

static bool value_holds(const cond *c, const char *p, size_t n, fc_regex_scratch *regex)
{
    if (c->test == FC_COND_EQUALS)
        return fc_slice_equals(c->value, p, n);
    if (c->test == FC_COND_REGEX)
        return fc_regex_exec(c->regex, FC_REGEX_FULL, p, n, NULL, regex) == 1;
    return true;
}

static bool header_holds(const cond *c, const fc_router_request *q, fc_router_scratch *s)
{
    for (uint32_t i = 0; i < q->fields_len; i++) {
        const fc_http1_field *f = &q->fields[i];
        if (is_name(c->name, q->buf + f->name.off, f->name.len)
            && value_holds(c, q->buf + f->value.off, f->value.len, s->regex))
            return c->test != FC_COND_ABSENT;
    }
    return c->test == FC_COND_ABSENT;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* WHATWG URL 5.1, application/x-www-form-urlencoded: '+' is a space, a '%' without two digits stands for itself. */
static char next_decoded(const char **p, const char *end)
{
    char c = *(*p)++;
    if (c == '+')
        return ' ';
    if (c != '%' || end - *p < 2)
        return c;
    int high = hex_value((*p)[0]), low = hex_value((*p)[1]);
    if (high < 0 || low < 0)
        return c;
    *p += 2;
    return (char)(high << 4 | low);
}

static bool is_decoded(fc_slice want, const char *p, const char *end)
{
    size_t i = 0;
    while (p < end)
        if (i == want.n || next_decoded(&p, end) != want.p[i++])
            return false;
    return i == want.n;
}

static bool query_value_holds(const cond *c, const char *p, const char *end, fc_router_scratch *s)
{
    if (c->test == FC_COND_EQUALS)
        return is_decoded(c->value, p, end);
    if (c->test != FC_COND_REGEX)
        return true;
    size_t n = 0;
    while (p < end) {
        if (n == s->path_max)
            return false;
        s->query_value[n++] = next_decoded(&p, end);
    }
    return value_holds(c, s->query_value, n, s->regex);
}

static bool query_holds(const cond *c, fc_slice query, fc_router_scratch *s)
{
    const char *p = query.p, *end = query.n > 0 ? p + query.n : p;
    while (p < end) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        stop = stop != NULL ? stop : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        const char *name_end = equals != NULL ? equals : stop;
        if (stop > p && is_decoded(c->name, p, name_end)
            && query_value_holds(c, equals != NULL ? equals + 1 : stop, stop, s))
            return c->test != FC_COND_ABSENT;
        p = stop < end ? stop + 1 : end;
    }
    return c->test == FC_COND_ABSENT;
}

static bool conditions_hold(const entry *e, const fc_router_request *q, fc_router_scratch *s)
{
    for (uint32_t i = 0; i < e->conds_len; i++) {
        const cond *c = &e->conds[i];
        if (!(c->place == FC_COND_HEADER ? header_holds(c, q, s) : query_holds(c, q->query, s)))
            return false;
    }
    return true;
}

static bool method_fits(const entry *e, const fc_router_request *q)
{
    if (e->methods == 0 && e->other_methods_len == 0)
        return true;
    if (q->method_id != FC_METHOD_OTHER)
        return e->methods >> q->method_id & 1;
    for (uint32_t i = 0; i < e->other_methods_len; i++)
        if (fc_slice_equals(e->other_methods[i], q->method.p, q->method.n))
            return true;
    return false;
}

/* --- finding ---------------------------------------------------------------------------------------------------- */

typedef struct search {
    const fc_router *r;
    const fc_router_request *q;
    fc_router_match *out;
    fc_router_scratch *s;
    fc_slice path;
    uint32_t segments_len; /* at most one more than the table is deep */
    uint32_t best;         /* rank; NONE: nothing yet */
    bool method_failed;
} search;

static void allow(fc_router_match *out, const entry *e)
{
    out->allowed |= e->methods;
    for (uint32_t i = 0; i < e->other_methods_len; i++) {
        uint32_t known = 0;
        while (known < out->other_methods_len
               && !fc_slice_equals(out->other_methods[known], e->other_methods[i].p, e->other_methods[i].n))
            known++;
        if (known == out->other_methods_len && known < FC_ROUTER_METHODS_MAX)
            out->other_methods[out->other_methods_len++] = e->other_methods[i];
    }
}

/* An entry whose host and path (but for a regex) are known to match. */
static void consider(search *f, uint32_t rank)
{
    const entry *e = &f->r->entries[rank];
    bool method_ok = method_fits(e, f->q);
    if (!method_ok && f->best != NONE)
        return; /* allowed methods only matter when nothing is found */
    if (e->conds_len > 0 && !conditions_hold(e, f->q, f->s))
        return;
    bool captures = method_ok && e->regex != NULL && e->regex->groups > 0;
    if (e->regex != NULL
        && fc_regex_exec(e->regex, FC_REGEX_FULL, f->path.p, f->path.n, captures ? f->s->slots : NULL, f->s->regex) != 1)
        return;
    if (!method_ok) {
        f->method_failed = true;
        allow(f->out, e);
        return;
    }
    f->best = rank;
    if (captures)
        memcpy(f->s->best_slots, f->s->slots, 2 * (e->regex->groups + 1) * sizeof f->s->slots[0]);
}

static void consider_list(search *f, uint32_t rank, bool more)
{
    for (; rank < f->best; rank = f->r->entries[rank].next)
        if (more || !f->r->entries[rank].below)
            consider(f, rank);
}

static void try_regexes(search *f, const node *n)
{
    const literal *all = f->r->literals;
    uint32_t low = n->literals, high = n->literals + n->literals_len;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fc_slice_compare(all[middle].text, f->path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (uint32_t i = low > n->literals ? low - 1 : NONE; i != NONE; i = all[i].parent)
        if (fc_slice_begins(f->path, all[i].text))
            consider_list(f, all[i].entries, true);
}

static uint32_t literal_child(search *f, uint32_t at, segment *seg)
{
    const fc_router *r = f->r;
    uint32_t only = r->nodes[at].only;
    if (only != NONE) {
        const node *child = &r->nodes[only];
        return only != 0 && fc_slice_equals(seg->text, child->text, child->text_len) ? only : 0;
    }
    if (!seg->hashed) {
        seg->hash = fc_hash(&r->key, seg->text.p, seg->text.n);
        seg->hashed = true;
    }
    uint32_t hash = fc_router_child_hash(seg->hash, at);
    return fc_router_child_slot(r->children, r->children_mask, hash, at, seg->text)->child;
}

static void walk(search *f, uint32_t at, uint32_t depth)
{
    const node *n = &f->r->nodes[at];
    if (n->best >= f->best)
        return;
    bool more = depth < f->segments_len;
    if (more) {
        segment *seg = &f->s->segments[depth];
        uint32_t child = literal_child(f, at, seg);
        if (child != 0)
            walk(f, child, depth + 1);
        if (n->param != 0 && seg->text.n > 0)
            walk(f, n->param, depth + 1);
    } else {
        consider_list(f, n->ends, true);
    }
    if (n->literals_len > 0)
        try_regexes(f, n);
    consider_list(f, n->opens, more);
}

static void try_hosts(search *f)
{
    const fc_router *r = f->r;
    char name[HOST_MAX];
    size_t n = r->stats.hosts > 0 ? fc_router_host_normalise(f->q->host, name) : 0;
    if (n > 0) {
        const host_slot *slot = fc_router_host_slot(r->hosts, r->hosts_mask, &r->key, (fc_slice){name, n}, false);
        if (slot->name.p != NULL)
            walk(f, slot->root, 0);
    }
    for (size_t i = 1; r->wildcards && i + 1 < n; i++) {
        if (name[i] != '.')
            continue;
        fc_slice suffix = {name + i + 1, n - i - 1};
        const host_slot *slot = fc_router_host_slot(r->hosts, r->hosts_mask, &r->key, suffix, true);
        if (slot->name.p != NULL)
            walk(f, slot->root, 0);
    }
    if (r->any_root != 0)
        walk(f, r->any_root, 0);
}

static void split(search *f)
{
    const char *p = f->path.p + 1, *end = f->path.p + f->path.n;
    uint32_t n = 0;
    while (n <= f->r->depth) {
        const char *stop = memchr(p, '/', (size_t)(end - p));
        f->s->segments[n++] = (segment){.text = {p, (size_t)((stop != NULL ? stop : end) - p)}};
        if (stop == NULL)
            break;
        p = stop + 1;
    }
    f->segments_len = n;
}

static void fill(search *f, const entry *e)
{
    fc_router_match *out = f->out;
    out->index = e->index;
    out->params_len = 0;
    for (uint32_t i = 0; e->regex != NULL && i < e->regex->groups; i++) {
        const uint32_t *slot = &f->s->best_slots[2 * (i + 1)];
        uint32_t len = slot[0] == FC_REGEX_UNSET ? 0 : slot[1] - slot[0];
        out->params[out->params_len++] = (fc_router_param){e->regex->names[i], {slot[0], len}};
    }
    for (uint32_t i = 0; i < e->params_len; i++) {
        fc_slice text = f->s->segments[e->params[i].segment].text;
        uint32_t off = (uint32_t)(text.p - f->path.p);
        bool rest = e->below && i + 1 == e->params_len;
        uint32_t len = rest ? (uint32_t)f->path.n - off : (uint32_t)text.n;
        out->params[out->params_len++] = (fc_router_param){e->params[i].name, {off, len}};
    }
}

fc_router_answer fc_router_find(const fc_router *r, const fc_router_request *q, fc_router_match *out,
                                fc_router_scratch *s)
{
    size_t at = r->path_max;
    fc_path_result normal = FC_PATH_TOO_LONG;
    if (q->path.n <= r->path_max)
        normal = fc_path_normalise(q->path.p, q->path.n, r->path_flags, s->path, r->path_max, &at);
    if (normal < 0) {
        out->path_error = normal;
        out->error_at = at;
        return FC_ROUTER_BAD_PATH;
    }
    search f = {.r = r, .q = q, .out = out, .s = s, .best = NONE};
    f.path = (fc_slice){normal == FC_PATH_SAME ? q->path.p : s->path, at};
    out->path = f.path;
    out->allowed = 0;
    out->other_methods_len = 0;
    split(&f);
    try_hosts(&f);
    if (f.best != NONE) {
        fill(&f, &r->entries[f.best]);
        return FC_ROUTER_FOUND;
    }
    return f.method_failed ? FC_ROUTER_METHOD : FC_ROUTER_NONE;
}

/* --- lookups shared with building ------------------------------------------------------------------------------- */

size_t fc_router_host_normalise(fc_slice host, char *out)
{
    if (host.n == 0)
        return 0;
    const char *end = memchr(host.p, host.p[0] == '[' ? ']' : ':', host.n);
    size_t n = host.n;
    if (end != NULL)
        n = (size_t)(end - host.p) + (host.p[0] == '[');
    if (n > 0 && host.p[n - 1] == '.')
        n--;
    if (n > HOST_MAX)
        return 0;
    for (size_t i = 0; i < n; i++)
        out[i] = fc_ascii_lower(host.p[i]);
    return n;
}

host_slot *fc_router_host_slot(host_slot *slots, uint32_t mask, const fc_hash_key *key, fc_slice name, bool wildcard)
{
    for (uint32_t i = (uint32_t)fc_hash(key, name.p, name.n) & mask;; i = (i + 1) & mask) {
        host_slot *slot = &slots[i];
        if (slot->name.p == NULL || (slot->wildcard == wildcard && fc_slice_equals(slot->name, name.p, name.n)))
            return slot;
    }
}

static bool is_child(const child_slot *slot, uint32_t hash, uint32_t parent, fc_slice text)
{
    if (slot->hash != hash || slot->parent != parent || slot->len != text.n)
        return false;
    return memcmp(text.n <= CHILD_INLINE ? slot->text.inside : slot->text.outside, text.p, text.n) == 0;
}

child_slot *fc_router_child_slot(child_slot *slots, uint32_t mask, uint32_t hash, uint32_t parent, fc_slice text)
{
    for (uint32_t i = hash & mask;; i = (i + 1) & mask)
        if (slots[i].child == 0 || is_child(&slots[i], hash, parent, text))
            return &slots[i];
}

fc_router *fc_router_ref(fc_router *r)
{
    r->refs++;
    return r;
}

void fc_router_unref(fc_router *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    fc_arena arena = r->arena; /* which holds r itself */
    fc_arena_free(&arena);
}

fc_router_stats fc_router_get_stats(const fc_router *r)
{
    return r->stats;
}
