from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jobs import console

SCORES = {
    "floor/real": {"fd_real": 43.2, "n": 64},
    "student@4": {"fd_real": 123.456, "latency_s": 0.0312, "prompt_accuracy": None, "n": 64},
}


class Terminal:
    """A stdout that a person watches."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return True


def test_behind_a_pipe_every_line_of_stdout_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    with console.stage("finetune", Path("run/teacher"), current=False):
        pass
    console.closing(SCORES, {"Draw your own:": "naruto-add generate"})

    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line.get("status") for line in lines] == ["started", "done", None]
    assert lines[1]["seconds"] >= 0
    assert lines[2]["scores"] == SCORES and lines[2]["next"] == {"Draw your own:": "naruto-add generate"}
    assert "student@4" in captured.err, "the table is for the person behind the pipe"


def test_a_person_gets_lines_with_times(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with console.stage("finetune", Path("run/teacher"), current=True):
        pass
    (line,) = terminal.text.splitlines()
    assert line.split()[:2] == ["finetune", "current"] and line.endswith("run/teacher")


def test_a_stage_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), console.stage("export", Path("run/bundle"), current=False):
        raise ValueError("broken")
    assert '"done"' not in capsys.readouterr().out


def test_a_profile_is_seconds_for_a_program_and_shares_for_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"began": 0.0, "seconds": {"student": 75.0, "data": 25.0, "saving": 0.01}}))
    console.profile("distill", path)
    told = json.loads(capsys.readouterr().out)
    assert told["event"] == "profile" and told["seconds"]["student"] == 75.0
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    console.profile("distill", path)
    assert terminal.text == "distill   time: student 75.0%, data 25.0%\n"


def test_the_table_puts_floors_last_and_dashes_for_what_does_not_apply() -> None:
    paper = Console(width=120, record=True, quiet=True)
    paper.print(console.score_table(SCORES))
    with paper.capture() as captured:
        paper.quiet = False
        paper.print(console.score_table(SCORES))
    rows = [line for line in captured.get().splitlines() if "student@4" in line or "floor/real" in line]
    assert "student@4" in rows[0] and "floor/real" in rows[1]
    cells = [cell.strip() for cell in rows[0].strip("│ ").split("│")]
    assert cells == ["student@4", "123.5", "-", "-", "-", "-", "-", "0.0312", "64"]
