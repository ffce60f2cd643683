"""What the models of all services share."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from apps.yaml_source import Path

#: Where something is wrong, and what.
Finding = tuple[Path, str]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Section(BaseModel):
    """A mapping in the file: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    # Pickled, equal settings are equal bytes in every process (see `compiled`), though sets have another order in each.
    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__pydantic_fields_set__": sorted(state["__pydantic_fields_set__"])}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__({**state, "__pydantic_fields_set__": set(state["__pydantic_fields_set__"])})


def listed(value: Any) -> Any:
    """One value may stand for a list of one; a string from the environment separates by commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def field_token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is no token: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, section 5.6.2)")
    return value


def short_for(key: str) -> BeforeValidator:
    """A plain string instead of a mapping sets this one key of it."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name: 1 to 64 letters, digits, '_', '-', '.', the first a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_plain_name)]
FieldToken = Annotated[str, AfterValidator(field_token)]
Listed = BeforeValidator(listed)
