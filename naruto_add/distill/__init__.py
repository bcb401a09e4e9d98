"""Distillation of a teacher into a few-step student: four methods on one loop, chosen by `distill.method`.

- `add`: Adversarial Diffusion Distillation, the default (`add`, `eyes`, `judges`)
- `ladd`: its latent variant, which decodes nothing (the same class, another eye)
- `lcm`: latent consistency distillation
- `output`: regression onto the teacher's own results
"""

from naruto_add.distill.add import Add
from naruto_add.distill.build import build_add, build_distillation
from naruto_add.distill.lcm import ConsistencyDistillation
from naruto_add.distill.method import Distillation
from naruto_add.distill.output import OutputDistillation
from naruto_add.distill.setup import Setup

__all__ = [
    "Add",
    "ConsistencyDistillation",
    "Distillation",
    "OutputDistillation",
    "Setup",
    "build_add",
    "build_distillation",
]
