"""What fastcore.sharedcache promises, as a dict: for a cache so large that nothing is evicted."""

from dataclasses import dataclass


@dataclass
class Held:
    value: bytes
    fresh_until: float
    keep_until: float
    tags: dict[str, int]  # with the number of the invalidation that was the last when they were taken
    flags: int = 0
    meta: bytes = b""
    claimed: float = 0.0
    pending: bool = False


class Model:
    def __init__(self) -> None:
        self.held: dict[bytes, Held] = {}
        self.invalidations: dict[str, list[bool]] = {}  # by tag, in order: whether soft
        self.epoch = 0

    def stamp(self, tags: list[str]) -> tuple[int, dict[str, int]]:
        return self.epoch, {tag: len(self.invalidations.get(tag, [])) for tag in tags}

    def state(self, key: bytes, now: float) -> str:
        """ "" (absent), "pending", "stale" or "fresh"."""
        held = self.held.get(key)
        if held is None or now >= held.keep_until:
            return ""
        since = [soft for tag, seen in held.tags.items() for soft in self.invalidations.get(tag, [])[seen:]]
        if held.pending:
            return "pending"
        if not all(since):
            return ""
        return "stale" if since or now >= held.fresh_until else "fresh"

    def get(self, key: bytes, now: float) -> bytes | None:
        return self.held[key].value if self.state(key, now) == "fresh" else None

    def set(self, key: bytes, held: Held, stamp: tuple[int, dict[str, int]], *, absent_only: bool, now: float) -> bool:
        epoch, held.tags = stamp
        if epoch != self.epoch or (absent_only and self.state(key, now) == "fresh"):
            return False
        self.held[key] = held
        return True

    def delete(self, key: bytes, now: float) -> bool:
        there = self.state(key, now) in ("fresh", "stale")
        self.held.pop(key, None)
        return there

    def touch(self, key: bytes, until: float, keep: float, now: float) -> bool:
        if self.state(key, now) not in ("fresh", "stale"):
            return False
        held = self.held[key]
        held.fresh_until, held.keep_until, held.claimed = until, keep, 0.0
        return True

    def claim(self, key: bytes, until: float, now: float) -> bool:
        state = self.state(key, now)
        if state == "":
            self.held[key] = Held(b"", 0.0, until, {}, pending=True)
            return True
        if state == "stale" and now >= self.held[key].claimed:
            self.held[key].claimed = until
            return True
        return False

    def invalidate(self, tag: str, soft: bool) -> None:
        self.invalidations.setdefault(tag, []).append(soft)

    def clear(self) -> None:
        self.held.clear()
        self.epoch += 1

    def expire(self, now: float) -> int:
        gone = [key for key in self.held if self.state(key, now) == ""]
        for key in gone:
            del self.held[key]
        return len(gone)
