from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import bench_serve
from jobs.measuring.bars import judged
from jobs.measuring.clients import percentile, running
from jobs.measuring.serving import Figures
from naruto_add.errors import UserError
from tests.conftest import REPOSITORY

OVERLOAD = {
    "accepted_p99_over_quiet": 1.9,
    "refused_p99_ms": 80.0,
    "neither": 0.0,
    "memory_growth_mib": 3.0,
    "back_to_normal_s": 0.5,
}


LEAST = {"offered_over_capacity": 9.7}


def figures(**overload: float) -> dict[str, Figures]:
    """Of a run with one peer."""
    return {
        bench_serve.PIPELINE: Figures(p50_ms=150, p99_ms=160, pictures_per_s=10),
        bench_serve.OURS: Figures(12.0, 162, 170, 12.0, 9.5, {**OVERLOAD, **LEAST, **overload}),
        bench_serve.QUEUED: Figures(12.0, 163, 172, 13.0, 9.6),
        "FastAPI, plain": Figures(9.0, 155, 165, 5.0, 6.0),
        "two copies, exchanged": Figures(14.0, more={"failed": 0, "old_copies_left": 0}),
        "two copies, one killed": Figures(14.0, more={"success": 1.0, "failed": 0}),
        "from no copy": Figures(13.0, more={"first_image_s": 11.0}),
    }


def test_every_bar_is_held() -> None:
    bars = judged(figures())
    assert len(bars) == 13 and all(bar.passed for bar in bars)
    assert [bar.value for bar in bars[:4]] == pytest.approx([12, 12, 0.96, 9.6 / 6])


@pytest.mark.parametrize(("name", "value"), [*((name, 1000.0) for name in OVERLOAD), *((name, 1.0) for name in LEAST)])
def test_what_is_beyond_is_missed(name: str, value: float) -> None:
    assert [bar.value for bar in judged(figures(**{name: value})) if not bar.passed] == [value]


def test_failed_requests_and_slow_peers_are_missed() -> None:
    found = figures()
    found["two copies, exchanged"].more["failed"] = 1
    found["two copies, one killed"].more["success"] = 0.998
    found[bench_serve.QUEUED].pictures_per_s = 5.0
    assert sum(not bar.passed for bar in judged(found)) == 4
    assert judged({}) == []


def test_the_tables_say_it() -> None:
    text = bench_serve.table(figures()) + bench_serve.bar_table(judged(figures(neither=2.0)))
    assert "| naruto-add serve | 12 s | 162 ms | +12 ms | 170 ms | 9.50 |" in text
    assert "| pipeline in process | - | 150 ms | - | 160 ms | 10.00 |" in text
    assert "- from no copy: first image s: 11" in text
    assert "| overload: answered otherwise at most 0 | 2 | missed |" in text


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile(range(1, 101), 99) == 99 and percentile([3.0, 1.0], 50) == 1.0 and percentile([], 99) == 0.0


def test_mistakes_are_told_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--only laod: there are load, copies, zero") as refused:
        bench_serve.main(["--only", "laod", "--out", str(tmp_path)])
    assert "is a folder" in str(refused.value)
    with pytest.raises(UserError, match=str(tmp_path)):
        bench_serve.main(["--bundle", str(tmp_path), "--out", str(tmp_path / "out.json")])
    assert capsys.readouterr().out == ""


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    words = ["-c", "import sys; sys.stderr.write('no model'); sys.exit(3)"]
    with (
        pytest.raises(UserError, match=r"(?s)broken did not start \(exit code 3\).*no model"),
        running("broken", words),
    ):
        raise AssertionError("it runs")


SERVER = """
import http.server, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""
MEASURING = f"""
import time
from jobs.measuring.clients import running
with running("server", ["-c", {SERVER!r}]) as server:
    print(server.process.pid, flush=True)
    time.sleep(60)
"""


def test_sigterm_leaves_no_server_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", MEASURING], stdout=subprocess.PIPE, cwd=REPOSITORY) as measuring:
        assert measuring.stdout is not None
        server = int(measuring.stdout.readline())
        os.kill(server, 0)
        measuring.terminate()
        assert measuring.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
