"""Regular expressions in linear time over bytes, for patterns that come from a configuration.

`compile` turns a pattern into a program for the Pike VM of cext/proxy/regex.c. The syntax and its meaning are those of
Python's `re` on bytes (ASCII classes; leftmost match, greedy and lazy quantifiers): CPython's own parser reads the
pattern and only the tree it gives is translated here, so there is no second idea of what a pattern means. What cannot
run in linear time is refused: backreferences, lookaround, atomic groups, possessive quantifiers, conditional groups.

One difference: an empty iteration of a loop ends the loop, as in Perl and RE2; in rare patterns that loop over nothing
(`(a|b*)*`) Python reports other group positions.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from fastcore import pikevm

__all__ = ["PROGRAM_MAX", "Regex", "RegexError", "compile"]

PROGRAM_MAX = 10_000
"""Default bound on a program's instructions. One match examines at most (instructions x (bytes + 1))."""

ASSERTIONS = {
    sre.AT_BEGINNING: pikevm.AT_START,
    sre.AT_BEGINNING_STRING: pikevm.AT_START,
    sre.AT_END: pikevm.AT_FINAL_END,
    sre.AT_END_STRING: pikevm.AT_END,
    sre.AT_BOUNDARY: pikevm.AT_WORD,
    sre.AT_NON_BOUNDARY: pikevm.AT_NOT_WORD,
}
MULTILINE_ASSERTIONS = {sre.AT_BEGINNING: pikevm.AT_LINE_START, sre.AT_END: pikevm.AT_LINE_END}

DIGITS = frozenset(b"0123456789")
SPACES = frozenset(b" \t\n\r\f\v")
WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
ALL = frozenset(range(256))
CATEGORIES = {
    sre.CATEGORY_DIGIT: DIGITS,
    sre.CATEGORY_NOT_DIGIT: ALL - DIGITS,
    sre.CATEGORY_SPACE: SPACES,
    sre.CATEGORY_NOT_SPACE: ALL - SPACES,
    sre.CATEGORY_WORD: WORDS,
    sre.CATEGORY_NOT_WORD: ALL - WORDS,
}

# What the parser accepts and linear time does not; CPython's tree carries no positions, so `_refusals` finds them.
REFUSED = {
    sre.GROUPREF: "backreferences are",
    sre.GROUPREF_EXISTS: "conditional groups are",
    sre.ASSERT: "lookaround is",
    sre.ASSERT_NOT: "lookaround is",
    sre.ATOMIC_GROUP: "atomic groups are",
    sre.POSSESSIVE_REPEAT: "possessive quantifiers are",
}
# One token of a pattern: an escape, a class as a whole, a group's opening, a quantifier with what follows it, a byte.
TOKEN = re.compile(
    rb"(?P<ref>\\[1-9]|\(\?P=)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<look>\(\?<?[=!])|(?P<cond>\(\?\()|(?P<atomic>\(\?>)"
    rb"|(?P<possessive>(?:[*+?]|\{\d*,?\d*\})\+)|.",
    re.DOTALL,
)
TOKEN_OF = {
    sre.GROUPREF: "ref",
    sre.GROUPREF_EXISTS: "cond",
    sre.ASSERT: "look",
    sre.ASSERT_NOT: "look",
    sre.ATOMIC_GROUP: "atomic",
    sre.POSSESSIVE_REPEAT: "possessive",
}


class RegexError(ValueError):
    """A pattern that is malformed, not regular or too large; `pos` is where in the pattern, None if it is the whole."""

    def __init__(self, message: str, pattern: str, pos: int | None = None) -> None:
        where = "" if pos is None else f" at position {pos}"
        super().__init__(f"{message}{where} in regular expression {pattern!r}")
        self.pos = pos


