from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.results_table import END, START, filled, main
from naruto_add.errors import UserError

REPORT: dict[str, Any] = {
    "scores": {
        "floor/real": {"fd_real": 43.2, "n": 64},
        "student@4": {"fd_real": 1234.5, "fd_real_interval": [1200.0, 1300.0], "latency_s": 0.0312, "n": 64},
    },
    "extractors": {"distribution": {"name": "Frechet distance (x)", "sha256": "0" * 64}, "judge": None},
    "settings": {"recipe": "mini", "size_px": 128, "n_train": 1536, "n_reference": 384},
    "hardware": {"device": "cpu", "processor": "A processor", "threads": 2, "torch": "2.14.1"},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(REPORT))
    return tmp_path


def test_the_table_replaces_what_is_between_the_markers_again_and_again(run: Path) -> None:
    readme = run / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    main(["--run", str(run), "--readme", str(readme)])
    once = readme.read_text()
    main(["--run", str(run), "--readme", str(readme)])

    assert readme.read_text() == once
    assert once.startswith(f"before\n{START}\nRecipe `mini`, 128 px, 1536 training images")
    assert once.endswith(f"{END}\nafter\n") and "old" not in once
    rows = [line for line in once.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| student@4 | 1,234 [1,200, 1,300] | - |") and rows[1].endswith("| 0.0312 | 64 |")
    assert rows[2].startswith("| floor/real | 43.2 |")
    assert "A processor, 2 threads" in once and "Frechet distance (x)" in once


def test_without_markers_or_report_it_refuses(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="to write between"):
        filled("no markers", "table", Path("README.md"))
    with pytest.raises(UserError, match="run naruto-add evaluate first"):
        main(["--run", str(tmp_path / "other")])
