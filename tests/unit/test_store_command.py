"""`fastcore store`: what an operator sees, and the status a script gets."""

import io
import json
from pathlib import Path

import pytest

from apps import progress as progress_module
from apps.cli import main
from apps.dumping import escaped, json_line, text_line, unescaped
from apps.progress import Progress, readable_bytes
from fastcore.lsm import Store

ACTIONS = ("verify", "stats", "dump", "repair", "checkpoint", "backup", "restore")


def fill(path: Path, n: int = 3000) -> None:
    with Store(path, memtable_bytes=256 << 10, segment_bytes=1 << 20) as store:
        for i in range(n):
            store.put(b"key%06d" % i, b"value %d" % i + b"." * 100)
        store.keyspace("users").put(b"\xff\x00", b"tab\there")
        store.keyspace("users").put("schlüssel".encode(), b"\xfe")
        store.flush()
        store.keyspace("users").flush()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    fill(tmp_path / "store")
    return tmp_path / "store"


def first_table(place: Path) -> Path:
    return min(place.glob("*.tbl"))


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run_(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["store", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_


@pytest.mark.parametrize("words", [["-h"], *([action, "--help"] for action in ACTIONS)])
def test_help_has_examples_and_statuses(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["store", *words])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out and "  fastcore store " in out and "1 damage was found" in out


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["verify"], ["dump", "x", "--limit", "0"], ["dump", "x", "--prefix", "\\q"]]
)
def test_wrong_usage_is_2(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["store", *words])
    assert exit_.value.code == 2


def test_verify_a_sound_store(place, run):
    status, out, err = run("verify", place)
    assert status == 0 and err == ""
    assert out.splitlines()[-1].startswith(f"{place}: sound (2 keyspaces, ") and "3,002 entries" in out
    status, out, _ = run("verify", place, "--json")
    report = json.loads(out)
    assert status == 0 and report["sound"] and report["entries"] == 3002 and report["problems"] == []


def test_verify_a_damaged_store(place, run):
    table = first_table(place)
    damage(table, 300)
    status, out, _ = run("verify", place)
    assert status == 1
    assert f"{table.name}:0: the checksum of a data block is wrong" in out
    assert "fastcore store restore" in out and f"fastcore store repair {place}" in out
    status, out, _ = run("verify", place, "--json")
    assert status == 1 and json.loads(out)["problems"][0]["file"] == table.name


def test_repair(place, run):
    damage(first_table(place), 300)
    status, out, _ = run("repair", place)
    assert status == 0  # the log has what the table had
    assert f"{place}: repaired (" in out and "1 table salvaged" in out and f"moved to {place / 'lost'}" in out
    assert (place / "lost").is_dir()
    assert run("verify", place)[0] == 0
    status, out, _ = run("repair", place)
    assert status == 0 and "nothing is damaged" in out
    status, out, _ = run("dump", place)
    assert len(out.splitlines()) == 3000


def test_repair_says_what_is_lost(tmp_path, run):
    place = tmp_path / "store"
    with Store(place, memtable_bytes=256 << 10, segment_bytes=64 << 10) as store:
        for i in range(3000):
            store.put(b"key%06d" % i, b"." * 100)
            if i % 500 == 499:
                store.flush()
    damage(first_table(place), 300)
    status, out, _ = run("repair", place, "--json")
    report = json.loads(out)
    assert status == 1 and report["changed"] and report["bytes_lost"] > 0
    (loss,) = report["losses"]
    assert loss["keyspace"] == "default" and loss["first"]["key"].startswith("key0000")
    damage(min(place.glob("*.tbl")), 300)
    status, out, _ = run("repair", place)
    assert status == 1 and "lost: 0000" in out and "of keyspace default" in out


def test_a_store_that_does_not_open(place, run):
    """Every action that opens it says what to do."""
    damage(next(place.glob("MANIFEST-*")), 40)
    for words in (["stats", place], ["dump", place], ["backup", place, place.parent / "backups"]):
        status, out, err = run(*words)
        assert status == 1 and out == ""
        assert err.startswith("fastcore: ") and "damaged" in err and "repair" in err
    assert run("repair", place)[0] == 0
    status, out, _ = run("stats", place)
    assert status == 0 and "users" in out


def test_missing_and_locked(place, run, tmp_path):
    for action in ("verify", "repair", "stats", "dump"):
        status, _, err = run(action, tmp_path / "nothing")
        assert status == 2 and "nothing: there is no" in err
        (tmp_path / "empty").mkdir(exist_ok=True)
        status, _, err = run(action, tmp_path / "empty")
        assert status == 2 and "empty: there is no store here" in err
    assert list((tmp_path / "empty").iterdir()) == []
    with Store(place):
        for action in ("verify", "repair", "stats", "dump"):
            status, _, err = run(action, place)
            assert status == 2 and "the store is open already" in err and "stop the program" in err


