"""The response cache in one worker: where it lies, what it holds, and what is purged. Tags are made as the engine makes
them (cext/proxy/cached_key.c): of a URL, of the folders it lies in, and those its target gave the answer."""

import logging
from typing import Any
from urllib.parse import urlsplit

from apps.gateway.compiled import Turn
from apps.gateway.config_model import Gateway
from fastcore.sharedcache import SharedCache
from fastcore.shm import Region, RegionError

log = logging.getLogger("fastcore.gateway")

SECTION = "gateway.cache"
TAG_SLOTS = 1 << 18  # 4 MB; tags that share a slot are purged together
URL_MAX = 8192
HEAD_BYTES = 64 << 10  # of an answer, beside its body
SHARDS = 16


def open_cache(settings: Gateway, region: Region, turn: Turn) -> SharedCache | None:
    """The cache of all workers, where a route wants one; None also when the region, which is made at the start, has no
    room for it. A reload keeps what an earlier start made."""
    largest = 0
    for route in settings.routes:
        largest = max(largest, route.cache.max_body) if route.cache else largest
        turn()
    if not largest:
        return None
    memory = settings.cache.memory
    item = largest + HEAD_BYTES
    try:
        return SharedCache(
            region,
            section=SECTION,
            capacity=memory,
            item_max=item,
            shards=max(1, min(SHARDS, memory // (3 * item))),  # an entry fits into half of one
            tag_slots=TAG_SLOTS,
        )
    except ValueError:
        if SECTION not in region.sections():
            raise
        return SharedCache(region, section=SECTION)
    except RegionError as error:
        log.error("cache: %s; nothing is stored until the next start", error)
        return None


def purge(cache: SharedCache, *, url: str = "", prefix: str = "", tag: str = "", soft: bool = False) -> None:
    """Out of sight at once in all workers; soft: stale. Exactly one of url, prefix (a URL that ends with "/") and tag;
    none: everything. Raises ValueError for what is no URL."""
    if url:
        cache.invalidate_tag(b"u:" + _normal(url), soft=soft)
    elif prefix:
        normal = _normal(prefix)
        if not normal.endswith(b"/"):
            raise ValueError("a prefix ends with /: answers are tagged by the folders they lie in")
        cache.invalidate_tag(b"p:" + normal, soft=soft)
    elif tag:
        cache.invalidate_tag(b"t:" + tag.encode(), soft=soft)
    elif soft:
        raise ValueError("everything can be purged, not made stale")
    else:
        cache.clear()


def _normal(url: str) -> bytes:
    """As requests name it: lower-case scheme and host, the port as clients write it, a path."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc or parts.fragment:
        raise ValueError(f"{url!r} is no URL: write https://example.com/path")
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query or url.endswith("?") else ""
    text = f"{parts.scheme.lower()}://{parts.netloc.lower()}{path}{query}".encode()
    if len(text) > URL_MAX:
        raise ValueError(f"a URL of {len(text)} bytes is never cached")
    return text


def statistics(cache: SharedCache) -> dict[str, Any]:
    stats = cache.stats()
    names = ("hits", "misses", "stored", "evictions", "expirations", "entries", "bytes", "capacity")
    return {name: getattr(stats, name) for name in names}
