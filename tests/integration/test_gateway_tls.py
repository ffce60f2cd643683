"""TLS through real gateways, as clients we did not write see it: Python's ssl, curl, and targets behind TLS."""

import contextlib
import datetime
import hashlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from http2_frames import PREFACE, Client, request
from servers import ASAN, SECONDS, EndOfStream, Gateway, RawUpstream, Wire, answer_forever, eventually, free_ports

from apps.gateway.config import load_settings

REQUEST = b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"


class Place:
    """An authority, certificates it signed as files, and a port for TLS."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ca = trustme.CA()
        self.other_ca = trustme.CA()
        (self.port,) = free_ports(1)
        self.authorities = str(folder / "authorities.pem")
        self.ca.cert_pem.write_to_path(self.authorities)

    def issue(self, stem: str, *names: str, ca: trustme.CA | None = None, **options: Any) -> str:
        """{file, key} of a new certificate, as YAML; files with the same stem are written over."""
        cert = (ca or self.ca).issue_cert(*names, **options)
        chain, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        for path, blobs in ((chain, cert.cert_chain_pems), (key, [cert.private_key_pem])):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(b"".join(blob.bytes() for blob in blobs))
            fresh.replace(path)
        return f"{{file: {chain}, key: {key}}}"

    def pair(self, stem: str) -> tuple[str, str]:
        return str(self.folder / f"{stem}.pem"), str(self.folder / f"{stem}.key")

    def client(self, stem: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authorities)
        if stem:
            context.load_cert_chain(*self.pair(stem))
        return context

    def connect(
        self, name: str = "api.test", context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> Wire:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        try:
            return Wire(
                (context or self.client()).wrap_socket(
                    plain, server_hostname=name, session=session, suppress_ragged_eofs=False
                )
            )
        except BaseException:
            plain.close()
            raise


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def serving() -> Iterator[RawUpstream]:
    made = RawUpstream().serve(answer_forever)
    yield made
    made.close()


def settings(place: Place, upstream: RawUpstream, *certificates: str, tls: str = "", more: str = "") -> str:
    shown = ", ".join(certificates or (place.issue("server", "api.test", "127.0.0.1"),))
    return (
        f'access_log: "-"\nupstreams: {{u: {{targets: ["{upstream.address}"]}}}}\nroutes: [{{path: /, upstream: u}}]\n'
        f"tls: {{listen: ['127.0.0.1:{place.port}'], certificates: [{shown}], reload_every: 50ms{tls}}}\n{more}"
    )


def ask(wire: Wire) -> int:
    wire.send(REQUEST)
    return wire.read_response().status


def test_requests_over_tls(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    gateway = start_gateway(settings(place, serving))
    with place.connect() as wire:
        assert wire.sock.selected_alpn_protocol() is None  # not asked for
        for _ in range(3):
            assert ask(wire) == 200
    assert b"X-Forwarded-Proto: https\r\n" in serving.received
    with gateway.connect() as plain:
        plain.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        assert plain.read_response().status == 200
    assert b"X-Forwarded-Proto: http\r\n" in serving.received
    figures = eventually(lambda: gateway.figures() if gateway.figures()["tls_handshakes_total"] else None)
    assert figures["tls_failures_total"] == 0


def test_the_end_of_a_certificate_is_told_once(
    start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream
) -> None:
    """Gauges are summed over workers."""
    end = datetime.datetime(2035, 1, 1, tzinfo=datetime.UTC)
    shown = place.issue("ends", "api.test", not_after=end.replace(tzinfo=None))
    gateway = start_gateway(settings(place, serving, shown), workers=3)
    name = f'tls_certificate_not_after_seconds{{file="{place.folder}/ends.pem"}}'
    eventually(lambda: len(gateway.get("/status")[1]["workers"]) and gateway.figures().get(name), "told")
    assert eventually(lambda: gateway.figures()[name] == end.timestamp())


def test_curl_and_versions(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    start_gateway(settings(place, serving, tls=", minimum_version: '1.3'"))
    command = ["curl", "-sS", "--cacert", place.authorities, "--resolve", f"api.test:{place.port}:127.0.0.1"]
    url = f"https://api.test:{place.port}/"
    done = subprocess.run([*command, "-w", "%{http_code}", url], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "ok200", done
    done = subprocess.run([*command, "--tls-max", "1.2", url], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 35, done  # the handshake
    context = place.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with place.connect(context=context) as wire:
        assert wire.sock.selected_alpn_protocol() == "h2"
    context.set_alpn_protocols(["http/1.1"])
    with place.connect(context=context) as wire:
        assert wire.sock.selected_alpn_protocol() == "http/1.1"
        assert wire.sock.version() == "TLSv1.3"
        assert ask(wire) == 200


def test_http2_over_tls(start_gateway: Callable[..., Gateway], place: Place) -> None:
    """Agreed on by ALPN: whoever agreed speaks it, and whoever did not may not (RFC 9113 3.2, 3.3)."""
    upstream = RawUpstream().serve(answer_forever)
    with contextlib.closing(upstream):
        gateway = start_gateway(settings(place, upstream))
        command = ["curl", "-sS", "--cacert", place.authorities, "--resolve", f"api.test:{place.port}:127.0.0.1"]
        url = f"https://api.test:{place.port}/"
        command += ["-w", " %{http_version} %{http_code}", "--http2", url, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert done.stdout == "ok 2 200" * 2, done
        assert b"X-Forwarded-Proto: https\r\n" in upstream.received and b"Via: 2.0 fastcore\r\n" in upstream.received
        assert gateway.next_access()["protocol"] == "HTTP/2.0"
        context = place.client()
        context.set_alpn_protocols(["h2"])
        with Client(place.connect(context=context)) as client:
            assert client.get().body == b"ok"
        with place.connect(context=context) as wire:
            wire.send(REQUEST)
            assert wire.read(9)[3] == 4  # SETTINGS, then the end: this is no preface
            with contextlib.suppress(EndOfStream, ssl.SSLError, ConnectionResetError):
                wire.read_rest()
        context.set_alpn_protocols(["http/1.1"])
        with place.connect(context=context) as wire:
            wire.send(PREFACE)
            assert wire.read_response().status == 505


def test_who_asks_over_http2(start_gateway: Callable[..., Gateway], place: Place) -> None:
    """The certificate of the connection is that of every request on it."""
    place.issue("alice", "alice.test", common_name="alice")
    upstream = RawUpstream().serve(answer_forever)
    more = "auth: {providers: {mutual: {certificates: {}, headers: {X-User: sub}}}}\n"
    with contextlib.closing(upstream):
        text = settings(
            place,
            upstream,
            tls=f", client_certificates: {{authorities: {place.authorities}, required: false}}",
            more=more,
        ).replace("{path: /, upstream: u}", "{path: /, upstream: u, auth: mutual}")
        start_gateway(text)
        for stem, status in (("alice", 200), (None, 401)):
            context = place.client(stem)
            context.set_alpn_protocols(["h2"])
            with Client(place.connect(context=context)) as client:
                streams = [client.ask(request(f"/{number}")) for number in range(5)]
                assert [client.answer(stream).status for stream in streams] == [status] * 5
        assert upstream.received.count(b"X-User: alice\r\n") == 5


def test_certificates_by_name(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    first, second = place.issue("first", "api.test"), place.issue("second", "shop.test", "*.shop.test")
    start_gateway(settings(place, serving, first, second))

    def shown(name: str) -> set[str]:
        context = place.client()
        context.check_hostname = False
        with place.connect(name, context) as wire:
            return {value for kind, value in wire.sock.getpeercert()["subjectAltName"] if kind == "DNS"}

    assert shown("api.test") == {"api.test"}
    assert shown("shop.test") == shown("a.shop.test") == shown("A.SHOP.test") == {"shop.test", "*.shop.test"}
    assert shown("a.b.shop.test") == shown("elsewhere.test") == {"api.test"}  # the first stands for all others


def test_sessions_are_resumed_in_any_worker(
    start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream
) -> None:
    start_gateway(settings(place, serving), workers=3)
    context, reused = place.client(), 0
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the module has one session object for many uses
    with place.connect(context=context) as wire:
        assert ask(wire) == 200
        session = wire.sock.session
    for _ in range(12):
        with place.connect(context=context, session=session) as wire:
            assert ask(wire) == 200
            reused += wire.sock.session_reused
    assert reused == 12


def test_plain_http_to_the_tls_port(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    start_gateway(settings(place, serving))
    with Wire(socket.create_connection(("127.0.0.1", place.port), timeout=SECONDS)) as wire:
        wire.send(REQUEST)
        answer = wire.read_response()
        assert answer.status == 400
        assert b"HTTPS" in answer.body


def test_a_silent_handshake_is_cut(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    gateway = start_gateway(settings(place, serving, more="timeouts: {header: 300ms}\n"))
    with Wire(socket.create_connection(("127.0.0.1", place.port), timeout=SECONDS)) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that never comes
        assert wire.ended()
    assert gateway.process.poll() is None


def test_large_bodies_both_ways(start_gateway: Callable[..., Gateway], place: Place) -> None:
    """A client that reads late, and an answer of many windows: everything arrives, and nothing piles up."""
    body = os.urandom(1 << 20) * 48

    def echo(wire: Wire) -> None:
        request = wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        wire.send(request.body)
        wire.received.clear()

    with contextlib.closing(RawUpstream().serve(echo)) as upstream:
        gateway = start_gateway(settings(place, upstream))
        before = gateway.resident(gateway.worker)
        with place.connect() as wire:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            wire.send(head + body)  # and only then reads: before 3.13 an SSL object is not for two threads
            answer = wire.read_response()
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
        assert ASAN or gateway.resident(gateway.worker) - before < 16 << 20


def test_a_websocket_tunnel(start_gateway: Callable[..., Gateway], place: Place, make_upstream: Any) -> None:
    upstream = make_upstream()
    start_gateway(settings(place, upstream))
    with place.connect() as wire:
        wire.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        target = upstream.accept()
        target.read_head()
        target.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        assert wire.read_head().status == 101
        assert wire.read(5) == b"hello"
        wire.send(b"x" * 100_000)
        assert target.read(100_000) == b"x" * 100_000
        target.send(b"bye")
        target.close()
        assert wire.read_rest() == b"bye"  # with close_notify, or the module would raise


def test_an_answer_that_ends_with_its_connection(
    start_gateway: Callable[..., Gateway], place: Place, make_upstream: Any
) -> None:
    """HTTP/1.0: the end is vouched for by close_notify when the answer is whole, and only then (RFC 9112, 9.8)."""
    upstream = make_upstream()
    start_gateway(settings(place, upstream))

    def begin() -> tuple[Wire, Wire]:
        wire = place.connect()
        wire.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        target = upstream.accept()
        target.read_head()
        return wire, target

    wire, target = begin()
    with wire:
        target.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"y" * 200_000)
        target.close()
        assert len(wire.read_response().body) == 200_000
    wire, target = begin()
    with wire:
        target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        wire.read_until(b"half")
        target.reset()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            wire.read_rest()


# --- certificates that change -----------------------------------------------------------------------------------------


def serial(place: Place) -> str:
    with place.connect() as wire:
        return str(wire.sock.getpeercert()["serialNumber"])


def test_renewed_certificates_are_used_at_once(
    start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream
) -> None:
    gateway = start_gateway(settings(place, serving))
    first = serial(place)
    with place.connect() as kept:
        assert ask(kept) == 200
        place.issue("server", "api.test")
        gateway.wait_log("certificates loaded again")
        assert serial(place) != first
        assert ask(kept) == 200  # who was there stays
    second = serial(place)
    (place.folder / "server.key").write_text("this is no key")
    gateway.wait_log("the certificates that were loaded stay in use")
    assert serial(place) == second
    assert eventually(lambda: gateway.figures()["tls_reload_failing"] == 1)
    place.issue("server", "api.test")
    gateway.wait_log("certificates loaded again", times=2)
    assert serial(place) != second
    gateway.process.send_signal(signal.SIGHUP)  # and a reload keeps the tickets' secret
    assert eventually(lambda: serial(place))


# --- clients with certificates ----------------------------------------------------------------------------------------


def test_client_certificates(start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream) -> None:
    for stem, options in {
        "alice": {"common_name": "alice"},
        "stranger": {"common_name": "alice", "ca": place.other_ca},
        "late": {"common_name": "alice", "not_after": datetime.datetime(2021, 1, 1), "not_before": None},
    }.items():
        options = {key: value for key, value in options.items() if value is not None}
        if stem == "late":
            options["not_before"] = datetime.datetime(2020, 1, 1)
        place.issue(stem, f"{stem}.client.test", **options)
    gateway = start_gateway(
        settings(place, serving, tls=f", client_certificates: {{authorities: {place.authorities}}}"), workers=2
    )
    with place.connect(context=place.client("alice")) as wire:
        assert ask(wire) == 200
    for stem in (None, "stranger", "late"):
        with (
            pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)),
            place.connect(context=place.client(stem)) as wire,
        ):  # TLS 1.3 tells only when we read
            ask(wire)
    assert eventually(lambda: gateway.figures()["tls_failures_total"] >= 3)


def test_who_a_certificate_says_it_is(
    start_gateway: Callable[..., Gateway], place: Place, serving: RawUpstream
) -> None:
    place.issue("alice", "alice.client.test", common_name="alice")
    place.issue("bob", "bob.client.test", common_name="bob")
    more = """\
