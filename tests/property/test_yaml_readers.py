"""Settings mean the same whichever of the two parsers read them: libyaml, which reads what is right, or the one in
Python, which reads what libyaml refuses."""

import io

from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from apps.yaml_source import Bounds, _parse_in_python, parse

LINES = """\
listen: ["127.0.0.1:8080", '[::1]:8080']  # a comment
access_log: {path: "-", sample: 0.5}
upstreams:
  hello: &hello
    targets: [127.0.0.1:9100, {address: unix:/run/x, weight: 2}]
    health_check: {path: /x?y=1, interval: 5s}
  other: *hello
routes:
- {path: /, upstream: hello, query: {a: "b", c: {present: true}}}
-   path: /b
    upstream: other
    respond: |
      several
      lines
    template: '/users/{id}'
    regex: ^/[a-z]+$
    text: >-
      folded
      text
? key
: value
empty:
off: yes
octal: 0o17
url: http://example.com:80/a#b
""".splitlines(keepends=True)

scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.text("ab:#-?[]{}'\"&*!|>%@`, \n\t\\é☃", max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:-# ", max_size=3), inner, max_size=3),
)


@st.composite
def written(draw: st.DrawFn) -> str:
    yaml = YAML()
    yaml.default_flow_style = draw(st.sampled_from([True, False, None]))
    out = io.StringIO()
    yaml.dump(draw(values), out)
    return out.getvalue()


@st.composite
def edited(draw: st.DrawFn) -> str:
    """A settings file with lines gone or moved, and a few characters in wrong places."""
    text = "".join(draw(st.lists(st.sampled_from(LINES), max_size=12)) if draw(st.booleans()) else LINES)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.text(":#-?[]{}'\"&*!|>%@`, \n\t\\a0é", max_size=2))
            + text[at + draw(st.integers(0, 2)) :]
        )
    return text


@settings(max_examples=500)
@given(written() | edited())
@example("a: http://x:80/\n")
@example("{a: [b, c: d, 'e':f]}\n")
@example("a: 'it''s'\n")
@example("\ufeffa: 1\n")
@example("a:\tb\n")
@example("%YAML 1.1\n---\na: yes\n")
@example("a: 1\r\nb: 2\r\n")
@example("a: \x85b\n")
def test_both_parsers_agree(text: str) -> None:
    quick, slow = parse(text, "f"), _parse_in_python(text, "f", Bounds())
    if slow.problems and not quick.problems:
        return  # libyaml takes more: a tab before a value, for instance, as YAML 1.2 does, too
    assert (quick.data, quick.problems, quick.positions) == (slow.data, slow.problems, slow.positions)
