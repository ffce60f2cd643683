"""What the benchmarks compute from what they see: wrong arithmetic there would be believed."""

import os
import subprocess
import sys
import time
import xml.dom.minidom
from collections import Counter
from pathlib import Path

import pytest
from perf import calltimes, cprogram, loadlib, run
from perf.flame import record, svg

WRK = """\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.42ms    2.11ms  31.24ms   91.03%
    Req/Sec    55.10k     4.32k   61.03k    75.00%
  Latency Distribution
     50%  850.00us
     75%    1.47ms
     90%    2.97ms
     99%    1.05s
  109876 requests in 2.01s, 25.36MB read
{more}Requests/sec:  54664.68
Transfer/sec:     12.62MB
"""


def test_wrk() -> None:
    load = loadlib.parse_wrk(WRK.format(more=""))
    assert load == loadlib.Load(109876, 2.01, 0, 0.85, 1050.0)
    assert load.rate == pytest.approx(109876 / 2.01)
    more = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 50\n"
    assert loadlib.parse_wrk(WRK.format(more=more)).failed == 60
    with pytest.raises(ValueError, match="not what wrk"):
        loadlib.parse_wrk("unable to connect to 127.0.0.1:8080 Connection refused\n")


def test_cpu_time_is_that_of_the_whole_tree() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\ninput()\n"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as parent:
        parent.stdout.readline()  # the child has ended: its time has gone over to the parent
        ended = loadlib.cpu_seconds(parent.pid)
        parent.communicate(b"\n")
    with subprocess.Popen([sys.executable, "-c", script.replace("run([", "Popen([")], **pipes) as parent:
        parent.stdout.readline()
        until = time.monotonic() + 20
        while loadlib.cpu_seconds(parent.pid) < 0.3 and time.monotonic() < until:
            time.sleep(0.01)
        living = loadlib.cpu_seconds(parent.pid)
        parent.communicate(b"\n")
    assert 0.29 <= ended < 5
    assert 0.3 <= living < 5
    assert loadlib.memory_bytes(os.getpid()) > 1 << 20


def test_turns_alternate_who_is_first() -> None:
    services = [loadlib.Service(name, [], 0) for name in "ab"]
    seen: list[str] = []
    measured = loadlib.in_turns(services, 3, lambda service: seen.append(service.name) or len(seen))
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert measured == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_row_is_of_medians_and_pairs() -> None:
    faster = loadlib.row("x", "requests", [10.0, 40.0, 90.0], [10.0, 20.0, 30.0])
    assert (faster.ours, faster.peer, faster.ratio) == (40.0, 20.0, 2.0)
    assert str(faster) == "x, requests | 40 | 20 | 2.00"
    assert loadlib.row("x", "ms", [5.0], [10.0], less_is_better=True).ratio == 2.0
    assert loadlib.row("x", "bytes", [0.0], [0.0], less_is_better=True).ratio == float("inf")


def test_results_of_one_day_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadlib, "RESULTS", tmp_path)
    row = loadlib.row("x", "ms", [5.0], [10.0])
    one = loadlib.write_results("one", [row], {"runs": [loadlib.Load(1, 1.0, 0, 1.0, 1.0)]}, {"nginx": "1"})
    assert loadlib.write_results("two", [], {}, {}) == one
    text = one.read_text()
    assert '"one"' in text
    assert '"two"' in text
    assert '"p99_ms": 1.0' in text


def test_readme_table(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{run.MARKS[0]}\nold\n{run.MARKS[1]}\nafter\n")
    text = run.table("Title", [["what", "ours", "peer", "ratio"], ["a", "1", "2", ""]])
    run.write_readme(file, text)
    run.write_readme(file, text)
    assert file.read_text() == (
        f"before\n{run.MARKS[0]}\n\n**Title**\n\n| what | ours | peer | ratio |\n| --- | --- | --- | --- |\n"
        f"| a | 1 | 2 |   |\n\n{run.MARKS[1]}\nafter\n"
    )
    file.write_text("no marks")
    with pytest.raises(ValueError, match="marks"):
        run.write_readme(file, "x")
    assert run.MARKS[0] in (loadlib.ROOT / "README.md").read_text()


PERF = """\
python
\t    7f31c0 fc_loop_run+0x12 (/x/fastcore.so)
\t    55d0a1 main (/usr/bin/python)

python
\tffffffff81 tcp_sendmsg ([kernel.kallsyms])
\t    7f31c4 [unknown] (/usr/lib/libc.so.6)
\t    55d0a1 main (/usr/bin/python)

python
\t    7f31c4 [unknown] ([unknown])

"""


def test_stacks_of_perf() -> None:
    assert record.fold_perf(PERF) == {
        ("main", "fc_loop_run"): 1,
        ("main", "[libc.so.6]", "tcp_sendmsg_[k]"): 1,
        ("[unknown]",): 1,
    }


def test_stacks_of_py_spy() -> None:
    assert record.fold_raw("a;b (x.py:1) 3\na;c d 4\n\n") == {("a", "b (x.py:1)"): 3, ("a", "c d"): 4}


def test_the_picture() -> None:
    text = svg.render(Counter({("main", "<a & b>"): 3, ("main",): 1, ("other",): 4}), "title <x>")
    picture = xml.dom.minidom.parseString(text)  # noqa: S318 (ours)
    frames = {
        group.getAttribute("data-n"): (float(group.getAttribute("data-x")), float(group.getAttribute("data-w")))
        for group in picture.getElementsByTagName("g")
    }
    assert frames == {"all": (0, 1), "main": (0, 0.5), "<a & b>": (0, 0.375), "other": (0.5, 0.5)}
    with pytest.raises(ValueError, match="no samples"):
        svg.render(Counter(), "t")


def test_c_programs_are_compiled_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "perf").mkdir()
    (tmp_path / "cext/base").mkdir(parents=True)
    (tmp_path / "perf/two.c").write_text(
        "#include <stdio.h>\nint floor_of(void);\n"
        'int main(int n, char **words) { printf("ns %s\\nsum %d\\n", words[n - 1], floor_of() + MORE); return 0; }\n'
    )
    (tmp_path / "cext/base/floor.c").write_text("int floor_of(void) { return 40; }\n")
    monkeypatch.setattr(cprogram, "ROOT", tmp_path)
    with cprogram.compiled("two", "base/*.c", flags=["-DMORE=2"]) as program:
        assert program(7) == [["ns", "7"], ["sum", "42"]]
        assert program("a", 9) == [["ns", "9"], ["sum", "42"]]
    with pytest.raises(ValueError, match="no cext/base/gone"), cprogram.compiled("two", "base/gone*.c"):
        pass


def test_times_of_calls() -> None:
    """In steps of 100 ns, and exactly from 10 ms on."""
    times = calltimes.Times()
    for us in range(1, 1001):
        times.add(us * 1000)
    found = times.figures()
    assert (found["p50"], found["p99"], found["p99.9"]) == (0.501, 0.991, 1.0)
    assert (found["max"], found["calls"], found["slowest"]) == (1.0, 1000, [])
    times.add(30_000_123)
    times.add(20_000_000)
    found = times.figures()
    assert (found["p99.9"], found["max"], found["slowest"]) == (20.0, 30.000123, [20.0, 30.000123])
    assert calltimes.Times().figures()["max"] == 0.0
