"""FastcoreWorker under a real gunicorn: the bytes it answers, compared with gunicorn's own gevent worker, and PEP 3333."""

import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gunicorn_server import FASTCORE, Client, Gunicorn, body_of, chunks, request
from wsgi_apps import FILE_BYTES

APP = "wsgi_apps:app"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def ours() -> Iterator[Gunicorn]:
    with Gunicorn(APP, "--keep-alive", "20") as server:
        yield server


@pytest.fixture(scope="module")
def peer() -> Iterator[Gunicorn]:
    with Gunicorn(APP, "--keep-alive", "20", worker_class="gevent") as server:
        yield server


@pytest.fixture
def client(ours: Gunicorn) -> Iterator[Client]:
    with Client(ours.address) as connection:
        yield connection


def plain(answer: bytes) -> bytes:
    """Without the two fields that may differ."""
    return re.sub(rb"(?m)^(Server|Date): [^\r]*\r\n", b"", answer)


# --- byte for byte ----------------------------------------------------------------------------------------------------

SAME = {
    "hello": request("GET", "/hello"),
    "falcon": request("GET", "/falcon"),
    "falcon 404": request("GET", "/falcon/nope"),
    "falcon 405": request("DELETE", "/falcon"),
    "falcon options": request("OPTIONS", "/falcon"),
    "falcon head": request("HEAD", "/falcon"),
    "falcon post": request("POST", "/falcon", body=b"posted"),
    "head": request("HEAD", "/hello"),
    "head of unknown length": request("HEAD", "/several"),
    "list": request("GET", "/several"),
    "generator": request("GET", "/generator"),
    "lazy": request("GET", "/lazy"),
    "write callable": request("GET", "/writer"),
    "nothing": request("GET", "/empty"),
    "204": request("GET", "/no_content"),
    "304": request("GET", "/not_modified"),
    "hop by hop fields": request("GET", "/hop_by_hop"),
    "websocket fields": request("GET", "/websocket_fields"),
    "too many bytes": request("GET", "/too_many"),
    "latin-1 in the head": request("GET", "/latin1"),
    "exc_info before the head": request("GET", "/lazy") + request("GET", "/hello"),
    "early hints": request("GET", "/hints"),
    "early hints 1.0": request("GET", "/hints", version="1.0"),
    "1.0": request("GET", "/hello", version="1.0"),
    "1.0 of unknown length": request("GET", "/several", version="1.0"),
    "1.0 keep-alive": request("GET", "/hello", "Connection: keep-alive", version="1.0"),
    "1.0 keep-alive of unknown length": request("GET", "/several", "Connection: keep-alive", version="1.0"),
    "close": request("GET", "/hello", "Connection: close"),
    "close, chunked": request("GET", "/several", "Connection: Close"),
    "echo": request("POST", "/echo", body=b"some bytes"),
    "echo chunked": request("POST", "/echo", CHUNKED, body=chunks([b"some ", b"bytes", b"x" * 5000])),
    "lines": request("POST", "/lines", body=b"first\nsecond\n\nlast without end"),
    "digest": request("POST", "/digest?1,7,100", body=b"0123456789" * 1000),
    "unread": request("POST", "/unread", body=b"not read"),
    "unread chunked": request("POST", "/unread", CHUNKED, body=chunks([b"not", b"read"])),
    "file": request("GET", "/file"),
    "file in memory": request("GET", "/file?memory"),
    "file from the middle": request("GET", "/file?offset"),
    "file of unknown length": request("GET", "/file?chunked"),
    "file cut by Content-Length": request("GET", "/file?short"),
    "file head": request("HEAD", "/file"),
    "one megabyte": request("GET", "/big?1000000"),
    "raises": request("GET", "/raises"),
    "raises after start_response": request("GET", "/started_twice"),
    "raises in the middle": request("GET", "/raises_late"),
    "not bytes": request("GET", "/bad_field?crlf"),
    "bad field name": request("GET", "/bad_field?name"),
    "empty field name": request("GET", "/bad_field?empty"),
    "bytes value": request("GET", "/bad_field?bytes"),
    "wide value": request("GET", "/bad_field?wide"),
    "nul value": request("GET", "/bad_field?nul"),
    "bad length": request("GET", "/bad_field?length"),
    "bad status": request("GET", "/bad_field?x=20%20OK"),
    "status alone": request("GET", "/bad_field?x=299"),
    "never started": request("GET", "/never_started"),
    "unknown method": request("BREW", "/hello"),
}


