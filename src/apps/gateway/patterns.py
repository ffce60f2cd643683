"""Path templates and regular expressions of routes: whether they are well formed, and which parameters they bind.

This is the one place that judges a pattern before the route table is compiled; both functions raise ValueError with a
sentence for the person who wrote it.
"""

import re

from fastcore import regex

_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_BRACES = re.compile(r"\{([^{}]*)\}")


def template_parameters(template: str) -> frozenset[str]:
    """Names bound by `/users/{id}` (one segment each) and `/files/{rest*}` (the rest of the path, last only)."""
    names: set[str] = set()
    segments = template.split("/")[1:]
    for place, segment in enumerate(segments, 1):
        if "{" not in segment and "}" not in segment:
            continue
        found = _BRACES.fullmatch(segment)
        if not found:
            raise ValueError(f"{segment!r}: a parameter is a whole segment, as in /users/{{id}}")
        name = found[1].removesuffix("*")
        if name != found[1] and place != len(segments):
            raise ValueError(f"{segment!r} takes the rest of the path, so it must be the last segment")
        if not _PARAMETER.fullmatch(name):
            raise ValueError(f"{name!r} is no parameter name: letters, digits and '_', the first no digit")
        if name in names:
            raise ValueError(f"parameter {name!r} stands twice")
        names.add(name)
    return frozenset(names)


def regex_parameters(pattern: str) -> frozenset[str]:
    """Names of the groups `(?P<name>...)`; refuses what cannot be matched in linear time, naming the place."""
    return frozenset(name for name in regex.compile(pattern).names if name)


def rewrite_parameters(path: str) -> frozenset[str]:
    """Names a rewritten path inserts."""
    if re.search(r"[{}]", _BRACES.sub("", path)):
        raise ValueError(f"{path!r}: a brace has no partner")
    return frozenset(_BRACES.findall(path))
