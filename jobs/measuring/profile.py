"""Where a training step's time goes: by network, forward and backward together."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from jobs.measuring.alternate import Pair
from jobs.measuring.published import TextToImageRecipe
from jobs.measuring.setting import Setting, seconds_of
from jobs.measuring.training import Precision, add_method, unet_step
from naruto_add.models.load import load_components
from naruto_add.on_ray.workers import watch
from naruto_add.training.state import TrainState
from naruto_add.training.timeline import REST, Timeline

IDLE = "idle"
"""Between two steps."""
OTHER = "others (elementwise, copies, Python)"
KINDS = {
    "convolution": ("conv",),
    "matrix products": ("addmm", "aten::mm", "bmm", "linear"),
    "attention": ("attention",),
    "norms": ("norm",),
    "activations": ("silu", "gelu"),
    "optimizer": ("adamw", "Optimizer"),
}
"""What a part of an operation's name says of it; the first that fits."""


def parts_of_add(setting: Setting) -> Pair:
    """Seconds of one step of our method, and of each of its parts."""
    method, batch = add_method(setting)
    timeline, state = Timeline(), TrainState(0, len(batch))
    watch(timeline, method)
    return by_part(timeline, lambda: method.step(batch, state))


def parts_of_recipe(setting: Setting) -> Pair:
    """Seconds of one step of diffusers' recipe, and of each of its parts: what could be saved by encoding once."""
    optim = setting.optim(setting.recipe.teacher.optim)
    recipe = TextToImageRecipe(load_components(setting.base), setting.shards, optim, setting.precision)
    networks = {"UNet": recipe.unet, "encoding images": recipe.vae.encoder, "encoding captions": recipe.text_encoder}
    for name, network in networks.items():
        recipe.timeline.watch(name, network)
    recipe.timeline.watch_optimizer(recipe.optimizer)
    return by_part(recipe.timeline, recipe.step)


def by_part(timeline: Timeline, step: Callable[[], object]) -> Pair:
    """The seconds of a step and, at the end, of its parts as the timeline was told them."""
    step()
    timeline.turn_to(IDLE)
    timeline.reset()
    taken: list[float] = []

    def measured() -> float:
        timeline.turn_to(REST)
        taken.append(seconds_of(step))
        timeline.turn_to(IDLE)
        return taken[-1]

    def parts() -> dict[str, float]:
        return {part: seconds / len(taken) for part, seconds in timeline.table().items() if part != IDLE}

    return Pair(measured, warm=False, parts=parts)


def operations(setting: Setting, precision: Precision) -> Pair:
    """Seconds of the UNet's training step, and of its operations by kind: only the first two are what a matrix product
    can be compared with.
    """
    step, _ = unet_step(setting, precision)
    taken: list[dict[str, float]] = []

    def measured() -> float:
        with profile(activities=[ProfilerActivity.CPU]) as found:
            seconds = seconds_of(step)
        kinds = dict.fromkeys((*KINDS, OTHER), 0.0)
        for event in found.key_averages():
            kinds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
        kinds[OTHER] += max(0.0, seconds - sum(kinds.values()))
        taken.append(kinds)
        return seconds

    def parts() -> dict[str, float]:
        return {kind: sum(each[kind] for each in taken) / len(taken) for kind in (*KINDS, OTHER)}

    return Pair(measured, parts=parts)


def kind_of(name: str) -> str:
    """The kind of an operation of torch's profiler."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), OTHER)
