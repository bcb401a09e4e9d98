"""Metrics on themselves: a set is at no distance from itself, batches do not matter, others measure the same."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from jobs.havoc.experiments import Trial
from jobs.havoc.record import Outcome
from jobs.havoc.setting import SIZE_PX, Setting
from naruto_add import recipe as recipes
from naruto_add.data import universe
from naruto_add.errors import UserError
from naruto_add.evaluation.eyes import Eyes, open_eyes
from naruto_add.evaluation.frechet import frechet_distance, frechet_estimate

IMAGES = 12
BATCH_SIZES = (1, 5)
"""Beside the whole set at once."""
RESAMPLES = 10
SOME_FEATURES = 96
"""torch-fidelity takes the root of a matrix: of all features (1,280) it takes seconds, so that only some trials do."""
ALL_EVERY = 20


def scores(setting: Setting) -> Trial:
    """Two sets of drawings a trial, seen by the networks of the evaluation."""
    if find_spec("torch_fidelity") is None:
        raise UserError("The experiment scores compares with torch-fidelity: pip install 'naruto-add[dev]'.")
    eyes = open_eyes(recipes.load("smoke").evaluate, torch.device("cpu"))

    def trial(number: int) -> Outcome:
        """All properties of one pair of sets."""
        a, b = drawings("ninja", number), drawings("base", number + 1)
        seen, other = eyes.features(a), eyes.features(b)
        ours, wide = frechet_distance(seen, other), None if number % ALL_EVERY == 0 else SOME_FEATURES
        first, again = (frechet_estimate(seen, other, RESAMPLES, seed=number) for _ in range(2))
        figures = {
            "distance_to_itself": frechet_distance(seen, seen),
            "batch_size_matters": max(abs(split(eyes, a, size, other) / ours - 1) for size in BATCH_SIZES),
            "off_torch_fidelity": off(seen[:, :wide], other[:, :wide]),
            "perceptual_to_itself": to_itself(eyes, a[:2]),
        }
        return Outcome("" if first == again else "the same seed gave another interval", figures=figures)

    return trial


def drawings(world: str, number: int) -> Tensor:
    """Pictures of the built-in universe, uint8 (N, 3, H, W)."""
    first = number * IMAGES
    images = [universe.draw(world, 0, index, 2 * SIZE_PX)[0] for index in range(first, first + IMAGES)]
    rows = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]
    return torch.stack(rows).view(IMAGES, 2 * SIZE_PX, 2 * SIZE_PX, 3).permute(0, 3, 1, 2).contiguous()


def split(eyes: Eyes, images: Tensor, size: int, other: Tensor) -> float:
    """The distance, the images seen in batches of this size."""
    return frechet_distance(torch.cat([eyes.features(batch) for batch in images.split(size)]), other)


def off(features: Tensor, reference: Tensor) -> float:
    """How far our distance is from torch-fidelity's of the same features, relative to it."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(each) for each in (features, reference)]
    theirs = float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])
    return abs(frechet_distance(features, reference) / theirs - 1)


def to_itself(eyes: Eyes, images: Tensor) -> float:
    """The largest perceptual distance of a picture to itself."""
    maps = eyes.maps(images)
    return float(eyes.perceptual.between(maps, maps).abs().max())
