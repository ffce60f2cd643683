from contextlib import suppress

from tests.leaks.table import operation

from fastcore import path, regex
from fastcore.router import RouterBuilder


def table():
    builder = RouterBuilder(key=bytes(16))
    builder.add(index=0, path="/exact", methods=["GET"])
    builder.add(index=1, template="/users/{user}/files/{file}", hosts=["a.example", "*.b.example"])
    builder.add(index=2, regex=r"/items/(?P<id>\d+)", query={"v": "1"})
    builder.add(index=3, prefix="/", headers={"x-kind": True}, name="rest")
    return builder.build()


ROUTER = table()


@operation("match of each kind, and none")
def match() -> None:
    ROUTER.match("GET", "a.example", "/exact")
    ROUTER.match("PUT", "a.example", "/exact")
    _ = ROUTER.match("GET", "x.b.example", "/users/7/files/a.txt").params
    ROUTER.match(b"GET", b"a", b"/items/42", "v=1")
    ROUTER.match("GET", None, "/none", headers=[("x-kind", "a")])
    ROUTER.match("GET", "a", "/%zz")


@operation("a table", weight=50)
def build() -> None:
    table()


@operation("rules that are refused", weight=20)
def refused() -> None:
    builder = RouterBuilder()
    for rule in ({"path": "a"}, {"template": "/{"}, {"regex": "("}, {"regex": r"(a)\1"}, {}):
        with suppress(ValueError, TypeError):
            builder.add(index=1, **rule)
    with suppress(ValueError):
        RouterBuilder(key=b"short")


@operation("a path is normalised")
def normalise() -> None:
    path.normalise(b"/a/../b/%7Euser")
    with suppress(ValueError):
        path.normalise(b"/%zz")


EXPRESSION = regex.compile(r"/(?P<a>\w+)/(\d+)?")


@operation("a regular expression")
def expression() -> None:
    EXPRESSION.fullmatch(b"/name/42")
    EXPRESSION.search(b"none")
