"""Training of the attribute judge from drawn scenes; `jobs/train_judge.py` calls it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from naruto_add import rng
from naruto_add.artifact import canonical, sha256_text, write_json
from naruto_add.data import universe
from naruto_add.data.latents import write as write_tensors
from naruto_add.evaluation.judge import CARD, WEIGHTS, AttributeJudge, summary
from naruto_add.models.features import FeatureNet
from naruto_add.models.load import Autoencoder, decode, encode_images

UNKNOWN = -1
"""The label of an attribute that a picture does not show; it counts nowhere."""
KEPT_OUT = 10
"""Every tenth scene is kept out of training, to measure accuracy."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeConfig:
    """How a judge is trained."""

    images: int = 12_000
    worlds: tuple[str, ...] = ("ninja", "ninja", "ninja", "base")
    """Scenes are drawn from these in turn."""
    size_px: int = 128
    seed: int = 1_000_003
    """Far from a recipe's, so that no scene of an evaluation is among those learned from."""
    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 1e-3
    chunk: int = 256
    """Scenes drawn and looked at together; an interrupted training keeps the chunks it has."""


@dataclass(frozen=True)
class Seen:
    """Scenes as a judge learns them: `summary` maps (N, C, g, g) and, for each attribute, labels (N,)."""

    maps: Tensor
    labels: dict[str, Tensor]

    def at(self, rows: Tensor) -> Seen:
        """Some of them."""
        return Seen(self.maps[rows], {field: labels[rows] for field, labels in self.labels.items()})


def train_judge(
    out: Path, work: Path, features: FeatureNet, vae: Autoencoder | None = None, config: JudgeConfig | None = None
) -> dict[str, float]:
    """Draw scenes, look at them, train, and save judge.safetensors and judge.json in `out`.

    With `vae`, every second scene is seen through the autoencoder, as generated pictures are. Returns the accuracy per
    attribute on scenes kept out. The same call resumes an interrupted one.
    """
    config = config or JudgeConfig()
    seen = look_at_scenes(work, features, vae, config)
    kept_out = torch.arange(config.images) % KEPT_OUT == 0
    judge = fit(seen.at(~kept_out), config)
    accuracy = measure(judge, seen.at(kept_out))
    save_judge(judge, out, features, config, accuracy)
    return accuracy


def look_at_scenes(work: Path, features: FeatureNet, vae: Autoencoder | None, config: JudgeConfig) -> Seen:
    """The maps and labels of all scenes, in half precision, chunk by chunk from disk where they are there."""
    made_of = {**asdict(config), "features": features.sha256, "vae": vae is not None, "fields": universe.JUDGED}
    folder = work / f"scenes-{sha256_text(canonical(made_of))[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, config.images, config.chunk):
        path = folder / f"{start:08d}.safetensors"
        if not path.exists():
            logger.info("judge: scene %d of %d", start, config.images)
            write_tensors(path, look_at_chunk(start, features, vae, config))
        chunks.append(load_file(path))
    columns = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return Seen(columns.pop("maps"), columns)


@torch.no_grad()
def look_at_chunk(start: int, features: FeatureNet, vae: Autoencoder | None, config: JudgeConfig) -> dict[str, Tensor]:
    """Draw the scenes of one chunk and look at them: "maps" and a row of labels per attribute."""
    numbers = range(start, min(start + config.chunk, config.images))
    scenes = [draw_scene(number, config) for number in numbers]
    pixels = torch.stack([pixels for pixels, _ in scenes])
    if vae is not None:
        pixels[1::2] = decode(vae, encode_images(vae, pixels[1::2])).clamp(-1, 1)
    maps = torch.cat([summary(features(part)).half() for part in pixels.split(32)])
    labels = {
        field: torch.tensor([label(shown, field, values) for _, shown in scenes])
        for field, values in universe.JUDGED.items()
    }
    return {"maps": maps, **labels}


def draw_scene(number: int, config: JudgeConfig) -> tuple[Tensor, dict[str, str]]:
    """Pixels (3, H, W) in [-1, 1] of one scene, and what it shows."""
    world = config.worlds[number % len(config.worlds)]
    image, _, _, scene = universe.draw(world, config.seed, number, config.size_px)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    return pixels, universe.judged(scene)


def label(shown: Mapping[str, str], field: str, values: tuple[str, ...]) -> int:
    """The place of the field's value, or UNKNOWN where the picture does not show it."""
    return values.index(shown[field]) if field in shown else UNKNOWN


def fit(seen: Seen, config: JudgeConfig) -> AttributeJudge:
    """Train on the cross entropy of every attribute, with one cosine of learning rate."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.address(config.seed, "judge"))
        judge = AttributeJudge(universe.JUDGED, seen.maps.shape[1])
        steps = config.epochs * -(-len(seen.maps) // config.batch_size)
        optimizer = torch.optim.AdamW(judge.parameters(), config.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for rows in batches(len(seen.maps), config):
            optimizer.zero_grad()
            loss(judge, seen.at(rows)).backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def batches(count: int, config: JudgeConfig) -> Iterator[Tensor]:
    """Rows of every batch of every epoch, in an order that seed and epoch decide."""
    for epoch in range(config.epochs):
        order = torch.randperm(count, generator=rng.generator(config.seed, "judge/order", epoch))
        logger.info("judge: epoch %d of %d", epoch, config.epochs)
        yield from order.split(config.batch_size)


def loss(judge: AttributeJudge, seen: Seen) -> Tensor:
    """Cross entropy, summed over attributes; what a picture does not show counts nowhere."""
    logits = judge(seen.maps.float())
    known = {field: labels for field, labels in seen.labels.items() if (labels != UNKNOWN).any()}
    return torch.stack([
        F.cross_entropy(logits[field], labels, ignore_index=UNKNOWN, label_smoothing=0.05)
        for field, labels in known.items()
    ]).sum()  # fmt: skip


@torch.no_grad()
def measure(judge: AttributeJudge, seen: Seen) -> dict[str, float]:
    """Accuracy per attribute over the scenes that show it."""
    logits = judge(seen.maps.float())
    hits = {field: (logits[field].argmax(dim=1) == labels)[labels != UNKNOWN] for field, labels in seen.labels.items()}
    return {field: round(hit.double().mean().item(), 4) for field, hit in hits.items() if len(hit)}


def save_judge(
    judge: AttributeJudge, out: Path, features: FeatureNet, config: JudgeConfig, accuracy: dict[str, float]
) -> None:
    """Write the weights, in half precision, and what they are."""
    out.mkdir(parents=True, exist_ok=True)
    state = judge.state_dict()
    save_file({name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
              out / WEIGHTS)  # fmt: skip
    write_json(out / CARD, {
        "features": {"name": features.name, "sha256": features.sha256},
        "channels": judge.normal.num_features,
        "fields": judge.fields,
        "training": asdict(config),
        "accuracy": accuracy,
    })  # fmt: skip
