import gc

import pytest

from fastcore import regex
from fastcore.router import Router, RouterBuilder


def table(*rules, **limits):
    builder = RouterBuilder(**limits)
    for index, rule in enumerate(rules):
        builder.add(index=index, **rule)
    return builder.build()


def found(router, path, method="GET", host="h", query=None, headers=()):
    return router.match(method, host, path, query, headers).index


def test_empty_table():
    router = table()
    assert router.match("GET", "h", "/").answer == "none"
    assert router.stats["visits_worst"] == 0


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("/a", ["/a", "/a/", "/a/x", "/a/x/y", "/%61"], ["/ab", "/", "/b", "/A"]),
        ("/a/", ["/a/", "/a/x"], ["/a", "/ab"]),
        ("/", ["/", "/a", "/a/b", "/a/"], []),
        ("/a/b/c", ["/a/b/c", "/a/b/c/d"], ["/a/b", "/a/b/cc"]),
    ],
)
def test_prefix_ends_at_a_segment(prefix, inside, outside):
    router = table({"prefix": prefix})
    assert [found(router, path) for path in inside] == [0] * len(inside)
    assert [found(router, path) for path in outside] == [None] * len(outside)


def test_exact_path_minds_the_trailing_slash():
    router = table({"path": "/a"}, {"path": "/a/b/"})
    assert [found(router, p) for p in ("/a", "/a/", "/a/b/", "/a/b")] == [0, None, 1, None]


def test_template_parameters_are_raw_and_never_empty():
    router = table({"template": "/users/{id}/files/{name}"}, {"template": "/all/{rest*}"})
    match = router.match("GET", "h", "/users/a%2fb/files/%C3%A9")
    assert match.params == {"id": b"a%2Fb", "name": b"%C3%A9"}
    assert found(router, "/users/x/files/") is None
    assert found(router, "/users//files/n") is None
    assert router.match("GET", "h", "/all/a/b/").params == {"rest": b"a/b/"}
    assert router.match("GET", "h", "/all/").params == {"rest": b""}
    assert found(router, "/all") is None


def test_literal_segments_beat_parameters_from_the_left():
    router = table(
        {"template": "/{a}/b/c"}, {"template": "/a/{b}/{c}"}, {"template": "/a/b/{rest*}"}, {"template": "/{a}/{b}/{c}"}
    )
    assert [found(router, p) for p in ("/a/b/c", "/a/x/c", "/x/b/c", "/x/y/z")] == [2, 1, 0, 3]


def test_a_dead_end_is_left_again():
    router = table({"template": "/a/b/c/d"}, {"template": "/{x}/{y}/{z}/e"})
    assert found(router, "/a/b/c/e") == 1


def test_kinds_in_order():
    router = table({"prefix": "/a"}, {"regex": "/a/.*"}, {"template": "/a/{x}"}, {"path": "/a/b"})
    assert [found(router, p) for p in ("/a/b", "/a/c", "/a/c/d", "/a")] == [3, 2, 1, 0]


def test_regex_matches_the_whole_path_and_gives_groups():
    router = table({"regex": r"/(?P<v>v\d+)/(x)?(.*)"})
    assert router.match("GET", "h", "/v1/abc").params == {"v": b"v1", "2": None, "3": b"abc"}
    assert found(router, "/api/v1/abc") is None


def test_regexes_with_nested_literals():
    router = table(
        {"regex": "/a.*"}, {"regex": "/abc.*"}, {"regex": "/ab.*"}, {"regex": ".*z"}, {"regex": "/abc/(x|y)"}
    )
    expected = {"/abc/x": 4, "/abcd": 1, "/abd": 2, "/az": 0, "/z": 3, "/b": None, "/": None}
    assert {path: found(router, path) for path in expected} == expected


def test_hosts():
    router = table(
        {"prefix": "/"},
        {"prefix": "/", "hosts": ["*.example.com"]},
        {"prefix": "/", "hosts": ["api.example.com", "[::1]"]},
        {"prefix": "/", "hosts": ["*.eu.example.com"]},
    )
    expected = {
        "api.example.com": 2,
        "API.Example.COM.:8443": 2,
        "www.example.com": 1,
        "a.b.example.com": 1,
        "x.eu.example.com": 3,
        "eu.example.com": 1,
        "example.com": 0,
        "badexample.com": 0,
        "[::1]:80": 2,
        "": 0,
        ".": 0,
        ".example.com": 0,
        "x" * 300 + ".example.com": 0,
    }
    assert {host: found(router, "/", host=host) for host in expected} == expected


def test_more_conditions_go_first_and_then_file_order():
    router = table(
        {"prefix": "/"},
        {"prefix": "/", "query": {"q": True}},
        {"prefix": "/", "methods": ["GET"]},
        {"prefix": "/", "methods": ["GET"], "headers": {"k": True}, "query": {"q": True}},
        {"prefix": "/", "headers": {"k": True}, "query": {"q": True}},
    )
    assert found(router, "/", query="q", headers=[("k", "")]) == 3
    assert found(router, "/", query="q", headers=[("k", "")], method="PUT") == 4
    assert found(router, "/", query="q") == 1
    assert found(router, "/") == 2
    assert found(router, "/", method="PUT") == 0


