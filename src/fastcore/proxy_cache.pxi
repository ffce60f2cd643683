# The response cache's settings of a route (fc/freshness.h), as Python has them. Seconds.

@dataclass(frozen=True)
class CachePolicy:
    """How a route's answers are stored and used. default_ttl: of answers that do not say; heuristic_max: bound of what
    Last-Modified suggests; ttl_max: bound of every lifetime, 0 none; stale_while_revalidate, stale_if_error: of answers that
    do not say; keep: how long past its time an answer is kept to be validated; item_max: bytes of a body."""

    default_ttl: float = 0.0
    heuristic_max: float = 86400.0
    ttl_max: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    keep: float = 600.0
    ignore_client: bool = False
    store_cookies: bool = False
    collapse: bool = True
    wait: float = 5.0
    item_max: int = 1 << 20


cdef int fill_policy(fc_cache_policy *p, object spec) except -1:
    p.default_ttl_s = _count(int(spec.default_ttl), "default_ttl")
    p.heuristic_max_s = _count(int(spec.heuristic_max), "heuristic_max")
    p.ttl_max_s = _count(int(spec.ttl_max), "ttl_max")
    p.while_revalidate_s = _count(int(spec.stale_while_revalidate), "stale_while_revalidate")
    p.if_error_s = _count(int(spec.stale_if_error), "stale_if_error")
    p.keep_s = _count(int(spec.keep), "keep")
    p.ignore_client = spec.ignore_client
    p.store_cookies = spec.store_cookies
    p.collapse = spec.collapse
    p.wait_ms = _ms(spec.wait, "wait")
    p.item_max = spec.item_max
    return 0
