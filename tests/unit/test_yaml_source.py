"""YAML with positions: values, places, and refusal of everything hostile or ambiguous."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from apps.yaml_source import Bounds, Position, dotted, parse, plain_scalar

USUAL = Bounds()


def messages(text: str, bounds: Bounds = USUAL) -> list[str]:
    return [str(problem) for problem in parse(text, "f.yaml", bounds).problems]


def test_values_and_their_places() -> None:
    document = parse('a: 1\nb: {c: off, d: [1, 2.5, "x", ~, 0x1f]}\ne: &x [true]\nf: *x\n', "f.yaml")
    assert document.data == {
        "a": 1,
        "b": {"c": "off", "d": [1, 2.5, "x", None, 31]},
        "e": [True],
        "f": [True],
    }
    assert document.problems == []
    assert document.positions[("b", "d", 2)] == Position("f.yaml", 2, 25)
    assert document.positions[("f",)] == Position("f.yaml", 4, 1)
    assert document.position(("b", "nothing", "here")) == Position("f.yaml", 2, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", ["f.yaml:2:1: a: this key stands here twice (first in line 1)"]),
        ('"a": "\\ud800"', ["f.yaml:1:6: a: half a surrogate pair is no character; write the character itself"]),
        (
            "a: !!python/object:os.system x",
            ["f.yaml:1:4: a: tags are not allowed here: tag:yaml.org,2002:python/object:os.system"],
        ),
        ("a: !x {}", ["f.yaml:1:4: a: tags are not allowed here: !x"]),
        ("a: 1\n---\nb: 2\n", ["f.yaml:2:1: only one document may stand in the file"]),
        ("? [1]\n: 2\n", ["f.yaml:1:3: a key must be a plain string"]),
        ("a: *nope\n", ["f.yaml:1:4: a: *nope names no anchor above"]),
        ("a: &a [*a]\n", ["f.yaml:1:8: a[0]: *a contains itself"]),
        ("a: {b: [1, }\n", ["f.yaml:1:12: not YAML: expected the node content, but found '}'"]),
        ("a: \x07\n", ["f.yaml:1:1: not YAML: unacceptable character #x0007: special characters are not allowed"]),
    ],
)
def test_refused(text: str, expected: list[str]) -> None:
    assert messages(text) == expected


def test_a_refused_key_hides_nothing_after_it() -> None:
    document = parse("a: 1\na: {b: 2}\nc: 3\n", "f.yaml")
    assert document.data == {"a": 1, "c": 3}


def test_bounds_hold_before_anything_is_built() -> None:
    assert messages("[" * 100_000) == ["f.yaml:1:33: [0][0][0]: nested deeper than 32 levels"]
    laughs = "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
    assert messages(laughs)[0].endswith("more than 1000000 values")
    assert messages("a: &a 1\nb: [*a, *a, *a]\n", Bounds(aliases=2))[0].endswith("more than 2 aliases")
    assert messages("a: 12345\n", Bounds(file_bytes=5)) == ["f.yaml:1:1: larger than 5 bytes"]
    assert messages("[1, 2, 3]", Bounds(values=3))[0].endswith("more than 3 values")


def test_a_number_nobody_means_is_a_string() -> None:
    assert plain_scalar("9" * 5000) == "9" * 5000


text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=12)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(json_like)
def test_json_reads_as_itself(data: object) -> None:
    document = parse(json.dumps({"a": data}), "f")
    assert document.problems == []
    assert document.data == {"a": data}


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#%@ \n\t0,?~", max_size=40))
def test_any_text_is_read_or_refused_but_never_raises(text: str) -> None:
    document = parse(text, "f")
    if not document.problems and "<<" not in text:
        try:
            expected = YAML(typ="safe", pure=True).load(text)
        except Exception:
            return  # a tree the other reader cannot build, as with a list as a key
        if not isinstance(expected, dict):
            assert document.data == expected or isinstance(document.data, str)


def test_written_paths() -> None:
    assert dotted(("routes", 3, "headers", "X Y")) == "routes[3].headers['X Y']"
