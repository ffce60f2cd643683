"""Changes to JSON values, by places in them (RFC 6901). Pure.

A body in gzip is unpacked, and goes on plain. One in another coding is refused: what must not pass would pass in it.
"""

import copy
import zlib
from typing import Any

from apps.gateway.config_json import JsonChanges
from fastcore.hooks import Answer, Request, Response

Places = dict[str, Any]


class JsonEditor:
    """What a route's settings say, made ready."""

    def __init__(self, changes: JsonChanges):
        self._project = _tree([_parts(pointer) for pointer in changes.project]) if changes.project else None
        self._remove = [_parts(pointer) for pointer in changes.remove]
        self._rename = [(_parts(pointer), name) for pointer, name in changes.rename.items()]
        self._set = [(_parts(pointer), value) for pointer, value in changes.set.items()]
        self._bytes_max = changes.max_bytes

    def edited(self, value: Any) -> Any:
        """The changed value. Raises ValueError where a place cannot be set in it."""
        if self._project is not None:
            value = _projected(value, self._project)
        for parts in self._remove:
            _remove(value, parts)
        for parts, name in self._rename:
            _rename(value, parts, name)
        for parts, new in self._set:
            _set(value, parts, copy.deepcopy(new))
        return value

    def request(self, request: Request) -> Answer | None:
        if not _is_json(request) or not request.body:
            return None
        try:
            _unpack(request, self._bytes_max)
            value = request.json()
        except UnknownCodingError as error:
            return Answer(415, f"{error}; send gzip, or none\n", {"Accept-Encoding": "gzip"})  # RFC 9110, 15.5.16
        except TooLargeError as error:
            return Answer(413, f"{error}\n")
        except ValueError:
            return Answer(400, "the body says that it is JSON, and is not\n")
        request.set_json(self.edited(value))
        return None

    def response(self, response: Response) -> None:
        """Raises ValueError for what says that it is JSON, and is not, or cannot be unpacked."""
        if _is_json(response) and response.body:
            _unpack(response, self._bytes_max)
            response.set_json(self.edited(response.json()))


def _is_json(message: Request | Response) -> bool:
    kind = message.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


class UnknownCodingError(ValueError):
    """A content coding that is not unpacked here."""


class TooLargeError(ValueError):
    """More than is gathered of bodies."""


def _unpack(message: Request | Response, bytes_max: int) -> None:
    coding = message.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("gzip", "x-gzip"):  # RFC 9110, 8.4.1.3: the same
        message.body = _gunzip(message.body, bytes_max)
        del message.headers["content-encoding"]
    elif coding != "identity":
        raise UnknownCodingError(f"the body's Content-Encoding is {coding}, which is not unpacked here")


def _gunzip(data: bytes, bytes_max: int) -> bytes:
    """RFC 1952, 2.2: members one after the other. Never more than a byte above the bound is unfolded."""
    found = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            found += member.decompress(data, bytes_max + 1 - len(found))
        except zlib.error as error:
            raise ValueError(f"the body is no gzip: {error}") from None
        if len(found) > bytes_max:
            raise TooLargeError(f"the body unfolds to more than {bytes_max} bytes")
        if not member.eof:
            raise ValueError("the body is no whole gzip")
        data = member.unused_data
    return found


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _tree(pointers: list[list[str]]) -> Places:
    """Places by their first part; an empty tree is all of what is there."""
    made: Places = {}
    for parts in pointers:
        here: Places | None = made
        for number, part in enumerate(parts):
            assert here is not None
            if part in here and here[part] == {}:
                break  # all of it stays already
            if number == len(parts) - 1:
                here[part] = {}
            else:
                here = here.setdefault(part, {})
    return made


def _projected(value: Any, tree: Places) -> Any:
    if not tree:
        return value
    if isinstance(value, dict):
        return {key: _projected(value[key], below) for key, below in tree.items() if key in value}
    if isinstance(value, list):
        return [_projected(member, tree) for member in value]
    return value


def _child(value: Any, part: str) -> Any:
    """What is there. Raises LookupError."""
    if isinstance(value, dict):
        return value[part]
    if isinstance(value, list) and part.isascii() and part.isdigit():
        return value[int(part)]
    raise LookupError(part)


def _parent(value: Any, parts: list[str]) -> Any:
    for part in parts[:-1]:
        value = _child(value, part)
    return value


def _remove(value: Any, parts: list[str]) -> None:
    try:
        parent = _parent(value, parts)
        _child(parent, parts[-1])
    except LookupError:
        return
    del parent[int(parts[-1]) if isinstance(parent, list) else parts[-1]]


def _rename(value: Any, parts: list[str], name: str) -> None:
    try:
        parent = _parent(value, parts)
    except LookupError:
        return
    if isinstance(parent, dict) and parts[-1] in parent:
        parent[name] = parent.pop(parts[-1])


def _set(value: Any, parts: list[str], new: Any) -> None:
    for part in parts[:-1]:
        try:
            value = _child(value, part)
        except LookupError:
            if not isinstance(value, dict):
                raise ValueError(f"{'/'.join(parts)}: {part} is not there, and cannot be made") from None
            value[part] = {}
            value = value[part]
    last = parts[-1]
    if isinstance(value, dict):
        value[last] = new
    elif isinstance(value, list) and (last == "-" or last == str(len(value))):
        value.append(new)
    elif isinstance(value, list) and last.isascii() and last.isdigit() and int(last) < len(value):
        value[int(last)] = new
    else:
        raise ValueError(f"{'/'.join(parts)}: nothing can be set there")
