"""Durations, sizes and addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.units import Address, format_duration, format_size, parse_address, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("500ms", 500), ("2s", 2000), ("1.5m", 90_000), ("1h", 3_600_000), (2, 2000), (0.5, 500), ("10", 10_000), (0, 0)],
)
def test_durations(text: object, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "-1s", "1 year", "soon", "0.5ms", True, None, [], "9999999d", "1e3", "nan", "²s", -1]
)
def test_refused_durations(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|finer|longer"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("64KB", 65536), ("1MB", 1 << 20), ("1.5k", 1536), (100, 100), ("7", 7), ("2 GB", 2 << 30)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "64XB", "1e9", True, 1.5, None, "999999999999TB"])
def test_refused_sizes(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|large"):
        parse_size(text)


@given(st.integers(0, 366 * 86_400_000))
def test_durations_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@given(st.integers(0, 1 << 61))
def test_sizes_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        (":8080", Address("0.0.0.0", 8080)),
        ("[::1]:80", Address("::1", 80)),
        ("[0:0:0:0:0:0:0:1]:80", Address("::1", 80)),
        ("users_1.internal:65535", Address("users_1.internal", 65535)),
        ("unix:/run/x.sock", Address("", 0, "/run/x.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "localhost:", "x:0", "x:65536", "x:+80", "x:\uff18\uff10", "::1:80", "[::1]", "[zz]:80", "300.1.1.1:80",
     "http://x:80", "unix:run", "unix:/" + "x" * 200, "a b:80", "-x:80", 80, None],
)  # fmt: skip
def test_refused_addresses(text: object) -> None:
    with pytest.raises(ValueError, match=r"write|port|IPv|host|unix"):
        parse_address(text)


def test_who_can_reach_an_address() -> None:
    assert all(parse_address(text).is_loopback for text in ("127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/x"))
    assert not any(parse_address(text).is_loopback for text in (":1", "[::]:1", "10.0.0.1:1", "example.com:1"))
