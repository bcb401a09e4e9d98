from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import submitted
from jobs.arguments import parse
from naruto_add.errors import UserError

ID = "raysubmit_abc"


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that Ray's job server gives its jobs."""
    monkeypatch.setenv(submitted.CONFIG, json.dumps({"runtime_env": {}, "metadata": {"job_submission_id": ID}}))


def test_outside_of_a_job_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted.tell(tmp_path)
    assert submitted.job_id() is None and capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []
    assert parse("distill", ["--recipe", "smoke", "--run", "runs/x"]).run == Path("runs/x")


@pytest.mark.usefixtures("in_a_job")
def test_a_job_and_its_run_are_found_from_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted.tell(tmp_path)
    submitted.tell(tmp_path)
    event = json.loads(capsys.readouterr().out.splitlines()[0])
    assert event == {"event": "job", "id": ID, "run": str(tmp_path), "work": str(tmp_path / ".work")}
    lines = (tmp_path / submitted.JOBS).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [ID, ID]


@pytest.mark.usefixtures("in_a_job")
def test_a_run_in_the_job_s_temporary_folder_is_refused_with_the_other_mistakes() -> None:
    with pytest.raises(UserError, match="2 problems") as caught:
        parse("distill", ["--recipe", "smoke", "--run", "runs/x", "--distill.optim.imags", "3"])
    assert "--run runs/x lies in this job's temporary folder" in str(caught.value)
    assert parse("distill", ["--recipe", "smoke", "--run", "/mnt/shared/x"]).run == Path("/mnt/shared/x")
