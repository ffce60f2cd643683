"""redis-py 8 with our reader and packer against a real redis-server, in both protocols."""

import math
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
from redis._parsers.hiredis import _HiredisParser
from redis_server import RedisServer

from fastcore import resp
from fastcore.resp_redis import Connection, Packer, Parser

Connect = Callable[..., redis.Redis]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a redis-server of our own."""
    running = RedisServer(tmp_path_factory.mktemp("redis"), {"enable-debug-command": "yes"})
    yield running.port
    running.close()


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def connect(server: int, request: pytest.FixtureRequest) -> Iterator[Connect]:
    clients: list[redis.Redis] = []

    def make(**options: Any) -> redis.Redis:
        options = {"protocol": request.param, "socket_timeout": 20, **options}
        pool = redis.ConnectionPool(connection_class=Connection, host="127.0.0.1", port=server, **options)
        clients.append(redis.Redis(connection_pool=pool))
        return clients[-1]

    client = make()
    client.flushall()
    make.protocol = request.param  # type: ignore[attr-defined]
    yield make
    for client in clients:
        client.close()
        client.connection_pool.disconnect()


def test_it_is_our_reader_that_reads(connect: Connect) -> None:
    client = connect()
    connection = client.connection_pool.get_connection()
    assert type(connection._parser) is Parser
    assert type(connection._parser._reader) is resp.Reader
    assert connection.pack_command("CONFIG GET", "save") == [b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n"]
    client.connection_pool.release(connection)


def test_commands_of_every_kind(connect: Connect) -> None:
    client = connect()
    assert client.ping() is True
    assert client.set("a", b"\x00\xff") is True
    assert client.get("a") == b"\x00\xff"
    assert client.get("missing") is None
    assert client.incrby("n", 5) == 5
    assert client.incrbyfloat("f", 1.5) == 1.5
    assert client.rpush("l", 1, 2.5, "drei", b"vier") == 4
    assert client.lrange("l", 0, -1) == [b"1", b"2.5", b"drei", b"vier"]
    assert client.lrange("missing", 0, -1) == []
    assert client.hset("h", mapping={"a": 1, "b": "zwei"}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"zwei"}
    assert client.hmget("h", "a", "x") == [b"1", None]
    assert client.sadd("s", "a", "b") == 2
    assert client.smembers("s") == {b"a", b"b"}
    assert client.zadd("z", {"a": 1.25, "b": math.inf}) == 2
    assert client.zscore("z", "a") == 1.25
    assert client.zscore("z", "b") == math.inf
    assert client.zrange("z", 0, -1, withscores=True) in (
        [(b"a", 1.25), (b"b", math.inf)],
        [[b"a", 1.25], [b"b", math.inf]],
    )
    assert client.config_get("maxmemory") in ({"maxmemory": "0"}, {b"maxmemory": b"0"})
    assert client.xadd("x", {"k": "v"}, id="1-1") == b"1-1"
    assert len(client.xrange("x")) == 1
    assert client.eval("return {1, 'zwei', {3}, false, redis.status_reply('gut')}", 0) == [
        1,
        b"zwei",
        [3],
        None,
        b"gut",
    ]
    assert client.object("encoding", "a") in (b"raw", b"embstr")
    assert isinstance(client.info(), dict)
    assert isinstance(client.command(), dict)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("a", 1)
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("0" * 40, 0)
    with pytest.raises(redis.DataError, match="'bool'"):
        client.set("a", True)  # type: ignore[arg-type]


DEBUG = ["string", "integer", "double", "null", "array", "set", "map", "bignum", "true", "false", "verbatim"]


@pytest.mark.parametrize("kind", [*DEBUG, "attrib"])
def test_every_type_of_the_protocol(connect: Connect, kind: str) -> None:
    """DEBUG PROTOCOL sends one value of each type. What hiredis makes of it, we make of it."""
    three = connect.protocol == 3  # type: ignore[attr-defined]
    expected: Any = {
        "string": b"Hello World",
        "integer": 12345,
        "double": 3.141 if three else b"3.141",
        "null": None,
        "array": [0, 1, 2],
        "set": [0, 1, 2],
        "map": {0: False, 1: True, 2: False} if three else [0, 0, 1, 1, 2, 0],
        "bignum": b"1234567999999999999999999999999999999",
        "true": True if three else 1,
        "false": False if three else 0,
        "verbatim": b"This is a verbatim\nstring",
        "attrib": b"Some real reply following the attribute",
    }[kind]
    client = connect()
    reply = client.execute_command("DEBUG PROTOCOL", kind)
    assert reply == expected
    assert type(reply) is type(expected)
    if kind != "attrib":  # hiredis takes attributes for the reply
        theirs = connect(parser_class=_HiredisParser).execute_command("DEBUG PROTOCOL", kind)
        assert theirs == reply
    assert client.ping() is True


def test_attributes_of_a_real_server(connect: Connect) -> None:
    client = connect()
    connection = client.connection_pool.get_connection()
    connection.send_command("DEBUG PROTOCOL", "attrib")
    connection.read_response()
    three = connect.protocol == 3  # type: ignore[attr-defined]
    assert connection._parser._reader.attributes == ({b"key-popularity": [b"key:123", 90]} if three else None)
    client.connection_pool.release(connection)


def test_decoded_responses(connect: Connect) -> None:
    client = connect(decode_responses=True)
    client.set("k", "ä☃")
    assert client.get("k") == "ä☃"
    client.hset("h", "a", "ö")
    assert client.hgetall("h") == {"a": "ö"}
    assert client.dump("k").__class__ is bytes  # read with disable_decoding
    client.restore("k2", 0, client.dump("k"))
    assert client.get("k2") == "ä☃"


def test_pipelines_and_transactions(connect: Connect) -> None:
    client = connect()
    with client.pipeline(transaction=False) as pipe:
        for i in range(5000):
            pipe.set(f"k{i}", "x" * (i % 300))
            pipe.get(f"k{i}")
        replies = pipe.execute()
    assert replies == [value for i in range(5000) for value in (True, b"x" * (i % 300))]
    with client.pipeline() as pipe:
        pipe.set("t", 1).incr("t").lpush("t", 1).get("t")
        replies = pipe.execute(raise_on_error=False)
    assert replies[:2] == [True, 2]
    assert isinstance(replies[2], redis.ResponseError)
    assert replies[3] == b"2"


def test_large_values(connect: Connect) -> None:
    client = connect()
    for size in (16_383, 16_384, 65_536, 1_000_003, 20_000_000):
        value = b"0123456789" * (size // 10)
        client.set("large", value)
        assert client.get("large") == value
    client.rpush("list", *range(20_000))
    assert client.lrange("list", 0, -1) == [b"%d" % i for i in range(20_000)]


def wait_message(pubsub: Any) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (message := pubsub.get_message(timeout=5)) is not None:
            return message
    pytest.fail("no message")


def test_pubsub(connect: Connect) -> None:
    client = connect()
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("n*")
        assert wait_message(pubsub)["type"] == "subscribe"
        assert wait_message(pubsub)["type"] == "psubscribe"
        assert client.publish("news", "hello") == 2
        messages = [wait_message(pubsub), wait_message(pubsub)]
        assert sorted(message["type"] for message in messages) == ["message", "pmessage"]
        assert {message["data"] for message in messages} == {b"hello"}
        pubsub.unsubscribe()
        assert wait_message(pubsub)["type"] == "unsubscribe"


def test_pushes_between_replies(server: int) -> None:
    """Client tracking: an invalidation comes on the connection that is used for commands."""
    pool = redis.ConnectionPool(connection_class=Connection, host="127.0.0.1", port=server, protocol=3)
    other = redis.Redis(host="127.0.0.1", port=server)
    connection = pool.get_connection()
    pushes: list[Any] = []
    connection._parser.set_invalidation_push_handler(pushes.append)

    def command(*args: str) -> Any:
        connection.send_command(*args)
        return connection.read_response()

    assert command("CLIENT", "TRACKING", "ON") == b"OK"
    command("SET", "tracked", "1")
    assert command("GET", "tracked") == b"1"
    other.set("tracked", "2")
    assert command("GET", "tracked") == b"2"
    assert pushes == [[b"invalidate", [b"tracked"]]]
    assert type(pushes[0]) is resp.PushNotification
    pool.release(connection)
    pool.disconnect()
    other.close()


def test_a_push_inside_a_transaction(server: int) -> None:
    """Redis answers SUBSCRIBE in MULTI with a push inside EXEC's array."""
    with socket.create_connection(("127.0.0.1", server)) as raw:
        raw.sendall(resp.pack_many([("HELLO", 3), ("MULTI",), ("SUBSCRIBE", "c"), ("EXEC",), ("PING",)]))
        reader = resp.Reader()
        replies: list[Any] = []
        while b"PONG" not in replies:
            reader.feed(raw.recv(65536))
            while (reply := reader.gets()) is not False:
                replies.append(reply)
    [executed] = [reply for reply in replies if isinstance(reply, list)]
    assert executed == [[b"subscribe", b"c", 1]]
    assert type(executed[0]) is resp.PushNotification


