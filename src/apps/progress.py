"""How far long work is, on standard error: a bar that is redrawn on a terminal, a line for each tenth elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

REDRAW_SECONDS = 0.1
BAR_MIN, BAR_MAX = 10, 40
UNITS = ("B", "KB", "MB", "GB", "TB")


def readable_bytes(n: float) -> str:
    """Three digits with a unit, powers of 1024 as in settings: 0B, 812KB, 1.27GB."""
    for unit in UNITS:
        if n < 1000 or unit == UNITS[-1]:
            return f"{n:.0f}{unit}" if unit == "B" or n >= 100 else f"{n:.3g}{unit}"
        n /= 1024
    raise AssertionError("the last unit has no bound")


class Progress:
    """Call it with what is done and what there is in all, in bytes; use it as a context, so that its line ends.

    Quiet when the work is over before anybody would look."""

    def __init__(self, label: str, stream: TextIO | None = None):
        self._label = label
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._drawn = self._began
        self._tenth = 0
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._terminal and now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._open = True
            print(f"\r\033[K{self._line(done, total, now)}", end="", file=self._stream, flush=True)
        elif not self._terminal and total and 10 * done // total > self._tenth and now - self._began >= 1:
            self._tenth = 10 * done // total
            print(f"{self._label}: {100 * done // total} % of {readable_bytes(total)}", file=self._stream, flush=True)

    def _line(self, done: int, total: int, now: float) -> str:
        share = min(done / total, 1.0) if total else 1.0
        seconds = now - self._began
        rate = done / seconds if seconds else 0
        left = f", {_clock((total - done) / rate)} left" if rate and done < total else ""
        numbers = (
            f"{share * 100:3.0f} %  {readable_bytes(done)} of {readable_bytes(total)}, {readable_bytes(rate)}/s{left}"
        )
        columns = shutil.get_terminal_size().columns
        width = max(BAR_MIN, min(BAR_MAX, columns - len(self._label) - len(numbers) - 6))
        full = int(share * width)
        return f"{self._label} [{'#' * full}{'-' * (width - full)}] {numbers}"[: columns - 1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            print("\r\033[K", end="", file=self._stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
