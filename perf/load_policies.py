"""What the gateway's policies cost: `what | ours | peer | ratio`.

usage: python -m perf.load_policies [--seconds S] [--pairs N] [--only WORDS] [--list]

  all-on   everything there is at once (a JWT that has been seen, a limit for its user, metrics, access log, trace
           context) against our bare proxy and against nginx, which proxies and does nothing else; 64 connections
  tokens   other traffic at a fixed rate while never-seen JWTs (ES256) come at --tokens a second: its p99 against the
           same without them, and how many of them were admitted
  cached   answers out of the response cache, 99 bytes and 10 KB, against nginx proxy_cache with its files in memory; 64
           connections, and what that is a second by the clock

One worker on one core; backend and generators on another. As in perf.load_gateway the figure is requests per server
CPU-second. What this does not show: JWKS over a network, many users, several workers.
"""

import argparse
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from perf import loadlib, proxies
from perf.load_gateway import Bench
from perf.loadlib import LOAD_CORE, ROOT, SOURCES, Service

ISSUER = "https://issuer.example"
OTHER_RATE = 5_000  # requests a second of traffic that has nothing to do with new tokens
FAR = 4_000_000_000  # when tokens expire: 2096


class Issuer:
    """Signs tokens with ES256; its public key lies in a file, as the gateway reads it."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "issuer.pem"
        public = self._key.public_key()
        self.file.write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def token(self, subject: str) -> str:
        claims = {"iss": ISSUER, "sub": subject, "exp": FAR, "jti": secrets.token_hex(8)}
        return jwt.encode(claims, self._key, algorithm="ES256")

    def settings(self) -> str:
        return f"""\
auth:
  providers:
    issuer:
      jwt: {{issuer: "{ISSUER}", audience: [], keys: [{{alg: ES256, file: "{self.file}"}}]}}
      headers: {{X-User: sub}}
