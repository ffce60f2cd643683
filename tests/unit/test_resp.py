"""Reader as hiredis' users know it, RequestReader, pack and encode: what properties do not show (tests/property)."""

import gc
import math
import sys
import threading
import time
import weakref
from enum import IntEnum
from typing import Any

import pytest

from endurance import LEAK_OPERATIONS, NOT_SANITIZED, peak, resident
from fastcore import resp
from fastcore.resp import PushNotification, Reader, RequestReader, encode, pack, pack_command, pack_many


def read(data: bytes, **options: Any) -> Any:
    reader = Reader(**options)
    reader.feed(data)
    return reader.gets()


# --- Reader: values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b":9223372036854775807\r\n", 2**63 - 1),
        (b":-9223372036854775808\r\n", -(2**63)),
        (b"$5\r\nhello\r\n", b"hello"),
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b"*0\r\n", []),
        (b"#t\r\n", True),
        (b"#f\r\n", False),
        (b",-99.99\r\n", -99.99),
        (b",-inf\r\n", -math.inf),
        (b",0.1\r\n", 0.1),
        (b",2.2250738585072011e-308\r\n", 2.2250738585072011e-308),
        (b"(340282366920938463463374607431768211456\r\n", b"340282366920938463463374607431768211456"),
        (b"=8\r\ntxt:text\r\n", b"text"),
        (b"*2\r\n*1\r\n$1\r\na\r\n:1\r\n", [[b"a"], 1]),
        (b"~3\r\n+a\r\n_\r\n,10.5\r\n", [b"a", None, 10.5]),
        (b"~2\r\n+a\r\n%1\r\n+b\r\n:1\r\n", [b"a", {b"b": 1}]),
        (b"%2\r\n+a\r\n,4.5\r\n_\r\n*0\r\n", {b"a": 4.5, None: []}),
        (b"%2\r\n+a\r\n:1\r\n+a\r\n:2\r\n", {b"a": 2}),
        (b"$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n", b"Hello"),
        (b"*?\r\n:1\r\n%?\r\n+a\r\n:2\r\n.\r\n.\r\n", [1, {b"a": 2}]),
    ],
)
def test_values(wire: bytes, value: Any) -> None:
    for reply in (read(wire), read(b"*1\r\n" + wire)[0]):
        assert reply == value
        assert type(reply) is type(value)


def test_nan() -> None:
    assert math.isnan(read(b",nan\r\n"))


def test_sets_may_be_sets() -> None:
    assert read(b"~2\r\n+a\r\n+a\r\n", convertSetsToLists=False) == {b"a"}
    with pytest.raises(TypeError, match="unhashable"):
        read(b"~1\r\n*0\r\n", convertSetsToLists=False)


def test_pushes() -> None:
    reply = read(b">2\r\n+message\r\n>1\r\n:1\r\n")
    assert reply == [b"message", [1]]
    assert type(reply) is PushNotification
    assert type(reply[1]) is PushNotification


def test_attributes_stand_beside_the_reply() -> None:
    reader = Reader()
    reader.feed(b"|1\r\n+ttl\r\n:5\r\n*1\r\n|1\r\n+x\r\n:1\r\n:7\r\n:8\r\n")
    assert reader.gets() == [7]
    assert reader.attributes == {b"ttl": 5}
    assert reader.gets() == 8
    assert reader.attributes is None


def test_attributes_come_in_pieces() -> None:
    reader = Reader()
    for byte in b"|1\r\n+ttl\r\n:5\r\n":
        reader.feed(bytes([byte]))
        assert reader.gets() is False
        assert reader.has_data()
    reader.feed(b":1\r\n")
    assert reader.gets() == 1
    assert reader.attributes == {b"ttl": 5}


# --- Reader: errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [b"-ERR no\xff\r\n", b"!7\r\nERR no\xff\r\n"])
def test_error_replies_are_objects(wire: bytes) -> None:
    for error in (read(wire), read(b"*1\r\n" + wire)[0]):
        assert type(error) is resp.ReplyError
        assert error.args == ("ERR no�",)


def test_error_replies_are_what_the_callable_returns() -> None:
    assert type(read(b"-no\r\n", replyError=RuntimeError)) is RuntimeError
    assert read(b"-no\r\n", replyError=lambda text: text.upper()) == "NO"


