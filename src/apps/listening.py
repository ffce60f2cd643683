"""Tries addresses before anything is forked, so that a taken port is one clear sentence and an exit status.

gunicorn would try five times, a second apart, then exit 1. The sockets made here are closed again and gunicorn makes
its own: handing them over as fd:// would break HUP with changed addresses and USR2, both of which open by address. What
slips into the gap meets gunicorn's own error.
"""

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from apps.exits import NO_INPUT, NO_PERMISSION, UNAVAILABLE, CommandError
from apps.units import Address


def probe(addresses: Iterable[Address]) -> None:
    """Raises CommandError unless all `addresses` could be listened on together, right now, by this process."""
    held: list[socket.socket] = []
    try:
        for address in addresses:
            if address.path:
                _probe_path(address)
            else:
                held.append(_bound(address))
    finally:
        for listener in held:
            listener.close()


def is_inherited() -> bool:
    """True when sockets come from a master being upgraded (USR2) or from systemd: the addresses are rightly taken."""
    return "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid())


def _bound(address: Address) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(1)  # two sockets with SO_REUSEADDR may both bind; only one may listen
    except OSError as error:
        listener.close()
        raise explained(address, error) from None
    return listener


def _probe_path(address: Address) -> None:
    """A socket file nobody listens on is a leftover and gunicorn replaces it; one with a listener is taken."""
    path = Path(address.path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        if client.connect_ex(str(path)) == 0:
            raise explained(address, OSError(errno.EADDRINUSE, ""))
    try:
        if path.exists() and not path.is_socket():
            raise CommandError(f"{address}: a file that is no socket is in the way", UNAVAILABLE)
        if not path.parent.is_dir():
            raise explained(address, OSError(errno.ENOENT, ""))
    except PermissionError as error:
        raise explained(address, error) from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise explained(address, OSError(errno.EACCES, ""))


def explained(address: Address, error: OSError) -> CommandError:
    """The error of a bind in words and with its exit status."""
    if isinstance(error, socket.gaierror):
        return CommandError(f"{address}: the host name cannot be resolved ({error.strerror})", UNAVAILABLE)
    match error.errno:
        case errno.EADDRINUSE:
            return CommandError(
                f"{address} is taken{_by_whom(address)}: stop it or choose another address", UNAVAILABLE
            )
        case errno.EACCES | errno.EPERM if not address.path and address.port < 1024:
            needed = "ports below 1024 need root, CAP_NET_BIND_SERVICE or a lower net.ipv4.ip_unprivileged_port_start"
            return CommandError(f"no permission to listen on {address}: {needed}", NO_PERMISSION)
        case errno.EACCES | errno.EPERM:
            return CommandError(f"no permission to listen on {address}", NO_PERMISSION)
        case errno.EADDRNOTAVAIL:
            return CommandError(f"{address}: this machine has no such address", UNAVAILABLE)
        case errno.ENOENT:
            return CommandError(f"{address}: its folder does not exist", NO_INPUT)
    return CommandError(f"cannot listen on {address}: {error.strerror}", UNAVAILABLE)


def _by_whom(address: Address) -> str:
    """' by nginx (pid 42)' if /proc lets us see it, else ''."""
    inodes = _listening_inodes(address)
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            for entry in (process / "fd").iterdir():
                link = str(entry.readlink())
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""


def _listening_inodes(address: Address) -> set[str]:
    """Inodes of sockets that listen on this port or path. In /proc/net/tcp state 0A is LISTEN; see proc(5)."""
    inodes = set()
    for table in ("unix",) if address.path else ("tcp", "tcp6"):
        try:
            lines = (Path("/proc/net") / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if address.path:
                if columns[-1] == address.path:
                    inodes.add(columns[6])
            elif columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == address.port:
                inodes.add(columns[9])
    return inodes