@pytest.mark.parametrize("story", SAME.values(), ids=SAME.keys())
def test_same_bytes_as_gunicorns_gevent_worker(ours: Gunicorn, peer: Gunicorn, story: bytes) -> None:
    answers = []
    for server in (ours, peer):
        with Client(server.address) as connection:
            connection.send(story)
            # A second request shows whether the connection is in the same state afterwards.
            head_only = story.startswith(b"HEAD")
            answer = connection.answer(head_only)
            if answer.startswith(b"HTTP/1.1 103"):
                answer += connection.answer()
            if b"Connection: close" in answer or (
                not answer.endswith(b"\r\n0\r\n\r\n") and b"chunked\r\n" in answer and not head_only
            ):
                answer += connection.rest()
            else:
                connection.send(request("GET", "/hello", "Connection: close"))
                answer += connection.rest()
            answers.append(plain(answer))
    assert answers[0] == answers[1]


ENVIRONS = {
    "plain": request("GET", "/env"),
    "query": request("GET", "/env?a=b&c=%20"),
    "empty query": request("GET", "/env?"),
    "quoted path": request("GET", "/env/%7Euser/%E2%82%AC/%2F/%zz/%"),
    "double slash": request("GET", "//env//x"),
    "absolute form": request("GET", "http://other:81/env?x=y"),
    "asterisk": request("OPTIONS", "*"),
    "fields": request("GET", "/env", "Accept: */*", "X-Two: a", "x-two: b", "X-EMPTY:", "X-Spaced: \t padded \t"),
    "latin-1 value": request("GET", "/env", "X-Name: caf\xe9"),
    "underscore dropped": request("GET", "/env", "X_Under: a", "X-Under: b"),
    "script name": request("GET", "/env/rest", "SCRIPT_NAME: /env"),
    "path info": request("GET", "/env", "PATH_INFO: /forged"),
    "body fields": request("POST", "/env", "Content-Type: text/x", body=b"x"),
    "chunked": request("POST", "/env", CHUNKED, body=chunks([b"x"])),
    "scheme": request("GET", "/env", "X-Forwarded-Proto: https"),
    "scheme not https": request("GET", "/env", "X-Forwarded-Proto: ftp"),
    "1.0 without host": b"GET /env HTTP/1.0\r\n\r\n",
    "proxy": request("GET", "/env", "X-Forwarded-For: 1.2.3.4", "Proxy: evil"),
}


def environ_lines(server: Gunicorn, story: bytes) -> list[str]:
    with Client(server.address) as connection:
        connection.send(story)
        answer = connection.answer()
    assert re.match(rb"HTTP/1.[01] 200 ", answer), answer
    text = re.sub(rb"(?m)^[0-9A-F]+\r\n|\r\n0\r\n\r\n$", b"", body_of(answer)).decode("latin-1")
    return [line for line in text.split("\n") if not line.startswith(("REMOTE_PORT=", "SERVER_PORT="))]


@pytest.mark.parametrize("story", ENVIRONS.values(), ids=ENVIRONS.keys())
def test_same_environ_as_gunicorns_gevent_worker(ours: Gunicorn, peer: Gunicorn, story: bytes) -> None:
    assert environ_lines(ours, story) == environ_lines(peer, story)


def test_environ_details(ours: Gunicorn, client: Client) -> None:
    text = client.get("/env", "Cookie: a=1", "Cookie: b=2").decode("latin-1")
    assert "HTTP_COOKIE='a=1; b=2'" in text
    assert "REMOTE_ADDR='127.0.0.1'" in text
    assert f"REMOTE_PORT='{client.sock.getsockname()[1]}'" in text
    assert f"SERVER_PORT='{ours.address[1]}'" in text
    assert "wsgi.multithread=True" in text
    assert "RAW_URI='/env'" in text


