"""Settings of the task queue, and how they are loaded."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from apps.addresses import check_addresses
from apps.config_base import Finding, Listed, Section
from apps.settings import InvalidSettings, Loaded, load
from apps.settings_file import read_settings, read_token
from apps.units import Address, Size, SocketAddress, Timeout, Whole
from apps.yaml_source import Path

PREFIX = "FASTCORE_TASKS_"
CONFIG_VARIABLE = "FASTCORE_TASKS_CONFIG"
Flags = Mapping[Path, tuple[str, Any]]


def _longer_than_a_fetch(milliseconds: int) -> int:
    if milliseconds < 3000:
        raise ValueError("a FETCH that waits takes 2 s: write 3s or more")
    return milliseconds


class Timeouts(Section):
    hello: Timeout = 5_000
    """From connecting to HELLO."""
    worker: Annotated[Timeout, AfterValidator(_longer_than_a_fetch)] = 60_000
    """A worker of which nothing is heard for so long is taken for dead, and its jobs wait again. Faktory's clients beat
    every 15 s; a HELLO may name a shorter time."""
    drain: Timeout = 10_000
    """When stopping: answers that wait for the disk."""


class Limits(Section):
    connections: Annotated[int, Field(ge=1, le=1_000_000), Whole] = 10_000
    """Connections beyond it are closed at once."""
    line_bytes: Size = 1 << 20
    """A request, that is a job or a batch of them; longer ones are refused and end their connection."""
    jobs: Annotated[int, Field(ge=1, le=1_000_000_000), Whole] = 10_000_000
    """Jobs that wait or are leased; a PUSH beyond it is answered `-FULL`. A waiting one takes up to 110 bytes."""
    crashes: Annotated[int, Field(ge=1, le=1000), Whole] = 5
    """A job whose worker was lost so often while it ran is dead."""
    dead_days: Annotated[float, Field(gt=0, le=36_500)] = 180.0
    """Dead jobs are forgotten after so many days."""


class Tasks(Section):
    listen: Annotated[tuple[SocketAddress, ...], Listed, Field(min_length=1, max_length=64)] = (
        Address("127.0.0.1", 7419),
    )
    """Addresses that speak Faktory's protocol: `host:port`, `[ipv6]:port`, `:port` (every interface), `unix:/path`."""
    control: SocketAddress = Address("127.0.0.1", 7420)
    """Address of the control plane: health, metrics, queues."""
    control_token: SecretStr | None = None
    """Bearer token of the control plane; required when `control` is reachable from other machines."""
    control_token_file: str | None = None
    """File that holds the token, as secret stores mount them."""
    control_hosts: Annotated[tuple[str, ...], Listed] = ()
    """Host names the control plane answers to besides its own address and localhost (against DNS rebinding)."""
    data: Annotated[str, Field(min_length=1)] = "var/tasks"
    """Directory of the jobs; made when it is not there. One broker has it at a time."""
    password: SecretStr | None = None
    """What clients must know; required when `listen` is reachable from other machines."""
    password_file: str | None = None
    """File that holds the password."""
    pid_file: str | None = None
    """The master writes its process id here."""
    timeouts: Timeouts = Timeouts()
    """Deadlines."""
    limits: Limits = Limits()
    """Bounds, each with what happens beyond it."""


def load_settings(
    file: str | None = None,
    *,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Flags | None = None,
) -> Loaded[Tasks]:
    """Reads, layers, validates and cross-checks. Raises FileError when the file cannot be read, nothing else."""
    if text is None:
        text = read_settings(file) if file else ""
    loaded = load(
        Tasks,
        PREFIX,
        text=text,
        file=file or ("<text>" if text else ""),
        environ=os.environ if environ is None else environ,
        flags=flags,
    )
    if settings := loaded.settings:
        for path, message in _findings(settings):
            loaded.problems.append(loaded.problem(path, message))
        loaded.settings = _with_secrets(loaded, settings)
    if loaded.problems:
        loaded.settings = None
    return loaded


def checked(file: str | None, flags: Flags | None = None) -> Loaded[Tasks]:
    """Settings without problems. Raises InvalidSettings with every problem on a line of its own, or FileError."""
    loaded = load_settings(file, flags=flags)
    if loaded.problems:
        raise InvalidSettings.of(loaded.problems)
    return loaded


def _findings(settings: Tasks) -> Iterator[Finding]:
    has_token = settings.control_token is not None or settings.control_token_file is not None
    yield from check_addresses(settings.listen, (), settings.control, has_token)
    for name in ("control_token", "password"):
        secret = getattr(settings, name)
        if secret is not None and not secret.get_secret_value():
            yield (name,), "an empty one protects nothing"
        if secret is not None and getattr(settings, f"{name}_file") is not None:
            yield (f"{name}_file",), f"{name} and {name}_file exclude each other"
    if settings.password is None and settings.password_file is None:
        for number, address in enumerate(settings.listen):
            if not address.is_loopback:
                message = f"{address} can be reached from other machines, so clients need password or password_file"
                yield ("listen", number), message
    if FilePath(settings.data).exists() and not FilePath(settings.data).is_dir():
        yield ("data",), f"{settings.data} is no directory"


def _with_secrets(loaded: Loaded[Tasks], settings: Tasks) -> Tasks:
    found: dict[str, Any] = {}
    for name in ("control_token", "password"):
        file = getattr(settings, f"{name}_file")
        if file is not None:
            found[name] = read_token(loaded, file, f"{name}_file")
    return settings.model_copy(update=found)
