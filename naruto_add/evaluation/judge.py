"""The attribute judge of the built-in universe: does a picture show what its caption asks for?

A small network over frozen EfficientNet-Lite maps, trained on drawn scenes whose attributes are known. It is not
perfect, so the floors show how it judges real pictures, and its accuracy per attribute is stored with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from naruto_add.artifact import sha256_file
from naruto_add.models.features import FeatureNet
from naruto_add.shipped import ASSETS

SHIPPED = ASSETS / "mini" / "judge"
WEIGHTS, CARD = "judge.safetensors", "judge.json"
GRID = 4
"""Maps are averaged to GRID x GRID, so that the judge knows where things are, roughly."""

Fields = Mapping[str, Sequence[str]]
logger = logging.getLogger(__name__)


class AttributeJudge(nn.Module):
    """One classifier per attribute over a shared hidden layer; every place of the grid is projected alike first."""

    def __init__(self, fields: Fields, channels: int, width: int = 96, hidden: int = 384) -> None:
        super().__init__()
        self.fields = {field: tuple(values) for field, values in fields.items()}
        self.normal = nn.BatchNorm2d(channels, affine=False)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.GELU(), nn.Flatten(), nn.Dropout(0.2),
            nn.Linear(width * GRID**2, hidden), nn.GELU(), nn.Dropout(0.3),
        )  # fmt: skip
        self.heads = nn.ModuleDict({field: nn.Linear(hidden, len(values)) for field, values in self.fields.items()})
        self.card: dict[str, Any] = {}

    def forward(self, seen: Tensor) -> dict[str, Tensor]:
        """Logits (B, values) for each attribute, of `summary` maps (B, channels, GRID, GRID)."""
        hidden = self.body(self.normal(seen))
        return {field: head(hidden) for field, head in self.heads.items()}

    @torch.no_grad()
    def right(self, raw: list[Tensor], asked: Sequence[Mapping[str, str]]) -> list[float]:
        """For each picture, the share of the attributes asked for that it shows; pictures asked for none are left out.

        `raw` are the pictures' feature maps, `asked` attribute -> value for each picture.
        """
        answers = {field: logits.argmax(dim=1).tolist() for field, logits in self(summary(raw).float()).items()}
        hits = [
            [self.fields[field][answers[field][row]] == value for field, value in wishes.items()]
            for row, wishes in enumerate(asked)
        ]
        return [sum(row) / len(row) for row in hits if row]


def summary(raw: list[Tensor]) -> Tensor:
    """Feature maps on one coarse grid, each level's mean and the finer ones' maximum: (B, channels, GRID, GRID)."""
    means = [F.adaptive_avg_pool2d(level, GRID) for level in raw]
    peaks = [F.adaptive_max_pool2d(level, GRID) for level in raw[:-1]]
    return torch.cat([*means, *peaks], dim=1)


def asked_for(attributes: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    """The attributes that a caption mentions, as far as a judge knows them."""
    wanted = [field for field in attributes["mentioned"] if field in fields and field in attributes]
    return {field: attributes[field] for field in wanted if attributes[field] in fields[field]}


def load_judge(folder: Path, features: FeatureNet) -> AttributeJudge | None:
    """The judge in `folder`, or None if none is there or if it was trained on other features."""
    if not (folder / CARD).is_file():
        return None
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if card["features"]["sha256"] != features.sha256:
        logger.warning("%s: trained on other features than %s; attributes are not judged", folder, features.name)
        return None
    judge = AttributeJudge(card["fields"], card["channels"])
    judge.load_state_dict(load_file(folder / WEIGHTS))
    judge.card = card | {"sha256": sha256_file(folder / WEIGHTS)}
    return judge.eval().requires_grad_(False)
