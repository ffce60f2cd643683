"""Functions that test_gateway_hooks.py puts on the way of requests and answers."""

from typing import Any

from gevent import event, socket

from fastcore.hooks import Answer, Request, Response


def mark(request: Request) -> None:
    request.headers["X-Marked"] = f"{request.method} {request.path} {request.client} {request.user}"
    request.headers.pop("X-Secret", None)
    request.headers.add("X-Twice", "1")
    request.headers.add("X-Twice", "2")


def move(request: Request) -> None:
    request.path, request.query = "/moved" + request.path, "a=1&b=%20"


def look(request: Request) -> None:
    """Changes nothing."""


def refuse(request: Request) -> Answer | None:
    if request.path == "/no":
        return Answer(403, "not you\n", {"X-Why": "because"})
    return Answer(204) if request.path == "/empty" else None


def shout(request: Request) -> None:
    request.body = request.body.upper()


def grow(request: Request) -> None:
    request.body *= 100


def add_field(request: Request) -> None:
    value: Any = request.json()
    value["added"] = "ü"
    request.set_json(value)


def sign(response: Response) -> None:
    response.headers["X-Signed"] = f"{response.status} {response.client}"
    if response.headers.get("X-Teapot"):
        response.status = 418


def rewrite(response: Response) -> None:
    response.body = response.body.replace(b"secret", b"******")
    response.headers["X-Length"] = str(len(response.body))


def fail(message: Any) -> None:
    raise RuntimeError("on purpose")


def wait(message: Any) -> None:
    """For what never comes."""
    event.Event().wait()


def pause(message: Any) -> None:
    """Until the test, which listens at X-Gate, closes the connection."""
    with socket.create_connection(("127.0.0.1", int(message.headers["X-Gate"]))) as gate:
        gate.recv(1)


def ask_for_body(message: Any) -> None:
    message.body  # noqa: B018


def inject(message: Any) -> None:
    message.headers["X-Bad"] = "a\r\nX-Evil: 1"


def smuggle(message: Any) -> None:
    message.headers["Transfer-Encoding"] = "chunked"


def inject_path(request: Request) -> None:
    request.path = "/a HTTP/1.1\r\nX-Evil: 1\r\nX:"


def return_nonsense(message: Any) -> Any:
    return 42


not_callable = 42
