"""Fine-tuning of a Stable Diffusion base on the shards: its UNet, and if wanted the decoder of its autoencoder."""

from naruto_add.finetune.decoder import crop_side
from naruto_add.finetune.unet import EYES, FineTune, add_lora, build_finetune

__all__ = ["EYES", "FineTune", "add_lora", "build_finetune", "crop_side"]