def test_a_closed_connection_is_made_again(connect: Connect) -> None:
    client = connect(client_name="victim")
    client.ping()
    connect().client_kill_filter(_type="normal", skipme=True)
    assert client.set("again", "1") is True
    assert client.get("again") == b"1"


def test_the_packer_stands_for_redis_py_s(server: int) -> None:
    for command in (
        ("GET", "k"),
        ("CONFIG GET", "x"),
        (b"DEBUG SLEEP", 0),
        ("SET", "k", 1.5, bytearray(b"x"), memoryview(b"y")),
    ):
        theirs = redis.connection.HiredisRespSerializer().pack(*command)
        assert b"".join(Packer().pack(*command)) == b"".join(theirs)
    with pytest.raises(redis.DataError):
        Packer().pack("SET", object())


def test_requests_as_the_server_reads_them(server: int) -> None:
    """Inline commands: our RequestReader splits a line as redis-server does."""
    reader = resp.RequestReader()
    lines = [b"ECHO a", b'ECHO "a b\\x41\\n"', b"ECHO 'it\\'s \\n'", b' echo\t"\\q" ', b'ECHO ""']
    with socket.create_connection(("127.0.0.1", server)) as raw:
        replies = resp.Reader()
        for line in lines:
            raw.sendall(line + b"\r\n")
            while (reply := replies.gets()) is False:
                replies.feed(raw.recv(4096))
            [command] = reader.feed(line + b"\r\n")
            assert command[1:] == [reply]


def test_everything_hiredis_reads_of_a_long_conversation(server: int, tmp_path: Path) -> None:
    """The same bytes of a real server to both readers, in both protocols, cut in odd places."""
    commands = [("DEBUG", "PROTOCOL", kind) for kind in DEBUG] + [
        ("COMMAND",),
        ("INFO",),
        ("CLIENT", "LIST"),
        ("ACL", "CAT"),
    ]
    for protocol in (2, 3):
        with socket.create_connection(("127.0.0.1", server)) as raw:
            raw.sendall(resp.pack_many([("HELLO", protocol), *commands, ("ECHO", "finished")]))
            data = b""
            while not data.endswith(b"finished\r\n"):
                data += raw.recv(65536)
        for step in (1, 7, 1000, 100_000):
            ours, theirs = resp.Reader(notEnoughData=...), hiredis.Reader(notEnoughData=...)
            for begin in range(0, len(data), step):
                ours.feed(data[begin : begin + step])
                theirs.feed(data[begin : begin + step])
                while (reply := ours.gets()) is not ...:
                    assert reply == theirs.gets()
                assert theirs.gets() is ...
