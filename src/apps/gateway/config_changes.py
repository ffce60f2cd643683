"""Settings of what a route changes on the way: header fields, query parameters, CORS, security fields; and answers
without an upstream. Values are templates, compiled here into the engine's parts."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from apps.config_base import FieldToken, Finding, Listed, Section, short_for
from apps.gateway.settings_files import read, said
from apps.units import Duration, Whole
from apps.yaml_source import Path
from fastcore import proxy as engine
from fastcore.proxy import VALUE_PARTS, Edit, Fixed, Part

EDITS_MAX = 64
BODY_BYTES_MAX = 256 * 1024
#: What frames, routes or accounts for a message: fields that are written by the gateway alone.
_OURS = re.compile(
    r"(?i)connection|content-length|transfer-encoding|te|trailer|upgrade|keep-alive|proxy-connection|via|host|expect|"
    r"forwarded|x-forwarded-.*|x-real-ip|x-request-id|max-forwards"
)
_NAMED = ("param", "query", "header", "cookie", "claim")
_PLACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\*\.)?[a-z0-9.-]+(?::[0-9]{1,5})?|null")


def parts_of(text: str) -> tuple[Part, ...]:
    """Literals and what stands in braces. Raises ValueError."""
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in text):
        raise ValueError("control characters cannot stand in a field")
    parts: list[Part] = []
    literal, last = "", 0
    for found in _PLACES.finditer(text):
        literal += text[last : found.start()]
        last = found.end()
        if found[0] in ("{{", "}}"):
            literal += found[0][0]
        elif found[1] is None:
            raise ValueError(f"{text!r}: a brace has no partner; {{{{ and }}}} stand for themselves")
        else:
            if literal:
                parts.append(Part("literal", literal))
            literal = ""
            parts.append(_place(found[1]))
    literal += text[last:]
    return (*parts, Part("literal", literal)) if literal or not parts else tuple(parts)


def _place(name: str) -> Part:
    kind, dot, rest = name.partition(".")
    if kind in _NAMED and dot and rest:
        return Part(kind, rest)
    if name in VALUE_PARTS and name not in ("literal", *_NAMED):
        return Part(name)
    known = [*(one for one in VALUE_PARTS if one not in ("literal", *_NAMED)), *(f"{one}.NAME" for one in _NAMED)]
    raise ValueError(f"{{{name}}} is nothing that can be inserted; known: {', '.join(known)}")


def _template(value: str) -> str:
    parts_of(value)
    return value


def _changeable(value: str) -> str:
    if _OURS.fullmatch(value):
        raise ValueError(f"{value}: the gateway itself writes this field")
    return value


def _origin(value: str) -> str:
    if value != "*" and not _ORIGIN.fullmatch(value):
        raise ValueError(f"{value!r} is no origin: write https://a.example, https://*.a.example or *, in lower case")
    return value


Template = Annotated[str, Field(max_length=4096), AfterValidator(_template)]
FieldName = Annotated[FieldToken, AfterValidator(_changeable)]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.~\[\]-]{1,64}$")]
Origin = Annotated[str, AfterValidator(_origin)]


class FieldChanges(Section):
    set: dict[FieldName, Template] = {}
    """Fields that stand instead of all that came under their name. One whose value comes out empty is left out."""
    add: dict[FieldName, Template] = {}
    """Fields beside those that came."""
    default: dict[FieldName, Template] = {}
    """Fields for messages that have none of their name."""
    remove: Annotated[tuple[FieldName, ...], Listed] = ()
    """Fields that go no further."""
    rename: dict[FieldName, FieldName] = {}
    """Old name to new name; the values stay."""


class ParameterChanges(Section):
    set: dict[ParameterName, Template] = {}
    """Parameters that stand instead of all that came under their name. What is inserted is percent-encoded."""
    add: dict[ParameterName, Template] = {}
    """Parameters beside those that came."""
    default: dict[ParameterName, Template] = {}
    """Parameters for queries that have none of their name."""
    remove: Annotated[tuple[ParameterName, ...], Listed] = ()
    """Parameters that go no further."""
    rename: dict[ParameterName, ParameterName] = {}
    """Old name to new name."""


class Cors(Section):
    origins: Annotated[tuple[Origin, ...], Listed, Field(min_length=1, max_length=256)]
    """Origins whose pages may read answers: `https://example.com`, `https://*.example.com`, or `*`."""
    methods: Annotated[tuple[str, ...], Listed] | None = None
    """Methods that may be used; without it the one that is asked for, as routes decide about methods anyway."""
    headers: Annotated[tuple[FieldToken, ...], Listed] | None = None
    """Fields that may be sent; without it those that are asked for."""
    expose: Annotated[tuple[FieldToken, ...], Listed] = ()
    """Fields of answers that pages may read, beyond the few that browsers allow."""
    credentials: bool = False
    """true: with cookies and other credentials. Not with the origin `*`."""
    max_age: Duration = 600_000
    """How long browsers remember what a preflight said."""

    def engine(self) -> engine.Cors:
        return engine.Cors(
            self.origins, self.credentials, self.methods, self.headers, self.expose, max_age=self.max_age // 1000
        )


class SecurityHeaders(Section):
    hsts: Duration = 365 * 86_400_000
    """Over TLS: how long browsers use https only (`Strict-Transport-Security`); 0 leaves it out."""
    hsts_subdomains: bool = False
    """true: so do they for all subdomains."""
    content_type_options: bool = True
    """`X-Content-Type-Options: nosniff`."""
    frame_options: Literal["deny", "sameorigin", "off"] = "deny"
    """Who may show pages in a frame (`X-Frame-Options`)."""
    referrer_policy: str = "strict-origin-when-cross-origin"
    """What pages tell where their visitors come from; empty leaves it out."""
    content_security_policy: Template = ""
    """`Content-Security-Policy`, as you write it."""
    permissions_policy: Template = ""
    """`Permissions-Policy`, as you write it."""

    def edits(self) -> list[Edit]:
        """Fields for answers that have none of their own: an application that knows better is left alone."""
        subdomains = "; includeSubDomains" if self.hsts_subdomains else ""
        fields = {
            "Strict-Transport-Security": f"max-age={self.hsts // 1000}{subdomains}" if self.hsts else "",
            "X-Content-Type-Options": "nosniff" if self.content_type_options else "",
            "X-Frame-Options": "" if self.frame_options == "off" else self.frame_options.upper(),
            "Referrer-Policy": self.referrer_policy,
            "Content-Security-Policy": self.content_security_policy,
            "Permissions-Policy": self.permissions_policy,
        }
        return [
            Edit("default", name, parts_of(value), secure_only=name == "Strict-Transport-Security")
            for name, value in fields.items()
            if value
        ]


class Redirect(Section):
    to: Template
    """Where, as in `https://{request.host}{request.path}`. A plain string instead of a mapping means this."""
    status: Literal[301, 302, 303, 307, 308] = 302
    """301 and 308 are remembered by browsers; 307 and 308 keep the method."""
    query: bool = True
    """Append the request's query, where `to` has none of its own."""

    def fixed(self) -> Fixed:
        location = parts_of(self.to)
        if self.query and "?" not in self.to and not any(part.kind.startswith("request.query") for part in location):
            location = (*location, Part("request.query_tail"))
        return Fixed(self.status, location=location)


