"""Loads a service's settings: flag over environment over file over default, typed by a pydantic model, with every
error reported at once and the origin of every value kept. Knows nothing of any one service.

    loaded = load(Gateway, "FASTCORE_GATEWAY_", text=..., file="gateway.yaml", environ=os.environ, flags={...})
    loaded.problems     everything wrong, each with its place; `loaded.settings` is None then
    loaded.origin(path) `default`, `gateway.yaml:3:5`, `environment FASTCORE_GATEWAY_WORKERS` or `flag --workers`
"""

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from apps import yaml_source
from apps.yaml_source import Document, Path, Position, Problem, dotted

Model = TypeVar("Model", bound=BaseModel)

SHOWN_MAX = 100  # of the problems of one file: a template gone wrong has thousands


class InvalidSettings(Exception):
    """Settings that are wrong; the text says everything that is, each problem on a line of its own."""

    @classmethod
    def of(cls, problems: list[Problem]) -> "InvalidSettings":
        more = [f"and {len(problems) - SHOWN_MAX} more"] if len(problems) > SHOWN_MAX else []
        return cls("\n".join([*map(str, problems[:SHOWN_MAX]), *more]))


@dataclass(slots=True)
class Loaded(Generic[Model]):
    """What loading found. `data` is the merged plain data, whether it was valid or not."""

    model: type[Model]
    settings: Model | None = None
    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    document: Document = field(default_factory=lambda: Document(""))
    overrides: dict[Path, str] = field(default_factory=dict)

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at `path`, placed in the file or at the variable or flag that set it."""
        source = self._override(path)
        return Problem(path, message, None if source else self.document.position(path), source or self.document.file)

    def position(self, path: Path) -> Position | None:
        """Where in the file the value at `path`, or what is around it, stands."""
        return self.document.position(path)

    def origin(self, path: Path) -> str:
        """Where the value at `path` came from."""
        if override := self._override(path):
            return override
        for end in range(len(path), 0, -1):
            if path[:end] in self.document.positions:
                # A mapping stands in the file, but a key it leaves out still has its default.
                exact = end == len(path) or not isinstance(_at(self.document.data, path[:end]), dict)
                return str(self.document.positions[path[:end]]) if exact else "default"
        return "default"

    def _override(self, path: Path) -> str:
        return next((self.overrides[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.overrides), "")


def _at(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def load(
    model: type[Model],
    prefix: str,
    *,
    text: str = "",
    file: str = "",
    environ: Mapping[str, str] | None = None,
    flags: Mapping[Path, tuple[str, Any]] | None = None,
) -> Loaded[Model]:
    """Layers the sources and validates them against `model`. Raises nothing for bad input.

    text, file: the YAML text and the name errors give it. environ: variables; those with `prefix` are settings, named
    by their path (`timeouts.connect` is `<prefix>TIMEOUTS_CONNECT`). flags: path to (name of the flag, value).
    """
    loaded = Loaded(model, document=yaml_source.parse(text, file))
    loaded.problems.extend(loaded.document.problems)
    data = loaded.document.data
    if data is None:
        data = {}
    if not isinstance(data, dict):
        loaded.problems.append(loaded.problem((), "the file must be a mapping of settings, as in `listen: [...]`"))
        data = {}
    loaded.data = _copied(data)
    _apply_environment(loaded, prefix, environ or {})
    for path, (flag, value) in (flags or {}).items():
        _put(loaded.data, path, value)
        loaded.overrides[path] = f"flag {flag}"
    try:
        settings = model.model_validate(loaded.data)
    except ValidationError as error:
        loaded.problems.extend(_explained(loaded, error))
    else:
        loaded.settings = settings if not loaded.problems else None
    return loaded


def _copied(data: dict[str, Any]) -> dict[str, Any]:
    """Mappings copied down to where overrides may write; aliases in the file share objects."""
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in data.items()}


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for step in path[:-1]:
        inner = data.get(str(step))
        if not isinstance(inner, dict):
            inner = data[str(step)] = {}
        data = inner
    data[str(path[-1])] = value


def _apply_environment(loaded: Loaded[Any], prefix: str, environ: Mapping[str, str]) -> None:
    names = {prefix + "_".join(map(str, path)).upper(): path for path in setting_paths(loaded.model)}
    for name, value in sorted(environ.items()):
        if not name.startswith(prefix):
            continue
        path = names.get(name)
        if path is None:
            if name == f"{prefix}CONFIG":  # names the file, so it cannot be in it
                continue
            # Not an error: Kubernetes sets <SERVICE>_PORT and the like for a service called fastcore-gateway.
            known = {other.removeprefix(prefix): other for other in names}
            close = difflib.get_close_matches(name.removeprefix(prefix), known, 1)
            loaded.warnings.append(
                f"environment {name} is no setting" + (f"; did you mean {known[close[0]]}?" if close else "")
            )
            continue
        loaded.overrides[path] = f"environment {name}"
        parsed: Any = value
        if value.lstrip()[:1] in ("[", "{"):
            document = yaml_source.parse(value, f"environment {name}")
            loaded.problems.extend(Problem(path, p.message, None, f"environment {name}") for p in document.problems)
            parsed = document.data
        _put(loaded.data, path, parsed)


def setting_paths(model: type[BaseModel], path: Path = ()) -> Iterator[Path]:
    """Paths of all settings that have one place: sections are entered, lists and named groups are not."""
    for name, info in model.model_fields.items():
        here = (*path, name)
        yield here
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from setting_paths(info.annotation, here)


def model_at(annotation: Any, path: Path) -> type[BaseModel] | None:
    """The model that describes the mapping at `path` below `annotation`, or None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            return annotation
        info = annotation.model_fields.get(str(path[0]))
        return model_at(info.annotation, path[1:]) if info else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return next((found for option in arguments if (found := model_at(option, path))), None)
    if origin is None or not arguments:
        return None
    if origin in (list, tuple, dict) and path:
        return model_at(arguments[-1 if origin is dict else 0], path[1:])
    return model_at(arguments[0], path) if hasattr(annotation, "__metadata__") else None


