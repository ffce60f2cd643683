"""RESP2 and RESP3 as simply as they can be written: one function over a complete string, recursive, nothing
incremental.

`replies` reads what a client reads, `requests` what a server reads. Both are as strict as cext/include/fc/resp.h
promises and say where a mistake is noticed only by raising `Bad`.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

MAX_INT = 2**63
LINE = re.compile(rb"([^\r\n]*)\r\n")
LENGTH = re.compile(rb"(0|[1-9][0-9]*)\r\n")
INTEGER = re.compile(rb"(0|-?[1-9][0-9]*)\Z")
DOUBLE = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")


class Bad(Exception):
    """The peer broke the protocol."""


class Incomplete(Exception):
    """The text ends inside a value. (It may be bad as well: a model needs not notice that early.)"""


class Push(list):
    """A push."""


@dataclass(frozen=True)
class Error:
    """An error reply."""

    text: str


class _End(Exception):
    """The end of a streamed aggregate, where a value was looked for."""

    def __init__(self, at: int) -> None:
        self.at = at


def _match(pattern: re.Pattern[bytes], data: bytes, at: int) -> re.Match[bytes]:
    found = pattern.match(data, at)
    if found:
        return found
    raise Bad if b"\n" in data[at:] else Incomplete


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    found = _match(LINE, data, at)
    return found[1], found.end()


def _blob(data: bytes, at: int) -> tuple[bytes, int]:
    found = _match(LENGTH, data, at)
    begin, n = found.end(), int(found[1])
    if n > 512 << 20:
        raise Bad
    if len(data) < begin + n + 2:
        raise Incomplete
    if data[begin + n : begin + n + 2] != b"\r\n":
        raise Bad
    return data[begin : begin + n], begin + n + 2


def _streamed_string(data: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    while True:
        if at >= len(data):
            raise Incomplete
        if data[at : at + 1] != b";":
            raise Bad
        if data[at : at + 4] == b";0\r\n":
            return b"".join(parts), at + 4
        part, at = _blob(data, at + 1)
        parts.append(part)


def _elements(data: bytes, at: int, pairs: bool, streamable: bool) -> tuple[list[Any], int]:
    values = []
    if data[at : at + 3] == b"?\r\n" and streamable:
        at += 3
        while True:
            try:
                value, at = _value(data, at, end_allowed=not (pairs and len(values) % 2))
            except _End as end:
                return values, end.at
            values.append(value)
    found = _match(LENGTH, data, at)
    at = found.end()
    count = int(found[1])
    if count > 2**32 - 1:
        raise Bad
    for _ in range(count * (1 + pairs)):
        value, at = _value(data, at)
        values.append(value)
    return values, at


def _value(data: bytes, at: int, end_allowed: bool = False) -> tuple[Any, int]:
    if at >= len(data):
        raise Incomplete
    kind, at = data[at : at + 1], at + 1
    if kind in b"$*" and data[at : at + 4] == b"-1\r\n":
        return None, at + 4
    if kind == b"$" and data[at : at + 3] == b"?\r\n":
        return _streamed_string(data, at + 3)
    if kind == b"$":
        return _blob(data, at)
    if kind == b"!":
        text, at = _blob(data, at)
        return Error(text.decode(errors="replace")), at
    if kind == b"=":
        text, at = _blob(data, at)
        if text[3:4] != b":":
            raise Bad
        return text[4:], at
    if kind in b"*~>%|":
        values, at = _elements(data, at, pairs=kind in b"%|", streamable=kind in b"*~%")
        if kind == b"|":
            return _value(data, at)  # what attributes are about counts; a '.' may not follow
        if kind == b"%":
            return dict(zip(values[::2], values[1::2], strict=True)), at
        return (Push(values) if kind == b">" else values), at
    if kind == b".":
        if not end_allowed or data[at : at + 2] != b"\r\n":
            raise Bad if len(data) >= at + 2 or not end_allowed else Incomplete
        raise _End(at + 2)
    return _line_value(kind, *_line(data, at))


def _line_value(kind: bytes, text: bytes, at: int) -> tuple[Any, int]:
    if kind == b"+":
        return text, at
    if kind == b"-":
        return Error(text.decode(errors="replace")), at
    if kind == b":" and INTEGER.match(text) and -MAX_INT <= int(text) < MAX_INT:
        return int(text), at
    if kind == b"(" and INTEGER.match(text):
        return text, at
    if kind == b"_" and text == b"":
        return None, at
    if kind == b"#" and text in (b"t", b"f"):
        return text == b"t", at
    if kind == b",":
        if text in (b"inf", b"-inf", b"nan", b"-nan"):
            return float(text), at
        if DOUBLE.match(text) and math.isfinite(float(text)):
            return float(text), at
    raise Bad


def replies(data: bytes) -> tuple[list[Any], bool]:
    """All complete replies at the front, and whether a bad one follows them."""
    found: list[Any] = []
    at = 0
    while True:
        try:
            value, at = _value(data, at)
        except Incomplete:
            return found, False
        except Bad:
            return found, True
        found.append(value)


def requests(data: bytes) -> tuple[list[list[bytes]], bool]:
    """All complete commands at the front that are arrays of bulk strings, and whether something bad follows."""
    found: list[list[bytes]] = []
    at = 0
    while at < len(data):
        try:
            if data[at : at + 1] != b"*":
                raise Bad
            if data[at : at + 5] == b"*-1\r\n":
                at += 5
                continue
            head = _match(LENGTH, data, at + 1)
            place = head.end()
            command = []
            for _ in range(int(head[1])):
                if place < len(data) and data[place : place + 1] != b"$":
                    raise Bad
                if place >= len(data):
                    raise Incomplete
                argument, place = _blob(data, place + 1)
                command.append(argument)
        except Incomplete:
            return found, False
        except Bad:
            return found, True
        at = place
        if command:
            found.append(command)
    return found, False
