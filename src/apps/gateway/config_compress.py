"""Settings of bodies that are compressed, or unpacked, on their way."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from apps.config_base import Finding, Listed, Section
from apps.units import Size, Whole
from apps.yaml_source import Path
from fastcore.proxy import Coding

#: What is text, and not small already.
TYPES = (
    "text/",
    "application/json",
    "application/problem+json",
    "application/javascript",
    "application/xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/xhtml+xml",
    "application/manifest+json",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
    "font/otf",
)


def _media_type(value: str) -> str:
    major, slash, minor = value.partition("/")
    if not major or not slash or any(c in value for c in " ;,*\t") or "/" in minor:
        raise ValueError(f"{value!r} is no media type: write text/html, or text/ for all of text")
    return value.lower()


MediaType = Annotated[str, AfterValidator(_media_type)]


class Compress(Section):
    enabled: bool = True
    """A plain `true` or `false` instead of a mapping means this."""
    types: Annotated[tuple[MediaType, ...], Listed, Field(min_length=1, max_length=200)] = TYPES
    """Media types of answers worth it; `text/` stands for all of text."""
    min_bytes: Size = 1024
    """Shorter answers, where the target says how long they are, go as they are."""
    gzip: Annotated[int, Field(ge=0, le=9), Whole] = 5
    """Level of gzip, 1 (quick) to 9 (small); 0: no gzip."""
    br: Annotated[int, Field(ge=-1, le=11), Whole] = 4
    """Quality of Brotli, 0 (quick) to 11 (small, and far too slow for answers made on demand); -1: no Brotli."""

    unpack: bool = True
    """Answers that come in gzip or br are unpacked for clients that do not take it, those that say nothing included."""
    unpack_requests: bool = False
    """Bodies of requests that come in gzip or br are unpacked for the target; `body_bytes` bounds what they make."""

    def coding(self) -> Coding | None:
        if not self.enabled:
            return None
        return Coding(self.types, self.min_bytes, self.gzip, self.br, self.unpack, self.unpack_requests)


CompressOrSwitch = Annotated[
    Compress, BeforeValidator(lambda value: {"enabled": value} if isinstance(value, bool) else value)
]


def check_compress(at: Path, compress: Compress | None) -> Iterator[Finding]:
    if (
        compress is not None
        and compress.enabled
        and not (compress.gzip or compress.unpack or compress.unpack_requests)
        and compress.br < 0
    ):
        yield at, "neither gzip nor br, nor to unpack: write false for no compression"
