"""Checks of the addresses a service listens on."""

from collections.abc import Iterator

from apps.config_base import Finding
from apps.units import Address
from apps.yaml_source import Path


def check_addresses(
    listen: tuple[Address, ...], tls: tuple[Address, ...], control: Address, has_token: bool
) -> Iterator[Finding]:
    """Each address once, and no control plane open to other machines without a token."""
    if not listen and not tls:
        yield ("listen",), "nobody listens: name an address, here or in tls.listen"
    places: list[Path] = [("listen", i) for i in range(len(listen))] + [("tls", "listen", i) for i in range(len(tls))]
    both = (*listen, *tls)
    for index, (place, address) in enumerate(zip(places, both, strict=True)):
        if any(collide(address, other) for other in both[:index]):
            yield place, f"{address} collides with another address of listen"
        if collide(address, control):
            yield ("control",), f"{control} is also an address of listen; the two need addresses of their own"
    if not control.is_loopback and not has_token:
        yield (
            ("control",),
            f"{control} can be reached from other machines, so the control plane needs control_token or "
            "control_token_file (or listen on 127.0.0.1)",
        )


def collide(one: Address, other: Address) -> bool:
    """True when both cannot be bound at once: equal, or same port with one on every interface."""
    if one.path or other.path:
        return one.path == other.path
    return one.port == other.port and (one.host == other.host or one.is_any or other.is_any)
