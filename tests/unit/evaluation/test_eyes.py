from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from naruto_add.config import Recipe
from naruto_add.evaluation.diversity import diversity
from naruto_add.evaluation.eyes import Eyes, open_eyes
from naruto_add.evaluation.frechet import frechet_distance
from naruto_add.evaluation.generate import Gallery
from naruto_add.evaluation.observe import Observer, Source


def images(seed: int, count: int) -> torch.Tensor:
    return torch.randint(256, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def source(pictures: torch.Tensor) -> Source:
    return Source(len(pictures), lambda rows: pictures[list(rows)], beside_teacher=True)


def test_one_look_sees_what_each_network_sees_alone(eyes: Eyes) -> None:
    look = eyes.look(images(0, 2))
    assert torch.allclose(look.features, eyes.features(images(0, 2)))
    assert all(torch.equal(a, b) for a, b in zip(look.maps, eyes.maps(images(0, 2)), strict=True))


def test_another_extractor_than_the_perceptual_one(recipe: Recipe) -> None:
    eyes = open_eyes(replace(recipe.evaluate, extractor="efficientnet_lite0"), torch.device("cpu"))
    assert eyes.extractor.name == "efficientnet_lite0"
    assert torch.allclose(eyes.look(images(0, 2)).features, eyes.features(images(0, 2)))
    assert eyes.perceptual.network == "efficientnet_lite1"


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_distance_of_two_sets_does_not_depend_on_the_batch_size(eyes: Eyes, batch_size: int) -> None:
    first, second = images(0, 8), images(1, 8)
    whole = frechet_distance(eyes.features(first), eyes.features(second))
    observer = Observer(eyes, None, batch_size)
    split = observer.observe({"a": source(first), "b": source(second)}, teacher="b")
    assert frechet_distance(split["a"].all_features, split["b"].all_features) == pytest.approx(whole, rel=1e-4)
    assert torch.equal(observer.features(source(first)), split["a"].all_features)


def test_each_picture_is_compared_with_the_teachers_of_its_row(eyes: Eyes) -> None:
    teacher, student = images(0, 5), torch.cat([images(0, 3), images(1, 2)])
    seen = Observer(eyes, None, 2).observe({"student": source(student), "teacher": source(teacher)}, "teacher")
    distances = seen["student"].all_to_teacher
    assert distances is not None
    assert torch.equal(distances == 0, torch.tensor([True, True, True, False, False]))
    assert seen["teacher"].all_to_teacher is None


def test_sources_of_other_lengths_are_seen_whole(eyes: Eyes) -> None:
    seen = Observer(eyes, None, 2).observe({"few": source(images(0, 3)), "teacher": source(images(1, 5))}, "teacher")
    assert len(seen["few"].all_features) == 3
    assert len(seen["teacher"].all_features) == 5
    assert seen["few"].all_right is None


def test_diversity_is_zero_for_one_picture_drawn_again_and_again(eyes: Eyes, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    one, others = images(0, 1), images(1, 3)
    gallery.add([0, 1, 2, 3, 4, 5], torch.cat([one, one, one, others]))
    same, varied = diversity(gallery, [[0, 1, 2], [3, 4, 5]], eyes)
    assert same == 0
    pairs = [diversity(gallery, [pair], eyes).item() for pair in ([3, 4], [3, 5], [4, 5])]
    assert varied.item() == pytest.approx(sum(pairs) / 3, rel=1e-5)
