from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from fastcore.regex import Regex

METHOD_IDS: Final[dict[bytes, int]]
VISIBLE: Final[str]

@dataclass(frozen=True)
class Match:
    answer: str
    index: int | None = None
    path: bytes = b""
    params: Mapping[str, bytes | None] | None = None
    allowed: tuple[str, ...] = ()
    error: str = ""

@final
class RouterBuilder:
    def __new__(
        cls,
        *,
        merge_slashes: bool = True,
        refuse_encoded_slash: bool = False,
        path_max: int | None = None,
        segments_max: int | None = None,
        visits_max: int | None = None,
        bytes_max: int | None = None,
        key: bytes | None = None,
    ) -> RouterBuilder: ...
    def add(
        self,
        *,
        index: int,
        hosts: Iterable[str] = (),
        path: str | None = None,
        prefix: str | None = None,
        template: str | None = None,
        regex: str | Regex | None = None,
        methods: Iterable[str] = (),
        headers: Mapping[str, str | bytes | bool | Regex] | None = None,
        query: Mapping[str, str | bytes | bool | Regex] | None = None,
        priority: int = 0,
        name: str | None = None,
    ) -> None: ...
    def build(self) -> Router: ...

@final
class Router:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def match(
        self,
        method: str | bytes,
        host: str | bytes | None,
        path: str | bytes,
        query: str | bytes | None = None,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    ) -> Match: ...
    def measure(self, requests: Iterable[Sequence[object]], rounds: int = 1) -> float: ...
    @property
    def stats(self) -> dict[str, int]: ...