def test_a_raising_reply_error_costs_one_reply() -> None:
    def fail(text: str) -> Exception:
        raise ZeroDivisionError(text)

    reader = Reader(replyError=fail)
    reader.feed(b"*3\r\n-first\r\n+x\r\n-second\r\n:1\r\n")
    with pytest.raises(ZeroDivisionError, match="first"):
        reader.gets()
    assert reader.gets() == 1


def test_an_unhashable_key_costs_one_reply() -> None:
    reader = Reader()
    reader.feed(b"%2\r\n%1\r\n+a\r\n:1\r\n:9\r\n+b\r\n*1\r\n*0\r\n:1\r\n")
    with pytest.raises(TypeError, match="unhashable"):
        reader.gets()
    assert reader.gets() == 1


def test_protocol_errors_stay() -> None:
    reader = Reader()
    reader.feed(b"+OK\r\n*2\r\n:1\r\nx")
    assert reader.gets() == b"OK"
    for _ in range(2):
        with pytest.raises(resp.ProtocolError, match=r"no type begins.*byte 13"):
            reader.gets()
        reader.feed(b"+OK\r\n")
        assert reader.len() == 0


def test_protocol_errors_are_what_the_callable_returns() -> None:
    with pytest.raises(RuntimeError):
        read(b"x", protocolError=RuntimeError)
    with pytest.raises(LookupError):
        read(b"x", protocolError=lambda text: LookupError(text))
    with pytest.raises(ZeroDivisionError):
        read(b"x", protocolError=lambda _: 1 / 0)
    with pytest.raises(TypeError):
        read(b"x", protocolError=lambda _: "no exception")


@pytest.mark.parametrize("name", ["protocolError", "replyError"])
def test_callables_are_callable(name: str) -> None:
    with pytest.raises(TypeError):
        Reader(**{name: "no"})


@pytest.mark.parametrize(
    ("wire", "limit"),
    [
        (b"$11\r\n", {"max_string": 10}),
        (b"+1234567890a", {"max_line": 10}),
        (b"*11\r\n", {"max_elements": 10}),
        (b"*1\r\n*1\r\n*1\r\n", {"max_depth": 2}),
    ],
)
def test_limits(wire: bytes, limit: dict[str, int]) -> None:
    assert read(wire) is False
    with pytest.raises(resp.ProtocolError):
        read(wire, **limit)


