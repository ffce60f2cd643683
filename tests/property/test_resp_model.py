"""Reader, RequestReader, pack and encode against tests/models/resp.py, and against hiredis where both mean the same."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hiredis
from hypothesis import example, given
from hypothesis import strategies as st

from fastcore import resp
from models import resp as model

binary = st.binary(max_size=20)
lines = st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
integers = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats()


def blob(kind: bytes, text: bytes) -> bytes:
    return b"%b%d\r\n%b\r\n" % (kind, len(text), text)


# What hiredis knows, in its spelling; what it does not.
plain = st.one_of(
    lines.map(lambda text: b"+%b\r\n" % text),
    lines.map(lambda text: b"-%b\r\n" % text),
    integers.map(lambda value: b":%d\r\n" % value),
    binary.map(lambda text: blob(b"$", text)),
    binary.map(lambda text: blob(b"=", b"txt:" + text)),
    st.integers().map(lambda value: b"(%d\r\n" % value),
    doubles.map(lambda value: b",%b\r\n" % repr(value).encode()),
    st.sampled_from([b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"#t\r\n", b"#f\r\n"]),
)
scalars = st.one_of(plain.filter(lambda text: text[:1] in b"+:$#"), plain)  # mostly what may be a key
modern = st.one_of(
    binary.map(lambda text: blob(b"!", text)),
    st.lists(binary.filter(bool), max_size=3).map(
        lambda parts: b"$?\r\n" + b"".join(blob(b";", part) for part in parts) + b";0\r\n"
    ),
)


def aggregates(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    elements = st.lists(children, max_size=4)
    # Each key once: hiredis 3.5 mistakes which key a value belongs to when one comes again. (`streamed` has such.)
    keyed = st.dictionaries(integers.map(lambda value: b":%d\r\n" % value), children, max_size=3)
    pairs = keyed.map(lambda made: [key + value for key, value in made.items()])
    return st.one_of(
        st.tuples(st.sampled_from([b"*", b"~", b">"]), elements).map(
            lambda made: b"%b%d\r\n" % (made[0], len(made[1])) + b"".join(made[1])
        ),
        pairs.map(lambda made: b"%%%d\r\n" % len(made) + b"".join(made)),
    )


def streamed(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    elements = st.lists(children, max_size=4).map(b"".join)
    pairs = st.lists(st.tuples(scalars, children).map(b"".join), max_size=3)
    return st.one_of(
        aggregates(children),
        elements.map(lambda made: b"*?\r\n" + made + b".\r\n"),
        pairs.map(lambda made: b"%?\r\n" + b"".join(made) + b".\r\n"),
        st.tuples(pairs, children).map(lambda made: b"|%d\r\n" % len(made[0]) + b"".join(made[0]) + made[1]),
    )


common = st.recursive(plain, aggregates, max_leaves=12)
everything = st.recursive(st.one_of(plain, modern), streamed, max_leaves=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]


cuts = st.lists(st.integers(0, 2000), max_size=8)
NOTHING = object()


def all_of(reader: Any, pieces: list[bytes]) -> tuple[list[Any], bool]:
    """What comes out, and whether the end was a protocol error."""
    found = []
    for piece in pieces:
        reader.feed(piece)
        while True:
            try:
                reply = reader.gets()
            except (resp.ProtocolError, hiredis.ProtocolError):
                return found, True
            if reply is NOTHING:
                break
            found.append(reply)
    return found, False


def ours(**options: Any) -> resp.Reader:
    return resp.Reader(notEnoughData=NOTHING, replyError=model.Error, **options)


def alike(a: Any, b: Any) -> bool:
    """Equal, types and NaN included, whichever module's push it is."""
    if isinstance(a, list) and isinstance(b, list):
        pushes = (resp.PushNotification, hiredis.PushNotification, model.Push)
        same_kind = isinstance(a, pushes) == isinstance(b, pushes)
        return same_kind and len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(map(alike, a, b)) and all(map(alike, a.values(), b.values()))
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return type(a) is type(b) and a == b


@given(st.lists(everything, max_size=4).map(b"".join), cuts)
@example(b"|1\r\n+a\r\n:1\r\n$?\r\n;1\r\nx\r\n;0\r\n", [1, 5, 9, 20])
def test_what_is_right_is_read_as_the_model_reads_it(data: bytes, places: list[int]) -> None:
    expected, broken = model.replies(data)
    assert not broken
    found, failed = all_of(ours(), cut(data, places))
    assert not failed
    assert alike(found, expected)


@given(st.lists(common, max_size=4).map(b"".join), cuts)
def test_what_hiredis_knows_is_read_alike(data: bytes, places: list[int]) -> None:
    pieces = cut(data, places)
    theirs = hiredis.Reader(notEnoughData=NOTHING, replyError=model.Error)
    (found, failed), (expected, broken) = all_of(ours(), pieces), all_of(theirs, pieces)
    assert not failed
    assert not broken
    assert alike(found, expected)


