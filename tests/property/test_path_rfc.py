"""Path normalisation against the letter of RFC 3986, one step after the other."""

import re
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from fastcore.path import normalise

UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
parts = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"a",
        b"bc",
        b"%2e",
        b"%2E",
        b"%41",
        b"%2f",
        b"%2F",
        b"%7e",
        b"%25",
        b"%c3",
        b"\xe9",
        b";",
    ]
)
paths = st.lists(parts, max_size=12).map(lambda p: b"/" + b"".join(p))


def unescape(path):
    def one(match):
        byte = unquote_to_bytes(match[0])
        return byte if UNRESERVED.fullmatch(byte) else match[0].upper()

    return re.sub(rb"%[0-9A-Fa-f]{2}", one, path)


def remove_dot_segments(path):
    """RFC 3986 5.2.4, steps A to E as they are written."""
    output = b""
    while path:
        if path.startswith((b"../", b"./")):
            path = path.partition(b"/")[2]
        elif path.startswith(b"/./") or path == b"/.":
            path = b"/" + path[3:]
        elif path.startswith(b"/../") or path == b"/..":
            path = b"/" + path[4:]
            output = output.rpartition(b"/")[0]
        elif path in (b".", b".."):
            path = b""
        else:
            segment = re.match(rb"/?[^/]*", path)[0]
            output, path = output + segment, path[len(segment) :]
    return output


@settings(max_examples=1000)
@given(paths, st.booleans())
def test_same_as_the_rfc(path, merge):
    expected = unescape(path)
    if merge:
        expected = re.sub(rb"/+", b"/", expected)
    expected = remove_dot_segments(expected)
    normal = normalise(path, merge_slashes=merge)
    assert normal == expected
    assert normalise(normal, merge_slashes=merge) is normal, "idempotent"
    assert len(normal) <= len(path)


@settings(max_examples=1000)
@given(st.binary(max_size=30), st.booleans(), st.booleans())
def test_any_bytes_are_refused_or_safe(tail, merge, refuse):
    try:
        normal = normalise(b"/" + tail, merge_slashes=merge, refuse_encoded_slash=refuse)
    except ValueError:
        return
    assert normal.startswith(b"/")
    assert b"\0" not in unquote_to_bytes(normal)
    assert not {b".", b".."} & set(normal.split(b"/"))
    assert not (merge and b"//" in normal)
    assert not (refuse and re.search(rb"%(2[fF]|5[cC])", normal))
