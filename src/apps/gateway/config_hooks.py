"""Settings of functions of the operator's own. Imported when settings are checked: what starts can call them."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from apps.config_base import Finding, Section
from apps.units import Size, Timeout
from apps.yaml_source import Path

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
BODY_MAX = 64 << 20


def _place(value: str) -> str:
    if not _PLACE.fullmatch(value):
        raise ValueError(f"{value!r}: write module:function, as in shop.hooks:check")
    return value


FunctionName = Annotated[str, AfterValidator(_place)]


class Hooks(Section):
    on_request: FunctionName | None = None
    """`module:function`, called with each fastcore.hooks.Request that goes to a target. It may change it, or return an
    Answer that is sent instead."""
    on_response: FunctionName | None = None
    """`module:function`, called with each target's answer (fastcore.hooks.Response), which it may change."""
    timeout: Timeout = 1000
    """A call that takes longer has failed. Only one that waits (for a socket, for sleep) can be stopped in time."""
    on_failure: Literal["refuse", "pass"] = "refuse"
    """A call that fails: `refuse` answers 500, `pass` goes on as if there was no function."""
    request_body: Annotated[Size, Field(le=BODY_MAX)] = 0
    """Gather request bodies of up to so many bytes for on_request, which may change them; larger ones are answered 413.
    0: it sees heads only, and bodies stream."""
    response_body: Annotated[Size, Field(le=BODY_MAX)] = 0
    """The same of answers for on_response; larger ones are answered 500."""


class HookSettings(Section):
    folder: str | None = None
    """Where Python looks for modules first. They are imported once: changed files need new workers (HUP)."""
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Calls a worker may have under way; beyond it requests are answered 503."""


def find(name: str, folder: str | None) -> Callable[[Any], Any]:
    """The function. Raises ValueError saying what is wrong."""
    module, _, attribute = name.partition(":")
    if folder is not None and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ValueError(f"{name}: {error}") from None
    except Exception as error:  # whatever a module does when it is imported
        raise ValueError(f"{name}: importing {module} raised {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{name}: {module} has no function {attribute}")
    return found  # type: ignore[no-any-return]


def check_hooks(at: Path, hooks: Hooks | None, has_cache: bool, folder: str | None) -> Iterator[Finding]:
    if hooks is None:
        return
    if hooks.on_request is None and hooks.on_response is None:
        yield at, "names no function: on_request, on_response, or both"
    for key, name in (("on_request", hooks.on_request), ("on_response", hooks.on_response)):
        try:
            if name is not None:
                find(name, folder)
        except ValueError as error:
            yield (*at, key), str(error)
    for key, name in (("request_body", hooks.on_request), ("response_body", hooks.on_response)):
        if name is None and getattr(hooks, key):
            yield (*at, key), "there is no function to gather it for"
    if hooks.on_response is not None and has_cache:
        yield (*at, "on_response"), "answers out of the cache come from no target: the route cannot have both"
