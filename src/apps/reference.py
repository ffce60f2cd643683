"""The settings reference in the documentation, written from the models so that it cannot be wrong.

`python -m apps.reference FILE` rewrites what stands between the two markers in FILE.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from apps.gateway.config_model import Gateway

BEGIN = "<!-- written by `python -m apps.reference`: begin -->"
END = "<!-- end -->"


def reference(model: type[BaseModel]) -> str:
    """One Markdown table a section: key, what may stand there, default, meaning."""
    schema = model.model_json_schema(mode="serialization")
    definitions = {**schema.get("$defs", {})}
    out = []
    for title, section in [
        ("Top level", schema),
        *((name, definitions[name]) for name in _in_order(schema, definitions)),
    ]:
        out += [f"### {title}", "", "| key | value | default | meaning |", "|---|---|---|---|"]
        required = section.get("required", ())
        for key, info in section["properties"].items():
            default = "required" if key in required and "default" not in info else _default(info)
            meaning = " ".join(info.get("description", "").split()).replace("|", "\\|")
            out.append(f"| `{key}` | {_kind(info)} | {default} | {meaning} |")
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def _in_order(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Sections as they are first mentioned, reading from the top."""
    found: list[str] = []
    pending = [schema]
    while pending:
        for name in _mentioned(pending.pop(0).get("properties", {})):
            if name in definitions and name not in found:
                found.append(name)
                pending.append(definitions[name])
    return found


def _mentioned(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for value in node.values():
            yield from _mentioned(value)
    elif isinstance(node, list):
        for value in node:
            yield from _mentioned(value)


def _kind(info: dict[str, Any]) -> str:
    if "$ref" in info:
        name = info["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in info:
        return " or ".join(_kind(option) for option in info["anyOf"] if option.get("type") != "null")
    if "enum" in info:
        return ", ".join(f"`{choice}`" for choice in info["enum"])
    if info.get("type") == "array":
        return f"list of {_kind(info['items'])}"
    if info.get("type") == "object":
        values = info.get("additionalProperties")
        return f"mapping of name to {_kind(values)}" if isinstance(values, dict) else "mapping"
    if info.get("format") == "password":
        return "secret"
    if info.get("title") in ("duration", "size", "address", "network"):
        return str(info["title"]) + _bounds(info)
    if "const" in info:
        return f"`{json.dumps(info['const'])}`"
    if "type" not in info:
        return "anything"
    kind = str(info["type"])
    return {"boolean": "true or false", "integer": "number"}.get(kind, kind) + _bounds(info)


def _bounds(info: dict[str, Any]) -> str:
    low, high = info.get("minimum"), info.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else f", at most {high}" if high is not None else ""


def _default(info: dict[str, Any]) -> str:
    default = info.get("default", PydanticUndefined)
    if default is PydanticUndefined:
        return ""
    if default is None:
        return "none"
    if isinstance(default, dict):
        return "" if default else "empty"
    return f"`{json.dumps(default)}`" if default != [] else "empty"


def replaced(text: str, table: str) -> str:
    """`text` with what stands between the markers replaced. Raises ValueError without markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the markers are missing")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(replaced(document.read_text(), reference(Gateway)))
