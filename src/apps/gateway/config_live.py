"""Which settings running workers follow at once, and which they take at their start only."""

from typing import Any

from apps.config_base import Section
from apps.gateway.config_model import Gateway

#: What a worker puts in force while it serves. Whatever is not named here needs new workers, or a new start.
LIVE = frozenset(
    {
        "routes",
        "upstreams",
        "rate_limits",
        "default_rate_limits",
        "security_headers",
        "compress",
        "control_token",
        "control_token_file",
        "control_hosts",
        "audit_log",
        "auth.providers",
        "access_log.path",
        "limits.body_bytes",
        "timeouts.connect",
        "timeouts.first_byte",
        "timeouts.between_bytes",
        "timeouts.total",
        "timeouts.upstream_idle",
        "tls.certificates",
        "tls.minimum_version",
        "tls.ciphers",
        "tls.client_certificates",
        "tls.ticket_hours",
        "tls.reload_every",
        "reload.keep",
    }
)


def at_start_only(old: Gateway, new: Gateway) -> list[str]:
    """Dotted names of the settings that differ and are none of LIVE."""
    return _differing(old, new, "")


def _differing(old: Section, new: Section, prefix: str) -> list[str]:
    found: list[str] = []
    for name in type(new).model_fields:
        path = prefix + name
        before: Any = getattr(old, name)
        after: Any = getattr(new, name)
        if before == after or path in LIVE:
            continue
        if isinstance(before, Section) and isinstance(after, Section) and any(n.startswith(f"{path}.") for n in LIVE):
            found += _differing(before, after, f"{path}.")
        else:
            found.append(path)
    return found
