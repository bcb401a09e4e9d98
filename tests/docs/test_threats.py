"""The threat model names tests and experiments that exist."""

from __future__ import annotations

import re

from jobs.havoc.experiments import chosen
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "cluster" / "threats.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    names = re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)`", TEXT)
    assert len(names) >= 12
    for name in names:
        assert list((REPOSITORY / "tests").rglob(name)), name


def test_every_experiment_that_is_named_exists() -> None:
    named = [name for words in re.findall(r"`python -m jobs\.chaos ([\w ]+)`", TEXT) for name in words.split()]
    assert {each.name for each in chosen(named)} == set(named) and len(named) >= 3


def test_every_door_says_who_what_and_how() -> None:
    rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10 and all(len(row) == 5 and all(row) for row in rows)
