"""The C programs of the benchmarks: perf/<name>.c and the files of cext it measures, compiled, run, and what it prints.

The flags are those setup.py compiles floor 1 with, so a C figure is of the code that Python calls.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from perf.loadlib import ROOT

CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fno-omit-frame-pointer"]
LIBRARIES = ["-lpthread", "-lm", "-lz"]

Program = Callable[..., list[list[str]]]


@contextmanager
def compiled(name: str, *sources: str, flags: Sequence[str | Path] = ()) -> Iterator[Program]:
    """Calling it with the program's arguments runs it once; the answer is the words of each line that it prints.

    sources: patterns of files in cext, such as "proto/resp*.c"; one that finds nothing is a ValueError. flags come
    after ours, so they win, and may name further objects."""
    files = [ROOT / f"perf/{name}.c"]
    for pattern in sources:
        found = sorted((ROOT / "cext").glob(pattern))
        if not found:
            raise ValueError(f"perf/{name}.c: there is no cext/{pattern}")
        files += found
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, name)
        command = ["cc", *CFLAGS, "-I", ROOT / "cext/include", *flags, *files, *LIBRARIES, "-o", program]
        subprocess.run(command, check=True)

        def run(*arguments: object) -> list[list[str]]:
            words = [str(argument) for argument in arguments]
            done = subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, text=True)
            return [line.split() for line in done.stdout.splitlines()]

        yield run