auth:
  providers:
    mutual: {certificates: {allowed: [alice, carol]}, headers: {X-User: sub, X-Dns: dns, X-Print: fingerprint}}
"""
    text = settings(
        place,
        serving,
        tls=f", client_certificates: {{authorities: {place.authorities}, required: false}}",
        more=more,
    ).replace("routes: [{path: /, upstream: u}]", "routes: [{path: /, upstream: u, auth: mutual}]")
    gateway = start_gateway(text)
    with place.connect(context=place.client("alice")) as wire:
        assert ask(wire) == 200
        assert ask(wire) == 200
    assert serving.received.count(b"X-User: alice\r\n") == 2
    assert serving.received.count(b"X-Dns: alice.client.test\r\n") == 2
    with place.connect(context=place.client("bob")) as wire:
        wire.send(REQUEST)
        assert wire.read_response().status == 401
    with place.connect() as wire:
        wire.send(REQUEST)
        answer = wire.read_response()
        assert answer.status == 401
        assert answer["WWW-Authenticate"] == 'Certificate realm="fastcore"'
    with gateway.connect() as wire:  # in the clear there is no certificate, whatever a field says
        wire.send(REQUEST.replace(b"\r\n\r\n", b"\r\nX-User: alice\r\n\r\n"))
        assert wire.read_response().status == 401
    assert serving.received.count(b"X-User") == 2


# --- targets behind TLS -----------------------------------------------------------------------------------------------


def target_context(place: Place, stem: str, **options: Any) -> ssl.SSLContext:
    place.issue(stem, **options) if options else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*place.pair(stem))
    return context


def upstream_settings(upstream: RawUpstream, tls: str) -> str:
    return (
        f'access_log: "-"\nupstreams: {{u: {{targets: ["{upstream.address}"], tls: {tls}}}}}\n'
        "routes: [{path: /, upstream: u}]\n"
    )


def through(gateway: Gateway) -> Any:
    with gateway.connect() as wire:
        wire.send(REQUEST)
        return wire.read_response()


def test_targets_behind_tls(start_gateway: Callable[..., Gateway], place: Place) -> None:
    place.issue("target", "127.0.0.1", "inside.test")
    context = target_context(place, "target")
    with contextlib.closing(RawUpstream(tls=context).serve(answer_forever)) as upstream:
        gateway = start_gateway(upstream_settings(upstream, f"{{authorities: {place.authorities}}}"))
        with gateway.connect() as wire:
            for _ in range(5):
                assert ask(wire) == 200
        assert len(upstream.wires) == 1  # one connection, kept: tickets do not make it look used up
        named = start_gateway(
            upstream_settings(upstream, f"{{authorities: {place.authorities}, server_name: inside.test}}")
        )
        assert through(named).status == 200


@pytest.mark.parametrize(
    ("names", "signed_by_us", "said"),
    [(("elsewhere.test",), True, "mismatch"), (("127.0.0.1",), False, "certificate"), ((), True, "expired")],
)
def test_targets_that_cannot_prove_who_they_are(
    start_gateway: Callable[..., Gateway], place: Place, names: tuple[str, ...], signed_by_us: bool, said: str
) -> None:
    old = {"not_before": datetime.datetime(2020, 1, 1), "not_after": datetime.datetime(2021, 1, 1)}
    place.issue(
        "target", *(names or ("127.0.0.1",)), ca=place.ca if signed_by_us else place.other_ca, **({} if names else old)
    )
    with contextlib.closing(RawUpstream(tls=target_context(place, "target")).serve(answer_forever)) as upstream:
        gateway = start_gateway(upstream_settings(upstream, f"{{authorities: {place.authorities}}}"))
        answer = through(gateway)
        assert answer.status == 502
        assert "TLS failed" in answer.problem["detail"]
        assert said in answer.problem["detail"]
        assert not upstream.received  # no byte of the request
        lax = start_gateway(upstream_settings(upstream, "{verify: false}"))
        assert through(lax).status == 200


def test_a_target_that_speaks_no_tls(start_gateway: Callable[..., Gateway]) -> None:
    def talk(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        wire.ended()

    with contextlib.closing(RawUpstream().serve(talk)) as upstream:
        gateway = start_gateway(upstream_settings(upstream, "true"))
        answer = through(gateway)
        assert answer.status == 502
        assert "TLS failed" in answer.problem["detail"]


def test_what_we_show_to_targets(start_gateway: Callable[..., Gateway], place: Place) -> None:
    place.issue("target", "127.0.0.1")
    shown = place.issue("gateway", "gateway.test")
    context = target_context(place, "target")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(place.authorities)
    with contextlib.closing(RawUpstream(tls=context).serve(answer_forever)) as upstream:
        gateway = start_gateway(
            upstream_settings(upstream, f"{{authorities: {place.authorities}, certificate: {shown}}}")
        )
        assert through(gateway).status == 200
        bare = start_gateway(upstream_settings(upstream, f"{{authorities: {place.authorities}}}"))
        assert through(bare).status == 502


def test_checks_over_tls(start_gateway: Callable[..., Gateway], place: Place) -> None:
    place.issue("target", "127.0.0.1")
    with contextlib.closing(RawUpstream(tls=target_context(place, "target")).serve(answer_forever)) as upstream:
        text = upstream_settings(upstream, f"{{authorities: {place.authorities}}}, health_check: {{path: /well}}")
        start_gateway(text)
        assert b"GET /well " in upstream.received


def test_an_answer_cut_by_its_target(start_gateway: Callable[..., Gateway], place: Place) -> None:
    """Without close_notify an end is no end: somebody on the way may have made it."""
    place.issue("target", "127.0.0.1")

    def cut(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it")
        raw = socket.socket(fileno=os.dup(wire.sock.fileno()))
        raw.shutdown(socket.SHUT_WR)
        raw.close()

    with contextlib.closing(RawUpstream(tls=target_context(place, "target")).serve(cut)) as upstream:
        gateway = start_gateway(upstream_settings(upstream, f"{{authorities: {place.authorities}}}"))
        with gateway.connect() as wire:
            wire.send(REQUEST)
            assert wire.read_head().status == 200
            wire.read_until(b"half of it")
            with pytest.raises((ConnectionResetError, AssertionError)):
                wire.read_until(b"0\r\n\r\n")
        assert gateway.next_access()["error"] == "answer_cut"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_used(place: Place) -> None:
    place.issue("one", "a.test")
    place.issue("two", "b.test")
    swapped = f"{{file: {place.folder}/one.pem, key: {place.folder}/two.key}}"
    listen = f"listen: ['127.0.0.1:{place.port}']"
    good = f"{{file: {place.folder}/one.pem, key: {place.folder}/one.key}}"
    for tls, said in (
        (f"{{{listen}}}", "a server has a certificate"),
        (f"{{certificates: [{good}]}}", "nobody listens"),
        (f"{{{listen}, certificates: [{swapped}]}}", "the private key is not the certificate's"),
        (f"{{{listen}, certificates: [{{file: /nowhere, key: /nowhere}}]}}", "/nowhere: No such file"),
        (f"{{{listen}, certificates: [{good}], ciphers: NONSENSE}}", "ciphers"),
        (f"{{{listen}, certificates: [{good}], client_certificates: {{authorities: /nowhere}}}}", "/nowhere"),
    ):
        problems = load_settings(text=f"tls: {tls}\n").problems
        assert len(problems) == 1, (tls, problems)
        assert said in str(problems[0])
        assert str(problems[0]).startswith("<text>:1:"), "with its place"
    taken = load_settings(text=f"listen: ['127.0.0.1:{place.port}']\ntls: {{{listen}, certificates: [{good}]}}\n")
    assert ["collides" in str(problem) for problem in taken.problems] == [True]
    assert load_settings(text="listen: []\n").problems
    unused = "upstreams: {u: {targets: ['a:1'], tls: {verify: false, server_name: b.test}}}\n"
    assert "no effect" in str(load_settings(text=unused).problems[0])