@pytest.mark.parametrize("limit", ["max_string", "max_line", "max_elements", "max_depth"])
def test_limits_are_numbers_in_range(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        Reader(**{limit: -1})
    with pytest.raises(TypeError):
        Reader(**{limit: "many"})


def test_a_callable_may_not_use_the_reader() -> None:
    caught = []

    def nosy(text: str) -> str:
        for use in (reader.gets, lambda: reader.feed(b":1\r\n"), reader.set_encoding, reader.__init__):
            with pytest.raises(RuntimeError):
                use()
            caught.append(text)
        return text

    reader = Reader(replyError=nosy)
    reader.feed(b"*2\r\n-a\r\n:1\r\n")
    assert reader.gets() == ["a", 1]
    assert len(caught) == 4


# --- Reader: bytes in ------------------------------------------------------------------------------------------------


def test_what_can_be_fed() -> None:
    reader = Reader()
    for data in (b":1\r\n", bytearray(b":2\r\n"), memoryview(b":3\r\n"), ":4\r\n", b":5\r\n" + b":6\r\n" * 1000):
        reader.feed(data)
    assert [reader.gets() for _ in range(5)] == [1, 2, 3, 4, 5]
    for wrong in (1, None, [b"a"]):
        with pytest.raises(TypeError):
            reader.feed(wrong)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        reader.feed(memoryview(b"abcd")[::2])


@pytest.mark.parametrize("data", [b"blah+ok\r\n", bytearray(b"blah+ok\r\n"), "blah+ok\r\n"])
def test_feeding_a_part(data: Any) -> None:
    reader = Reader()
    reader.feed(data, 4)
    reader.feed(data, 4, 5)
    assert (reader.gets(), reader.gets(), reader.gets()) == (b"ok", b"ok", False)
    for range_ in ((10,), (0, 10), (-1,), (0, -2), (2**63 - 1, 1), (5, 2**63 - 1)):
        with pytest.raises(ValueError, match="input"):
            reader.feed(data, *range_)


def test_len_and_has_data() -> None:
    reader = Reader()
    assert (reader.len(), reader.has_data()) == (0, False)
    reader.feed(b"+ok\r\n*2\r\n:1")
    assert (reader.len(), reader.has_data()) == (11, True)
    reader.gets()
    assert (reader.len(), reader.has_data()) == (6, True)
    assert reader.gets() is False
    assert (reader.len(), reader.has_data()) == (2, True)
    reader.feed(b"\r\n")
    reader.gets()
    assert (reader.len(), reader.has_data()) == (0, True)  # half a reply was taken: the connection is not at rest
    reader.feed(b":2\r\n")
    assert reader.gets() == [1, 2]
    assert (reader.len(), reader.has_data()) == (0, False)


def test_not_enough_data() -> None:
    assert Reader().gets() is False
    assert Reader(notEnoughData=...).gets() is ...


def test_maxbuf() -> None:
    reader = Reader()
    default = reader.getmaxbuf()
    reader.setmaxbuf(0)
    assert reader.getmaxbuf() == 0
    reader.setmaxbuf(None)
    assert reader.getmaxbuf() == default
    with pytest.raises(ValueError, match="maxbuf"):
        reader.setmaxbuf(-4)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_fed_are_not_shared(kind: type) -> None:
    data = kind(b"*600\r\n" + b"$3\r\nabc\r\n" * 600)
    reader = Reader()
    reader.feed(data)
    reader.feed(b"+tail")
    if kind is bytearray:
        data[:] = b"x" * len(data)
    assert reader.gets() == [b"abc"] * 600
    reader.feed(b"\r\n")
    assert reader.gets() == b"tail"


def test_keeping_bytes_ends_with_them() -> None:
    data = b"*600\r\n" + b"$3\r\nabc\r\n" * 600
    before = gc.get_referrers(data)
    reader = Reader()
    reader.feed(data)
    reader.gets()
    assert len(gc.get_referrers(data)) == len(before)


def test_subclasses_and_starting_again() -> None:
    class Mine(Reader):
        pass

    reader = Mine()
    reader.feed(b"*2\r\n:1\r\n")
    assert reader.gets() is False
    reader.__init__(encoding="utf-8")  # type: ignore[misc]
    reader.feed(b"+ok\r\n")
    assert reader.gets() == "ok"


# --- Reader: text ----------------------------------------------------------------------------------------------------

SNOWMAN = b"\xe2\x98\x83"


def test_decoding() -> None:
    wire = b"*3\r\n$3\r\n" + SNOWMAN + b"\r\n+" + SNOWMAN + b"\r\n=7\r\ntxt:" + SNOWMAN + b"\r\n"
    assert read(wire, encoding="utf-8") == ["☃"] * 3
    assert read(wire) == [SNOWMAN] * 3
    assert read(b"(12\r\n", encoding="utf-8") == "12"
    assert read(b"$4\r\n\xff\xfe\x03&\r\n", encoding="utf-16") == "☃"


def test_decoding_errors() -> None:
    reader = Reader(encoding="utf-8")
    reader.feed(b"*2\r\n+\x80\r\n:1\r\n:7\r\n")
    with pytest.raises(UnicodeDecodeError):
        reader.gets()
    assert reader.gets() == 7
    assert read(b"+\x80value\r\n", encoding="utf-8", errors="ignore") == "value"
    assert read(b"+\x80value\r\n", encoding="utf-8", errors="surrogateescape") == "\udc80value"


def test_decoding_can_be_left_out_and_changed() -> None:
    reader = Reader(encoding="utf-8")
    reader.feed((b"$3\r\n" + SNOWMAN + b"\r\n") * 3 + b"$1\r\n\xe4\r\n")
    assert (reader.gets(False), reader.gets(True)) == (SNOWMAN, "☃")
    reader.set_encoding(None, None)
    assert reader.gets() == SNOWMAN
    reader.set_encoding(encoding="latin-1", errors="strict")
    assert reader.gets() == "ä"


def test_unknown_encodings() -> None:
    with pytest.raises(LookupError):
        Reader(encoding="unknown")
    reader = Reader(encoding="utf-8")
    for wrong in ({"encoding": "unknown"}, {"encoding": "utf-8", "errors": "unknown"}):
        with pytest.raises(LookupError):
            reader.set_encoding(**wrong)
    reader.feed(b"+" + SNOWMAN + b"\r\n")
    assert reader.gets() == "☃"


# --- Reader: size, time, memory --------------------------------------------------------------------------------------


def fill(size: int, piece: int, **options: Any) -> tuple[float, Any]:
    """Seconds of processor time to read a string of this size in such pieces, and the string."""
    reader = Reader(max_string=2**40, **options)
    block = bytearray(b"x" * piece)
    begin = time.process_time()
    reader.feed(b"$%d\r\n" % size)
    for done in range(0, size, piece):
        assert reader.gets() is False
        reader.feed(block, 0, min(piece, size - done))
    reader.feed(b"\r\n")
    return time.process_time() - begin, reader.gets()


def test_a_large_string_costs_its_size() -> None:
    """500 MB in pieces of 64 KB: linear, and held once."""
    assert len(fill(1 << 20, 1 << 16)[1]) == 1 << 20
    filled: list[tuple[float, Any]] = []
    grown = peak(lambda: filled.append(fill(500_000_000, 65536)))
    ((large, value),) = filled
    assert len(value) == 500_000_000
    assert large < 10  # seconds; it takes one. Copied anew for each piece, it would be 1.9 PB
    assert grown < 600_000_000


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_strings_in_parts(encoding: str | None) -> None:
    for size in (16383, 16384, 16385, 50000):
        value = fill(size, 999, encoding=encoding)[1]
        assert value == ("x" if encoding else b"x") * size
    wire = b"!20000\r\n" + b"e" * 20000 + b"\r\n=20004\r\ntxt:" + b"v" * 20000 + b"\r\n"
    for step in (7, 1000, 19000):
        reader = Reader(encoding=encoding)
        found = []
        for begin in range(0, len(wire), step):
            reader.feed(wire[begin : begin + step])
            if (reply := reader.gets()) is not False:
                found.append(reply)
        assert str(found[0]) == "e" * 20000
        assert found[1] == ("v" if encoding else b"v") * 20000


def test_single_bytes_cost_their_number() -> None:
    def line(n: int) -> float:
        reader = Reader(max_line=10**7)
        reader.feed(b"+")
        begin = time.process_time()
        for _ in range(n):
            reader.feed(b"x")
            reader.gets()
        return time.process_time() - begin

    line(1000)
    assert line(200_000) < 20 * 5 * max(line(10_000), 0.001)


def test_a_backlog_costs_its_size() -> None:
    """Replies that are fed faster than they are taken: one in, one out, with 20 MB between."""

    def seconds(n: int) -> float:
        reader = Reader()
        reader.feed(bytearray(b"$95\r\n" + b"x" * 95 + b"\r\n") * 200_000)
        begin = time.process_time()
        for _ in range(n):
            reader.feed(b":1\r\n")
            reader.gets()
        return time.process_time() - begin

    assert seconds(20_000) < 2


def test_what_is_announced_takes_no_memory() -> None:
    before = resident()
    readers = []
    for _ in range(20):
        readers.append(Reader())
        readers[-1].feed(b"*4000000000\r\n" * 100 + b"$500000000\r\nx")
        assert readers[-1].gets() is False
    assert resident() - before < 50_000_000


LEAKY = (
    b"%3\r\n+a\r\n*2\r\n$300\r\n"
    + b"x" * 300
    + b"\r\n,1.5\r\n+b\r\n%1\r\n+key\r\n~2\r\n+e\r\n(123456789012345678901\r\n:3\r\n-ERR x\r\n"
    b"|1\r\n+ttl\r\n:500\r\n>2\r\n+m\r\n$?\r\n;3\r\nabc\r\n;0\r\n"
)


def leak_round(kind: str) -> None:
    if kind == "whole":
        reader = Reader(encoding="utf-8")
        reader.feed(LEAKY)
        assert reader.gets()["b"] == {"key": ["e", "123456789012345678901"]}
        assert reader.gets() == ["m", "abc"]
    elif kind == "left":  # dropped in the middle
        reader = Reader()
        reader.feed(LEAKY, 0, 340)
        assert reader.gets() is False
        reader.feed(b"$99999\r\nabc")
        reader.gets()
    elif kind == "bad":
        reader = Reader()
        reader.feed(b"%1\r\n" * 9 + b"x")
        with pytest.raises(resp.ProtocolError):
            reader.gets()
        reader.feed(b"*1\r\n:1\r\n")
        with pytest.raises(TypeError):
            read(b"%1\r\n*1\r\n+a\r\n*1\r\n+b\r\n")
        with pytest.raises(UnicodeDecodeError):
            read(b"*2\r\n+a\r\n+\xff\r\n", encoding="utf-8")
    elif kind == "server":
        server = RequestReader()
        assert len(server.feed(pack("SET", "k", "v" * 300) + b"GET 'k'\r\n*2\r\n$3\r\nabc")) == 2
        encode([1, {"a": 2.5}, {3}, None, resp.ReplyError("x"), 2**70], 3)
        with pytest.raises(TypeError):
            pack("a", 2**80, object())
        with pytest.raises(TypeError):
            encode([b"a" * 1000, object()])
        pack_many([("a", 1.5, 2**70, memoryview(b"abcd")[::2])] * 20)


@pytest.mark.parametrize("kind", ["whole", "left", "bad", "server"])
@NOT_SANITIZED
def test_nothing_leaks(kind: str) -> None:
    rounds = LEAK_OPERATIONS // 20
    for _ in range(rounds // 4):
        leak_round(kind)
    before, blocks = resident(), sys.getallocatedblocks()
    for _ in range(rounds):
        leak_round(kind)
    grown = resident() - before
    assert sys.getallocatedblocks() - blocks < min(rounds, 500)  # Python's own memory, exactly
    assert grown < 1_500_000  # malloc's: the least that is ours are 192 bytes


def test_readers_are_collected() -> None:
    class Parser:
        def __init__(self) -> None:
            self.reader = Reader(replyError=self.parse_error)

        def parse_error(self, text: str) -> Exception:
            return ValueError(text)

    parser = Parser()
    gone = weakref.ref(parser)
    del parser
    gc.collect()
    assert gone() is None


def test_two_threads_get_an_error_not_a_crash() -> None:
    inside, go = threading.Event(), threading.Event()

    def slow(text: str) -> str:
        inside.set()
        go.wait(10)
        return text

    reader = Reader(replyError=slow)
    reader.feed(b"-a\r\n")
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(reader.gets()))
    thread.start()
    inside.wait(10)
    with pytest.raises(RuntimeError, match="in use"):
        reader.feed(b":1\r\n")
    go.set()
    thread.join(10)
    assert got == ["a"]


# --- RequestReader ---------------------------------------------------------------------------------------------------


def test_commands() -> None:
    server = RequestReader()
    assert server.feed(b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\nset k "a b"\r\n*0\r\n\r\n*1\r\n$4\r\nPI') == [
        [b"GET", b"k"],
        [b"set", b"k", b"a b"],
    ]
    assert (server.has_data(), server.len()) == (True, 10)
    assert server.feed(bytearray(b"NG\r\n")) == [[b"PING"]]
    assert (server.has_data(), server.len()) == (False, 0)
    for wrong in ("text", 1, None):
        with pytest.raises(TypeError):
            server.feed(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"*1\r\n:1\r\n", "Protocol error: expected '$'"),
        (b"*x\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"get 'k\r\n", "Protocol error: unbalanced quotes in request"),
        (b"x" * 65536, "Protocol error: too big inline request"),
    ],
)
def test_bad_requests(wire: bytes, text: str) -> None:
    server = RequestReader()
    with pytest.raises(resp.ProtocolError) as caught:
        server.feed(b"PING\r\n*1\r\n$1\r\na\r\n" + wire)
    assert str(caught.value) == text
    assert caught.value.commands == [[b"PING"], [b"a"]]
    for again in (b"PING\r\n", b""):
        with pytest.raises(resp.ProtocolError) as caught:
            server.feed(again)
        assert caught.value.commands == []
    assert not server.has_data()


