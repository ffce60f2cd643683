"""RFC 9111 sentence by sentence, and what it takes from RFC 9110, 5861, 9211 and 9213, through a real gateway.

A case is what the origin answers, and requests in turn; `fetched` is how many of them reached it. Time passes in the
origin's Age field: an answer that comes with `Age: 90` is 90 seconds old.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Any

import pytest
from servers import Gateway, Message, RawUpstream, Wire


def date(seconds: int) -> str:
    """Stands for the date that many seconds after the beginning of the case: cases are written minutes before they run."""
    return f"<now{seconds:+}>"


def dated(text: str, now: float) -> str:
    return re.sub(r"<now([+-]\d+)>", lambda found: formatdate(now + int(found[1]), usegmt=True), text)


@dataclass
class Case:
    section: str
    says: str
    answer: list[str]
    asks: list[dict[str, str]] = field(default_factory=lambda: [{}, {}])
    fetched: int = 1
    status: int = 200
    last: int | None = None
    """Status of the last answer."""
    fields: dict[str, str | None] = field(default_factory=dict)
    """Of the last answer."""
    method: str = "GET"


def stored(section: str, says: str, *answer: str, **more: Any) -> Case:
    return Case(section, says, list(answer), **{"fetched": 1, **more})


def fetched_again(section: str, says: str, *answer: str, **more: Any) -> Case:
    return Case(section, says, list(answer), **{"fetched": 2, **more})


FRESH = "Cache-Control: max-age=100"
AUTH = {"Authorization": "Basic YTpi"}

CASES = [
    # --- 3: storing ---
    stored("3", "the response contains an explicit max-age", FRESH),
    stored("3", "an Expires field", f"Expires: {date(100)}", f"Date: {date(0)}"),
    stored("3", "an s-maxage directive", "Cache-Control: s-maxage=100"),
    stored("3", "a public directive, and a heuristic", "Cache-Control: public", f"Last-Modified: {date(-86400)}"),
    stored("3", "a status that is defined as heuristically cacheable", f"Last-Modified: {date(-86400)}"),
    fetched_again("3", "nothing that says how long", "X-Nothing: 1"),
    fetched_again("3", "the request method is understood: an unsafe one is never stored", FRESH, method="PUT"),
    *(
        stored("3", f"the status {status} is final and says how long", FRESH, status=status, last=status)
        for status in (203, 300, 301, 302, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 501)
    ),
    *(
        stored("RFC 9110, 15.1", f"{status} is heuristically cacheable", f"Last-Modified: {date(-86400)}", status=status, last=status)
        for status in (203, 300, 301, 308, 404, 405, 410, 414, 451, 501)
    ),
    *(
        fetched_again("RFC 9110, 15.1", f"{status} is not heuristically cacheable", f"Last-Modified: {date(-86400)}", status=status, last=status)
        for status in (302, 307, 400, 403, 500)
    ),
    *(
        fetched_again("3", f"the status {status} is about one request", FRESH, status=status, last=status)
        for status in (401, 412, 417, 421, 429)
    ),
    fetched_again("3.3", "206 is not stored: we do not put parts together", FRESH, "Content-Range: bytes 0-3/9", status=206, last=206),
    # --- 3.5: Authorization ---
    fetched_again("3.5", "a shared cache must not use a response to a request with Authorization", FRESH, asks=[AUTH, AUTH]),
    fetched_again("3.5", "not for others either", FRESH, asks=[AUTH, {}]),
    stored("3.5", "unless it has public", "Cache-Control: public, max-age=100", asks=[AUTH, AUTH]),
    stored("3.5", "or s-maxage", "Cache-Control: s-maxage=100", asks=[AUTH, AUTH]),
    stored("3.5", "or must-revalidate", "Cache-Control: must-revalidate, max-age=100", asks=[AUTH, AUTH]),
    stored("3.5", "one stored without can be used by a request with it", FRESH, asks=[{}, AUTH]),
    # --- 4.2.1: lifetime ---
    stored("4.2.1", "s-maxage wins over max-age", "Cache-Control: max-age=0, s-maxage=100"),
    fetched_again("4.2.1", "s-maxage wins, also when it is shorter", "Cache-Control: s-maxage=0, max-age=100", 'ETag: "x"'),
    stored("4.2.1", "max-age wins over Expires", FRESH, f"Expires: {date(-100)}"),
    fetched_again("4.2.1", "max-age wins, also when it is shorter", "Cache-Control: max-age=0", f"Expires: {date(100)}", 'ETag: "x"'),
    stored("4.2.1", "Expires minus Date", f"Date: {date(-10)}", f"Expires: {date(90)}"),
    fetched_again("4.2.1", "Expires in the past", f"Date: {date(0)}", f"Expires: {date(-1)}", 'ETag: "x"'),
    fetched_again("4.2.1", "Expires that equals Date", f"Date: {date(0)}", f"Expires: {date(0)}", 'ETag: "x"'),
    fetched_again("4.2.1", "a directive twice with different values: considered stale", "Cache-Control: max-age=100, max-age=200", 'ETag: "x"'),
    stored("4.2.1", "twice with one value is no contradiction", "Cache-Control: max-age=100, max-age=100"),
    fetched_again("4.2.1", "max-age that is no number: considered stale", "Cache-Control: max-age=abc", 'ETag: "x"'),
    fetched_again("4.2.1", "a negative one", "Cache-Control: max-age=-100", 'ETag: "x"'),
    fetched_again("4.2.1", "one with a decimal point", "Cache-Control: max-age=100.5", 'ETag: "x"'),
    fetched_again("4.2.1", "one without a value", "Cache-Control: max-age", 'ETag: "x"'),
    stored("1.2.2", "an overflow counts as 2^31", "Cache-Control: max-age=99999999999999999999"),
    stored("5.2", "a quoted value is accepted", 'Cache-Control: max-age="100"'),
    stored("5.2", "names of directives have no letter case", "cache-control: MAX-AGE=100"),
    stored("5.2", "several fields are one list", "Cache-Control: public", "Cache-Control: max-age=100"),
    stored("5.2", "unknown directives are ignored", 'Cache-Control: x-new="a, no-store", max-age=100'),
    stored("5.2", "blanks around members", "Cache-Control:   public ,\tmax-age=100  "),
    fetched_again("5.2", "a directive inside quotes is none", 'Cache-Control: x="max-age=100"'),
    fetched_again("5.3", "an Expires that is no date is in the past", "Expires: 0", 'ETag: "x"'),
    fetched_again("5.3", "nor are several that differ better than the first", f"Expires: {date(100)}", "Expires: -1", 'ETag: "x"'),
    # --- 4.2.2: heuristics ---
    stored("4.2.2", "a tenth of the time since Last-Modified", f"Last-Modified: {date(-1000)}", "Age: 50"),
    fetched_again("4.2.2", "and not more", f"Last-Modified: {date(-1000)}", "Age: 150"),
    fetched_again("4.2.2", "no heuristic when there is an explicit time", f"Last-Modified: {date(-100000)}", f"Expires: {date(-1)}"),
    fetched_again("4.2.2", "Last-Modified in the future suggests nothing", f"Last-Modified: {date(1000)}"),
    # --- 4.2.3: age ---
    stored("4.2.3", "Age counts", FRESH, "Age: 90"),
    fetched_again("4.2.3", "Age beyond the lifetime", FRESH, "Age: 100", 'ETag: "x"'),
    fetched_again("4.2.3", "an old Date counts as age", FRESH, f"Date: {date(-101)}", 'ETag: "x"'),
    stored("4.2.3", "a Date in the future counts as none", FRESH, f"Date: {date(50)}"),
    fetched_again("4.2.3", "the larger of Age and Date", FRESH, "Age: 5", f"Date: {date(-101)}", 'ETag: "x"'),
    stored("5.1", "an Age that is no number is ignored", FRESH, "Age: old"),
    # --- 5.2.2: directives of answers ---
    fetched_again("5.2.2.4", "no-cache: not without validation", "Cache-Control: no-cache, max-age=100", 'ETag: "x"'),
    fetched_again("5.2.2.4", "no-cache with fields may count for all", 'Cache-Control: no-cache="x-a", max-age=100', 'ETag: "x"'),
    fetched_again("5.2.2.5", "no-store", "Cache-Control: no-store, max-age=100"),
    fetched_again("5.2.2.5", "no-store in a second field", FRESH, "Cache-Control: no-store"),
    fetched_again("5.2.2.7", "private", "Cache-Control: private, max-age=100"),
    fetched_again("5.2.2.7", "private with fields may count for all", 'Cache-Control: private="x-a", max-age=100'),
    stored("5.2.2.3", "must-understand overrides no-store for a status that is understood", "Cache-Control: must-understand, no-store, max-age=100"),
    fetched_again("5.2.2.3", "and forbids storing others", "Cache-Control: must-understand, max-age=100", status=299, last=299),
    stored("5.2.2.9", "public", "Cache-Control: public, max-age=100"),
    stored("5.2.2.6", "no-transform forbids no storing", "Cache-Control: no-transform, max-age=100"),
    # --- 5.2.1: directives of requests ---
    fetched_again("5.2.1.4", "no-cache: not without validation", FRESH, asks=[{}, {"Cache-Control": "no-cache"}]),
    fetched_again("5.2.1.5", "no-store: the answer is not stored", FRESH, asks=[{"Cache-Control": "no-store"}, {}]),
    stored("5.2.1.5", "though one that is stored may be used", FRESH, asks=[{}, {"Cache-Control": "no-store"}]),
    fetched_again("5.2.1.1", "max-age: not older than that", FRESH, "Age: 50", asks=[{}, {"Cache-Control": "max-age=40"}]),
    stored("5.2.1.1", "max-age that is not passed", FRESH, "Age: 50", asks=[{}, {"Cache-Control": "max-age=90"}]),
    fetched_again("5.2.1.1", "max-age=0", FRESH, "Age: 1", asks=[{}, {"Cache-Control": "max-age=0"}]),
    fetched_again("5.2.1.3", "min-fresh: still fresh for so long", FRESH, "Age: 50", asks=[{}, {"Cache-Control": "min-fresh=60"}]),
    stored("5.2.1.3", "min-fresh that is met", FRESH, "Age: 50", asks=[{}, {"Cache-Control": "min-fresh=30"}]),
    stored("5.2.1.2", "max-stale: stale by no more than that", FRESH, "Age: 150", 'ETag: "x"', asks=[{}, {"Cache-Control": "max-stale=100"}]),
    fetched_again("5.2.1.2", "staler than that", FRESH, "Age: 250", 'ETag: "x"', asks=[{}, {"Cache-Control": "max-stale=100"}]),
    stored("5.2.1.2", "max-stale without a value: any", FRESH, "Age: 250", 'ETag: "x"', asks=[{}, {"Cache-Control": "max-stale"}]),
    *(
        fetched_again("4.2.4", f"{directive} forbids stale answers", f"Cache-Control: {directive}", "Age: 150", 'ETag: "x"', asks=[{}, {"Cache-Control": "max-stale"}])
        for directive in ("max-age=100, must-revalidate", "max-age=100, proxy-revalidate", "s-maxage=100", "max-age=100, no-cache")
    ),
    Case("5.2.1.7", "only-if-cached: 504 when nothing is stored", [FRESH], asks=[{"Cache-Control": "only-if-cached"}], fetched=0, last=504),
    stored("5.2.1.7", "and what is stored otherwise", FRESH, asks=[{}, {"Cache-Control": "only-if-cached"}]),
    fetched_again("5.4", "Pragma: no-cache where there is no Cache-Control", FRESH, asks=[{}, {"Pragma": "no-cache"}]),
    stored("5.4", "and not where there is one", FRESH, asks=[{}, {"Pragma": "no-cache", "Cache-Control": "max-age=99"}]),
    # --- 4.1: Vary ---
    stored("4.1", "the fields Vary names match", FRESH, "Vary: X-A", asks=[{"X-A": "1"}, {"X-A": "1"}]),
    fetched_again("4.1", "they do not match", FRESH, "Vary: X-A", asks=[{"X-A": "1"}, {"X-A": "2"}]),
    fetched_again("4.1", "absent matches absent only", FRESH, "Vary: X-A", asks=[{}, {"X-A": "1"}]),
    fetched_again("4.1", "absent is not empty", FRESH, "Vary: X-A", asks=[{}, {"X-A": ""}]),
    fetched_again("4.1", "Vary: * never matches", FRESH, "Vary: *"),
    fetched_again("4.1", "also among others", FRESH, "Vary: X-A, *"),
    stored("4.1", "names of fields have no letter case", FRESH, "vary: x-a", asks=[{"X-A": "1"}, {"x-A": "1"}]),
    stored("4.1", "other fields do not matter", FRESH, "Vary: X-A", asks=[{"X-B": "1"}, {"X-B": "2"}]),
    fetched_again("4.1", "every field that is named must match", FRESH, "Vary: X-A", "Vary: X-B", asks=[{"X-A": "1", "X-B": "1"}, {"X-A": "1", "X-B": "2"}]),
    # --- 4.3: validation by the client ---
    stored("4.3.2", "If-None-Match that matches", FRESH, 'ETag: "x"', asks=[{}, {"If-None-Match": '"x"'}], last=304),
    stored("4.3.2", "a list of tags", FRESH, 'ETag: "x"', asks=[{}, {"If-None-Match": '"a", "x"'}], last=304),
    stored("RFC 9110, 13.1.2", "the comparison is weak", FRESH, 'ETag: W/"x"', asks=[{}, {"If-None-Match": '"x"'}], last=304),
    stored("RFC 9110, 13.1.2", "* matches whatever is there", FRESH, 'ETag: "x"', asks=[{}, {"If-None-Match": "*"}], last=304),
    stored("4.3.2", "If-None-Match that does not", FRESH, 'ETag: "x"', asks=[{}, {"If-None-Match": '"y"'}]),
    stored("4.3.2", "If-Modified-Since not before Last-Modified", FRESH, f"Last-Modified: {date(-100)}", asks=[{}, {"If-Modified-Since": date(-100)}], last=304),
    stored("4.3.2", "and before it", FRESH, f"Last-Modified: {date(-100)}", asks=[{}, {"If-Modified-Since": date(-101)}]),
    stored("RFC 9110, 13.1.3", "If-None-Match makes it ignored", FRESH, 'ETag: "x"', f"Last-Modified: {date(-100)}", asks=[{}, {"If-None-Match": '"y"', "If-Modified-Since": date(0)}]),
    stored("RFC 9110, 13.1.3", "one that is no date is ignored", FRESH, f"Last-Modified: {date(-100)}", asks=[{}, {"If-Modified-Since": "yesterday"}]),
    stored("RFC 9110, 5.6.7", "dates in the form of RFC 850", FRESH, "Last-Modified: Sunday, 06-Nov-94 08:49:37 GMT", asks=[{}, {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}], last=304),
    stored("RFC 9110, 5.6.7", "and of asctime", FRESH, "Last-Modified: Sun Nov  6 08:49:37 1994", asks=[{}, {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}], last=304),
    stored("RFC 9110, 15.4.5", "304 has the fields a cache needs", FRESH, 'ETag: "x"', "Content-Type: text/plain", asks=[{}, {"If-None-Match": '"x"'}], last=304, fields={"ETag": '"x"', "Cache-Control": "max-age=100", "Content-Type": None}),
    # --- RFC 9110, 14: ranges ---
    stored("RFC 9110, 14.2", "a range of what is stored", FRESH, asks=[{}, {"Range": "bytes=1-2"}], last=206, fields={"Content-Range": "bytes 1-2/4", "Content-Length": "2"}),
    stored("RFC 9110, 14.1.2", "to the end", FRESH, asks=[{}, {"Range": "bytes=2-"}], last=206, fields={"Content-Range": "bytes 2-3/4"}),
    stored("RFC 9110, 14.1.2", "the last bytes", FRESH, asks=[{}, {"Range": "bytes=-3"}], last=206, fields={"Content-Range": "bytes 1-3/4"}),
    stored("RFC 9110, 14.1.2", "more of the last than there are", FRESH, asks=[{}, {"Range": "bytes=-99"}], last=206, fields={"Content-Range": "bytes 0-3/4"}),
    stored("RFC 9110, 14.1.2", "an end beyond the end", FRESH, asks=[{}, {"Range": "bytes=1-99"}], last=206, fields={"Content-Range": "bytes 1-3/4"}),
    stored("RFC 9110, 15.5.17", "a beginning beyond the end", FRESH, asks=[{}, {"Range": "bytes=4-"}], last=416, fields={"Content-Range": "bytes */4"}),
    stored("RFC 9110, 14.2", "several ranges may be ignored", FRESH, asks=[{}, {"Range": "bytes=0-1,2-3"}]),
    stored("RFC 9110, 14.2", "another unit is ignored", FRESH, asks=[{}, {"Range": "lines=0-1"}]),
    stored("RFC 9110, 14.1.1", "an end before the beginning is no range", FRESH, asks=[{}, {"Range": "bytes=3-1"}]),
    stored("RFC 9110, 13.1.5", "If-Range that holds", FRESH, 'ETag: "x"', asks=[{}, {"Range": "bytes=0-0", "If-Range": '"x"'}], last=206),
    stored("RFC 9110, 13.1.5", "If-Range that does not: all of it", FRESH, 'ETag: "x"', asks=[{}, {"Range": "bytes=0-0", "If-Range": '"y"'}]),
    stored("RFC 9110, 13.1.5", "a weak tag never holds", FRESH, 'ETag: W/"x"', asks=[{}, {"Range": "bytes=0-0", "If-Range": 'W/"x"'}]),
    stored("RFC 9110, 13.2.2", "If-None-Match comes before Range", FRESH, 'ETag: "x"', asks=[{}, {"Range": "bytes=0-0", "If-None-Match": '"x"'}], last=304),
    # --- 4, 5.1: what is answered ---
    stored("4", "a HEAD is answered by a stored GET", FRESH, asks=[{}, {":method": "HEAD"}], fields={"Content-Length": "4"}),
    fetched_again("4", "and stores nothing itself", FRESH, asks=[{":method": "HEAD"}, {}]),
    stored("4", "Age is generated", FRESH, "Age: 42", fields={"Cache-Control": "max-age=100"}),
    fetched_again("4", "a query makes another URI", FRESH, asks=[{}, {":query": "?x=1"}]),
    stored("7.3", "Set-Cookie is for one", FRESH, "Set-Cookie: a=b", fetched=2),
    # --- RFC 9213 ---
    stored("RFC 9213, 2.2", "CDN-Cache-Control wins over Cache-Control", "Cache-Control: no-store", "CDN-Cache-Control: max-age=100"),
    fetched_again("RFC 9213, 2.2", "also when it forbids", FRESH, "CDN-Cache-Control: no-store"),
    stored("RFC 9213, 2.2", "and over Expires", f"Expires: {date(-5)}", "CDN-Cache-Control: max-age=100"),
    stored("RFC 9213, 2.1", "one that cannot be read is ignored", FRESH, "CDN-Cache-Control: max-age=x"),
    # --- RFC 5861 ---
    fetched_again("RFC 5861, 3", "the first request past its time brings a new one", "Cache-Control: max-age=10, stale-while-revalidate=100", "Age: 20"),
    fetched_again("RFC 5861, 3", "past that as well it must be asked", "Cache-Control: max-age=10, stale-while-revalidate=10", "Age: 30", 'ETag: "x"'),
    # --- RFC 9211 ---
    stored("RFC 9211, 2.2", "a hit", FRESH, fields={"Cache-Status": "fastcore; hit; ttl=*"}),
    Case("RFC 9211, 2.3", "fwd=uri-miss and stored", [FRESH], asks=[{}], fields={"Cache-Status": "fastcore; fwd=uri-miss; stored"}),
    fetched_again("RFC 9211, 2.3", "fwd=vary-miss", FRESH, "Vary: X-A", asks=[{"X-A": "1"}, {"X-A": "2"}], fields={"Cache-Status": "fastcore; fwd=vary-miss; stored"}),
    fetched_again("RFC 9211, 2.3", "fwd=request", FRESH, asks=[{}, {"Cache-Control": "no-cache"}], fields={"Cache-Status": "fastcore; fwd=request; *"}),
    fetched_again("RFC 9211, 2.3", "fwd=stale, with the status", FRESH, "Age: 100", 'ETag: "x"', fields={"Cache-Status": "fastcore; fwd=stale; fwd-status=200; stored"}),
    fetched_again("RFC 9211, 2.3", "fwd=method", FRESH, method="DELETE", fields={"Cache-Status": "fastcore; fwd=method"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def origin() -> Iterator[tuple[RawUpstream, dict[str, bytes], list[str]]]:
    answers: dict[str, bytes] = {}
    asked: list[str] = []

    def serve(wire: Wire) -> None:
        while True:
            request = wire.read_request()
            path = request.target.partition("?")[0]
            asked.append(path)
            answer = answers[path]
            wire.send(answer if not request.start.startswith("HEAD") else answer[: answer.index(b"\r\n\r\n") + 4])

    made = RawUpstream().serve(serve)
    yield made, answers, asked
    made.close()


@pytest.fixture(scope="module")
def gateway(one_gateway: Callable[..., Gateway], origin: Any) -> Gateway:
    return one_gateway(
        f'upstreams: {{u: {{targets: ["{origin[0].address}"]}}}}\nroutes: [{{path: /, upstream: u, cache: true}}]\n'
    )


def ask(gateway: Gateway, path: str, method: str, fields: dict[str, str]) -> Message:
    method = fields.get(":method", method)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if name[0] != ":")
    length = "Content-Length: 0\r\n" if method in ("PUT", "DELETE") else ""
    with gateway.connect() as wire:
        wire.send(f"{method} {path}{fields.get(':query', '')} HTTP/1.1\r\nHost: a\r\n{length}{lines}\r\n".encode())
        return wire.read_response(method)


def test_there_are_as_many_as_we_say() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section}: {case.says}")
def test_a_sentence(gateway: Gateway, origin: Any, case: Case) -> None:
    _, answers, asked = origin
    path = f"/{CASES.index(case)}"
    now = time()
    lines = dated("".join(f"{line}\r\n" for line in case.answer), now)
    answers[path] = f"HTTP/1.1 {case.status} X\r\n{lines}Content-Length: 4\r\n\r\nbody".encode()
    for fields in case.asks:
        answer = ask(gateway, path, case.method, {name: dated(value, now) for name, value in fields.items()})
    assert asked.count(path) == case.fetched
    assert answer.status == (case.last or 200)
    for name, wanted in case.fields.items():
        got = answer[name]
        if wanted and wanted.endswith("*"):
            assert got is not None
            assert got.startswith(wanted[:-1])
        else:
            assert got == wanted