class Respond(Section):
    status: Annotated[int, Field(ge=200, le=599), Whole] = 200
    """Status of the answer."""
    body: str | None = None
    """Text of the answer."""
    json_body: Annotated[Any, Field(alias="json")] = None
    """Or what becomes JSON."""
    file: str | None = None
    """Or a file that is read when the settings are; up to 256KB."""
    content_type: str | None = None
    """Without it text/plain, application/json for `json`, and by its name for a file."""

    _content: bytes | None = PrivateAttr(None)

    def content(self) -> bytes:
        """Raises OSError and ValueError."""
        if self._content is None:
            if self.file is not None:
                self._content = read(self.file)
            elif self.json_body is not None:
                self._content = (json.dumps(self.json_body, ensure_ascii=False) + "\n").encode()
            else:
                self._content = (self.body or "").encode()
            if len(self._content) > BODY_BYTES_MAX:
                raise ValueError(f"{len(self._content)} bytes; an answer of the settings has at most 256KB")
        return self._content

    def fixed(self) -> Fixed:
        content = self.content()
        return Fixed(self.status, self._type() if content else "", content)

    def _type(self) -> str:
        if self.content_type is not None:
            return self.content_type
        if self.json_body is not None:
            return "application/json"
        if self.file is not None:
            import mimetypes

            kind = mimetypes.guess_type(self.file)[0] or "application/octet-stream"
            return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        return "text/plain; charset=utf-8"