@given(st.lists(common, max_size=3).map(b"".join), cuts, st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_decoding_is_hiredis(data: bytes, places: list[int], encoding: str) -> None:
    def read(make: Callable[..., Any]) -> list[Any]:
        reader = make(notEnoughData=NOTHING, replyError=model.Error, encoding=encoding, errors="replace")
        return all_of(reader, cut(data, places))[0]

    assert alike(read(resp.Reader), read(hiredis.Reader))


ALPHABET = [
    b"\r\n",
    b"$",
    b"*",
    b"%",
    b"~",
    b">",
    b"|",
    b":",
    b"+",
    b"-",
    b",",
    b"(",
    b"#",
    b"_",
    b"=",
    b"!",
    b";",
    b".",
    b"?",
]
soup = st.lists(st.sampled_from([*ALPHABET, b"0", b"1", b"2", b"3", b"a", b"txt:", b"inf", b"\r", b"\n"]), max_size=24)


@given(st.one_of(soup.map(b"".join), st.tuples(everything, soup.map(b"".join), everything).map(b"".join)), cuts)
def test_what_is_wrong_is_refused_where_the_model_refuses_it(data: bytes, places: list[int]) -> None:
    try:
        expected, broken = model.replies(data)
    except (TypeError, RecursionError):  # a list as a key, which is no mistake of the peer
        return
    whole, pieces = ours(), ours()
    try:
        first = all_of(whole, [data])
    except TypeError:
        return
    assert alike(first[0], all_of(pieces, cut(data, places))[0])
    assert alike(first[0], expected)
    assert first[1] or not broken  # a model that looks at complete lines may notice later, never earlier


@given(st.lists(st.lists(binary, min_size=1, max_size=4), max_size=4), cuts)
def test_commands_come_back(commands: list[list[bytes]], places: list[int]) -> None:
    data = resp.pack_many(commands)
    assert data == b"".join(hiredis.pack_command(tuple(command)) for command in commands)
    reader = resp.RequestReader()
    assert [command for piece in cut(data, places) for command in reader.feed(piece)] == commands
    assert not reader.has_data()


@given(
    st.one_of(
        soup.map(b"".join),
        st.tuples(st.lists(st.lists(binary, max_size=3)), soup).map(
            lambda made: resp.pack_many(made[0]) + b"".join(made[1])
        ),
    ),
    cuts,
)
def test_bad_commands_are_refused(data: bytes, places: list[int]) -> None:
    expected, broken = model.requests(data)
    found = []
    reader = resp.RequestReader(max_inline_bytes=0)
    failed = False
    for piece in cut(data, places):
        try:
            found += reader.feed(piece)
        except resp.ProtocolError as error:
            found += error.commands
            failed = True
            break
    assert found == expected
    assert failed or not broken


@given(st.lists(st.one_of(binary, st.text(max_size=20), st.integers(), doubles), min_size=1))
def test_packing_is_hiredis(command: list[Any]) -> None:
    try:
        expected = hiredis.pack_command(tuple(command))
    except UnicodeEncodeError:
        expected = None
    if expected is not None:
        assert resp.pack(*command) == expected == resp.pack_command(command)


def python_values() -> st.SearchStrategy[Any]:
    keys = st.one_of(binary, integers, st.booleans())
    return st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), doubles, binary, lines.map(resp.SimpleString)),
        lambda children: st.one_of(
            st.lists(children, max_size=4),
            st.dictionaries(keys, children, max_size=3),
            st.lists(children, max_size=3).map(resp.PushNotification),
        ),
        max_leaves=10,
    )


def as_read(value: Any) -> Any:
    """What a client gets in protocol 3 for what a server encodes: big integers as their digits."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        return b"%d" % value
    if isinstance(value, resp.SimpleString):
        return bytes(value)
    if isinstance(value, resp.PushNotification):
        return resp.PushNotification(map(as_read, value))
    if isinstance(value, list):
        return list(map(as_read, value))
    if isinstance(value, dict):
        return {key: as_read(inner) for key, inner in value.items()}
    return value


@given(python_values(), cuts)
def test_what_is_encoded_is_read_back(value: Any, places: list[int]) -> None:
    found, failed = all_of(ours(), cut(resp.encode(value, 3), places))
    assert not failed
    assert len(found) == 1
    assert alike(found[0], as_read(value))


@given(python_values())
def test_protocol_2_has_only_its_own_types(value: Any) -> None:
    data = resp.encode(value, 2)
    found, failed = all_of(ours(), [data])
    assert not failed
    assert len(found) == 1

    def check(reply: Any) -> None:
        assert type(reply) in (bytes, int, list, type(None))
        for inner in reply if isinstance(reply, list) else ():
            check(inner)

    check(found[0])
