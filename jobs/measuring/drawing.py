"""Drawing, from captions to pixels: the student beside its teacher and beside what else is fast."""

from __future__ import annotations

from dataclasses import replace

from jobs.measuring.alternate import Pair
from jobs.measuring.machine import memory_of
from jobs.measuring.setting import CPU, Setting, seconds_of, side_px
from naruto_add.distill.build import build_student
from naruto_add.evaluation.latency import once
from naruto_add.evaluation.painters import Easel, FewStepPainter, GuidedPainter, Painter
from naruto_add.models.load import Components, load_components

STEPS = 4
"""Of the student where nothing else is said."""
PEAK_STEPS = 2
"""Of the teacher where its memory is measured: later steps take no more."""


def one(setting: Setting, steps: str, peer: str, peer_steps: str) -> Pair:
    """Seconds of one picture by the student, and by `teacher` or `lcm`."""
    prompt, ours, other = setting.recipe.prompts[0], student(setting), PEERS[peer](setting)
    for painter in (ours, other):
        once(painter, 1, prompt)  # warm
    theirs = QUICK_STEPS if setting.quick else int(peer_steps)
    return Pair(lambda: once(ours, int(steps), prompt).total_s, lambda: once(other, theirs, prompt).total_s, warm=False)


def batch(setting: Setting, size: str) -> Pair:
    """Pictures a second in batches, by the student and by an LCM."""
    ours, peer, count = student(setting), lcm(setting), int(size)
    return Pair(
        lambda: count / seconds_of(lambda: draw(setting, ours, count)),
        lambda: count / seconds_of(lambda: draw(setting, peer, count)),
    )


def memory(setting: Setting, size: str) -> Pair:
    """MB that a batch takes beside the loaded models, by the student and by the guided teacher."""
    ours, peer, count = student(setting), teacher(setting), int(size)
    return Pair(
        lambda: memory_of(lambda: draw(setting, ours, count)),
        lambda: memory_of(lambda: draw(setting, peer, count, PEAK_STEPS)),
    )


def draw(setting: Setting, painter: Painter, count: int, steps: int = STEPS) -> None:
    """A batch of the recipe's prompts."""
    painter.draw(setting.captions(count), range(count), steps, 0)


def student(setting: Setting) -> FewStepPainter:
    """The bundle's student, or what surgery makes of the base: the weights do not change the time."""
    return few_step_painter(setting, student_components(setting))


def lcm(setting: Setting) -> FewStepPainter:
    """The teacher's whole UNet in a few passes without guidance, as consistency distillation leaves it."""
    return few_step_painter(setting, load_components(setting.teacher or setting.base))


def few_step_painter(setting: Setting, components: Components) -> FewStepPainter:
    """Draws at the recipe's timesteps."""
    easel = Easel(side_px(components), CPU)
    return FewStepPainter("few steps", components, easel, setting.recipe.distill.student_timesteps)


def teacher(setting: Setting) -> GuidedPainter:
    """The teacher under guidance."""
    whole = load_components(setting.teacher or setting.base)
    return GuidedPainter("teacher", whole, Easel(side_px(whole), CPU), setting.recipe.evaluate.guidance_scale)


PEERS = {"teacher": teacher, "lcm": lcm}
QUICK_STEPS = 4
"""Of the peer in a quick run."""


def student_components(setting: Setting) -> Components:
    """See `student`."""
    if setting.bundle is not None:
        return load_components(setting.bundle)
    components = load_components(setting.base)
    surgery = replace(setting.recipe.distill, head_start=None)
    components.unet = build_student(surgery, components.unet).eval()
    return components