def test_limits_of_requests() -> None:
    server = RequestReader(max_arguments=2, max_argument_bytes=3, max_request_bytes=40, max_inline_bytes=0)
    assert server.feed(pack("GET", "key")) == [[b"GET", b"key"]]
    server.limit(max_arguments=3)
    assert server.feed(pack("a", "b", "c")) == [[b"a", b"b", b"c"]]
    with pytest.raises(resp.ProtocolError):
        server.feed(pack("abcd"))
    with pytest.raises(resp.ProtocolError):
        RequestReader(max_inline_bytes=0).feed(b"PING\r\n")
    with pytest.raises(ValueError, match="max_arguments"):
        RequestReader(max_arguments=0)
    with pytest.raises(ValueError, match="max_request_bytes"):
        server.limit(max_request_bytes=2**32)


def test_a_large_request_costs_its_size() -> None:
    server = RequestReader()
    data = memoryview(pack("SET", "k", b"x" * 50_000_000))
    begin = time.process_time()
    found = [command for at in range(0, len(data), 10_000) for command in server.feed(data[at : at + 10_000])]
    assert time.process_time() - begin < 3  # quadratic: 125 GB copied
    assert len(found[0][2]) == 50_000_000


# --- pack ------------------------------------------------------------------------------------------------------------


