"""One JSON Web Token in compact form, read more strictly than libraries do: two readers that differ over a token are
how one is signed and another believed (RFC 8725, sections 2.5 and 3.2 to 3.11; RFC 7515, sections 4 and 5.2).

Nothing here verifies anything; what comes out is what the sender says.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

KID_MAX = 256


class Refused(Exception):
    """A credential that is not accepted; `reason` is a word of fastcore.proxy.REASONS."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Token:
    alg: str
    kid: str | None
    typ: str | None
    signed: bytes
    """What the signature is over."""
    signature: bytes
    payload: bytes

    def claims(self) -> dict[str, Any]:
        """Raises Refused. Call it when the signature has been verified."""
        return json_object(self.payload)


def parse(text: bytes) -> Token:
    """Raises Refused: malformed, critical, algorithm."""
    parts = text.split(b".")
    if len(parts) != 3:  # five would be JWE: nothing here is encrypted to us
        raise Refused("malformed", f"{len(parts)} parts")
    head, payload, signature = (base64url(part) for part in parts)
    header = json_object(head)
    if "crit" in header or "b64" in header:
        # We know no extension, so each one listed is unknown; an empty or odd list is malformed, and refused as well.
        raise Refused("critical")
    if "enc" in header or "zip" in header:
        raise Refused("malformed", "encrypted or compressed")
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(alg, str):
        raise Refused("malformed", "no alg")
    if not isinstance(kid, str | None) or not isinstance(typ, str | None) or len(kid or "") > KID_MAX:
        raise Refused("malformed", "kid or typ")
    if alg.lower() == "none" or not signature:
        raise Refused("algorithm", "not signed")
    return Token(alg, kid, typ, parts[0] + b"." + parts[1], signature, payload)


def base64url(part: bytes) -> bytes:
    """Exactly what RFC 7515 writes: no padding, no white space, no other alphabet, and no bits behind the last byte, of
    which every value would decode to the same. All of that is left out when what was read is written again."""
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise Refused("malformed", "base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise Refused("malformed", "base64url, not as it is written")
    return data


def json_object(data: bytes) -> dict[str, Any]:
    """An object in UTF-8, without duplicate members on any level, without NaN and Infinity."""
    try:
        # json.loads of bytes would guess UTF-16 and UTF-32, which RFC 7515 has not.
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused("malformed", "JSON") from None
    if not isinstance(value, dict):
        raise Refused("malformed", "no object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def numeric_date(claims: dict[str, Any], name: str) -> float | None:
    """Seconds since 1970. Raises Refused for what is there and no such number."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("malformed", name)
    try:
        seconds = float(value)
    except OverflowError:
        raise Refused("malformed", name) from None
    if not math.isfinite(seconds):
        raise Refused("malformed", name)
    return seconds
