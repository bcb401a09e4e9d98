"""Diversity: how different the pictures of one prompt are from seed to seed (Sauer et al. 2023, figure 8).

A distilled student tends to lose it; a student that draws one picture per prompt would score zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import torch
from torch import Tensor

from naruto_add.evaluation.eyes import Eyes
from naruto_add.evaluation.generate import Gallery


def diversity(gallery: Gallery, seeds_of_prompts: Iterable[list[int]], eyes: Eyes) -> Tensor:
    """For each prompt, the mean pairwise distance of its pictures, shape (prompts,).

    `seeds_of_prompts` lists, prompt by prompt, the numbers of its pictures, at least two each.
    """
    return torch.stack([spread(gallery.images(numbers), eyes) for numbers in seeds_of_prompts])


def spread(images: Tensor, eyes: Eyes) -> Tensor:
    """The mean distance over all pairs of 8-bit pictures (S, 3, H, W), float64 scalar."""
    maps = eyes.maps(images)
    first, second = zip(*combinations(range(len(images)), 2), strict=True)
    pairs = eyes.perceptual.between([m[list(first)] for m in maps], [m[list(second)] for m in maps])
    return pairs.double().cpu().mean()
