"""`fastcore demo`: the demo application alone, as `fastcore up` puts it behind the gateway."""

import argparse

from apps import listening
from apps.commands.common import command
from apps.exits import OK, USAGE, CommandError
from apps.gunicorn_app import WORKER_CLASS, Plan, ServiceApplication
from apps.units import parse_address

EXAMPLES = "  fastcore demo --listen 127.0.0.1:9100"


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "demo", "Run the demo application (Falcon, served by FastcoreWorker).", EXAMPLES)
    parser.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:9100", help="host:port (127.0.0.1:9100)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        address = parse_address(arguments.listen)
    except ValueError as error:
        raise CommandError(f"--listen: {error}", USAGE) from None
    if not listening.is_inherited():
        listening.probe([address])
    options = {
        "bind": [str(address)],
        "workers": 1,
        "worker_class": WORKER_CLASS,
        "proc_name": "fastcore demo",
        "control_socket_disable": True,
    }
    ServiceApplication(lambda: Plan(options, _load)).run()
    return OK


def _load() -> object:
    from apps.demo.app import app  # in the worker, after gevent has patched it

    return app
