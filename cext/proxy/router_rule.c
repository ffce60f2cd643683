/* Rules as they come in: checked, normalised and copied, so that freezing the table cannot meet a bad one. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router_build.h"

static int fail(fc_router_error *error, const char *format, ...)
{
    va_list args;
    *error = (fc_router_error){.pair = false};
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return -1;
}

static int no_memory(const fc_router_builder *b, fc_router_error *error)
{
    return fail(error, "the routes need more than %zu bytes of memory.", b->limits.bytes_max);
}

/* For "%.*s": what an error quotes is cut at 80 bytes. */
#define QUOTED(slice) ((slice).n < 80 ? (int)(slice).n : 80), (slice).p

static int copy_slice(fc_router_builder *b, fc_slice *out, fc_slice in, fc_router_error *error)
{
    char *copy = fc_arena_copy(&b->arena, in.p, in.n);
    if (copy == NULL)
        return no_memory(b, error);
    *out = (fc_slice){copy, in.n};
    return 0;
}

static int compare_slice_items(const void *a, const void *b)
{
    return fc_slice_compare(*(const fc_slice *)a, *(const fc_slice *)b);
}

int fc_router_compare_conds(const void *a, const void *b)
{
    const cond *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->test != y->test)
        return x->test < y->test ? -1 : 1;
    int order = fc_slice_compare(x->name, y->name);
    if (order == 0)
        order = fc_slice_compare(x->value, y->value);
    return order != 0 ? order : fc_slice_compare(x->program, y->program);
}

/* --- hosts ------------------------------------------------------------------------------------------------------ */

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_host_name(fc_slice host)
{
    if (host.n == 0)
        return false;
    if (host.p[0] == '[') {
        for (size_t i = 1; i + 1 < host.n; i++)
            if (!is_host_char(host.p[i]) && host.p[i] != ':' && host.p[i] != '.')
                return false;
        return host.n > 2 && host.p[host.n - 1] == ']';
    }
    char before = '.';
    for (size_t i = 0; i < host.n; before = host.p[i++])
        if (!is_host_char(host.p[i]) && (host.p[i] != '.' || before == '.'))
            return false;
    return before != '.';
}

static int add_hosts(fc_router_builder *b, rule *u, const fc_router_rule *in, fc_router_error *error)
{
    u->hosts = fc_arena_array(&b->arena, in->hosts_len, sizeof *u->hosts);
    if (u->hosts == NULL)
        return no_memory(b, error);
    for (uint32_t i = 0; i < in->hosts_len; i++) {
        char name[HOST_MAX];
        fc_slice given = in->hosts[i], host = {name, 0};
        bool wildcard = given.n > 2 && memcmp(given.p, "*.", 2) == 0;
        fc_slice bare = wildcard ? (fc_slice){given.p + 2, given.n - 2} : given;
        host.n = fc_router_host_normalise(bare, name);
        /* what normalising took away, but for a trailing dot, was a port */
        if (!is_host_name(host) || bare.n > host.n + 1 || (bare.n == host.n + 1 && bare.p[host.n] != '.'))
            return fail(error, "the host '%.*s' is not a name without port, like api.example.com or *.example.com.",
                        QUOTED(given));
        char *copy = fc_arena_alloc(&b->arena, host.n + 2);
        if (copy == NULL)
            return no_memory(b, error);
        memcpy(copy, "*.", 2);
        memcpy(copy + 2 * wildcard, host.p, host.n);
        host = (fc_slice){copy, host.n + 2 * wildcard};
        bool known = false;
        for (uint32_t j = 0; j < u->hosts_len; j++)
            known = known || fc_slice_compare(u->hosts[j], host) == 0;
        if (!known)
            u->hosts[u->hosts_len++] = host;
    }
    return 0;
}

/* --- paths ------------------------------------------------------------------------------------------------------ */

static int normalise_path(fc_router_builder *b, fc_slice in, fc_slice *out, fc_router_error *error)
{
    size_t at;
    char *copy = fc_arena_alloc(&b->arena, in.n + 1);
    if (copy == NULL)
        return no_memory(b, error);
    fc_path_result result = fc_path_normalise(in.p, in.n, b->limits.path_flags, copy, in.n, &at);
    if (result < 0)
        return fail(error, "in the path '%.*s' %s, at offset %zu.", QUOTED(in), fc_path_error_text(result), at);
    if (result == FC_PATH_SAME)
        memcpy(copy, in.p, in.n);
    *out = (fc_slice){copy, at};
    if (memchr(copy, '?', at) != NULL || memchr(copy, '#', at) != NULL)
        return fail(error, "the path '%.*s' contains '?' or '#': query conditions are given apart.", QUOTED(in));
    return 0;
}

