from typing import Final, NamedTuple

from typing_extensions import disjoint_base

from fastcore.shm import Region

__all__ = ["Span", "SpanQueue"]

SECTION: Final[str]
SLOTS: Final[int]

class Span(NamedTuple):
    trace: int
    span: int
    parent: int
    client: int
    start: int
    end: int
    asked: int
    answered: int
    sent_bytes: int
    status: int
    tries: int
    protocol: str
    scheme: str
    cached: bool
    method: str
    error: str
    route: str
    upstream: str
    endpoint: str
    host: str
    client_address: str
    path: str

@disjoint_base
class SpanQueue:
    def __init__(self, region: Region, *, slots: int = ..., section: str = ...) -> None: ...
    def take(self, most: int = 512) -> list[Span]: ...
