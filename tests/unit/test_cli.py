"""The command line: help that teaches, one sentence and a status for each failure."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from apps import listening
from apps.cli import main
from apps.commands import up
from apps.exits import CommandError
from apps.gateway.config_model import Gateway
from apps.units import Address
from fastcore import __version__

GOOD = 'upstreams: {hello: {targets: ["127.0.0.1:9100"]}}\nroutes: [{path: /, upstream: hello}]\n'


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FASTCORE_"):
            monkeypatch.delenv(name)


def settings_file(folder: Path, text: str) -> str:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return str(file)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"fastcore {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["gateway", "--help"], ["up", "-h"], ["check", "-h"], ["bench", "-h"], ["demo", "-h"]]
)
def test_help_has_examples_and_statuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "  fastcore " in out
    assert "78 the settings are wrong" in out


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["gateway", "--nope"], ["bench"], ["bench", "http://x/", "-c", "0"]]
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = settings_file(tmp_path, GOOD)
    assert main(["check", "-c", file]) == 0
    assert capsys.readouterr().out == f"{file}: ok (1 routes, 1 upstreams)\n"


def test_check_prints_every_error_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = settings_file(tmp_path, "worker: 3\nroutes:\n  - {path: /, upstream: helo}\n")
    for command in ("check", "gateway", "up"):
        assert main([command, "-c", file]) == 78
        error = capsys.readouterr().err
        assert f"{file}:1:1: worker: unknown key; did you mean workers?" in error
        assert f"{file}:3:15: routes[0].upstream: no upstream is called 'helo'" in error


def test_check_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["workers"]["description"]
    assert "Route" in schema["$defs"]


def test_check_without_a_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "name the file" in capsys.readouterr().err


def test_a_missing_file_is_66(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "gateway", "up"):
        assert main([command, "-c", str(tmp_path / "none.yaml")]) == 66
        assert "none.yaml: No such file or directory" in capsys.readouterr().err


def test_a_forbidden_file_is_77(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = settings_file(tmp_path, GOOD)
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so permission bits would prove nothing
    assert main(["gateway", "-c", file]) == 77
    assert "Permission denied" in capsys.readouterr().err


def test_a_taken_port_is_69_and_names_who_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = settings_file(tmp_path, GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["gateway", "-c", file, "--listen", address]) == 69
    error = capsys.readouterr().err
    assert f"{address} is taken by" in error
    assert f"(pid {os.getpid()})" in error


def test_a_wrong_flag_is_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--listen", "8080"]) == 78
    assert "flag --listen: listen[0]: '8080' has no port" in capsys.readouterr().err


def test_bench_wants_http(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "ftp://x"]) == 2
    assert "http://host:port/path" in capsys.readouterr().err


class TestProbe:
    def test_free_addresses_stay_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for _ in range(2):
            listening.probe([Address("127.0.0.1", port)])

    def test_two_addresses_that_cannot_be_held_together(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(CommandError, match="is taken"):
            listening.probe([Address("127.0.0.1", port), Address("0.0.0.0", port)])

    def test_an_address_of_another_machine(self) -> None:
        with pytest.raises(CommandError, match="no such address") as error:
            listening.probe([Address("192.0.2.1", 65000)])
        assert error.value.status == 69

    def test_an_unknown_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(CommandError, match="cannot be resolved"):
            raise listening.explained(Address("nowhere.invalid", 80), socket.gaierror(-2, "Name or service not known"))

    def test_no_permission(self) -> None:
        low = listening.explained(Address("127.0.0.1", 80), PermissionError(13, "Permission denied"))
        assert "ports below 1024" in str(low)
        assert low.status == 77

    def test_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        address = Address("", 0, str(path))
        listening.probe([address])
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(str(path))
            taken.listen()
            with pytest.raises(CommandError, match=rf"is taken by .*pid {os.getpid()}"):
                listening.probe([address])
        listening.probe([address])  # the file is still there, but nobody listens
        path.unlink()
        path.write_text("precious")
        with pytest.raises(CommandError, match="no socket is in the way"):
            listening.probe([address])
        with pytest.raises(CommandError, match="its folder does not exist"):
            listening.probe([Address("", 0, str(tmp_path / "none" / "s"))])


def test_what_up_says_to_try() -> None:
    text = up.greeting(Gateway(), up.TASKS, up.TASKS_CONTROL, with_demo=True)
    assert "curl -i http://127.0.0.1:8080/" in text
    assert "http://127.0.0.1:8081" in text
    assert up.url(Address("0.0.0.0", 80)) == "http://127.0.0.1:80"


def test_the_settings_up_writes_are_valid(tmp_path: Path) -> None:
    file = up._write_config(tmp_path / "var" / "gateway.yaml", Address("127.0.0.1", 9100))
    assert main(["check", "-c", file]) == 0


def test_the_command_is_installed() -> None:
    out = subprocess.run([sys.executable, "-m", "apps.cli", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout == f"fastcore {__version__}\n"
