"""gRPC by grpcio, server and client in a process of their own (grpc's threads and forks do not mix): calls.py says on its
first line where its server listens, reads a line with the address to call, and says as JSON what came of each call.

Nothing of Protocol Buffers: messages are bytes."""

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc

MEGABYTES = 16
SECONDS = 20
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]

cancelled = threading.Event()


def unary(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"), ("x-data-bin", b"\0\xff")))
    return message


def many(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from (b"%d" % number for number in range(int(message)))


def total(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    return b"%d" % sum(map(len, messages))


def twice(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    for message in messages:
        yield message * 2


def refuse(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: ü 100%")
    raise AssertionError


def stand(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """One message, then nothing, until the call ends."""
    ended = threading.Event()
    context.add_callback(ended.set)
    yield b"first"
    assert ended.wait(SECONDS)
    cancelled.set()


METHODS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Unary": (grpc.unary_unary_rpc_method_handler, unary),
    "Many": (grpc.unary_stream_rpc_method_handler, many),
    "Total": (grpc.stream_unary_rpc_method_handler, total),
    "Twice": (grpc.stream_stream_rpc_method_handler, twice),
    "Refuse": (grpc.unary_unary_rpc_method_handler, refuse),
    "Stand": (grpc.unary_stream_rpc_method_handler, stand),
}


class Service(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        found = METHODS.get(details.method.removeprefix("/test.Calls/"))
        return found[0](found[1]) if found else None


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        call()
    except grpc.RpcError as error:
        return {
            "code": error.code().name,
            "details": error.details(),
            "trailing": {str(key): str(value) for key, value in error.trailing_metadata() or ()},
            "seconds": time.monotonic() - began,
        }
    return {"code": "OK"}


def bidirectional(channel: grpc.Channel) -> list[str]:
    """Each message is answered before the next one is sent."""
    waiting: queue.Queue[bytes | None] = queue.Queue()
    call = channel.stream_stream("/test.Calls/Twice")(iter(waiting.get, None), timeout=SECONDS)
    got = []
    for number in range(50):
        waiting.put(b"%d" % number)
        got.append(next(call).decode())
    waiting.put(None)
    return got + [message.decode() for message in call]


def calls(channel: grpc.Channel) -> dict[str, Any]:
    def one(name: str, message: bytes = b"", seconds: float = SECONDS) -> bytes:
        return bytes(channel.unary_unary(f"/test.Calls/{name}")(message, timeout=seconds))

    reply, call = channel.unary_unary("/test.Calls/Unary").with_call(b"hello", timeout=SECONDS)
    large = bytes(range(256)) * (MEGABYTES << 12)
    standing = channel.unary_stream("/test.Calls/Stand")(b"", timeout=SECONDS)
    first = next(standing)
    standing.cancel()
    return {
        "unary": reply.decode(),
        "initial": dict(call.initial_metadata()).get("x-initial"),
        "trailing": {key: repr(value) for key, value in call.trailing_metadata()},
        "empty": one("Unary").decode(),
        "large": one("Unary", large) == large,
        "many": [message.decode() for message in channel.unary_stream("/test.Calls/Many")(b"300", timeout=SECONDS)],
        "none": list(channel.unary_stream("/test.Calls/Many")(b"0", timeout=SECONDS)),
        "total": channel.stream_unary("/test.Calls/Total")(iter([b"abc"] * 1000), timeout=SECONDS).decode(),
        "twice": bidirectional(channel),
        "refused": outcome(lambda: one("Refuse")),
        "deadline": outcome(lambda: list(channel.unary_stream("/test.Calls/Stand")(b"", timeout=0.3))),
        "first": first.decode(),
        "cancelled": cancelled.wait(SECONDS),
        "unknown": outcome(lambda: one("Nothing")),
        "unrouted": outcome(lambda: channel.unary_unary("/test.Other/Nothing")(b"", timeout=SECONDS)),
    }


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers((Service(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    for line in sys.stdin:
        address, *paths = line.split()
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            if paths:  # only what becomes of calls there
                found: Any = [outcome(lambda p=path: channel.unary_unary(p)(b"", timeout=SECONDS)) for path in paths]  # type: ignore[misc]
            else:
                found = calls(channel)
        print(json.dumps(found), flush=True)
    server.stop(0).wait()


if __name__ == "__main__":
    main()