@dataclass(frozen=True)
class Regex:
    """A compiled pattern. Matching methods take bytes and return the positions of a match or None.

    A match is a list of (start, end), the whole match first and then each group; None for a group that took no part.
    """

    pattern: str
    ignore_case: bool
    program: bytes = field(repr=False, compare=False)
    literal: bytes = field(repr=False, compare=False)
    """What every match of the pattern begins with."""
    names: tuple[str, ...] = field(repr=False, compare=False)
    """Name of each group in order, "" for a group without one."""
    _machine: pikevm.Machine = field(repr=False, compare=False)

    def fullmatch(self, text: bytes) -> list[tuple[int, int] | None] | None:
        """Match the whole text."""
        return self._machine.run(pikevm.FULL, text)

    def match(self, text: bytes) -> list[tuple[int, int] | None] | None:
        """Match from the start of the text."""
        return self._machine.run(pikevm.PREFIX, text)

    def search(self, text: bytes) -> list[tuple[int, int] | None] | None:
        """Find the leftmost match."""
        return self._machine.run(pikevm.SEARCH, text)

    @property
    def steps(self) -> int:
        """Instructions examined by all matches so far; what the linear-time promise is about."""
        return self._machine.steps


def compile(pattern: str, *, ignore_case: bool = False, program_max: int = PROGRAM_MAX) -> Regex:
    """Compile a pattern of ASCII characters (write other bytes as ``\\xNN``); raises RegexError."""
    for pos, char in enumerate(pattern):
        if not char.isascii():
            raise RegexError(f"{char!r} is not ASCII: write its bytes as \\xNN, found", pattern, pos)
    source = pattern.encode("ascii")
    try:
        tree = _parser.parse(source, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise RegexError(error.msg, pattern, error.pos) from None
    except (OverflowError, RecursionError) as error:
        raise RegexError(f"too large: {error}", pattern) from None
    flags = tree.state.flags
    for flag, letter in ((re.VERBOSE, "x"), (re.LOCALE, "L")):
        if flags & flag:
            raise RegexError(f"the flag {letter} is not supported", pattern)
    groups = tree.state.groups - 1
    if groups > pikevm.GROUPS_MAX:
        raise RegexError(
            f"{groups} groups, the most is {pikevm.GROUPS_MAX} (use (?:...) where none is needed)", pattern
        )
    writer = _Writer(pattern, program_max)
    writer.tree(tree, flags)
    writer.emit(pikevm.MATCH)
    names = [""] * groups
    for name, number in tree.state.groupdict.items():
        names[number - 1] = name
    literal = bytes(_literal(tree, flags)[0])
    program = writer.program(literal, names)
    return Regex(pattern, ignore_case, program, literal, tuple(names), pikevm.Machine(program))


class _Writer:
    """Translates the parser's tree into instructions, depth first. Jumps are patched when their target is known."""

    def __init__(self, pattern: str, program_max: int) -> None:
        self.pattern = pattern
        self.program_max = program_max
        self.insts: list[tuple[int, int, int, int]] = []
        self.sets: dict[frozenset[int], int] = {}

    def program(self, literal: bytes, names: list[str]) -> bytes:
        """The block of bytes that fc/regex.h describes."""
        named = b"".join(bytes([len(name)]) + name.encode("ascii") for name in names)
        header = (pikevm.MAGIC, len(self.insts), len(self.sets), len(names), len(literal), len(named))
        sets = (sum(1 << byte for byte in chosen).to_bytes(32, "little") for chosen in self.sets)
        words = (struct.pack("=8I", *struct.unpack("<8I", bits)) for bits in sets)
        insts = (struct.pack("=BBHII", op, arg, 0, x, y) for op, arg, x, y in self.insts)
        return struct.pack("=6I", *header) + b"".join(words) + b"".join(insts) + literal + named

    def emit(self, op: int, arg: int = 0, x: int = 0, y: int = 0) -> int:
        if len(self.insts) >= self.program_max:
            raise RegexError(
                f"needs more than {self.program_max} instructions (counted repeats are expanded)", self.pattern
            )
        self.insts.append((op, arg, x, y))
        return len(self.insts) - 1

    def emit_set(self, chosen: frozenset[int]) -> None:
        if len(chosen) == 1:
            self.emit(pikevm.BYTE, next(iter(chosen)))
        else:
            self.emit(pikevm.SET, x=self.sets.setdefault(chosen, len(self.sets)))

    def patch(self, at: int, *, first: int, second: int = 0) -> None:
        op, arg, _, _ = self.insts[at]
        self.insts[at] = (op, arg, first, second)

    def refuse(self, op: Any) -> RegexError:
        positions = (m.start() for m in TOKEN.finditer(self.pattern.encode("ascii")) if m.lastgroup == TOKEN_OF.get(op))
        return RegexError(f"{REFUSED.get(op, f'{op} is')} not supported", self.pattern, next(positions, None))

    def tree(self, items: Any, flags: int) -> None:
        for op, value in items:
            self.item(op, value, flags)

    def item(self, op: Any, value: Any, flags: int) -> None:
        if op in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            self.emit_set(_bytes_of(op, value, flags))
        elif op is sre.AT:
            multiline = MULTILINE_ASSERTIONS if flags & re.MULTILINE else {}
            self.emit(pikevm.ASSERT, multiline.get(value, ASSERTIONS[value]))
        elif op is sre.SUBPATTERN:
            number, added, removed, body = value
            if number is not None:
                self.emit(pikevm.SAVE, x=2 * number)
            self.tree(body, (flags | added) & ~removed)
            if number is not None:
                self.emit(pikevm.SAVE, x=2 * number + 1)
        elif op is sre.BRANCH:
            self.branch(value[1], flags)
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, body = value
            self.repeat(low, None if high is sre.MAXREPEAT else high, body, op is sre.MAX_REPEAT, flags)
        else:
            raise self.refuse(op)

    def branch(self, choices: list[Any], flags: int) -> None:
        jumps = []
        for choice in choices[:-1]:
            split = self.emit(pikevm.SPLIT)
            self.tree(choice, flags)
            jumps.append(self.emit(pikevm.JUMP))
            self.patch(split, first=split + 1, second=len(self.insts))
        self.tree(choices[-1], flags)
        for jump in jumps:
            self.patch(jump, first=len(self.insts))

    def repeat(self, low: int, high: int | None, body: Any, greedy: bool, flags: int) -> None:
        def split(at: int, into: int, past: int) -> None:
            self.patch(at, first=into if greedy else past, second=past if greedy else into)

        start = len(self.insts)
        for _ in range(low if high is not None else low - 1):
            self.tree(body, flags)
            if len(self.insts) == start:
                return  # repeats of nothing; without this `(?:){1000000000}` would loop here
        if high is None:
            # x* is (x+)?, not a loop around a split: with an x that can match nothing the plain loop would prefer an
            # iteration more over the empty one (the same correction as in RE2 and Go, golang/go#46123).
            skip = self.emit(pikevm.SPLIT) if low == 0 else None
            again = len(self.insts)
            self.tree(body, flags)
            loop = self.emit(pikevm.SPLIT)
            split(loop, again, loop + 1)
            if skip is not None:
                split(skip, again, loop + 1)
            return
        skips = []
        for _ in range(high - low):
            skips.append(self.emit(pikevm.SPLIT))
            self.tree(body, flags)
        for skip in skips:
            split(skip, skip + 1, len(self.insts))


def _bytes_of(op: Any, value: Any, flags: int) -> frozenset[int]:
    """The bytes that one single-byte item of the tree matches."""
    if op is sre.ANY:
        return ALL if flags & re.DOTALL else ALL - frozenset(b"\n")
    chosen = frozenset((value,)) if op in (sre.LITERAL, sre.NOT_LITERAL) else frozenset(_members(value))
    if flags & re.IGNORECASE:
        chosen = frozenset(byte for one in chosen for byte in bytes((one,)).lower() + bytes((one,)).upper())
    negated = op is sre.NOT_LITERAL or (op is sre.IN and value[0][0] is sre.NEGATE)
    return ALL - chosen if negated else chosen


def _members(items: Any) -> Iterator[int]:
    for op, value in items:
        if op is sre.LITERAL:
            yield value
        elif op is sre.RANGE:
            yield from range(value[0], value[1] + 1)
        elif op is sre.CATEGORY:
            yield from CATEGORIES[value]


def _literal(items: Any, flags: int) -> tuple[bytearray, bool]:
    """What every match begins with, and whether that is all of the pattern (so that what follows it may be added)."""
    prefix = bytearray()
    for op, value in items:
        if op is sre.LITERAL and not flags & re.IGNORECASE:
            prefix.append(value)
        elif op is sre.SUBPATTERN:
            inner, whole = _literal(value[3], (flags | value[1]) & ~value[2])
            prefix += inner
            if not whole:
                return prefix, False
        elif op is not sre.AT:
            return prefix, False
    return prefix, True