static bool is_param_name(fc_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = fc_ascii_lower(name.p[i]);
        if (!((c >= 'a' && c <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return name.n > 0;
}

static int add_param(rule *u, fc_slice name, uint8_t segment, fc_slice path, fc_router_error *error)
{
    if (!is_param_name(name))
        return fail(error, "the template '%.*s' has a parameter that is not a name like {id}.", QUOTED(path));
    if (u->params_len == FC_ROUTER_PARAMS_MAX)
        return fail(error, "the template '%.*s' has more than %u parameters.", QUOTED(path), FC_ROUTER_PARAMS_MAX);
    for (uint32_t i = 0; i < u->params_len; i++)
        if (fc_slice_compare(u->params[i].name, name) == 0)
            return fail(error, "the template '%.*s' has two parameters named '%.*s'.", QUOTED(path), QUOTED(name));
    u->params[u->params_len++] = (param){name, segment};
    return 0;
}

static size_t count_params(fc_slice path)
{
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '{';
    return n < FC_ROUTER_PARAMS_MAX ? n : FC_ROUTER_PARAMS_MAX;
}

/* Segment by segment: names are collected, and the path is rewritten with {} and {*} so that equal rules look equal. */
static int read_template(fc_router_builder *b, rule *u, fc_slice path, fc_router_error *error)
{
    u->params = fc_arena_array(&b->arena, count_params(path), sizeof *u->params);
    char *shape = fc_arena_alloc(&b->arena, u->depth);
    char *text = fc_arena_alloc(&b->arena, path.n);
    if (u->params == NULL || shape == NULL || text == NULL)
        return no_memory(b, error);
    u->shape = (fc_slice){shape, u->depth};
    size_t len = 0;
    const char *p = path.p, *end = path.p + path.n;
    for (uint8_t i = 0; i < u->depth; i++) {
        const char *stop = memchr(p + 1, '/', (size_t)(end - p - 1));
        fc_slice seg = {p + 1, (size_t)((stop != NULL ? stop : end) - p - 1)};
        p += 1 + seg.n;
        text[len++] = '/';
        if (memchr(seg.p, '{', seg.n) == NULL && memchr(seg.p, '}', seg.n) == NULL) {
            memcpy(text + len, seg.p, seg.n);
            len += seg.n;
            continue;
        }
        if (seg.n < 3 || seg.p[0] != '{' || seg.p[seg.n - 1] != '}')
            return fail(error, "in the template '%.*s' the segment '%.*s' is not one whole parameter like {id}.",
                        QUOTED(path), QUOTED(seg));
        bool rest = seg.p[seg.n - 2] == '*';
        if (rest && stop != NULL)
            return fail(error, "in the template '%.*s' the catch-all '%.*s' is not the last segment.", QUOTED(path),
                        QUOTED(seg));
        if (add_param(u, (fc_slice){seg.p + 1, seg.n - 2 - rest}, i, path, error) != 0)
            return -1;
        shape[i] = rest ? 2 : 1;
        u->below = rest;
        memcpy(text + len, rest ? "{*}" : "{}", 2 + rest);
        len += 2 + rest;
    }
    u->path = (fc_slice){text, len};
    return 0;
}

static int add_path(fc_router_builder *b, rule *u, const fc_router_rule *in, fc_router_error *error)
{
    fc_slice path;
    if (normalise_path(b, in->path, &path, error) != 0)
        return -1;
    if (u->kind != FC_ROUTER_TEMPLATE && (memchr(path.p, '{', path.n) != NULL || memchr(path.p, '}', path.n) != NULL))
        return fail(error, "the path '%.*s' contains braces, which belong in a template.", QUOTED(path));
    u->path = path;
    if (u->kind == FC_ROUTER_PREFIX && path.p[path.n - 1] == '/') {
        u->below = true;
        u->path.n--;
    }
    uint32_t depth = 0;
    for (size_t i = 0; i < u->path.n; i++)
        depth += u->path.p[i] == '/';
    if (depth > b->limits.segments_max)
        return fail(error, "the path '%.*s' has more than %u segments.", QUOTED(path), b->limits.segments_max);
    u->depth = (uint8_t)depth;
    return u->kind == FC_ROUTER_TEMPLATE ? read_template(b, u, path, error) : 0;
}

/* --- regexes, methods, conditions ------------------------------------------------------------------------------- */

static int add_program(fc_router_builder *b, fc_slice in, fc_slice *program, const fc_regex **regex,
                       fc_router_error *error)
{
    fc_regex *loaded = fc_arena_alloc(&b->arena, sizeof *loaded);
    if (loaded == NULL || copy_slice(b, program, in, error) != 0)
        return no_memory(b, error);
    *regex = loaded;
    const char *bad = fc_regex_load(loaded, program->p, program->n);
    return bad != NULL ? fail(error, "the regular expression's program is unsound: %s.", bad) : 0;
}

static int add_methods(fc_router_builder *b, rule *u, const fc_router_rule *in, fc_router_error *error)
{
    u->methods = in->methods;
    u->other_methods_len = in->other_methods_len;
    if (in->other_methods_len > FC_ROUTER_METHODS_MAX)
        return fail(error, "more than %u methods that HTTP has no standard name for.", FC_ROUTER_METHODS_MAX);
    u->other_methods = fc_arena_array(&b->arena, in->other_methods_len, sizeof *u->other_methods);
    if (u->other_methods == NULL)
        return no_memory(b, error);
    for (uint32_t i = 0; i < in->other_methods_len; i++)
        if (copy_slice(b, &u->other_methods[i], in->other_methods[i], error) != 0)
            return -1;
    if (u->other_methods_len > 0)
        qsort(u->other_methods, u->other_methods_len, sizeof *u->other_methods, compare_slice_items);
    return 0;
}

static int add_conds(fc_router_builder *b, rule *u, const fc_router_rule *in, fc_router_error *error)
{
    u->conds_len = in->conds_len;
    u->conds = fc_arena_array(&b->arena, in->conds_len, sizeof *u->conds);
    if (u->conds == NULL)
        return no_memory(b, error);
    for (uint32_t i = 0; i < in->conds_len; i++) {
        const fc_router_cond *from = &in->conds[i];
        cond *c = &u->conds[i];
        c->place = from->place;
        c->test = from->test;
        char *name = fc_arena_copy(&b->arena, from->name.p, from->name.n);
        if (name == NULL)
            return no_memory(b, error);
        for (size_t j = 0; c->place == FC_COND_HEADER && j < from->name.n; j++)
            name[j] = fc_ascii_lower(name[j]);
        c->name = (fc_slice){name, from->name.n};
        if (c->name.n == 0)
            return fail(error, "a header or query condition has no name.");
        if (c->test == FC_COND_EQUALS && copy_slice(b, &c->value, from->value, error) != 0)
            return -1;
        if (c->test == FC_COND_REGEX && add_program(b, from->program, &c->program, &c->regex, error) != 0)
            return -1;
    }
    if (u->conds_len > 0)
        qsort(u->conds, u->conds_len, sizeof *u->conds, fc_router_compare_conds);
    uint32_t count = u->conds_len + (u->methods != 0 || u->other_methods_len > 0);
    u->conditions = count < UINT8_MAX ? (uint8_t)count : UINT8_MAX;
    return 0;
}

/* --- the builder ------------------------------------------------------------------------------------------------ */

fc_router_builder *fc_router_builder_new(const fc_router_limits *limits)
{
    fc_router_builder *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->limits = *limits;
    if (b->limits.segments_max > UINT8_MAX)
        b->limits.segments_max = UINT8_MAX;
    fc_arena_init(&b->arena, limits->bytes_max);
    return b;
}

void fc_router_builder_free(fc_router_builder *b)
{
    if (b == NULL)
        return;
    free(b->rules);
    fc_arena_free(&b->arena);
    free(b);
}

int fc_router_builder_add(fc_router_builder *b, const fc_router_rule *in, fc_router_error *error)
{
    if (b->rules_len == b->rules_room) {
        uint32_t room = b->rules_room > 0 ? 2 * b->rules_room : 64;
        rule **rules = realloc(b->rules, room * sizeof(rule *));
        if (rules == NULL)
            return no_memory(b, error);
        b->rules = rules;
        b->rules_room = room;
    }
    rule *u = fc_arena_alloc(&b->arena, sizeof *u);
    if (u == NULL)
        return no_memory(b, error);
    u->index = in->index;
    u->priority = in->priority;
    u->kind = in->kind;
    int bad = u->kind == FC_ROUTER_REGEX ? add_program(b, in->program, &u->program, &u->regex, error)
                                         : add_path(b, u, in, error);
    if (bad != 0 || add_hosts(b, u, in, error) != 0 || add_methods(b, u, in, error) != 0
        || add_conds(b, u, in, error) != 0)
        return -1;
    b->rules[b->rules_len++] = u;
    b->hosts_len += u->hosts_len;
    b->entries_len += u->hosts_len > 0 ? u->hosts_len : 1;
    return 0;
}
