"""Training of the `mini` text encoder: it learns to know from a caption what the scene is, before it meets the UNet.

Stable Diffusion's text encoder is CLIP's, which has read captions and seen pictures before. Trained from nothing
beside the UNet, ours gets so weak and noisy a gradient that the UNet learns to do without it. The encoder reads
captions of both worlds, as CLIP has read of all there is, and sees pictures of neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel

from naruto_add.rng import generator


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Pace of the training, in captions read."""

    captions: int = 64_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    log_captions: int = 6400
    seed: int = 0


@dataclass(frozen=True)
class Read:
    """Captions and what they are of: tokens (N, L), and for each field of the scene its value's number (N,)."""

    tokens: Tensor
    labels: Mapping[str, Tensor]


def train_text_encoder(
    encoder: CLIPTextModel, read: Read, config: TextConfig, report: Callable[[dict[str, float]], None]
) -> None:
    """Train in place; ends in eval mode. It takes two minutes: not resumed, but repeated."""
    values = {field: int(labels.max()) + 1 for field, labels in read.labels.items()}
    heads = nn.ModuleDict({field: nn.Linear(encoder.config.hidden_size, count) for field, count in values.items()})
    both = nn.ModuleDict({"encoder": encoder, "heads": heads}).train()
    optimizer = torch.optim.AdamW(both.parameters(), config.learning_rate, weight_decay=0.01)
    steps = config.captions // config.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.05)
    started = time.perf_counter()
    for step, rows in zip(range(steps), batches(len(read.tokens), config), strict=False):
        loss, right = naming(encoder, heads, read, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step * config.batch_size % config.log_captions == 0 or step == steps - 1:
            seconds = time.perf_counter() - started
            report({"captions": step * config.batch_size, "seconds": seconds, "loss": loss.item(), "right": right})
    encoder.eval()


def batches(count: int, config: TextConfig) -> list[Tensor]:
    """Rows of every batch, epoch after epoch in a new order each."""
    epochs = -(-config.captions // count)
    rows = [torch.randperm(count, generator=generator(config.seed, "text/order", epoch)) for epoch in range(epochs)]
    return list(torch.cat(rows).split(config.batch_size))


def naming(encoder: CLIPTextModel, heads: nn.ModuleDict, read: Read, rows: Tensor) -> tuple[Tensor, float]:
    """Cross entropy, the mean over fields, and the share of right answers.

    Asked at every token from the end mark on: padding is what most of the UNet's attention falls on.
    """
    tokens = read.tokens[rows]
    states = encoder(tokens).last_hidden_state
    after = tokens == encoder.config.eos_token_id
    losses, right = [], []
    for field, head in heads.items():
        logits, labels = head(states[after]), read.labels[field][rows][:, None].expand_as(tokens)[after]
        losses.append(F.cross_entropy(logits, labels))
        right.append((logits.argmax(1) == labels).float().mean().item())
    return torch.stack(losses).mean(), sum(right) / len(right)
