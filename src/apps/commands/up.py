"""`fastcore up`: everything this machine can run, embedded stores under var/, one Ctrl-C to stop it all."""

import argparse
import os
import socket
import sys
from pathlib import Path

from apps import listening, supervisor
from apps.commands.common import add_service_flags, command, flags
from apps.exits import CONFIG, NO_PERMISSION, CommandError
from apps.gateway.config_model import Gateway
from apps.gateway.serving import CONFIG_VARIABLE, checked
from apps.readable import file_error
from apps.settings import InvalidSettings
from apps.settings_file import FileError
from apps.supervisor import Child
from apps.units import Address

DEMO = Address("127.0.0.1", 9100)
TASKS, TASKS_CONTROL = Address("127.0.0.1", 7419), Address("127.0.0.1", 7420)
START_SECONDS = 30.0
EXAMPLES = """\
  fastcore up                        the gateway in front of a demo application, and the task queue
  fastcore up --listen :8000         the same for the whole network
  fastcore up -c gateway.yaml        your settings instead, without the demo application"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "up", "Run every service on this machine and say what to try.", EXAMPLES)
    add_service_flags(parser, CONFIG_VARIABLE)
    parser.add_argument("--var", metavar="DIR", default="var", help="where stores and generated settings live (var)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    children = []
    config = arguments.config or os.environ.get(CONFIG_VARIABLE)
    if config is None:
        demo = _free_address(DEMO)
        config = _write_config(Path(arguments.var) / "gateway.yaml", demo)
        children.append(Child("the demo application", _fastcore("demo", "--listen", str(demo)), [demo]))
    try:
        settings = checked(config, flags(arguments)).settings
    except FileError as error:
        raise file_error(error) from None
    except InvalidSettings as error:
        raise CommandError(str(error), CONFIG) from None
    assert settings is not None
    listening.probe((*settings.listen, settings.control))
    queue, queue_control = _free_address(TASKS), _free_address(TASKS_CONTROL)
    words = ("--data", str(Path(arguments.var) / "tasks"), "--listen", str(queue), "--control", str(queue_control))
    children.append(Child("the task queue", _fastcore("tasks", *words), [queue, queue_control]))
    gateway = _fastcore("gateway", "-c", config, *_passed_on(arguments))
    children.append(Child("the gateway", gateway, [*settings.listen, settings.control]))
    return supervisor.run(
        children,
        started=lambda: print(greeting(settings, queue, queue_control, with_demo=len(children) > 2), flush=True),
        start_seconds=START_SECONDS,
        stop_seconds=settings.timeouts.drain / 1000 + 5,
    )


def _fastcore(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "apps.cli", *arguments]


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    words = []
    for (name,), (flag, value) in flags(arguments).items():
        for one in value if name == "listen" else [value]:
            words += [flag, one]
    return words


def _free_address(wanted: Address) -> Address:
    """`wanted`, or the same host with a port the kernel chose when that one is taken."""
    try:
        listening.probe([wanted])
    except CommandError:
        with socket.socket() as probe:
            probe.bind((wanted.host, 0))
            return Address(wanted.host, probe.getsockname()[1])
    return wanted


def _write_config(path: Path, demo: Address) -> str:
    """The gateway's settings for the demo, in a file so that people can read, copy and reload it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "# Written by `fastcore up` at each start; copy it to change it, and run `fastcore up -c COPY`.\n"
            "upstreams:\n"
            f'  demo: {{targets: ["{demo}"], balance: round_robin}}\n'
            "routes:\n"
            "  - {name: demo, path: /, upstream: demo}\n"
        )
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", NO_PERMISSION) from None
    return str(path)


def greeting(settings: Gateway, queue: Address, queue_control: Address, with_demo: bool) -> str:
    """What is running where, and what to type."""
    front = next((url(address) for address in settings.listen if not address.path), "")
    control = url(settings.control)
    lines = ["", "fastcore is up.", ""]
    lines += [f"  gateway        {url(address) or address}" for address in settings.listen]
    lines += [f"  control plane  {control or settings.control}   status page, /metrics, /readyz, /config"]
    lines += [f"  task queue     {queue}   Faktory's protocol", f"  its control    {url(queue_control)}", ""]
    tries = []
    if front and with_demo:
        tries += [f"curl -i {front}/", f"curl {front}/echo?hello=world", f"curl -s {front}/bytes/1000000 | wc -c"]
    if control:
        tries += [f"curl {control}/readyz", f"curl {control}/metrics"]
    tries.append(f"curl {url(queue_control)}/queues")
    if front:
        tries.append(f"fastcore bench {front}/")
    return "\n".join([*lines, "Try:", *(f"  {line}" for line in tries), "", "Ctrl-C stops everything."])


def url(address: Address) -> str:
    """The address as this machine's browser would type it; '' for a unix socket."""
    if address.path:
        return ""
    return f"http://{Address('127.0.0.1', address.port) if address.is_any else address}"
