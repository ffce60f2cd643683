"""Settings of changes to JSON bodies. Places are JSON Pointers (RFC 6901): `/user/name`, `/items/0`."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from apps.config_base import Finding, Listed, Section
from apps.gateway.config_hooks import BODY_MAX
from apps.units import Size
from apps.yaml_source import Path


def _pointer(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is no JSON Pointer: it begins with a slash, as in /user/name")
    for at, character in enumerate(value):
        if character == "~" and value[at + 1 : at + 2] not in ("0", "1"):
            raise ValueError(f"{value!r}: ~ stands for itself as ~0, and for / as ~1")
    return value


Pointer = Annotated[str, AfterValidator(_pointer)]


class JsonChanges(Section):
    """In this order: project, remove, rename, set."""

    project: Annotated[tuple[Pointer, ...], Listed, Field(max_length=1000)] = ()
    """Only these places stay. An array on the way stands for each of its members: `/items/id`."""
    remove: Annotated[tuple[Pointer, ...], Listed, Field(max_length=1000)] = ()
    """These places go; one that is not there is none the less gone."""
    rename: Annotated[dict[Pointer, str], Field(max_length=1000)] = {}
    """New names of members, as in `{/user/mail: email}`. One of that name is replaced."""
    set: Annotated[dict[Pointer, Any], Field(max_length=1000)] = {}
    """Values of any kind. Objects on the way are made; `-` is behind the last member of an array."""
    max_bytes: Annotated[Size, Field(ge=1, le=BODY_MAX)] = 1 << 20
    """Bodies are gathered up to this; larger requests are answered 413, larger answers 500."""

    def anything(self) -> bool:
        return bool(self.project or self.remove or self.rename or self.set)


def check_json(at: Path, changes: JsonChanges | None) -> Iterator[Finding]:
    if changes is not None and not changes.anything():
        yield at, "changes nothing: name places to project, remove, rename or set"