RedirectOrText = Annotated[Redirect, short_for("to")]
RespondOrText = Annotated[Respond, short_for("body")]
SecurityOrSwitch = Annotated[
    SecurityHeaders | Literal[False], BeforeValidator(lambda value: {} if value is True else value)
]


def edits_of(changes: FieldChanges | ParameterChanges | None) -> list[Edit]:
    """As the engine takes them."""
    if changes is None:
        return []
    made = [Edit("remove", name) for name in changes.remove]
    made += [Edit("rename", old, (Part("literal", new),)) for old, new in changes.rename.items()]
    kinds: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("set", changes.set),
        ("add", changes.add),
        ("default", changes.default),
    )
    for kind, values in kinds:
        made += [Edit(kind, name, parts_of(value)) for name, value in values.items()]
    return made


def check_changes(
    at: Path, changes: FieldChanges | ParameterChanges | None, in_answer: bool, usable: Callable[[Part], str | None]
) -> Iterator[Finding]:
    """usable: why a part cannot be inserted on this route; None: it can."""
    if changes is None:
        return
    fold: Callable[[str], str] = str.lower if isinstance(changes, FieldChanges) else str
    first: dict[str, str] = {}
    for key in ("remove", "rename", "set", "add", "default"):
        for name in getattr(changes, key):
            other = first.setdefault(fold(name), key)
            if other != key:
                yield (*at, key), f"{name} stands under {other}, too"
    for key in ("set", "add", "default"):
        values: dict[str, str] = getattr(changes, key)
        for name, value in values.items():
            yield from check_parts((*at, key, name), parts_of(value), in_answer, usable)
    if len(edits_of(changes)) > EDITS_MAX:
        yield at, f"more than {EDITS_MAX} changes"


def check_parts(
    at: Path, parts: Iterable[Part], in_answer: bool, usable: Callable[[Part], str | None]
) -> Iterator[Finding]:
    for part in parts:
        if in_answer and part.kind == "param":
            yield at, f"{{param.{part.text}}}: parameters of the path are known in requests and redirects only"
        elif not in_answer and part.kind in ("status", "target"):
            yield at, f"{{{part.kind}}} is known in answers only"
        elif (reason := usable(part)) is not None:
            yield at, reason


def check_cors(at: Path, cors: Cors | None) -> Iterator[Finding]:
    if cors is not None and cors.credentials and "*" in cors.origins:
        yield (*at, "credentials"), "every page of the world could act as its visitor: name the origins"


def check_respond(at: Path, respond: Respond | None) -> Iterator[Finding]:
    if respond is None:
        return
    if sum(one is not None for one in (respond.body, respond.json_body, respond.file)) > 1:
        yield at, "body, json and file exclude each other"
    try:
        respond.content()
    except (OSError, ValueError) as error:
        yield (*at, "file") if respond.file else at, said(error)
