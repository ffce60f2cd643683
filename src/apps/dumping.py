"""Keys and values as text and back: what `fastcore store dump` prints, and what its bounds are written in."""

import base64
import json
import re

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN = {written[1]: plain.encode() for plain, written in _ESCAPES.items()}


def escaped(data: bytes) -> str:
    """Printable characters as they are, all else as \\n, \\r, \\t, \\\\ or \\xNN for each byte."""
    shown = data.decode("utf-8", "surrogateescape")
    return "".join(
        _ESCAPES.get(c)
        or (c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape")))
        for c in shown
    )


def unescaped(text: str) -> bytes:
    """Raises ValueError for a backslash that begins none of those."""
    parts = []
    at = 0
    for found in re.finditer(r"\\(x[0-9a-fA-F]{2}|.|$)", text, re.DOTALL):
        code = found[1]
        if code not in _PLAIN and len(code) != 3:
            raise ValueError(f"{text!r}: write \\\\ for a backslash, \\n, \\r, \\t, or \\xNN for any byte")
        parts.append(text[at : found.start()].encode("utf-8", "surrogateescape"))
        parts.append(_PLAIN[code] if code in _PLAIN else bytes.fromhex(code[1:]))
        at = found.end()
    return b"".join((*parts, text[at:].encode("utf-8", "surrogateescape")))


def text_line(key: bytes, value: bytes) -> str:
    return f"{escaped(key)}\t{escaped(value)}"


def json_line(key: bytes, value: bytes) -> str:
    """{"key": ..., "value": ...}; one that is not UTF-8 is `key_base64` or `value_base64`."""
    fields = {}
    for name, data in (("key", key), ("value", value)):
        try:
            fields[name] = data.decode()
        except UnicodeDecodeError:
            fields[f"{name}_base64"] = base64.b64encode(data).decode()
    return json.dumps(fields, ensure_ascii=False)
