"""Our gateway and its peers as services to measure: each a reverse proxy before one backend, at its best settings."""

from collections.abc import Callable
from pathlib import Path

from perf.loadlib import LOAD_CORE, SOURCES, Service, fastcore_command, free_port, version

SMALL_BYTES = 99
LARGE_BYTES = 10 * 1024

# nginx without the modules' default paths under /var, so that any user may start it
NGINX = """\
daemon off; worker_processes 1; pid {name}.pid; error_log stderr error;
events {{ worker_connections 65536; }}
http {{
    client_body_temp_path {name}-tmp; proxy_temp_path {name}-tmp; fastcgi_temp_path {name}-tmp;
    uwsgi_temp_path {name}-tmp; scgi_temp_path {name}-tmp;
    access_log {log}; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
    server_tokens off; default_type text/plain;
{rest}
}}
"""


def _nginx(folder: Path, name: str, rest: str, log: str = "off", core: int | None = None) -> Service:
    port = free_port()
    file = folder / f"{name}.conf"
    file.write_text(NGINX.format(name=name, log=log, rest=rest.replace("PORT", str(port))))
    service = Service(name, ["nginx", "-p", str(folder), "-c", str(file)], port)
    if core is not None:
        service.core = core
    return service


def backend(folder: Path) -> Service:
    """nginx that answers from memory: 99 bytes at /, 10 KB at /10k. It shares the generator's core."""
    rest = f"""\
    server {{
        listen 127.0.0.1:PORT backlog=4096;
        location / {{ return 200 "{"x" * SMALL_BYTES}"; }}
        location /10k {{ return 200 "{"x" * 1024}{"$kb" * (LARGE_BYTES // 1024 - 1)}"; }}
        set $kb "{"x" * 1024}";
    }}"""
    return _nginx(folder, "backend", rest, core=LOAD_CORE)


def nginx(folder: Path, target: int, *, access_log: bool, bulk: int | None = None) -> Service:
    """`bulk`: port of a second target, at /bulk, whose bodies are streamed both ways and may have any size."""
    streamed = "proxy_buffering off; proxy_request_buffering off; client_max_body_size 0;"
    location = f"location /bulk {{ proxy_pass http://127.0.0.1:{bulk}; {streamed} }}" if bulk else ""
    rest = f"""\
    upstream backend {{ server 127.0.0.1:{target}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:PORT backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://backend; }}
        {location}
        location /10k {{ proxy_pass http://backend; proxy_buffer_size 16k; proxy_buffers 4 16k; }}
    }}"""
    return _nginx(folder, "nginx", rest, "nginx-access.log combined buffer=64k flush=1s" if access_log else "off")


def nginx_cache(folder: Path, target: int) -> Service:
    """nginx that keeps what the target answers for an hour: files in memory, and their descriptors kept open."""
    folder.chmod(0o755)  # started by root, its worker is nobody
    rest = f"""\
    proxy_cache_path nginx-cache levels=1:2 keys_zone=kept:16m max_size=256m inactive=1h use_temp_path=off;
    open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; sendfile on;
    server {{
        listen 127.0.0.1:PORT backlog=4096;
        proxy_cache kept; proxy_cache_valid 200 1h;
        location / {{ proxy_pass http://127.0.0.1:{target}; }}
    }}"""
    return _nginx(folder, "nginx", rest)


def haproxy(folder: Path, target: int, *, access_log: bool) -> Service:
    port = free_port()
    file = folder / "haproxy.cfg"
    # haproxy writes its log to a socket, and leaves the file to syslog; standard output is the nearest to a file.
    log = "log stdout len 1024 format raw local0" if access_log else "no log"
    file.write_text(f"""\
global
    nbthread 1
    {log.replace("no log", "")}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    http-reuse always
    {"log global" if access_log else "no log"}
    {"option httplog" if access_log else ""}
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend back
backend back
    server one 127.0.0.1:{target} pool-max-conn 256
""")
    return Service("haproxy", ["haproxy", "-db", "-f", str(file)], port)


def caddy(folder: Path, target: int, *, access_log: bool) -> Service:
    port = free_port()
    file = folder / "Caddyfile"
    file.write_text(f"""\
{{
    admin off
    auto_https off
}}
http://:{port} {{
    bind 127.0.0.1
    {"log" if access_log else ""}
    reverse_proxy 127.0.0.1:{target} {{
        transport http {{
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
""")
    environ = {"GOMAXPROCS": "1", "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return Service("caddy", ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"], port, environ=environ)


def nghttpx(folder: Path, target: int) -> Service:
    """One worker thread, HTTP/2 in the clear before it and HTTP/1.1 kept alive behind it, nothing logged."""
    port = free_port()
    command = ["nghttpx", f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{target}", "--workers=1"]
    more = ["--accesslog-file=/dev/null", "--errorlog-file=/dev/stderr", "--backend-keep-alive-timeout=10m"]
    more += ["--frontend-http2-read-timeout=10m", "--conf=/dev/null"]
    return Service("nghttpx", [*command, *more], port)


def fastcore(folder: Path, target: int, *, access_log: bool, bulk: int | None = None) -> Service:
    """`bulk` as with nginx."""
    upstream = f'  bulk: {{targets: ["127.0.0.1:{bulk}"]}}\n' if bulk else ""
    route = '  - {path: "/bulk", upstream: bulk}\n' if bulk else ""
    routes = f'{route}  - {{path: "/", upstream: backend}}'
    return gateway(folder, "fastcore", target, routes, access_log=access_log, upstreams=upstream)


def gateway(
    folder: Path,
    name: str,
    target: int,
    routes: str,
    *,
    access_log: bool = False,
    upstreams: str = "",
    settings: str = "",
    backend: str = "",
) -> Service:
    """Ours with these routes and upstreams (YAML lists and mappings, indented), further settings at the top, and
    further keys of the upstream `backend`, each behind a comma."""
    port, control = free_port(), free_port()
    file = folder / f"{name}.yaml"
    file.write_text(f"""\
listen: ["127.0.0.1:{port}"]
control: "127.0.0.1:{control}"
workers: 1
access_log: "{folder / f"{name}-access.log" if access_log else "off"}"
timeouts: {{idle: 10m}}
limits: {{body_bytes: 0}}
{settings}
upstreams:
  backend: {{targets: ["127.0.0.1:{target}"], keepalive: 256{backend}}}
{upstreams}
routes:
{routes}
""")
    return Service(name, [*fastcore_command(), "gateway", "-c", str(file)], port, environ=SOURCES)


PEERS = ("nginx", "haproxy", "caddy")
PROXIES: dict[str, Callable[..., Service]] = {"fastcore": fastcore, "nginx": nginx, "haproxy": haproxy, "caddy": caddy}


def versions() -> dict[str, str]:
    return {
        "fastcore": version(*fastcore_command(), "--version"),
        "nginx": version("nginx", "-v"),
        "haproxy": version("haproxy", "-v"),
        "caddy": version("caddy", "version"),
        "wrk": version("wrk", "-v"),
        "nghttpx": version("nghttpx", "--version"),
    }