def _explained(loaded: Loaded[Any], error: ValidationError) -> Iterator[Problem]:
    for entry in error.errors(include_url=False):
        path = tuple(step for step in entry["loc"] if step != "[key]")
        if entry["type"] == "missing":
            yield loaded.problem(path[:-1], f"required key {path[-1]} is missing")
        elif entry["type"] == "extra_forbidden":
            yield loaded.problem(path, _unknown_key(str(path[-1]), model_at(loaded.model, path[:-1])))
        else:
            yield loaded.problem(
                path, _in_plain_words(entry["type"], entry["msg"], entry["input"], entry.get("ctx", {}))
            )


def _unknown_key(key: str, known: type[BaseModel] | None) -> str:
    names = list(known.model_fields) if known else []
    close = difflib.get_close_matches(key, names, 1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key (known here: {', '.join(names)})"


def _in_plain_words(kind: str, message: str, value: Any, context: Mapping[str, Any]) -> str:
    """pydantic's errors for people who write YAML and never heard of pydantic."""
    match kind:
        case "value_error":
            return message.removeprefix("Value error, ")
        case "model_type" | "model_attributes_type" | "dict_type":
            return "expected a mapping" if value is not None else "expected a mapping, and nothing stands here"
        case "tuple_type" | "list_type":
            return "expected a list"
        case "string_type":
            plain = isinstance(value, bool | int | float)
            return f'expected a string; write "{value}" in quotes' if plain else "expected a string"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"expected a whole number, not {value!r}"
        case "float_type" | "float_parsing":
            return f"expected a number, not {value!r}"
        case "bool_type" | "bool_parsing":
            return f"expected true or false, not {value!r}"
        case "greater_than_equal":
            return f"{value!r} is less than {context['ge']}"
        case "less_than_equal":
            return f"{value!r} is more than {context['le']}"
        case "too_short":
            return f"expected at least {context['min_length']} of them"
        case "too_long":
            return f"expected at most {context['max_length']} of them"
        case "literal_error":
            choices = [word.strip("' ") for word in str(context["expected"]).replace(" or ", ",").split(",")]
            close = difflib.get_close_matches(str(value), choices, 1)
            return f"{value!r} is not one of {', '.join(choices)}" + (f"; did you mean {close[0]}?" if close else "")
    return message


def described(loaded: Loaded[Any]) -> dict[str, Any]:
    """The effective settings with secrets masked, as {dotted path: {value, origin}} in the model's order."""
    out: dict[str, Any] = {}
    if loaded.settings is None:
        return out
    plain = loaded.settings.model_dump(mode="json")
    for path in _leaves(plain):
        value = _at(plain, path)
        out[dotted(path)] = {"value": value, "origin": loaded.origin(path)}
    return out


def _leaves(plain: Any, path: Path = ()) -> Iterator[Path]:
    """Every path that holds a plain value or a list of plain values."""
    if isinstance(plain, dict) and (plain or not path):
        for key, value in plain.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(plain, list) and any(isinstance(item, dict) for item in plain):
        for index, item in enumerate(plain):
            yield from _leaves(item, (*path, index))
    else:
        yield path