def test_priority_beats_everything():
    router = table({"path": "/a/b", "hosts": ["h"]}, {"prefix": "/", "priority": 1})
    assert found(router, "/a/b") == 1


def test_when_conditions_fail_the_next_best_is_taken():
    router = table(
        {"prefix": "/"}, {"path": "/a", "headers": {"X-Beta": "1"}}, {"template": "/{x}", "query": {"q": True}}
    )
    assert found(router, "/a", headers=[("x-beta", "1")]) == 1
    assert found(router, "/a", headers=[("x-beta", "0")], query="q") == 2
    assert found(router, "/a") == 0


@pytest.mark.parametrize(
    ("wanted", "headers", "holds"),
    [
        (True, [("K", "")], True),
        (True, [("KK", "")], False),
        (False, [], True),
        (False, [("k", "x")], False),
        ("v", [("k", "w"), ("K", "v")], True),
        ("v", [("k", "V")], False),
        ("", [("k", "")], True),
        (regex.compile("v+"), [("k", "vv")], True),
        (regex.compile("v+"), [("k", "xvv")], False),
    ],
)
def test_header_conditions(wanted, headers, holds):
    router = table({"prefix": "/", "headers": {"k": wanted}})
    assert (found(router, "/", headers=headers) == 0) == holds


@pytest.mark.parametrize(
    ("wanted", "query", "holds"),
    [
        ("a b", "k=a+b", True),
        ("a b", "x=1&%6B=a%20b&", True),
        ("a&b", "k=a%26b", True),
        ("a", "k=a=b", False),
        ("a=b", "k=a=b", True),
        ("%zz", "k=%zz", True),
        ("", "k", True),
        ("", "k=", True),
        (True, "k", True),
        (True, "&&kk=1", False),
        (True, None, False),
        (False, "K=1", True),
        (False, "a=1&k", False),
        (regex.compile("[0-9]+"), "k=x&k=%31%32", True),
        (regex.compile("[0-9]+"), "k=1x", False),
    ],
)
def test_query_conditions(wanted, query, holds):
    router = table({"prefix": "/", "query": {"k": wanted}})
    assert (found(router, "/", query=query) == 0) == holds


def test_405_has_the_union_of_methods():
    router = table(
        {"path": "/a", "methods": ["GET", "PURGE"]},
        {"prefix": "/a", "methods": ["POST", "PURGE", "LINK"]},
        {"prefix": "/a", "methods": ["PUT"], "headers": {"never": True}},
        {"regex": "/a(b)?", "methods": ["PATCH"]},
    )
    assert found(router, "/a", method="LINK") == 1
    match = router.match("BREW", "h", "/a")
    assert (match.answer, match.allowed) == ("method", ("GET", "POST", "PATCH", "PURGE", "LINK"))
    assert router.match("get", "h", "/a").answer == "method", "methods are case-sensitive"
    assert router.match("GET", "h", "/b").answer == "none"


def test_no_spelling_walks_around_a_rule():
    router = table({"prefix": "/"}, {"prefix": "/admin"})
    for path in (
        "/x/../admin",
        "/%61dmin",
        "//admin",
        "/./admin/x",
        "/%2e/admin",
        "/x/%2E%2e/admin",
        "/admin/../admin",
    ):
        assert found(router, path) == 1, path
    assert found(router, "/x%2f..%2fadmin") == 0, "an encoded slash separates nothing"
    assert found(router, "/admin%2fx") == 0
    assert router.match("GET", "h", "/x/../admin/./a").path == b"/admin/a"
    assert found(table({"path": "/a//b"}, merge_slashes=False), "/a//b") == 0


def test_bad_paths_are_refused():
    router = table({"prefix": "/"}, path_max=20, refuse_encoded_slash=True)
    for path, words in [
        ("/a%0", "hexadecimal digits (at offset 2)"),
        ("*", "does not begin"),
        ("/%2f", "encoded slash (at offset 1)"),
        ("/" + "a" * 20, "too long (at offset 20)"),
    ]:
        match = router.match("GET", "h", path)
        assert match.answer == "bad path"
        assert words in match.error