"""


def all_on(bench: Bench, _: argparse.Namespace) -> None:
    with loadlib.workplace() as folder, ExitStack() as stack:
        issuer = Issuer(folder)
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        policies = f"""\
{issuer.settings()}
rate_limits: {{each: {{rate: 100000000, by: [user], fields: always}}}}
tracing: {{sample: 0.01}}
"""
        everything = proxies.gateway(
            folder,
            "all-on",
            backend.port,
            '  - {path: "/", upstream: backend, auth: issuer, rate_limits: [each]}',
            access_log=True,
            settings=policies,
        )
        bare = proxies.fastcore(folder, backend.port, access_log=False)
        bare.name = "bare"
        services = [everything, bare, proxies.nginx(folder, backend.port, access_log=False)]
        header = f"Authorization: Bearer {issuer.token('somebody')}"
        headers = {everything.name: [header]}
        for service in services:
            stack.enter_context(loadlib.running(service, folder))
            loadlib.wrk(service.url, 8, 1, headers=headers.get(service.name, ()))
        bench.per_cpu_second(
            "all policies on, 99 bytes, 64 connections",
            services,
            lambda service: loadlib.wrk(service.url, 64, bench.seconds, headers=headers.get(service.name, ())),
        )


def tokens(bench: Bench, options: argparse.Namespace) -> None:
    with loadlib.workplace() as folder, ExitStack() as stack:
        issuer = Issuer(folder)
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        service = proxies.gateway(
            folder,
            "tokens",
            backend.port,
            '  - {path: "/", upstream: backend, auth: issuer}\n  - {path: "/open", upstream: backend}',
            settings=issuer.settings(),
        )
        stack.enter_context(loadlib.running(service, folder))
        other = f"http://127.0.0.1:{service.port}/"
        seen = f"Authorization: Bearer {issuer.token('known')}"
        load = ("-c", "16", "-d", f"{bench.seconds}s", "-w", "500ms", "-R", str(OTHER_RATE), "-H", seen)
        alone, beside, admitted = [], [], []
        for _ in range(bench.pairs):
            alone.append(loadlib.bench(other, *load).p99_ms)
            made = "\n".join(issuer.token(f"user{i}") for i in range(int(options.tokens * (bench.seconds + 1.5))))
            with _stream(folder, service, options.tokens, made) as stream:
                beside.append(loadlib.bench(other, *load).p99_ms)
                report = json.loads(stream.communicate()[0])
            admitted.append(report["admitted"] / report["seconds"])
            if report["refused"]:
                print(f"note: {report['refused']} new tokens were refused", file=sys.stderr)
    bench.raw["tokens"] = {"alone": alone, "beside": beside, "admitted": admitted, "asked": options.tokens}
    what = f"{OTHER_RATE} requests/s beside {options.tokens} new JWTs/s (peer: without them)"
    bench.add(loadlib.row(what, "p99 in ms", beside, alone, less_is_better=True))
    bench.add(loadlib.row("new JWTs admitted (peer: offered)", "a second", admitted, [options.tokens] * bench.pairs))


def _stream(folder: Path, service: Service, rate: int, made: str) -> "subprocess.Popen[str]":
    file = folder / "tokens"
    file.write_text(made)
    command = [sys.executable, "-m", "perf.load_policies", "--stream", str(file), str(service.port), str(rate)]
    return subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command], cwd=ROOT, env=SOURCES, stdout=subprocess.PIPE, text=True
    )


def stream(file: str, port: str, rate: str) -> None:
    """Each token of the file once, in an open loop, over one connection; prints what came of them."""
    waiting = Path(file).read_text().split()
    step, answered = 0.005, 0
    admitted = 0
    with socket.create_connection(("127.0.0.1", int(port))) as client:
        client.settimeout(10)
        reader = client.makefile("rb")
        started = time.perf_counter()
        while answered < len(waiting):
            due = min(len(waiting), int((time.perf_counter() - started) * int(rate)))
            for token in waiting[answered:due]:
                client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                admitted += reader.readline().startswith(b"HTTP/1.1 200")
                answered += 1
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                reader.read(length)
            time.sleep(step)
        seconds = time.perf_counter() - started
    print(json.dumps({"admitted": admitted, "refused": len(waiting) - admitted, "seconds": seconds}))


def cached(bench: Bench, _: argparse.Namespace) -> None:
    with loadlib.workplace() as folder, ExitStack() as stack:
        backend = stack.enter_context(loadlib.running(proxies.backend(folder), folder))
        route = '  - {path: "/", upstream: backend, cache: {default_ttl: 1h}}'
        ours = proxies.gateway(folder, "cached", backend.port, route, settings="cache: {memory: 64MB}")
        services = [ours, proxies.nginx_cache(folder, backend.port)]
        for service in services:
            stack.enter_context(loadlib.running(service, folder))
        for path, size in (("/", "99 bytes"), ("/10k", "10 KB")):
            rates: dict[str, list[float]] = {service.name: [] for service in services}

            def load(service: Service, path: str = path, rates: dict[str, list[float]] = rates) -> loadlib.Load:
                seen = loadlib.wrk(f"http://127.0.0.1:{service.port}{path}", 64, bench.seconds)
                rates[service.name].append(seen.rate)
                return seen

            for service in services:
                loadlib.wrk(f"http://127.0.0.1:{service.port}{path}", 8, 1)
            bench.per_cpu_second(f"cached answers, {size}, 64 connections", services, load)
            what = f"cached answers, {size} (one core; the generator has another)"
            bench.add(loadlib.row(what, "a second by the clock", rates[ours.name], rates[services[1].name]))


SCENARIOS = {"all-on": all_on, "tokens": tokens, "cached": cached}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="what the gateway's policies cost")
    parser.add_argument("--seconds", type=float, default=10, help="length of one run (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns (5)")
    parser.add_argument("--tokens", type=int, default=500, help="new JWTs a second (500)")
    parser.add_argument("--only", default="", metavar="WORDS", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--stream", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.stream:
        stream(*options.stream)
        return
    if options.list:
        print(f"scenarios: {' '.join(SCENARIOS)}")
        return
    words = [word for word in options.only.split(",") if word]
    if unknown := set(words) - SCENARIOS.keys():
        raise SystemExit(f"--only: no {', '.join(sorted(unknown))}; there are {' '.join(SCENARIOS)}")
    if not shutil.which("nginx") or not shutil.which("wrk"):
        raise SystemExit("needs nginx (it is the backend, too) and wrk: tools/system-packages bench")
    bench = Bench(options.seconds, options.pairs, 0)
    print(loadlib.HEADER)
    for name, scenario in SCENARIOS.items():
        if name in words or not words:
            scenario(bench, options)
    part = f"policies: {options.only}" if options.only else "policies"
    file = loadlib.write_results(part, bench.rows, bench.raw, proxies.versions())
    print(f"raw results: {Path(file).relative_to(loadlib.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
