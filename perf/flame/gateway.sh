#!/bin/sh
# gateway.sh [SECONDS] [OUT.svg]   a flamegraph of the gateway under load; see gateway.py
cd "$(dirname "$0")/../.." || exit 1
python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
exec "$python" -m perf.flame.gateway "$@"
