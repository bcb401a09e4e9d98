from __future__ import annotations

from dataclasses import replace

import pytest

from naruto_add.config import Recipe
from naruto_add.evaluation.plan import Numbers


@pytest.mark.parametrize(("captions", "images"), [(20, 6), (5, 5), (4, 6)])
def test_the_other_seed_shows_the_same_captions_from_noise_of_its_own(
    recipe: Recipe, captions: int, images: int
) -> None:
    numbers = Numbers(replace(recipe.evaluate, num_images=images), captions)
    assert len(numbers.scored) == len(numbers.other_seed) == images
    assert not set(numbers.scored) & set(numbers.other_seed)
    assert [n % captions for n in numbers.scored] == [n % captions for n in numbers.other_seed]


def test_of_many_pictures_the_other_seed_shows_the_first_captions_alone(recipe: Recipe) -> None:
    numbers = Numbers(replace(recipe.evaluate, num_images=50, floor_images=8), 20)
    assert numbers.other_seed == list(range(60, 68))


def test_diversity_compares_pictures_of_one_caption(recipe: Recipe) -> None:
    numbers = Numbers(replace(recipe.evaluate, num_images=6, diversity_prompts=3, diversity_seeds=4), 20)
    assert [[n % 20 for n in prompt] for prompt in numbers.seeds] == [[0] * 4, [1] * 4, [2] * 4]
    assert all(len(set(prompt)) == 4 for prompt in numbers.seeds)
    assert set(numbers.scored) < set(numbers.drawn)


def test_no_more_diversity_prompts_than_captions(recipe: Recipe) -> None:
    assert len(Numbers(replace(recipe.evaluate, diversity_prompts=8), 3).seeds) == 3