def test_unix_socket_environ(tmp_path: Path) -> None:
    stories = [request("GET", "/env", f"X: {i}") for i in range(2)]
    stories += [b"GET /env HTTP/1.1\r\nHost: named:99\r\n\r\n", b"GET /env HTTP/1.0\r\n\r\n"]
    seen = []
    for worker_class in (FASTCORE, "gevent"):
        with Gunicorn(APP, bind=f"unix:{tmp_path}/socket", worker_class=worker_class) as server:
            seen.append([environ_lines(server, story) for story in stories])
    assert seen[0] == seen[1]


REFUSED = {
    "not http": (b"hello there\r\n\r\n", 400),
    "http/2": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "bare lf": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "length and chunked": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip, chunked\r\n\r\n", 501),
    "long line": (request("GET", "/" + "x" * 5000), 414),
    "many fields": (request("GET", "/", *["A: b"] * 110), 431),
    "long field": (request("GET", "/", "A: " + "b" * 9000), 431),
    "expectation": (request("GET", "/", "Expect: miracles"), 417),
    "two content types": (request("GET", "/", "Content-Type: a", "Content-Type: b"), 400),
    "lower-case method": (request("get", "/"), 400),
    "scheme conflict": (request("GET", "/", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"), 400),
    "script name elsewhere": (request("GET", "/a", "SCRIPT_NAME: /b"), 500),
    "bad chunk": (request("POST", "/echo", CHUNKED) + b"xyz\r\n", 400),
}


@pytest.mark.parametrize(("story", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_close_the_connection(client: Client, story: bytes, status: int) -> None:
    client.send(story + request("GET", "/hello"))
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1 + (status == 505)  # (the text of a 505 names the version)
    assert b"Connection: close" in answer


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_wsgiref_validator_has_no_objection() -> None:
    with Gunicorn("wsgi_apps:validated") as server, Client(server.address) as client:
        for story in (
            request("GET", "/"),
            request("HEAD", "/"),
            request("GET", "/nope"),
            request("POST", "/", body=b"x" * 100),
        ):
            client.send(story)
            answer = client.answer(story.startswith(b"HEAD"))
            assert re.match(rb"HTTP/1.1 (200|404|405) ", answer), server.log()
        assert "AssertionError" not in server.log()


@pytest.mark.parametrize("sizes", ["1000", "65536", "1,5,100000", "1000000000"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_uploads_arrive_whole(client: Client, sizes: str, framing: str) -> None:
    blocks = [bytes([i % 251]) * (1 + i * 37 % 50_000) for i in range(80)]
    whole = b"".join(blocks)
    if framing == "length":
        client.send(request("POST", f"/digest?{sizes}", f"Content-Length: {len(whole)}"))
        for block in blocks:
            client.send(block)
    else:
        client.send(request("POST", f"/digest?{sizes}", CHUNKED) + chunks(blocks))
    assert f"{len(whole)} {hashlib.sha256(whole).hexdigest()}".encode() in client.answer()
    assert client.get("/hello").endswith(b"hello")


def test_an_application_that_does_not_read_slows_the_client_down(ours: Gunicorn) -> None:
    with Client(ours.address) as client:
        client.send(request("POST", "/slow?0.5", "Content-Length: 100000000"))
        client.sock.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += client.sock.send(b"x" * 65536)
        assert sent < 20_000_000  # what the kernel's buffers hold


def test_expect_100_continue_is_answered_when_the_body_is_wanted(client: Client) -> None:
    client.send(request("POST", "/echo", "Expect: 100-continue", "Content-Length: 4"))
    assert client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert client.answer().endswith(b"\r\n\r\nbody")
    client.send(request("POST", "/unread", "Expect: 100-continue", "Content-Length: 4"))
    answer = client.answer()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer  # the body may come or not: nothing can follow it
    assert client.rest() == b""


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    paths = ["/hello", "/several", "/echo", "/slow?0.01", "/unread", "/big?100000", "/hello"] * 5
    client.send(b"".join(request("POST", path, body=b"body") for path in paths))
    for path in paths:
        answer = client.answer()
        expected = {"/hello": b"hello", "/echo": b"body", "/unread": b"unread", "/slow?0.01": b"slow"}.get(path)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert expected is None or body_of(answer) == expected
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)


def test_half_closed_client_gets_its_answer(ours: Gunicorn) -> None:
    with Client(ours.address) as client:
        client.send(request("GET", "/slow?0.05"))
        client.sock.shutdown(1)
        assert client.rest().endswith(b"slow")


def test_a_client_that_leaves_during_its_body(ours: Gunicorn) -> None:
    with Client(ours.address) as client:
        client.send(request("POST", "/echo", "Content-Length: 10") + b"123")
    with Client(ours.address) as client:
        assert client.get("/hello").endswith(b"hello")


def test_files_of_any_size_come_whole(client: Client) -> None:
    for how in ("", "chunked", "memory"):
        answer = client.get(f"/file?{how}")
        got = body_of(answer)
        if how == "chunked":
            assert got.startswith(b"100000\r\n")  # one chunk, as gunicorn writes it
            got = got[8:-7]
        assert got == FILE_BYTES


def test_slow_reader_never_makes_the_server_buffer_more_than_its_bound(ours: Gunicorn) -> None:
    pid = ours.pids()[-1]

    def rss() -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    size = 200_000_000
    with Client(ours.address) as warm:
        warm.get("/hello")
    with Client(ours.address) as client:
        client.send(request("GET", "/closing?slow-reader"))  # an endless stream, 64 KB a block
        assert b"chunked" in client.head()
        before = rss()
        for _ in range(20):
            client.take(2_000_000)
        assert rss() - before < 4_000_000, "the queue has no bound"
    # The client has gone: the iterable is closed.
    end = time.monotonic() + 10
    while True:
        with Client(ours.address) as other:
            if b"slow-reader" in other.get("/closed"):
                break
        assert time.monotonic() < end
    with Client(ours.address) as client:
        client.send(request("GET", f"/big?{size // 10}"))
        head = client.head()
        assert b"Content-Length: 20000000" in head
        assert len(client.take(size // 10)) == size // 10


def test_promised_bytes_that_do_not_come_close_the_connection(ours: Gunicorn, client: Client) -> None:
    answer = client.get("/too_few")
    assert body_of(answer) == b"short"
    assert client.rest() == b""
    ours.wait_for(r"sent 5 of the 50 bytes it promised")
    with Client(ours.address) as other:
        other.get("/too_many")
    ours.wait_for(r"sent more than its Content-Length of 5")


def test_errors_are_logged_and_not_shown(ours: Gunicorn) -> None:
    for path in ("/raises", "/raises_after_start", "/bad_field?crlf", "/not_bytes"):
        with Client(ours.address) as client:
            answer = client.get(path)
        assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"secret" not in answer
        assert b"Traceback" not in answer
        ours.wait_for(rf"Error handling request GET {re.escape(path)}")
    ours.wait_for("RuntimeError: secret detail")
    ours.wait_for("SystemExit: secret detail")
    with Client(ours.address) as client:
        answer = client.get("/raises_late")
        assert answer.endswith(b"begun\r\n")  # no last chunk: the client can tell that it is not whole
        assert client.rest() == b""


def test_start_response_again_with_exc_info_replaces_the_head(client: Client) -> None:
    answer = client.get("/replaced")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"X-Second" in answer
    assert b"X-First" not in answer


def test_wsgi_errors_reach_the_error_log(ours: Gunicorn, client: Client) -> None:
    client.get("/log_error")
    ours.wait_for("written to wsgi.errors")


def test_curl_agrees(ours: Gunicorn, tmp_path: Path) -> None:
    def curl(*args: str) -> str:
        return subprocess.run(
            ["curl", "-sS", "--max-time", "20", *args], check=True, capture_output=True, text=True
        ).stdout

    upload = tmp_path / "upload"
    upload.write_bytes(b"u" * 3_000_000)
    digest = hashlib.sha256(upload.read_bytes()).hexdigest()
    assert curl(f"{ours.url}/hello", f"{ours.url}/several") == "helloone two three"
    assert digest in curl("-T", str(upload), "-H", CHUNKED, "-X", "POST", f"{ours.url}/digest?10000")
    assert digest in curl("-T", str(upload), "-H", "Expect: 100-continue", "-X", "POST", f"{ours.url}/digest?10000")
    assert "Content-Length: 5" in curl("-I", f"{ours.url}/hello")
    assert curl("-0", f"{ours.url}/several") == "one two three"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_access_log_and_hooks_see_each_request(tmp_path: Path) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text(
        "def pre_request(worker, req): worker.log.info('before %s %s', req.method, req.path)\n"
        "def post_request(worker, req, environ, resp): worker.log.info('after %s %s', req.uri, resp.status)\n"
        "def child_exit(server, worker): server.log.info('user child_exit %s', worker.pid)\n"
    )
    form = '%(h)s "%(r)s" %(s)s %(b)s %({x-asked}i)s %({content-length}o)s'
    log = tmp_path / "access"
    with Gunicorn(APP, "-c", str(conf), "--access-logfile", str(log), "--access-logformat", form) as server:
        with Client(server.address) as client:
            client.get("/hello?q", "X-Asked: yes")
            client.get("/raises")
        server.wait_for("before GET /raises")
        server.wait_for(r"after /hello\?q 200 OK")
        server.wait_for("after /raises 500 Internal Server Error")
        pid = server.pids()[0]
    assert f"user child_exit {pid}" in server.log()
    lines = log.read_text().splitlines()
    assert '127.0.0.1 "GET /hello?q HTTP/1.1" 200 5 yes 5' in lines
    assert any(line.startswith('127.0.0.1 "GET /raises HTTP/1.1" 500') for line in lines)


def test_untrusted_peers_do_not_choose_the_scheme() -> None:
    with Gunicorn(APP, "--forwarded-allow-ips", "10.0.0.1") as server, Client(server.address) as client:
        text = client.get("/env", "X-Forwarded-Proto: https", "SCRIPT_NAME: /env")
        assert b"wsgi.url_scheme='http'" in text
        assert b"SCRIPT_NAME=''" in text


def test_keepalive_zero_closes_after_each_answer() -> None:
    with Gunicorn(APP, "--keep-alive", "0") as server, Client(server.address) as client:
        answer = client.get("/hello")
        assert b"Connection: close" in answer
        assert client.rest() == b""


def test_idle_connections_are_closed_after_keepalive() -> None:
    with Gunicorn(APP, "--keep-alive", "1") as server, Client(server.address) as client:
        assert b"keep-alive" in client.get("/hello")
        started = time.monotonic()
        assert client.rest() == b""
        assert 0.8 < time.monotonic() - started < 5


def test_worker_connections_is_a_bound() -> None:
    with (
        Gunicorn(APP, "--worker-connections", "2") as server,
        Client(server.address) as a,
        Client(server.address) as b,
        Client(server.address) as c,
    ):
        assert a.get("/hello")
        assert b.get("/hello")
        c.send(request("GET", "/hello"))
        c.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            c.sock.recv(1)
        c.sock.settimeout(10)
        a.sock.close()
        assert c.answer().endswith(b"hello")


def test_tls_is_refused_with_a_reason(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("x")
    server = Gunicorn(APP, "--certfile", str(cert), "--keyfile", str(cert))
    server.wait_for("does not speak TLS yet")
    assert server.close() == 1


def test_max_requests_replaces_the_worker() -> None:
    with Gunicorn(APP, "--max-requests", "5") as server:
        answers = 1  # entering asked for one already
        # A worker that is finishing may still answer what was accepted: how many it takes altogether is not fixed.
        while server.log().count("Autorestarting worker") < 3:
            with Client(server.address) as client:
                assert client.get("/pid").startswith(b"HTTP/1.1 200")
            answers += 1
        assert answers >= 15
        server.wait_for("Booting worker", 4)


def test_a_service_takes_the_listeners_it_wants() -> None:
    with Gunicorn("service_app:app", "-b", "127.0.0.1:0") as server:
        addresses = re.findall(r"http://([\d.]+):(\d+)", server.log())
        wsgi, raw = [(host, int(port)) for host, port in addresses[:2]]
        with Client(raw) as client:
            client.send(b"over raw bytes")
            assert client.take(14) == b"OVER RAW BYTES"
        with Client(wsgi) as client:
            assert client.get("/").endswith(b"control")
            server.signal(10)  # USR1
            server.wait_for("service reopens its logs")
        with Client(raw) as client:
            client.send(b"x")
            assert client.take(1) == b"X"
            server.signal(15)
            server.wait_for("service drains")
            client.send(b"still")
            assert client.take(5) == b"STILL"
        assert server.process.wait(10) == 0
        server.wait_for("service stops")  # always the last call: logs are written out there
