"""Does an operation, done many times, leave anything behind?

    python -m tests.leaks [MODULE...] [--operations N]

Prints `module | operation | times | references | blocks | malloc bytes | resident KiB`, the middle three as growth for
each operation, and ends with 1 if one grew. References (to None and True as well) are counted by a debug interpreter
only, and only for modules built for it: `make refs`. Any interpreter counts blocks of Python's allocator and bytes of
malloc; resident memory says what those do not, such as mappings. N is FASTCORE_LEAK_OPERATIONS, or 200,000.
"""

import argparse
import ctypes
import gc
import importlib
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from tests.leaks.table import OPERATIONS, Operation

DEFAULT = 200_000
#: Growth that is none: caches that fill up, free lists, the reader of these figures itself.
ALLOWED_ONCE = {"references": 100, "blocks": 100, "malloc": 64 << 10, "resident": 4 << 20}
#: And by operation: one object in every hundred would be a leak, a byte of C memory for every one as well.
ALLOWED_EACH = {"references": 0.01, "blocks": 0.01, "malloc": 1.0, "resident": 1.0}


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def malloc_bytes() -> int:
    """Bytes that malloc has given out and not got back (glibc 2.33 or newer; 0 elsewhere)."""
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is None:
        return 0
    function.restype = _Mallinfo2
    info = function()
    return info.uordblks + info.hblkhd


def counted_references() -> int:
    """What a debug interpreter counts (0 otherwise), but for references to the types that Cython's modules share: each
    generator of Cython 3.3 leaves one to its type behind when it goes. A number, and no memory."""
    shared = [vars(module).values() for name, module in sys.modules.items() if name.startswith("_cython_")]
    to_types = sum(sys.getrefcount(value) for values in shared for value in values if isinstance(value, type))
    return getattr(sys, "gettotalrefcount", lambda: to_types)() - to_types


@dataclass(frozen=True)
class Held:
    references: int
    blocks: int
    malloc: int
    resident: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        references = counted_references()
        malloc = malloc_bytes()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return cls(references, sys.getallocatedblocks(), malloc, resident)

    def since(self, earlier: "Held") -> dict[str, int]:
        return {field.name: getattr(self, field.name) - getattr(earlier, field.name) for field in fields(self)}


def repeat(operation: Operation, times: int) -> None:
    run = operation.run
    for _ in range(times):
        run()


def growth(operation: Operation, times: int) -> dict[str, int]:
    """What the operation, done this often after it has been warmed up, holds more than before."""
    repeat(operation, max(times // 10, 20))
    Held.now()
    before = Held.now()
    repeat(operation, times)
    return Held.now().since(before)


def leaks(grown: dict[str, int], times: int) -> list[str]:
    return [name for name, more in grown.items() if more > ALLOWED_ONCE[name] + ALLOWED_EACH[name] * times]


def main() -> int:
    here = Path(__file__).parent
    known = sorted(path.stem for path in here.glob("*.py") if path.stem not in ("__main__", "table"))
    parser = argparse.ArgumentParser(prog="python -m tests.leaks", description="what do operations leave behind?")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {' '.join(known)}; all without")
    parser.add_argument(
        "--operations", type=int, default=int(os.environ.get("FASTCORE_LEAK_OPERATIONS", DEFAULT)), metavar="N"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.modules) - set(known):
        parser.error(f"no operations for {' '.join(sorted(unknown))}")
    for module in chosen.modules or known:
        importlib.import_module(f"tests.leaks.{module}")
    print("module | operation | times | references | blocks | malloc bytes | resident KiB")
    found = 0
    for operation in OPERATIONS:
        times = max(chosen.operations // operation.weight, 20)
        grown = growth(operation, times)
        if leaks(grown, times):  # a leak goes on; free lists that fill up do so once
            grown = {name: min(more, grown[name]) for name, more in growth(operation, times).items()}
        each = [f"{grown[name] / times:.3f}" for name in ("references", "blocks", "malloc")]
        if not hasattr(sys, "gettotalrefcount"):
            each[0] = "-"
        bad = leaks({**grown, "references": 0} if operation.foreign else grown, times)
        found += bool(bad)
        cells = [operation.module, operation.what, str(times), *each, str(grown["resident"] >> 10)]
        print(" | ".join(cells) + (f"   LEAK: {', '.join(bad)}" if bad else ""), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
