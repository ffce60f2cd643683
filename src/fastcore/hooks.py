"""What a gateway's functions see and change: requests on their way to a target, and answers on their way to a client.

    from fastcore.hooks import Answer, Request, Response

    def check(request: Request) -> Answer | None:
        if request.headers.get("x-color") == "pink":
            return Answer(403, "not in pink\\n")
        request.headers["x-checked"] = "yes"

    def sign(response: Response) -> None:
        response.headers["x-signed"] = "yes"

How a message is framed (Content-Length, Transfer-Encoding, Connection and their like) is not among the fields: that
stays the gateway's. A body is there if the route asks for bodies, and may then be replaced by another.
"""

import json
from collections.abc import Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

__all__ = ["Answer", "Headers", "Request", "Response"]

#: Who frames the message, and where it goes: not a function's to see or to change.
FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _checked(name: str, value: str) -> tuple[str, str]:
    if not name or not _TOKEN.issuperset(name):
        raise ValueError(f"{name!r} is no name of a field")
    if name.lower() in FRAMING:
        raise ValueError(f"{name} frames the message, which is the gateway's affair")
    if any(c in value for c in "\r\n\0") or value != value.strip(" \t"):
        raise ValueError(f"{name}: {value!r} is no value of a field")
    return name, value


class Headers(MutableMapping[str, str]):
    """Fields in their order, by name in any letter case. What stands there several times is joined by commas when it is
    read, and `all` has each; setting replaces all of them. Raises ValueError for what cannot stand in a head."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()):
        self._fields = [_checked(name, value) for name, value in fields]

    def all(self, name: str) -> list[str]:
        folded = name.lower()
        return [value for key, value in self._fields if key.lower() == folded]

    def add(self, name: str, value: str) -> None:
        """Besides those that are there."""
        self._fields.append(_checked(name, value))

    def fields(self) -> list[tuple[str, str]]:
        return list(self._fields)

    def __getitem__(self, name: str) -> str:
        found = self.all(name)
        if not found:
            raise KeyError(name)
        return ", ".join(found)

    def __setitem__(self, name: str, value: str) -> None:
        field = _checked(name, value)
        folded = name.lower()
        places = [place for place, (key, _) in enumerate(self._fields) if key.lower() == folded]
        if places:
            self._fields[places[0]] = field
            self._fields = [item for place, item in enumerate(self._fields) if place not in places[1:]]
        else:
            self._fields.append(field)

    def __delitem__(self, name: str) -> None:
        folded = name.lower()
        kept = [field for field in self._fields if field[0].lower() != folded]
        if len(kept) == len(self._fields):
            raise KeyError(name)
        self._fields = kept

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._fields))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


class _Message:
    """A head as text, and a body that may be missing. headers: what a function may see of the fields."""

    def __init__(self, head: bytes, body: bytes | None):
        lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines[1:])]
        self._start = lines[0]
        self._framing = [field for field in fields if field[0].lower() in FRAMING]
        self._chunked = any(name.lower() == "transfer-encoding" for name, _ in self._framing)
        self._has_length = any(name.lower() == "content-length" for name, _ in self._framing)
        self.headers = Headers(field for field in fields if field[0].lower() not in FRAMING)
        self._came = self.headers.fields(), body
        self._body = body

    @property
    def body(self) -> bytes:
        """Raises LookupError where the route does not ask for bodies."""
        if self._body is None:
            raise LookupError("bodies are not gathered for this function (request_body, response_body)")
        return self._body

    @body.setter
    def body(self, value: bytes) -> None:
        if self._body is None:
            raise LookupError("bodies are not gathered for this function (request_body, response_body)")
        self._body = bytes(value)

    def json(self) -> Any:
        """The body, read. Raises ValueError."""
        return json.loads(self.body)

    def set_json(self, value: Any) -> None:
        """The body, written; Content-Type is left as it is."""
        self.body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    def _changed(self) -> bool:
        return (self.headers.fields(), self._body) != self._came

    def _text(self, start: str) -> bytes:
        framing = self._framing
        if self._body is not None:
            gone = ("content-length", "transfer-encoding", "expect", "trailer")
            framing = [field for field in framing if field[0].lower() not in gone]
            if self._body or self._has_length or self._chunked:
                framing.append(("Content-Length", str(len(self._body))))
        lines = [start, *(f"{name}: {value}" for name, value in (*self.headers.fields(), *framing)), "", ""]
        return "\r\n".join(lines).encode("latin-1")


class Request(_Message):
    """A request as its target would get it. method is read-only; path (with its percent-encoding) and query (None:
    none) may be changed. client: its address; user: who asks, as authentication found out, or None."""

    def __init__(self, head: bytes, body: bytes | None = None, *, client: str = "", user: str | None = None):
        super().__init__(head, body)
        self.method, target, self._version = self._start.split(" ", 2)
        self.path, mark, query = target.partition("?")
        self.query: str | None = query if mark else None
        self.client, self.user = client, user
        self._target = target

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def changed(self) -> bool:
        return self.target != self._target or self._changed()

    def text(self) -> bytes:
        """The head as it is now. Raises ValueError for a path or query that cannot stand in it."""
        if not self.path.startswith("/") and self.path != "*":
            raise ValueError(f"{self.path!r} is no path")
        if not self.target.isascii() or any(c <= " " or c == "\x7f" or c == "#" for c in self.target):
            raise ValueError(f"{self.target!r}: percent-encode what is no visible ASCII")
        return self._text(f"{self.method} {self.target} {self._version}")


class Response(_Message):
    """A target's answer as the client would get it. client, user: as of a Request."""

    def __init__(self, head: bytes, body: bytes | None = None, *, client: str = "", user: str | None = None):
        super().__init__(head, body)
        self._version, status, *reason = self._start.split(" ", 2)
        self.status = int(status)
        self._said = self.status, reason[0] if reason else ""
        self.client, self.user = client, user

    @property
    def changed(self) -> bool:
        return self.status != self._said[0] or self._changed()

    def text(self) -> bytes:
        """The head as it is now. Raises ValueError for a status that ends no exchange."""
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of an answer")
        reason = self._said[1] if self.status == self._said[0] else _reason(self.status)
        return self._text(f"{self._version} {self.status} {reason}")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class Answer:
    """What a client is answered in place of its request's going on. A text is UTF-8."""

    def __init__(self, status: int, body: bytes | str = b"", headers: Iterable[tuple[str, str]] | dict[str, str] = ()):
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is no status of an answer")
        self.status = status
        self.headers = Headers(headers.items() if isinstance(headers, dict) else headers)
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        if isinstance(body, str) and body and "content-type" not in self.headers:
            self.headers["Content-Type"] = "text/plain; charset=utf-8"
        if status in (204, 304) and self.body:
            raise ValueError(f"an answer with {status} has no body")

    def text(self) -> bytes:
        """The head, to the end of its last line."""
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.fields()]
        if self.status not in (204, 304):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, ""]).encode("latin-1")
