"""A flamegraph of our gateway's worker under 64 keep-alive connections: perf/results/gateway.svg.

usage: perf/flame/gateway.sh [SECONDS] [OUT.svg]
"""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from perf import loadlib, proxies
from perf.flame import record


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else loadlib.RESULTS / "gateway.svg"
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        gateway = proxies.fastcore(folder, backend.port, access_log=False)
        stack.enter_context(loadlib.running(gateway, folder))
        worker = max(loadlib.tree(gateway.pid)[1:], key=loadlib.cpu_seconds)
        load = ["taskset", "-c", str(loadlib.LOAD_CORE), "wrk", "-t1", "-c64", f"-d{round(seconds) + 3}s", gateway.url]
        with subprocess.Popen(load, stdout=subprocess.DEVNULL) as generator:
            try:
                print(record.draw(worker, seconds, out, list(record.TOOLS)))
            finally:
                generator.terminate()


if __name__ == "__main__":
    main()
