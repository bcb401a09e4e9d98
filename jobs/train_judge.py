"""Make the attribute judge: python -m jobs.train_judge --work DIR --out naruto_add/assets/mini/judge

Draws scenes of both worlds, looks at them through EfficientNet-Lite1 (every second one by way of the base's
autoencoder) and learns to name their attributes. Stopped anywhere, the same command goes on.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from naruto_add.evaluation.eyes import STAND_IN
from naruto_add.evaluation.judge import SHIPPED
from naruto_add.evaluation.judge_training import JudgeConfig, train_judge
from naruto_add.models.features import load_features
from naruto_add.models.load import load_components


def arguments() -> argparse.Namespace:
    """The flags; their defaults are what made the shipped judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the network saw")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write judge.safetensors and judge.json to")
    parser.add_argument("--base", default="mini", help="base whose autoencoder every second scene passes through")
    parser.add_argument("--images", type=int, default=JudgeConfig.images, help="scenes to draw")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Train and save, and tell the accuracy."""
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    vae = load_components(args.base).vae
    accuracy = train_judge(args.out, args.work, load_features(STAND_IN), vae, JudgeConfig(images=args.images))
    for field, share in accuracy.items():
        logging.info("%-16s %.3f", field, share)


if __name__ == "__main__":
    main()
