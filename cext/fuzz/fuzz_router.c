/* Input: lines. "E /a", "P /a", "T /a/{x}" and "R" add a rule (exact, prefix, template, a fixed regex), each followed by
 * space-separated extras: "h=HOST", "m=MASK" digits, "k=VALUE" a header k, "q=VALUE" a query k. The line "?" builds; every
 * line after it is "HOST PATH QUERY" and is asked. Answers must point into what they are about. */
#include "fc/regex.h"
#include "fc/router.h"

#include <stdlib.h>
#include <string.h>

/* /a(?P<g>b*) */
static const struct {
    uint32_t header[6];
    fc_regex_inst insts[9];
    char literal[2];
    char names[2];
} REGEX = {
    {FC_REGEX_MAGIC, 9, 0, 1, 2, 2},
    {{.op = FC_REGEX_BYTE, .arg = '/'},
     {.op = FC_REGEX_BYTE, .arg = 'a'},
     {.op = FC_REGEX_SAVE, .x = 2},
     {.op = FC_REGEX_SPLIT, .x = 4, .y = 7},
     {.op = FC_REGEX_BYTE, .arg = 'b'},
     {.op = FC_REGEX_SPLIT, .x = 4, .y = 7},
     {.op = FC_REGEX_JUMP, .x = 7},
     {.op = FC_REGEX_SAVE, .x = 3},
     {.op = FC_REGEX_MATCH}},
    {'/', 'a'},
    {1, 'g'},
};

static fc_slice take(fc_slice *rest, char stop)
{
    const char *end = rest->n > 0 ? memchr(rest->p, stop, rest->n) : NULL;
    fc_slice part = {rest->p, end != NULL ? (size_t)(end - rest->p) : rest->n};
    size_t used = part.n + (end != NULL);
    rest->p += used;
    rest->n -= used;
    return part;
}

static void add(fc_router_builder *b, fc_slice line, uint32_t index)
{
    fc_slice kind = take(&line, ' '), path = take(&line, ' '), hosts[4];
    fc_router_cond conds[4];
    fc_router_error error;
    fc_router_rule rule = {.index = index, .path = path, .hosts = hosts, .conds = conds};
    char letter = kind.n > 0 ? kind.p[0] : 'E';
    rule.kind = letter == 'P' ? FC_ROUTER_PREFIX : letter == 'T' ? FC_ROUTER_TEMPLATE
              : letter == 'R' ? FC_ROUTER_REGEX  : FC_ROUTER_EXACT;
    rule.program = (fc_slice){(const char *)&REGEX, sizeof REGEX};
    while (line.n > 0) {
        fc_slice extra = take(&line, ' ');
        if (extra.n < 2)
            continue;
        fc_slice value = {extra.p + 2, extra.n - 2};
        if (extra.p[0] == 'h' && rule.hosts_len < 4)
            hosts[rule.hosts_len++] = value;
        else if (extra.p[0] == 'm')
            rule.methods = value.n > 0 ? (uint32_t)(value.p[0] & 7) << 1 : 0;
        else if ((extra.p[0] == 'k' || extra.p[0] == 'q') && rule.conds_len < 4)
            conds[rule.conds_len++] = (fc_router_cond){.place = extra.p[0] == 'k' ? FC_COND_HEADER : FC_COND_QUERY,
                                                       .test = (fc_cond_test)(value.n % 3),
                                                       .name = {"K", 1},
                                                       .value = value};
    }
    if (fc_router_builder_add(b, &rule, &error) != 0 && strlen(error.text) < 10)
        abort();
}

static void ask(const fc_router *r, fc_slice line, fc_router_scratch *s)
{
    static const char buf[] = "kxy";
    const fc_http1_field field = {.name = {0, 1}, .value = {1, 2}};
    fc_router_match m;
    fc_router_request q = {.method_id = FC_METHOD_GET, .fields = &field, .fields_len = 1, .buf = buf};
    q.host = take(&line, ' ');
    q.path = take(&line, ' ');
    q.query = line;
    fc_router_answer answer = fc_router_find(r, &q, &m, s);
    if (answer == FC_ROUTER_BAD_PATH) {
        if (m.path_error >= 0)
            abort();
        return;
    }
    if (answer == FC_ROUTER_METHOD && m.allowed == 0)
        abort();
    if (answer != FC_ROUTER_FOUND)
        return;
    for (uint32_t i = 0; i < m.params_len; i++)
        if (m.params[i].value.off != FC_ROUTER_UNSET
            && (uint64_t)m.params[i].value.off + m.params[i].value.len > m.path.n)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fc_slice rest = {(const char *)data, size};
    fc_router_limits limits = FC_ROUTER_LIMITS;
    fc_router_error error;
    limits.path_flags = size & 3;
    limits.path_max = 200;
    fc_router_builder *b = fc_router_builder_new(&limits);
    for (uint32_t i = 0; rest.n > 0; i++) {
        fc_slice line = take(&rest, '\n');
        if (line.n > 0 && line.p[0] == '?')
            break;
        add(b, line, i);
    }
    fc_router *r = fc_router_build(b, &error);
    fc_router_builder_free(b);
    fc_router_scratch *s = fc_router_scratch_new();
    if (r != NULL && fc_router_scratch_fit(s, r) == 0)
        while (rest.n > 0)
            ask(r, take(&rest, '\n'), s);
    fc_router_scratch_free(s);
    fc_router_unref(r);
    return 0;
}
