"""Scores beside torch-fidelity's, with the same network and the same pictures: how fast, and how alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.utils import get_featuresdict_from_dataset

from jobs.measuring.alternate import Pair
from jobs.measuring.setting import CPU, Setting, seconds_of
from naruto_add.evaluation.eyes import Extractor, Eyes, open_eyes
from naruto_add.evaluation.frechet import frechet_distance
from naruto_add.evaluation.observe import Observer, Source
from naruto_add.evaluation.painters import to_pixels

QUICK_VECTORS, VECTORS = 20, 500
"""How many pictures the statistics are made of."""
LAYER = "pooled"


class Pictures(Dataset[Tensor]):
    """8-bit pictures (3,H,W), one at a time, as torch-fidelity reads them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Tensor:
        return self.images[number]


class OurNetwork(FeatureExtractorBase):
    """Our extractor as one of torch-fidelity's."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__("naruto-add", [LAYER])
        self.extractor = extractor

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """See torch-fidelity."""
        return (LAYER,)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """The pooled features of 8-bit pictures (B,3,H,W)."""
        return (self.extractor.pooled(to_pixels(images, CPU)),)


def features(setting: Setting) -> Pair:
    """Pictures a second from 8 bits to features, on one thread."""
    eyes, images = open_eyes(setting.recipe.evaluate, CPU), pictures(setting)
    return Pair(
        lambda: len(images) / alone_seconds_of(lambda: ours(setting, eyes, images)),
        lambda: len(images) / alone_seconds_of(lambda: theirs(setting, eyes, images)),
    )


def statistics(setting: Setting) -> Pair:
    """Seconds from two sets of features to their distance, on one thread."""
    size = open_eyes(setting.recipe.evaluate, CPU).lite.pooled_size
    count, generator = QUICK_VECTORS if setting.quick else VECTORS, torch.Generator().manual_seed(0)
    a, b = (torch.randn(count, size, generator=generator, dtype=torch.float64) for _ in range(2))
    return Pair(
        lambda: alone_seconds_of(lambda: frechet_distance(a, b)), lambda: alone_seconds_of(lambda: their_distance(a, b))
    )


def alone_seconds_of(action: Callable[[], object]) -> float:
    """What it takes on one thread: an evaluation that shares a machine has no more, and small matrices gain by none.

    SciPy's own threads are not torch's, so the peer may use more for its eigenvalues.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return seconds_of(action)
    finally:
        torch.set_num_threads(threads)


def difference(setting: Setting) -> Pair:
    """Percent between both distances of two halves of the pictures, each side from the pixels on."""
    eyes, images = open_eyes(setting.recipe.evaluate, CPU), pictures(setting)
    halves = images[::2], images[1::2]

    def percent() -> float:
        mine = frechet_distance(*(ours(setting, eyes, half) for half in halves))
        other = their_distance(*(theirs(setting, eyes, half) for half in halves))
        return 100 * abs(mine - other) / other

    return Pair(percent, warm=False)


def pictures(setting: Setting) -> Tensor:
    """The shards' training images (N,3,S,S), 8-bit."""
    return setting.shards.images("train", range(setting.shards.count("train")))


def ours(setting: Setting, eyes: Eyes, images: Tensor) -> Tensor:
    """Features (N,F) as an evaluation takes them."""
    source = Source(len(images), lambda rows: images[rows[0] : rows[-1] + 1])
    return Observer(eyes, None, setting.recipe.evaluate.batch_size).features(source)


def theirs(setting: Setting, eyes: Eyes, images: Tensor) -> Tensor:
    """Features (N,F) as torch-fidelity takes them, in this process alone, as ours."""
    arguments: dict[str, Any] = {"cuda": False, "save_cpu_ram": True, "verbose": False}
    batch_size = setting.recipe.evaluate.batch_size
    return get_featuresdict_from_dataset(Pictures(images), OurNetwork(eyes.extractor), batch_size, **arguments)[LAYER]


def their_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of two sets of features (N,F)."""
    statistics = (fid_features_to_statistics(each) for each in (a, b))
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
