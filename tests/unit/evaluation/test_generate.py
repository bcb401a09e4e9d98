"""Pictures on disk: numbering, pairing of seeds, resumption."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pytest
import torch

from naruto_add.evaluation.generate import Gallery, Order, Prompts, Studio
from naruto_add.evaluation.painters import Easel, FewStepPainter, GuidedPainter, Painter
from tests import tiny

EASEL = Easel(tiny.SIZE_PX, torch.device("cpu"))
PROMPTS = Prompts("test", ("a ninja", "a monk", "a castle"))


class Killed(Exception):
    pass


class Meter:
    """Notes what it is told; kills the work when `passes` are done."""

    def __init__(self, passes: float = float("inf")) -> None:
        self.passes, self.told = passes, []  # type: ignore[var-annotated]

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))
        if done >= self.passes:
            raise Killed


@pytest.fixture(scope="module")
def teacher() -> Painter:
    return GuidedPainter("teacher", tiny.tiny_components(), EASEL, 3.0)


@pytest.fixture(scope="module")
def student() -> Painter:
    components = tiny.tiny_components()
    components.unet = tiny.tiny_unet(seed=5)
    return FewStepPainter("student", components, EASEL, (249, 499, 749, 999))


def studio(folder: Path, batch_size: int = 2) -> Studio:
    return Studio(folder, seed=7, batch_size=batch_size)


def test_all_models_start_from_the_same_noise(teacher: Painter, student: Painter) -> None:
    ours, _ = teacher.noise(7, [4, 9], 50)
    theirs, fresh = student.noise(7, [4, 9], 4)
    assert torch.equal(ours, theirs)
    assert len(fresh) == 3
    assert not torch.equal(ours[0], ours[1])
    assert not torch.equal(fresh[0], fresh[1])


@pytest.mark.parametrize("painter", ["teacher", "student"])
def test_a_picture_depends_on_its_number_and_not_on_its_batch(painter: str, request: pytest.FixtureRequest) -> None:
    model: Painter = request.getfixturevalue(painter)
    together = model.draw(["a ninja", "a monk", "a castle"], [0, 1, 2], 3 if painter == "teacher" else 4, seed=7)
    alone = model.draw(["a castle"], [2], 3 if painter == "teacher" else 4, seed=7)
    assert (together[2].int() - alone[0].int()).abs().max() <= 1
    assert together.dtype == torch.uint8
    assert together.shape == (3, 3, tiny.SIZE_PX, tiny.SIZE_PX)


def test_number_n_shows_caption_n_modulo_their_number() -> None:
    assert PROMPTS.of([0, 4, 8]) == ["a ninja", "a monk", "a castle"]


def test_a_killed_drawing_goes_on_and_ends_the_same(teacher: Painter, tmp_path: Path) -> None:
    order = Order(teacher, 2, PROMPTS, tuple(range(5)))
    (whole,) = studio(tmp_path / "whole").fill([order], Meter())
    with pytest.raises(Killed):
        studio(tmp_path / "killed").fill([order], Meter(passes=8))
    goes_on = Meter()
    (resumed,) = studio(tmp_path / "killed").fill([order], goes_on)
    assert goes_on.told[0][2] == 3 * 4, "two of five pictures were there"
    assert torch.equal(whole.images(range(5)), resumed.images(range(5)))


def test_nothing_is_drawn_twice(teacher: Painter, tmp_path: Path) -> None:
    orders = [Order(teacher, 2, PROMPTS, (0, 1)), Order(teacher, 2, PROMPTS, (1, 2))]
    first = Meter()
    galleries = studio(tmp_path).fill(orders, first)
    assert first.told[-1][1:] == (3 * 4, 3 * 4)
    assert galleries[0].missing([0, 1, 2]) == []
    again = Meter()
    studio(tmp_path).fill(orders, again)
    assert [told[1:] for told in again.told] == [(0, 0)]


def test_another_model_seed_or_guidance_is_another_gallery(teacher: Painter, student: Painter) -> None:
    stronger = GuidedPainter("teacher", teacher.components, EASEL, 5.0)
    retrained = tiny.tiny_components()
    retrained.unet = tiny.tiny_unet(seed=1)
    other = GuidedPainter("teacher", retrained, EASEL, 3.0)
    orders = [
        Order(teacher, 2, PROMPTS, (0,)), Order(teacher, 3, PROMPTS, (0,)), Order(stronger, 2, PROMPTS, (0,)),
        Order(other, 2, PROMPTS, (0,)), Order(teacher, 2, Prompts("test", ("a cat",)), (0,)),
    ]  # fmt: skip
    folders = {order.folder(seed) for order in orders for seed in (0, 1)}
    assert len(folders) == 10
    assert Order(teacher, 2, PROMPTS, (5,)).folder(0) in folders, "numbers do not decide the folder"


def test_a_batch_that_was_half_written_is_not_there(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    gallery.add([3, 4], torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    (tmp_path / ".00000005-2.safetensors.123.partial").write_bytes(b"half")
    assert Gallery(tmp_path).missing([3, 4, 5]) == [5]


def test_pictures_come_back_as_they_were_in_any_order(tmp_path: Path) -> None:
    images = torch.randint(256, (3, 3, 4, 4), dtype=torch.uint8)
    gallery = Gallery(tmp_path)
    gallery.add([5, 6], images[:2])
    gallery.add([9], images[2:])
    assert torch.equal(Gallery(tmp_path).images([9, 5, 6]), images[[2, 0, 1]])


def test_guidance_costs_two_passes_a_step(teacher: Painter, student: Painter) -> None:
    unguided = GuidedPainter("teacher", teacher.components, EASEL, 1.0)
    assert (teacher.passes(50), unguided.passes(50), student.passes(4)) == (100, 50, 4)


def test_half_precision_changes_little_and_is_another_gallery(teacher: Painter) -> None:
    half = GuidedPainter("teacher", teacher.components, Easel(tiny.SIZE_PX, torch.device("cpu"), bf16=True), 3.0)
    exact, rough = (painter.draw(["a ninja"], [0], 2, seed=7).float() for painter in (teacher, half))
    assert not torch.equal(exact, rough)
    assert (exact - rough).abs().mean() < 3
    assert Order(half, 2, PROMPTS, (0,)).folder(0) != Order(teacher, 2, PROMPTS, (0,)).folder(0)
