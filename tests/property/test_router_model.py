"""The route table against a model: all (rule, host) pairs sorted by the documented precedence, tried one by one."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from fastcore import regex
from fastcore.router import RouterBuilder

KINDS = ["path", "template", "regex", "prefix"]  # in order of precedence


@dataclass(frozen=True)
class Rule:
    kind: str
    text: str
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: dict = field(default_factory=dict)
    query: dict = field(default_factory=dict)
    priority: int = 0

    def add_to(self, builder, index):
        def wanted(conditions):
            return {k: regex.compile(v.pattern) if isinstance(v, re.Pattern) else v for k, v in conditions.items()}

        builder.add(
            index=index,
            hosts=self.hosts,
            methods=self.methods,
            headers=wanted(self.headers),
            query=wanted(self.query),
            priority=self.priority,
            **{self.kind: self.text},
        )

    def order(self, host):
        host_order = (2, 0) if host is None else (1, -len(host)) if host.startswith("*.") else (0, 0)
        segments = self.text.split("/")[1:]
        path_order = {
            "path": (),
            "template": tuple(2 if s.endswith("*}") else 1 if s.startswith("{") else 0 for s in segments),
            "regex": (-len(regex.compile(self.text).literal),) if self.kind == "regex" else (),
            "prefix": (-len(self.text),),
        }[self.kind]
        conditions = bool(self.methods) + len(self.headers) + len(self.query)
        return (-self.priority, host_order, KINDS.index(self.kind), path_order, -conditions)

    def identity(self):
        text = re.sub(r"\{\w+(\*?)\}", r"{\1}", self.text) if self.kind == "template" else self.text
        conditions = [sorted((k.lower(), str(v)) for k, v in c.items()) for c in (self.headers, self.query)]
        return (self.kind, text, frozenset(self.methods), str(conditions), self.priority)

    def path_params(self, path):
        if self.kind == "path":
            return {} if path == self.text else None
        if self.kind == "prefix":
            below = self.text if self.text.endswith("/") else self.text + "/"
            return {} if path.startswith(below) or path == self.text else None
        if self.kind == "template":
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"\{(\w+)\*\}", r"(?P<\1>.*)", self.text))
            match = re.fullmatch(pattern, path)
            return match and match.groupdict()
        match = re.fullmatch(self.text, path)
        names = {number: name for name, number in match.re.groupindex.items()} if match else {}
        return match and {names.get(i, str(i)): v for i, v in enumerate(match.groups(), 1)}

    def conditions_hold(self, headers, pairs):
        return all(
            holds(wanted, [v for k, v in headers if k.lower() == name.lower()]) for name, wanted in self.headers.items()
        ) and all(holds(wanted, [v for k, v in pairs if k == name]) for name, wanted in self.query.items())


def holds(wanted, values):
    if isinstance(wanted, bool):
        return bool(values) == wanted
    return any(wanted.fullmatch(v) if isinstance(wanted, re.Pattern) else wanted == v for v in values)


def host_fits(pattern, host):
    host = host.lower().split(":")[0].removesuffix(".")
    if pattern is None:
        return True
    pattern = pattern.lower()
    return host.endswith(pattern[1:]) and len(host) >= len(pattern) if pattern.startswith("*.") else host == pattern


def model(rules, method, host, path, query, headers):
    entries = [(rule.order(h), i, rule, h) for i, rule in enumerate(rules) for h in rule.hosts or (None,)]
    pairs = [tuple(map(unquote_plus, (p + "=").split("=")[:2])) for p in query.split("&") if p]
    allowed = set()
    for _, index, rule, pattern in sorted(entries, key=lambda e: e[:2]):
        params = rule.path_params(path)
        if not host_fits(pattern, host) or params is None or not rule.conditions_hold(headers, pairs):
            continue
        if not rule.methods or method in rule.methods:
            return "found", index, params
        allowed |= set(rule.methods)
    return ("method", allowed) if allowed else ("none",)


# Few words, so that rules overlap: what is to be tested is who wins.
literals = st.sampled_from(["a", "a", "b", "ab"])
words = st.sampled_from(["a", "b", "{", "{"])


@st.composite
def paths_of_rules(draw, kind):
    segments = draw(st.lists(words if kind == "template" else literals, min_size=1, max_size=3))
    parts = [f"{{p{i}}}" if s == "{" else s for i, s in enumerate(segments)]
    end = draw(st.sampled_from(["", "", "/", "/{rest*}" if kind == "template" else ""]))
    text = "/" + "/".join(parts) + end
    return draw(st.sampled_from(["/", text, text])) if kind == "prefix" else text


regexes = st.sampled_from(
    [
        "/a",
        "/a.*",
        "/(a|b)/?",
        "/(?P<x>[ab]+)/(?P<y>a?)",
        "/a/b.*",
        "/a/(b)?.*",
        ".*",
        "/.*b",
        "(?i)/A/B",
        "/a/.*",
        "/ab/(.*)",
    ]
)
HOSTS = ["h.ex", "a.h.ex", "*.h.ex", "*.ex", "*.a.h.ex", "H.ex", "other.org"]
METHODS = ["GET", "POST", "PURGE", "LOCK", "QUERY"]
values = st.sampled_from([True, False, "1", "2", "x y", re.compile("[12]+"), re.compile("x?")])
conditions = st.dictionaries(st.sampled_from(["k", "Key"]), values, max_size=2)


def rules(kind):
    return st.builds(
        Rule,
        st.just(kind),
        regexes if kind == "regex" else paths_of_rules(kind),
        st.just(()) | st.lists(st.sampled_from(HOSTS), max_size=2, unique_by=str.lower).map(tuple),
        st.just(()) | st.lists(st.sampled_from(METHODS), max_size=2, unique=True).map(tuple),
        st.just({}) | conditions,
        st.just({}) | conditions,
        st.sampled_from([0, 0, 0, 0, 0, 1, -5]),
    )


plain_templates = st.builds(Rule, st.just("template"), paths_of_rules("template"))
tables = st.lists(st.sampled_from(KINDS).flatmap(rules), max_size=14) | st.lists(
    plain_templates, min_size=2, max_size=10, unique_by=Rule.identity
)
requests = st.tuples(
    st.sampled_from(METHODS),
    st.sampled_from(["h.ex", "A.H.ex:80", "x.y.h.ex", "other.org.", "ex", "nowhere", "b.ex", "", "c.a.h.ex"]),
    st.lists(literals | st.just(""), max_size=4).map(lambda s: "/" + re.sub("/+", "/", "/".join(s)).removeprefix("/")),
    st.lists(st.sampled_from(["k=1", "Key=2", "k=x+y", "%6b=%31", "Key", "z=k", "", "k=x%20y"]), max_size=3).map(
        "&".join
    ),
    st.lists(st.tuples(st.sampled_from(["K", "key", "kEY", "z"]), st.sampled_from(["1", "2", "x y", ""])), max_size=3),
)


def first_collision(rules):
    seen = {}
    for index, rule in enumerate(rules):
        for host in rule.hosts or (None,):
            other = seen.setdefault((host and host.lower(), *rule.identity()), index)
            if other != index:
                return True
    return False


@settings(max_examples=400, deadline=None)
@given(tables, st.lists(requests, min_size=1, max_size=8))
def test_same_as_model(table, asked):
    builder = RouterBuilder()
    for index, rule in enumerate(table):
        rule.add_to(builder, index)
    if first_collision(table):
        try:
            builder.build()
        except ValueError as error:
            assert "the same rules" in str(error)
            return
        raise AssertionError("two rules that are the same were accepted")
    router = builder.build()
    for request in asked:
        got = router.match(*request)
        expected = model(table, *request)
        assert got.answer == expected[0], request
        if got.answer == "found":
            params = {k: v if v is None else v.encode() for k, v in expected[2].items()}
            assert (got.index, got.params) == (expected[1], params), request
        elif got.answer == "method":
            assert set(got.allowed) == expected[1], request
