/* What Python cannot show: reference counts, scratch kept across tables, borrowed memory. The rules of matching are
 * tested in tests/unit/test_router.py and against a model in tests/property/test_router_model.py. */
#include "fc/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static fc_slice text(const char *s)
{
    return (fc_slice){s, strlen(s)};
}

static fc_router *build(const fc_router_rule *rules, uint32_t n)
{
    fc_router_limits limits = FC_ROUTER_LIMITS;
    fc_router_error error;
    limits.path_flags = FC_PATH_MERGE_SLASHES;
    fc_router_builder *b = fc_router_builder_new(&limits);
    for (uint32_t i = 0; i < n; i++)
        CHECK(fc_router_builder_add(b, &rules[i], &error) == 0);
    fc_router *r = fc_router_build(b, &error);
    fc_router_builder_free(b);
    return r;
}

static fc_router_request get(const char *host, const char *path)
{
    return (fc_router_request){.method_id = FC_METHOD_GET, .method = text("GET"), .host = text(host), .path = text(path)};
}

static void test_answers_point_where_the_header_says(void)
{
    fc_slice host = text("*.Ex.org");
    char path[] = "/u/{id}/{rest*}";
    fc_router_rule rule = {
        .index = 7, .kind = FC_ROUTER_TEMPLATE, .path = text(path), .hosts = &host, .hosts_len = 1};
    fc_router *r = build(&rule, 1);
    memset(path, 'x', sizeof path - 1); /* the table has its own copy */
    fc_router_scratch *s = fc_router_scratch_new();
    CHECK(fc_router_scratch_fit(s, r) == 0);
    fc_router_match m;

    fc_router_request q = get("a.ex.org", "/u/42/a/b");
    CHECK(fc_router_find(r, &q, &m, s) == FC_ROUTER_FOUND && m.index == 7);
    CHECK(m.path.p == q.path.p && m.path.n == q.path.n);
    CHECK(m.params_len == 2 && memcmp(m.params[0].name.p, "id", 2) == 0);
    CHECK(m.params[0].value.off == 3 && m.params[0].value.len == 2);
    CHECK(m.params[1].value.off == 6 && m.params[1].value.len == 3);

    q = get("a.ex.org", "/u/x/../42//");
    CHECK(fc_router_find(r, &q, &m, s) == FC_ROUTER_FOUND);
    CHECK(m.path.p != q.path.p && m.path.n == 6 && memcmp(m.path.p, "/u/42/", 6) == 0);
    CHECK(m.params[1].value.off == 6 && m.params[1].value.len == 0);

    q = get("ex.org", "/u/42/a");
    CHECK(fc_router_find(r, &q, &m, s) == FC_ROUTER_NONE);
    q = get("ex.org", "/u/%zz");
    CHECK(fc_router_find(r, &q, &m, s) == FC_ROUTER_BAD_PATH);
    CHECK(m.path_error == FC_PATH_BAD_ESCAPE && m.error_at == 3);
    fc_router_scratch_free(s);
    fc_router_unref(r);
}

static void test_a_table_lives_while_somebody_holds_it(void)
{
    fc_router_rule rule = {.index = 1, .kind = FC_ROUTER_PREFIX, .path = text("/")};
    fc_router *old = build(&rule, 1), *in_flight = fc_router_ref(old);
    rule.path = text("/a/b/c/d/e");
    rule.index = 2;
    fc_router *new = build(&rule, 1);
    fc_router_unref(old);
    fc_router_scratch *s = fc_router_scratch_new(); /* one scratch for both tables, the larger need wins */
    CHECK(fc_router_scratch_fit(s, new) == 0 && fc_router_scratch_fit(s, in_flight) == 0);
    fc_router_match m;
    fc_router_request q = get("", "/a/b/c/d/e");
    CHECK(fc_router_find(in_flight, &q, &m, s) == FC_ROUTER_FOUND && m.index == 1);
    CHECK(fc_router_find(new, &q, &m, s) == FC_ROUTER_FOUND && m.index == 2);
    fc_router_unref(in_flight);
    fc_router_unref(new);
    fc_router_unref(NULL);
    fc_router_scratch_free(s);
    fc_router_scratch_free(NULL);
}

static void test_a_rule_that_fails_leaves_the_builder_usable(void)
{
    fc_router_limits limits = FC_ROUTER_LIMITS;
    fc_router_error error;
    fc_router_builder *b = fc_router_builder_new(&limits);
    fc_router_rule rule = {.kind = FC_ROUTER_REGEX, .program = text("not a program at all, not even close")};
    CHECK(fc_router_builder_add(b, &rule, &error) == -1 && strstr(error.text, "unsound") != NULL);
    rule = (fc_router_rule){.index = 3, .kind = FC_ROUTER_EXACT, .path = text("/a")};
    CHECK(fc_router_builder_add(b, &rule, &error) == 0);
    rule.index = 4;
    CHECK(fc_router_builder_add(b, &rule, &error) == 0);
    CHECK(fc_router_build(b, &error) == NULL && error.pair && error.first == 3 && error.second == 4);
    fc_router_builder_free(b);
    fc_router_builder_free(NULL);
}

static void test_ten_thousand_routes(void)
{
    enum { N = 10000 };
    static char paths[N][32];
    static fc_router_rule rules[N];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(paths[i], sizeof paths[i], "/svc%u/items/{id}", i);
        rules[i] = (fc_router_rule){.index = i, .kind = FC_ROUTER_TEMPLATE, .path = text(paths[i])};
    }
    fc_router *r = build(rules, N);
    fc_router_scratch *s = fc_router_scratch_new();
    CHECK(fc_router_scratch_fit(s, r) == 0);
    for (uint32_t i = 0; i < N; i++) {
        char path[40];
        fc_router_match m;
        snprintf(path, sizeof path, "/svc%u/items/x", i);
        fc_router_request q = get("h", path);
        CHECK(fc_router_find(r, &q, &m, s) == FC_ROUTER_FOUND && m.index == i);
    }
    CHECK(fc_router_get_stats(r).visits_worst == 5);
    fc_router_scratch_free(s);
    fc_router_unref(r);
}

int main(void)
{
    test_answers_point_where_the_header_says();
    test_a_table_lives_while_somebody_holds_it();
    test_a_rule_that_fails_leaves_the_builder_usable();
    test_ten_thousand_routes();
    return check_done("test_router");
}
