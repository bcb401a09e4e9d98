"""What servers of tests serve: a tiny bundle and the teacher beside it; fixtures to import where they are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from naruto_add import artifact
from naruto_add.export.diffusers import write_bundle
from naruto_add.models.load import save_components
from naruto_add.models.student import inherit
from tests.tiny import tiny_components


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed bundle of the tiny student, four steps by default."""
    components = tiny_components()
    components.unet, _ = inherit(components.unet, "base")
    made = artifact.build(
        tmp_path_factory.mktemp("run") / "bundle",
        kind="bundle",
        config={"export": {"steps": 4}},
        parents={},
        make=lambda folder: write_bundle(components, 4, folder),
    )
    return made.path


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed teacher of the same anatomy."""
    made = artifact.build(
        tmp_path_factory.mktemp("run") / "teacher",
        kind="teacher",
        config={},
        parents={},
        make=lambda folder: save_components(tiny_components(), folder),
    )
    return made.path
