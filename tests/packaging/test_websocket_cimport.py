"""What docs/toolkit/websocket.md promises to Cython: cimport the parser, override its hooks, link nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

COUNTER = """
# cython: language_level=3
from fastcore.websocket cimport FrameParser, FC_WS_PING

cdef class Counter(FrameParser):
    cdef public list seen
    cdef public object inside

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    cdef int on_message(self, int opcode, bint first, bint last, const char *p, size_t n) except -1:
        if self.inside is not None:
            self.inside(self)
        self.seen.append((opcode, bool(first), bool(last), p[:n]))
        return 0

    cdef int on_control(self, int opcode, int code, const char *p, size_t n) except -1:
        self.seen.append(("ping" if opcode == FC_WS_PING else opcode, code, p[:n]))
        return 0

    def received(self, bytearray data):
        self.feed_in_place(data, len(data))


cdef class Plain(FrameParser):
    def received(self, bytearray data):
        self.feed_in_place(data, len(data))
"""

USE = """
from fastcore.websocket import *
from counter import Counter, Plain

deflate = Deflate()
encoder = Encoder("client", deflate=deflate)
text = "é" * 100
stream = encoder.text("short") + encoder.ping(b"p") + encoder.text(text) + encoder.fragment(b"a", last=False)
stream += encoder.fragment(b"b", last=True) + encoder.close(1000, "bye")

whole = Counter(deflate=deflate)
data = bytearray(stream)
whole.received(data)
expected = [(1, True, True, b"short"), ("ping", 0, b"p"), (1, True, True, text.encode()), (2, True, True, b"ab"),
            (8, 1000, b"bye")]
assert whole.seen == expected, whole.seen
assert data != stream and b"short" in data  # unmasked where it lay
bytewise = Counter(deflate=deflate)
for byte in stream:
    bytewise.received(bytearray([byte]))
assert bytewise.seen == expected

pieces = Counter(deflate=deflate, assemble=False)
pieces.received(bytearray(stream))
assert pieces.seen[-3:-1] == [(2, True, False, b"a"), (2, False, True, b"b")], pieces.seen
assert pieces.seen[2] == (1, True, True, text.encode())
assert Counter().feed(stream[:11]) == [Text("short")]

def fails(error, parser, data):
    try:
        parser.received(bytearray(data))
    except error as caught:
        return caught
    raise AssertionError(f"no {error.__name__}")

assert fails(RemoteProtocolError, Counter(), b"\\x83").name == "bad_opcode"
assert fails(RemoteProtocolError, Counter(), build_frame(1, b"\\xff", mask=True)).code == 1007
fails(NotImplementedError, Plain(), build_frame(1, "x", mask=True))
again = Counter()
again.inside = lambda parser: parser.received(bytearray())
fails(RuntimeError, again, build_frame(1, "x", mask=True))
again.inside = lambda parser: 1 / 0
fails(ZeroDivisionError, again, build_frame(1, "x", mask=True))
again.inside = None
again.received(bytearray(build_frame(1, "usable", mask=True)))
assert again.seen == [(1, True, True, b"usable")], again.seen
print("ok")
"""


def test_a_subclass_in_cython(tmp_path: Path) -> None:
    (tmp_path / "counter.pyx").write_text(COUNTER)
    (tmp_path / "build.py").write_text(
        "from Cython.Build import cythonize\n"
        "from setuptools import Extension, setup\n"
        f"extension = Extension('counter', ['counter.pyx'], include_dirs=[{str(ROOT / 'cext/include')!r}])\n"
        f"setup(script_args=['-q', 'build_ext', '--inplace'], ext_modules=cythonize([extension], include_path=[{str(ROOT / 'src')!r}]))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for command in (["build.py"], ["-c", USE]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout == "ok\n"
