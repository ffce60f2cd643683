from collections.abc import Callable, Iterable
from typing import Final, TypedDict, final, type_check_only

__all__ = ["Generator", "Unreachable", "run"]

SLICE: Final[float]
QUANTILES: Final[dict[str, float]]
FAILURES: Final[dict[str, int]]

class Unreachable(Exception): ...

@type_check_only
class Report(TypedDict):
    url: str
    options: dict[str, object]
    interrupted: bool  # ended by stop() or Ctrl-C
    seconds: float  # length of the window: the duration, or until the last answer of a run `requests` ended
    requests: int  # = responses + failed + unfinished
    responses: int
    unfinished: int  # in flight when it was interrupted
    unsent: int  # open loop: due in the window, but no connection was ever free
    failed: int
    errors: dict[str, int]  # connect, reset_before_response, cut_response, timeout, bad_response
    causes: dict[str, int]  # of connect and bad_response, in words
    statuses: dict[str, int]
    status_classes: dict[str, int]  # 1xx to 5xx
    rate: float  # responses a second that arrived within the window
    bytes_per_second: float  # received within the window
    bytes_received: int  # whole run
    bytes_sent: int
    latency_us: dict[str, float] | None  # min mean p50 p90 p99 p99.9 max; None without responses
    connections: dict[str, int]  # opened, closed_idle, connects_failed, unasked
    warmup: dict[str, int]  # requests, responses, failed

@final
class Generator:
    @property
    def url(self) -> str: ...
    @property
    def options(self) -> dict[str, object]: ...
    def __new__(
        cls,
        url: str,
        *,
        connections: int = 64,
        duration: float | None = None,
        requests: int | None = None,
        rate: float | None = None,
        keepalive: bool = True,
        pipeline: int = 1,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = 10.0,
        connect_timeout: float = 3.0,
        warmup: float = 0.0,
    ) -> Generator: ...
    def step(self, seconds: float = 0.1) -> bool: ...
    def stop(self) -> None: ...
    def progress(self) -> tuple[float, int, int, int]: ...
    def report(self) -> Report: ...

def run(
    url: str,
    *,
    progress: Callable[[float, int, int, int], object] | None = None,
    connections: int = 64,
    duration: float | None = None,
    requests: int | None = None,
    rate: float | None = None,
    keepalive: bool = True,
    pipeline: int = 1,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    timeout: float = 10.0,
    connect_timeout: float = 3.0,
    warmup: float = 0.0,
) -> Report: ...
