"""Faktory's protocol, version 2, without sockets: lines in, verbs and answers out. See PROTOCOL.md."""

import hashlib
import hmac
import json
import re
from typing import Any, NoReturn

NESTED_MAX = 64
_CONTROL = re.compile(r"[\r\n\0]+")


class BadRequest(Exception):
    """The request cannot be read; the connection goes on."""


class LineTooLong(Exception):
    """What follows cannot be told from it."""


class Lines:
    """Bytes in pieces, lines out."""

    def __init__(self, bytes_max: int):
        self._max = bytes_max
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Raises LineTooLong."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self._max or any(len(line) > self._max for line in lines):
            raise LineTooLong(f"a request has at most {self._max} bytes")
        return [line.removesuffix(b"\r") for line in lines]


def simple(text: str) -> bytes:
    return b"+%b\r\n" % text.encode()


def error(text: str, code: str = "ERR") -> bytes:
    """text: without line breaks, or they are taken out."""
    return b"-%b %b\r\n" % (code.encode(), _CONTROL.sub(" ", text).encode("utf-8", "replace"))


def bulk(data: bytes | None) -> bytes:
    return b"$-1\r\n" if data is None else b"$%d\r\n%b\r\n" % (len(data), data)


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def parse(data: bytes) -> Any:
    """JSON. Raises BadRequest."""
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise BadRequest(f"not UTF-8 at byte {problem.start}") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as problem:
        raise BadRequest(f"not JSON at character {problem.pos}: {problem.msg}") from None
    except (RecursionError, ValueError) as problem:
        raise BadRequest(f"not JSON: {problem}") from None
    if not _within(value, NESTED_MAX):
        raise BadRequest(f"nested more than {NESTED_MAX} deep")
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    value = parse(data)
    if not isinstance(value, dict):
        raise BadRequest("an object is expected")
    return value


def _within(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_within(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_within(item, depth - 1) for item in value)
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def password_hash(password: str, salt: str, rounds: int) -> str:
    digest = (password + salt).encode()
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def knows_password(hello: dict[str, Any], password: str, salt: str, rounds: int) -> bool:
    """Whether a HELLO proves it; one without `v` is of version 1, which hashes once."""
    given = hello.get("pwdhash")
    wanted = password_hash(password, salt, rounds if "v" in hello else 1)
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())
