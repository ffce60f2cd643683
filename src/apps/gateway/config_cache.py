"""Settings of the response cache: its memory, and what routes say about their answers."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from apps.config_base import Finding, Section
from apps.units import Duration, Size
from apps.yaml_source import Path
from fastcore.proxy import CachePolicy


class Cache(Section):
    memory: Annotated[Size, Field(ge=1 << 20, le=1 << 42)] = 64 << 20
    """Shared memory for answers, of all workers together. When it is full, those not used lately go. A new size needs a
    restart."""


class RouteCache(Section):
    default_ttl: Duration = 0
    """How long an answer is fresh that does not say itself; 0: as its Last-Modified suggests."""
    heuristic_max: Duration = 86_400_000
    """The most that Last-Modified suggests: a tenth of the time since (RFC 9111, section 4.2.2); 0: nothing."""
    max_ttl: Duration = 0
    """The most that any answer is fresh; 0: no bound."""
    stale_while_revalidate: Duration = 0
    """So long past its time an answer is used while one request brings a new one, unless the answer itself says how
    long (RFC 5861)."""
    stale_if_error: Duration = 0
    """So long past its time an answer is used when the target fails, unless the answer itself says."""
    keep: Duration = 600_000
    """So long past its time an answer is kept to be validated (304 instead of the whole)."""
    max_body: Annotated[Size, Field(ge=0, le=1 << 32)] = 1 << 20
    """Larger bodies are not stored."""
    ignore_client: bool = False
    """true: clients' `Cache-Control` and `Pragma` are not for this cache."""
    store_set_cookie: bool = False
    """true: also answers with Set-Cookie are stored; everybody gets that cookie then."""
    collapse: bool = True
    """One request fetches what is not there, and others wait for it."""
    wait: Duration = 5_000
    """How long they wait before they ask the target themselves."""

    def policy(self) -> CachePolicy:
        return CachePolicy(
            default_ttl=self.default_ttl / 1000,
            heuristic_max=self.heuristic_max / 1000,
            ttl_max=self.max_ttl / 1000,
            stale_while_revalidate=self.stale_while_revalidate / 1000,
            stale_if_error=self.stale_if_error / 1000,
            keep=self.keep / 1000,
            ignore_client=self.ignore_client,
            store_cookies=self.store_set_cookie,
            collapse=self.collapse,
            wait=self.wait / 1000,
            item_max=self.max_body,
        )


RouteCacheOrTrue = Annotated[RouteCache, BeforeValidator(lambda value: {} if value is True else value)]


def check_cache(at: Path, cache: RouteCache | None, memory: int) -> Iterator[Finding]:
    if cache is not None and cache.max_body > memory // 8:
        yield at, f"max_body: an answer of {cache.max_body} bytes would take more than an eighth of cache.memory"
