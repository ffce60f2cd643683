"""What a route table costs per request: ten routes against 10,000, per kind of rule.

    python perf/bench_router.py

Prints `table | ns per match with 10 routes | with 10,000 | ratio`. Both tables are asked 10,000 requests in a random
order, 20 times over; measurements of the two are interleaved and the fastest round of each is shown, since noise only
adds. Each request is an object of its own in both cases, as each request of a server is, so both pay for fetching it.
The large table is asked for each of its routes equally often, so it pays for cache misses that real traffic, which has
favourites, pays less of. The loop over requests is Cython: about 2 ns of it are in each figure. A whole proxied request
costs some 20,000 ns.
"""

import random
from collections.abc import Callable

from fastcore.router import Router, RouterBuilder

ROUNDS = 9
Shape = Callable[[int], tuple[dict, tuple]]

SHAPES: dict[str, Shape] = {
    "prefix /service": lambda i: ({"prefix": f"/service{i}"}, ("GET", "api.example.com", f"/service{i}/items/42")),
    "exact, 3 segments": lambda i: (
        {"path": f"/api/service{i}/status"},
        ("GET", "api.example.com", f"/api/service{i}/status"),
    ),
    "template, 2 parameters": lambda i: (
        {"template": f"/api/service{i}/users/{{user}}/files/{{file}}", "methods": ["GET"]},
        ("GET", "api.example.com", f"/api/service{i}/users/{i * 7}/files/readme.txt"),
    ),
    "host each": lambda i: (
        {"prefix": "/", "hosts": [f"shop{i}.example.com"]},
        ("GET", f"shop{i}.example.com", "/cart/items/42"),
    ),
    "wildcard host each": lambda i: (
        {"prefix": "/", "hosts": [f"*.tenant{i}.example.com"]},
        ("GET", f"www.tenant{i}.example.com", "/cart/items/42"),
    ),
    "regex": lambda i: (
        {"regex": rf"/service{i}/items/(?P<id>\d+)"},
        ("GET", "api.example.com", f"/service{i}/items/42"),
    ),
    "miss (404)": lambda i: ({"template": f"/api/service{i}/{{x}}"}, ("GET", "api.example.com", f"/api/other{i}/x")),
    "path needs normalising": lambda i: (
        {"prefix": f"/service{i}"},
        ("GET", "api.example.com", f"/x/../service{i}/%7euser"),
    ),
}


def prepare(shape: Shape, routes: int) -> tuple[Router, list[tuple]]:
    builder = RouterBuilder(key=bytes(range(16)))
    for i in range(routes):
        rule, _ = shape(i)
        builder.add(index=i, **rule)
    requests = [shape(i % routes)[1] for i in range(10_000)]
    random.Random(7).shuffle(requests)
    return builder.build(), requests


def main() -> None:
    print(f"{'table':24} | {'10':>6} | {'10,000':>6} | ratio")
    for name, shape in SHAPES.items():
        tables = [prepare(shape, routes) for routes in (10, 10_000)]
        rounds = [[router.measure(requests, 20) for router, requests in tables] for _ in range(ROUNDS)]
        small, large = map(min, zip(*rounds, strict=True))
        print(f"{name:24} | {small:6.0f} | {large:6.0f} | {large / small:.2f}")


if __name__ == "__main__":
    main()
