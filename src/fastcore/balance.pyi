from collections.abc import Mapping
from typing import Final, final

POLICIES: Final[dict[str, int]]
TARGETS_MAX: Final[int]
WEIGHT_MAX: Final[int]

@final
class Balancer:
    def __new__(
        cls,
        policy: str,
        targets: Mapping[str, int],
        *,
        load_factor: float | None = None,
        tau: float = 10.0,
        failed: float = 1.0,
        seed: int = 1,
        key: bytes = ...,
    ) -> Balancer: ...
    def __len__(self) -> int: ...
    def pick(self, *, now_ns: int = 0, key_hash: int = 0, available: int | None = None) -> int | None: ...
    def started(self, target: int) -> None: ...
    def finished(self, target: int, *, now_ns: int = 0, latency_ns: int = 0, failed: bool = False) -> None: ...
    def active(self, target: int) -> int: ...
    def latency_ns(self, target: int, *, now_ns: int = 0) -> float: ...