class Colour(IntEnum):
    RED = 3


class Real(float):
    def __repr__(self) -> str:
        return "Real()"


@pytest.mark.parametrize(
    ("argument", "wire"),
    [
        ("é", b"\xc3\xa9"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(b"abcd"), b"abcd"),
        (-7, b"-7"),
        (2**128, b"340282366920938463463374607431768211456"),
        (3.0, b"3.0"),
        (-1.7976931348623157e308, b"-1.7976931348623157e+308"),
        (math.inf, b"inf"),
        (Colour.RED, b"3"),
        (Real(1.5), b"1.5"),
    ],
)
def test_pack(argument: Any, wire: bytes) -> None:
    expected = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(wire), wire)
    assert pack("SET", argument) == pack_command(("SET", argument)) == pack_many([["SET", argument]]) == expected


def test_pack_many_arguments() -> None:
    for count in (0, 1, 15, 16, 17, 5000):
        assert pack(*range(count)) == b"*%d\r\n" % count + b"".join(
            b"$%d\r\n%d\r\n" % (len(str(i)), i) for i in range(count)
        )
    assert pack_many(iter([("a",), ("b",)])) == b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n"
    assert pack_many([]) == b""


@pytest.mark.parametrize("argument", [True, None, [], {}, object(), 1j])
def test_pack_refuses(argument: Any) -> None:
    name = type(argument).__name__
    with pytest.raises(
        TypeError, match=rf"Invalid input of type: '{name}'. Convert to a bytes, string, int or float first"
    ):
        pack("SET", argument)