def test_rule_paths_are_normalised_too():
    router = table({"path": "/caf\u00e9 bar"}, {"path": "/%7euser/./x"})
    assert found(router, "/caf%c3%a9%20bar") == 0
    assert found(router, "/~user/x") == 1


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"template": "/a/{id}/{id}"}, "two parameters named 'id'"),
        ({"template": "/a/x{id}"}, "the segment 'x{id}' is not one whole parameter"),
        ({"template": "/a/{}"}, "the segment '{}' is not one whole parameter"),
        ({"template": "/a/{1d}"}, "not a name like {id}"),
        ({"template": "/a/{r*}/b"}, r"catch-all '{r\*}' is not the last"),
        ({"template": "/" + "/".join(f"{{p{i}}}" for i in range(17))}, "more than 16 parameters"),
        ({"path": "/" + "/".join("a" * 33)}, "more than 32 segments"),
        ({"path": "/a/{id}"}, "braces, which belong in a template"),
        ({"path": "a"}, "does not begin with '/'"),
        ({"path": ""}, "does not begin with '/'"),
        ({"path": "/a%4"}, "two hexadecimal digits, at offset 2"),
        ({"path": "/a?b=1"}, "query conditions are given apart"),
        ({"regex": "a(?=b)"}, "lookaround is not supported at position 1"),
        ({"path": "/a", "prefix": "/b"}, "give exactly one of path, prefix, template and regex, not 2"),
        ({}, "give exactly one of path, prefix, template and regex, not 0"),
        ({"path": "/", "hosts": ["a.com:80"]}, "the host 'a.com:80' is not a name without port"),
        ({"path": "/", "hosts": ["a..com"]}, "the host 'a..com'"),
        ({"path": "/", "hosts": ["a.*.com"]}, "the host"),
        ({"path": "/", "hosts": ["*"]}, "the host"),
        ({"path": "/", "hosts": [""]}, "the host ''"),
        ({"path": "/", "hosts": ["[::1"]}, "the host"),
        ({"path": "/", "headers": {"": True}}, "has no name"),
        ({"path": "/", "methods": [f"M{i}" for i in range(17)]}, "more than 16 methods"),
    ],
)
def test_bad_rules_name_the_route(rule, words):
    builder = RouterBuilder()
    with pytest.raises(ValueError, match=f"^route 'shop': .*{words}"):
        builder.add(index=3, name="shop", **rule)
    builder.add(index=4, path="/fine")
    assert found(builder.build(), "/fine") == 4


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"template": "/a/{x}"}, {"template": "/a/{y}"}, "any host"),
        ({"prefix": "/a"}, {"prefix": "/%61"}, "any host"),
        ({"path": "/a", "hosts": ["x.org", "B.org"]}, {"path": "/a", "hosts": ["b.org."]}, "the host b.org"),
        ({"path": "/a", "hosts": ["*.b.org"]}, {"path": "/a", "hosts": ["*.b.org"]}, r"the host \*.b.org"),
        ({"regex": "/a(b)", "methods": ["GET", "X"]}, {"regex": "/a(b)", "methods": ["X", "GET"]}, "any host"),
        (
            {"path": "/a", "headers": {"A": "1", "b": True}},
            {"path": "/a", "headers": {"B": True, "a": "1"}},
            "any host",
        ),
    ],
)
def test_two_routes_with_the_same_rules_are_refused(first, second, words):
    builder = RouterBuilder()
    builder.add(index=0, name="one", **first)
    builder.add(index=1, path="/between", name="between")
    builder.add(index=2, name="two", **second)
    with pytest.raises(ValueError, match=f"routes 'one' and 'two' have the same rules for {words}"):
        builder.build()
    with pytest.raises(ValueError, match="built its router already"):
        builder.build()


def test_rules_that_differ_a_little_are_no_duplicates():
    table(
        {"prefix": "/a"},
        {"prefix": "/a/"},
        {"prefix": "/a", "priority": 1},
        {"prefix": "/a", "methods": ["GET"]},
        {"prefix": "/a", "headers": {"k": "1"}},
        {"prefix": "/a", "query": {"k": "1"}},
        {"prefix": "/a", "headers": {"k": regex.compile("1")}},
        {"prefix": "/a", "hosts": ["a.org"]},
        {"prefix": "/a", "hosts": ["*.a.org"]},
        {"path": "/a"},
        {"template": "/a"},
        {"regex": "/a"},
    )


def test_work_per_request_is_bounded_when_the_table_is_built():
    deep = [{"template": "/" + "/".join(f"{{p{i}}}" if n >> i & 1 else "a" for i in range(6))} for n in range(64)]
    router = table(*deep)
    assert router.stats["visits_worst"] == 127 + 64  # a binary tree of depth 6 and its 64 rules
    with pytest.raises(ValueError, match="could have to try 191 nodes and rules, the most allowed is 190"):
        table(*deep, visits_max=190)
    with pytest.raises(ValueError, match="too many rules share"):
        table(*({"regex": f".*{n}"} for n in range(5000)))
    hosts = table({"path": "/", "hosts": ["*.a.b", "x.a.b", "*.b"]}, {"path": "/"}, {"path": "/", "hosts": ["*.c"]})
    assert hosts.stats["visits_worst"] == 4 * 3


def test_memory_is_bounded():
    builder = RouterBuilder(bytes_max=100_000)
    with pytest.raises(ValueError, match="need more than 100000 bytes"):
        for n in range(10_000):
            builder.add(index=n, path=f"/{n}")


def test_a_router_comes_from_its_builder_and_outlives_it():
    with pytest.raises(TypeError, match="RouterBuilder"):
        Router()
    builder = RouterBuilder()
    builder.add(index=5, template="/{name}")
    router = builder.build()
    del builder
    gc.collect()
    assert router.match("GET", "h", "/x").params == {"name": b"x"}
    with pytest.raises(ValueError, match="the key has 3 bytes"):
        RouterBuilder(key=b"abc")
