"""Setting up a distillation: surgery, head start, judges, players."""

from __future__ import annotations

from dataclasses import replace

from diffusers import UNet2DConditionModel

from naruto_add.config import DistillConfig
from naruto_add.diffusion.schedule import Schedule, load_schedule
from naruto_add.distill.add import Add, build_panel, heads_optim
from naruto_add.distill.eyes import Captions, Eye, LatentEye, PixelEye
from naruto_add.distill.judges import Judges, freeze
from naruto_add.distill.lcm import ConsistencyDistillation
from naruto_add.distill.method import Distillation
from naruto_add.distill.output import OutputDistillation
from naruto_add.distill.setup import Setup
from naruto_add.errors import UserError
from naruto_add.models.folder import head_start_folder
from naruto_add.models.load import encode_text
from naruto_add.models.student import add_head_start, inherit
from naruto_add.training.player import Player

REGRESSIONS = {"lcm": ConsistencyDistillation, "output": OutputDistillation}


def build_distillation(setup: Setup) -> Distillation:
    """Cut the student out of the teacher, add the head start, and set up the players of `config.method`.

    Raises UserError if the recipe does not fit the teacher.
    """
    if setup.config.method in ("add", "ladd"):
        return build_add(setup)
    student, judges = build_student_and_judges(replace(setup, features=None))
    return REGRESSIONS[setup.config.method](setup, judges, student)


def build_add(setup: Setup) -> Add:
    """As `build_distillation`, for the two adversarial methods."""
    config, teacher = setup.config, setup.teacher
    student, judges = build_student_and_judges(setup)
    eyes = build_eyes(config, judges, teacher.text_encoder.config.hidden_size)
    heads = Player("heads", build_panel(eyes, setup.seed).to(setup.device), heads_optim(config))
    assert setup.captions or not config.mismatch_weight, "mismatched pairs need captions"
    others = Captions(*encode_text(teacher, setup.captions)) if config.mismatch_weight else None
    return Add(setup, judges, student, heads, eyes, others)


def build_student_and_judges(setup: Setup) -> tuple[Player, Judges]:
    """What every method needs."""
    config, teacher = setup.config, setup.teacher
    schedule = load_schedule(teacher.scheduler_config)
    check_timesteps(config, schedule)
    unet = build_student(config, teacher.unet).to(setup.device)
    judges = freeze(config, teacher, setup.features, schedule, setup.device)
    return Player("student", unet, config.optim, setup.engine), judges


def build_eyes(config: DistillConfig, judges: Judges, pooled_size: int) -> list[Eye]:
    """The discriminator's eyes: on pixels (ADD), on latents (LADD), or both."""
    eyes: list[Eye] = []
    if config.method == "add":
        assert judges.features is not None, "ADD looks at pixels through a feature network"
        eyes.append(PixelEye(config, judges.features, pooled_size))
    if config.method == "ladd" or config.two_spaces:
        eyes.append(LatentEye(config, judges, pooled_size))
    return eyes


def check_timesteps(config: DistillConfig, schedule: Schedule) -> None:
    """Raise UserError unless the student learns to start from pure noise."""
    if schedule.terminal not in config.student_timesteps:
        raise UserError(
            f"distill.student_timesteps {config.student_timesteps} must hold {schedule.terminal}, the base's last "
            "timestep: the student starts there from pure noise."
        )


def build_student(config: DistillConfig, teacher: UNet2DConditionModel) -> UNet2DConditionModel:
    """The student before its first step: surgery on the teacher, and the head start if there is one."""
    student, _ = inherit(teacher, config.size)
    if config.head_start is not None:
        add_head_start(student, head_start_folder(config.head_start))
    if config.optim.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    return student.requires_grad_(True).train()
