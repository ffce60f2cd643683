"""HTTP/2: our gateway against nghttpx (Debian's nghttp2-proxy), both before one nginx, under h2load:
`what | ours | peer | ratio`.

usage: python -m perf.load_http2 [--seconds S] [--pairs N]

One worker each, on one core; backend and generator on another. HTTP/2 in the clear towards the client, HTTP/1.1 towards
the backend, as both have by default. Ours adds Via and X-Forwarded-* and keeps its metrics on. What this does not show:
TLS, and networks on which more than one stream at once matters.
"""

import argparse
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perf import loadlib, proxies

CONNECTIONS, STREAMS = 8, 16
BODIES = {"/": "99 bytes", "/10k": "10 KB"}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="our gateway against nghttpx, over HTTP/2")
    parser.add_argument("--seconds", type=float, default=10, help="length of one run (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns (5)")
    chosen = parser.parse_args(argv)
    if missing := [name for name in ("nginx", "nghttpx", "h2load") if not shutil.which(name)]:
        raise SystemExit(f"needs {', '.join(missing)}: tools/system-packages bench")
    rows: list[loadlib.Row] = []
    raw: dict[str, Any] = {}
    print(loadlib.HEADER)
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        ours = proxies.fastcore(folder, backend.port, access_log=False)
        services = [ours, proxies.nghttpx(folder, backend.port)]
        for service in services:
            stack.enter_context(loadlib.running(service, folder))
        for path, label in BODIES.items():
            what = f"{label}, HTTP/2, {CONNECTIONS} connections of {STREAMS} streams (peer: nghttpx)"

            def load(service: loadlib.Service, path: str = path) -> loadlib.Cost:
                url = f"http://127.0.0.1:{service.port}{path}"
                return loadlib.cost(service, lambda: loadlib.h2load(url, CONNECTIONS, STREAMS, chosen.seconds))

            for service in services:
                loadlib.h2load(f"http://127.0.0.1:{service.port}{path}", CONNECTIONS, STREAMS, 1)
            runs = loadlib.in_turns(services, chosen.pairs, load)
            raw[what] = {name: [{**vars(run.load), "cpu": run.cpu} for run in some] for name, some in runs.items()}
            for name, some in runs.items():
                if failed := sum(run.load.failed for run in some):
                    print(f"note: {what}: {failed} requests failed at {name}", file=sys.stderr)
            mine, theirs = ([run.per_cpu_second for run in runs[name]] for name in (ours.name, "nghttpx"))
            rows.append(loadlib.row(what, "requests per CPU-second", mine, theirs))
            print(rows[-1], flush=True)
    file = loadlib.write_results("http2", rows, raw, proxies.versions())
    print(f"raw results: {Path(file).relative_to(loadlib.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
