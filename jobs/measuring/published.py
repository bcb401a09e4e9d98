"""The peer of our fine-tuning: the step of diffusers' own recipe, examples/text_to_image/train_text_to_image.py.

As there, every step reads and decodes its images, tokenizes, encodes both with the frozen networks and only then
trains the UNet; one process, `dataloader_num_workers` 0, `use_ema`, a constant rate. Its `mixed_precision` is "no" by
default; with "bf16" the frozen networks are cast and the UNet runs under autocast, as here. What accelerate and its
trackers do around the step is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from naruto_add.config import OptimConfig
from naruto_add.data.shards import Shards
from naruto_add.models.load import Components, encode_images
from naruto_add.models.quiet import quiet
from naruto_add.training.engine import autocast
from naruto_add.training.timeline import DATA, Timeline

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Captioned(Dataset[tuple[Tensor, Tensor]]):
    """Images (3,S,S) in [-1, 1] and token ids (L,), made anew whenever they are asked for."""

    def __init__(self, shards: Shards, components: Components) -> None:
        self.shards, self.tokenizer = shards, components.tokenizer
        self.transform = transforms.Compose(
            [
                transforms.Resize(shards.size_px, interpolation=InterpolationMode.BILINEAR),
                transforms.CenterCrop(shards.size_px),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return self.shards.count("train")

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        sample, limit = self.shards.sample("train", number), self.tokenizer.model_max_length
        tokens = self.tokenizer(
            sample.caption, max_length=limit, padding="max_length", truncation=True, return_tensors="pt"
        )
        return self.transform(sample.image), tokens.input_ids[0]


class TextToImageRecipe:
    """Everything that one step needs, and the step."""

    def __init__(
        self, components: Components, shards: Shards, optim: OptimConfig, precision: Literal["fp32", "bf16"]
    ) -> None:
        self.optim, self.precision, self.dtype = optim, precision, DTYPES[precision]
        with quiet():  # diffusers advises against casting where it keeps some modules in float32, here none
            self.vae = components.vae.requires_grad_(False).to(self.dtype)
        self.text_encoder = components.text_encoder.requires_grad_(False).to(self.dtype)
        self.unet = components.unet.requires_grad_(True).train()
        self.noise_scheduler = DDPMScheduler.from_config(components.scheduler_config)
        self.ema = EMAModel(self.unet.parameters())
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(), lr=optim.learning_rate, betas=optim.betas, weight_decay=optim.weight_decay
        )
        self.timeline = Timeline()
        self.batches = endless(
            DataLoader(Captioned(shards, components), optim.batch_size, shuffle=True, drop_last=True)
        )

    def step(self) -> float:
        """One update; returns the loss."""
        with self.timeline.at(DATA):
            pixels, tokens = next(self.batches)
        latents = encode_images(self.vae, pixels.to(self.dtype))
        noise = torch.randn_like(latents)
        t = torch.randint(0, self.noise_scheduler.config.num_train_timesteps, (len(latents),)).long()
        noisy = self.noise_scheduler.add_noise(latents, noise, t)
        text = self.text_encoder(tokens, return_dict=False)[0]
        with autocast(latents.device, self.precision):
            output = self.unet(noisy, t, text, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(output.float(), self.target(latents, noise, t).float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())
        return loss.item()

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the UNet should give, (B,C,h,w)."""
        if self.noise_scheduler.config.prediction_type == "epsilon":
            return noise
        return self.noise_scheduler.get_velocity(latents, noise, t)


def endless(loader: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches, epoch after epoch."""
    while True:
        yield from loader