def test_pack_errors() -> None:
    with pytest.raises(UnicodeEncodeError):
        pack("\ud800")
    with pytest.raises(TypeError):
        pack_command("PING")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pack_many([("a",), "PING"])  # type: ignore[list-item]
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        pack(view)


# --- encode ----------------------------------------------------------------------------------------------------------

ENCODED = [
    (None, b"$-1\r\n", b"_\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (5, b":5\r\n", b":5\r\n"),
    (2**63, b"$19\r\n9223372036854775808\r\n", b"(9223372036854775808\r\n"),
    (resp.BigNumber(5), b"$1\r\n5\r\n", b"(5\r\n"),
    (0.1, b"$3\r\n0.1\r\n", b",0.1\r\n"),
    (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
    ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
    (bytearray(b"a"), b"$1\r\na\r\n", b"$1\r\na\r\n"),
    ((1, [2]), b"*2\r\n:1\r\n*1\r\n:2\r\n", b"*2\r\n:1\r\n*1\r\n:2\r\n"),
    ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
    (frozenset([1]), b"*1\r\n:1\r\n", b"~1\r\n:1\r\n"),
    (PushNotification([1]), b"*1\r\n:1\r\n", b">1\r\n:1\r\n"),
    (resp.SimpleString(b"OK"), b"+OK\r\n", b"+OK\r\n"),
    (resp.ReplyError("ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
    (ValueError("a\nb"), b"-a b\r\n", b"!3\r\na\nb\r\n"),
    (resp.Verbatim(b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
    (resp.Verbatim(b"hi", "mkd"), b"$2\r\nhi\r\n", b"=6\r\nmkd:hi\r\n"),
    (resp.WithAttributes(1, {"ttl": 5}), b":1\r\n", b"|1\r\n$3\r\nttl\r\n:5\r\n:1\r\n"),
    (Colour.RED, b":3\r\n", b":3\r\n"),
]


@pytest.mark.parametrize(("value", "two", "three"), ENCODED, ids=[repr(case[0])[:20] for case in ENCODED])
def test_encode(value: Any, two: bytes, three: bytes) -> None:
    assert encode(value) == encode(value, 2) == two
    assert encode(value, protocol=3) == three
    assert encode([value], 2) == b"*1\r\n" + two


def test_encode_refuses() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper than 128"):
        encode(endless)
    with pytest.raises(ValueError, match="nested deeper than 2"):
        encode([[[1]]], max_depth=2)
    with pytest.raises(TypeError, match="object"):
        encode(object())
    with pytest.raises(ValueError, match="protocol"):
        encode(1, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="line end"):
        encode(resp.SimpleString(b"a\r\n+b"))
    with pytest.raises(ValueError, match="format"):
        resp.Verbatim(b"a", "text")
    with pytest.raises(UnicodeEncodeError):
        encode("\ud800")


def test_encode_notices_a_size_that_changes() -> None:
    class Liar(list):
        def __len__(self) -> int:
            return 3

    with pytest.raises(RuntimeError, match="size"):
        encode(Liar([1]))