def test_stats(place, run):
    status, out, _ = run("stats", place)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["keyspace", "level", "tables", "bytes", "entries", "deletions"]
    rows = [line.split() for line in lines[1:] if line.startswith(("default", "users"))]
    assert sum(int(row[-2].replace(",", "")) for row in rows if row[0] == "default") == 3000
    status, out, _ = run("stats", place, "--json")
    stats = json.loads(out)
    levels = stats["keyspaces"]["default"]["levels"]
    assert status == 0 and sum(level["entries"] for level in levels) == 3000 and stats["log"]["end"] > 0


def test_dump(place, run):
    status, out, _ = run("dump", place, "--prefix", "key00001", "--limit", "3")
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["key000010", "key000011", "key000012"]
    _, out, _ = run("dump", place, "--from", "key002998")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["key002998", "key002999"]
    _, out, _ = run("dump", place, "--to", "key000002", "--reverse")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["key000001", "key000000"]
    _, out, _ = run("dump", place, "--keyspace", "users")
    assert out == "schlüssel\t\\xfe\n\\xff\\x00\ttab\\there\n"
    _, out, _ = run("dump", place, "--keyspace", "users", "--format", "json")
    assert list(map(json.loads, out.splitlines())) == [
        {"key": "schlüssel", "value_base64": "/g=="},
        {"key_base64": "/wA=", "value": "tab\there"},
    ]
    _, out, _ = run("dump", place, "--keyspace", "users", "--prefix", "\\xff")
    assert out == "\\xff\\x00\ttab\\there\n"
    status, _, err = run("dump", place, "--keyspace", "nobody")
    assert status == 2 and "there are default, users" in err
    assert run("dump", place, "--prefix", "a", "--from", "b")[0] == 2


def test_copies(place, run, tmp_path):
    status, out, _ = run("checkpoint", place, tmp_path / "copy")
    assert status == 0 and "copy: a store" in out
    assert run("dump", tmp_path / "copy")[1] == run("dump", place)[1]
    status, _, err = run("checkpoint", place, tmp_path / "copy")
    assert status == 2 and "there is something already" in err
    backups = tmp_path / "backups"
    for number in (1, 2, 3):
        status, out, _ = run("backup", place, backups, "--keep", 2)
        assert status == 0 and f"backup {number} " in out
    assert "removed: 1" in out
    status, out, _ = run("backup", "--list", backups)
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == ["2", "3"]
    assert run("backup", backups)[0] == 2
    status, out, _ = run("restore", backups, tmp_path / "new", "--number", 2)
    assert status == 0 and "restored from backup 2" in out
    assert run("dump", tmp_path / "new")[1] == run("dump", place)[1]
    status, _, err = run("restore", backups, tmp_path / "newer", "--number", 1)
    assert status == 2 and "there are 2, 3" in err
    damage(min((backups / "tables").iterdir()), 300)
    status, _, err = run("restore", backups, tmp_path / "newer")
    assert status == 1 and "the backup is damaged" in err


@pytest.mark.parametrize(
    "data", [b"", b"plain", b"\\", b"\\n", b"\n\r\t", bytes(range(256)), "ü€\u202e\U0001f600".encode(), b"\xed\xa0\x80"]
)
def test_escapes_are_read_back(data):
    line = text_line(data, data)
    assert line.count("\t") == 1 and line.replace("\t", "").isprintable()
    assert unescaped(escaped(data)) == data
    assert "\n" not in json_line(data, data)


def test_progress_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    now = 100.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    screen = Terminal()
    with Progress("verify", screen) as progress:
        progress(0, 1 << 30)
        assert screen.getvalue() == ""  # nothing before anybody would look
        now += 2
        progress(1 << 29, 1 << 30)
        progress((1 << 29) + 1, 1 << 30)  # too soon to be drawn
    drawn = screen.getvalue()
    assert drawn.count("verify [") == 1 and drawn.endswith("\r\033[K")
    assert " 50 %  512MB of 1GB, 256MB/s, 0:02 left" in drawn


def test_progress_elsewhere(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    stream = io.StringIO()
    with Progress("backup", stream) as progress:
        for done in range(0, 1001, 25):
            now += 1
            progress(done, 1000)
    lines = stream.getvalue().splitlines()
    assert lines == [f"backup: {tenth} % of 0.977KB" for tenth in range(10, 101, 10)]


def test_readable_bytes():
    assert [readable_bytes(n) for n in (0, 812, 1 << 10, 1300 << 10, 1 << 40, 5000 << 40)] == [
        "0B",
        "812B",
        "1KB",
        "1.27MB",
        "1TB",
        "5000TB",
    ]
