"""YAML as plain data that remembers where each value stood.

Settings files come from people and from their templates, so the reader is bounded (bytes, depth, values, aliases),
knows only the plain types of YAML 1.2 (null, bool, int, float, string, list, mapping; no tags), refuses duplicate keys,
and reports every error it can with line and column. `off`, `yes` and `no` are strings, as YAML 1.2 says.

It walks the parser's events instead of composing a tree first: that is what lets depth and alias bounds hold *before*
anything is built, and no recursion depends on the input.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: where, which key, and what.

    `position` is None for what has no place in a file (an environment variable, a flag); `source` then names it.
    """

    path: Path
    message: str
    position: Position | None = None
    source: str = ""

    def __str__(self) -> str:
        parts = [str(self.position) if self.position else self.source, dotted(self.path), self.message]
        return ": ".join(part for part in parts if part)


def dotted(path: Path) -> str:
    """Written form of a key's path: ('routes', 3, 'path') is routes[3].path."""
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif re.fullmatch(r"[\w.-]+", step):
            out += f".{step}" if out else step
        else:
            out += f"[{step!r}]"
    return out


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a settings file may cost. 10,000 routes of 10 keys are 5 MB and 200,000 values."""

    file_bytes: int = 16 * 1024 * 1024
    depth: int = 32
    values: int = 1_000_000
    aliases: int = 1_000


@dataclass(slots=True)
class Document:
    """Parsed data, the position of every key and list item, and the problems found on the way."""

    file: str
    data: Any = None
    positions: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: Path) -> Position | None:
        """Where `path` stands, or the nearest thing around it that the file does have."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                return self.positions[path[:end]]
        return None


class _Refused(Exception):
    """Reading cannot go on: a bound was passed."""


_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGITS = 400  # longer numbers are no number anyone means, and int() is quadratic


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar by the core schema of YAML 1.2.2, section 10.3.2 (without .inf and .nan)."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if len(text) <= _DIGITS:
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being filled."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    skip: bool = False  # the value that follows belongs to a key already refused


class _Reader:
    def __init__(self, document: Document, bounds: Bounds):
        self.document = document
        self.bounds = bounds
        self.stack: list[_Open] = []
        self.anchors: dict[str, Any] = {}
        self.values = 0
        self.aliases = 0
        self.documents = 0

    def read(self, stream: Iterator[Any]) -> None:
        for event in stream:
            match event:
                case events.DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        self.refuse(event, (), "only one document may stand in the file")
                case events.ScalarEvent():
                    self.scalar(event)
                case events.MappingStartEvent():
                    self.open(event, {})
                case events.SequenceStartEvent():
                    self.open(event, [])
                case events.AliasEvent():
                    self.alias(event)
                case events.MappingEndEvent() | events.SequenceEndEvent():
                    self.stack.pop()

    def problem(self, event: Any, path: Path, message: str) -> None:
        self.document.problems.append(Problem(path, message, self.place(event)))

    def refuse(self, event: Any, path: Path, message: str) -> None:
        self.problem(event, path, message)
        raise _Refused

    def place(self, event: Any) -> Position:
        return Position(self.document.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def count(self, event: Any, number: int = 1) -> None:
        self.values += number
        if self.values > self.bounds.values:
            self.refuse(event, (), f"more than {self.bounds.values} values")

    def expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def next_path(self) -> Path:
        if not self.stack:
            return ()
        top = self.stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        assert top.key is not None
        return (*top.path, top.key)

    def put(self, event: Any, value: Any) -> None:
        path = self.next_path()
        if not self.stack:
            self.document.data = value
            self.document.positions[path] = self.place(event)
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            self.document.positions[path] = self.place(event)
            top.value.append(value)
        else:
            if not top.skip and top.key is not None:
                top.value[top.key] = value
            top.key, top.skip = None, False

    def tagged(self, event: Any, path: Path) -> None:
        if event.tag is not None and str(event.tag) not in ("!", "tag:yaml.org,2002:str"):
            self.problem(event, path, f"tags are not allowed here: {event.tag}")

    def scalar(self, event: Any) -> None:
        self.count(event)
        if self.expects_key():
            self.key(event)
            return
        self.tagged(event, self.next_path())
        if any("\ud800" <= letter <= "\udfff" for letter in event.value):
            self.problem(event, self.next_path(), "half a surrogate pair is no character; write the character itself")
        plain = not event.style and event.tag is None
        value = plain_scalar(event.value) if plain else event.value
        if event.anchor:
            self.anchors[event.anchor] = value
        self.put(event, value)

    def key(self, event: Any) -> None:
        top = self.stack[-1]
        assert isinstance(top.value, dict)
        top.key = event.value
        path = (*top.path, event.value)
        self.tagged(event, path)
        if event.value in top.value:
            first = self.document.positions[path]
            self.problem(event, path, f"this key stands here twice (first in line {first.line})")
            top.skip = True
        else:
            self.document.positions[path] = self.place(event)

    def open(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        self.count(event)
        if self.expects_key():
            self.refuse(event, self.stack[-1].path, "a key must be a plain string")
        path = self.next_path()
        self.tagged(event, path)
        if len(self.stack) >= self.bounds.depth:
            self.refuse(event, path[:3], f"nested deeper than {self.bounds.depth} levels")
        self.put(event, value)
        self.stack.append(_Open(value, path))
        if event.anchor:
            self.anchors[event.anchor] = value

    def alias(self, event: Any) -> None:
        self.aliases += 1
        if self.aliases > self.bounds.aliases:
            self.refuse(event, (), f"more than {self.bounds.aliases} aliases")
        if self.expects_key():
            self.refuse(event, self.stack[-1].path, "a key must be a plain string")
        path = self.next_path()
        if event.anchor not in self.anchors:
            self.refuse(event, path, f"*{event.anchor} names no anchor above")
        value = self.anchors[event.anchor]
        if any(entry.value is value for entry in self.stack):
            self.refuse(event, path, f"*{event.anchor} contains itself")
        self.count(event, size_of(value, self.bounds.values))
        self.put(event, value)


def size_of(value: Any, limit: int) -> int:
    """Values inside `value` with aliases written out, counted no further than `limit`."""
    count, pending = 0, [value]
    while pending and count <= limit:
        item = pending.pop()
        count += 1
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return count


def parse(text: str, file: str, bounds: Bounds = Bounds()) -> Document:
    """Reads one YAML document; never raises for what is in it: see `Document.problems`."""
    document = Document(file)
    if len(text.encode("utf-8", "surrogatepass")) > bounds.file_bytes:
        document.problems.append(Problem((), f"larger than {bounds.file_bytes} bytes", Position(file, 1, 1)))
        return document
    with contextlib.suppress(_Refused, YAMLError, ValueError):
        _Reader(document, bounds).read(YAML(typ="safe", pure=False).parse(text))
        if not document.problems:
            return document
    return _parse_in_python(text, file, bounds)


def _parse_in_python(text: str, file: str, bounds: Bounds) -> Document:
    """libyaml (in C, five times as fast) reads what is right; who has made a mistake is told by the parser that knows
    YAML 1.2 and says more clearly what it is."""
    document = Document(file)
    try:
        _Reader(document, bounds).read(YAML(typ="safe", pure=True).parse(text))
    except _Refused:
        pass
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
        document.problems.append(Problem((), f"not YAML: {error.problem or error.context}", place))
    except (YAMLError, ValueError) as error:
        document.problems.append(Problem((), f"not YAML: {str(error).splitlines()[0]}", Position(file, 1, 1)))
    return document
