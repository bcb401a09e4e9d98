from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from naruto_add import rng
from naruto_add.config import OptimConfig, TeacherConfig
from naruto_add.data.batch import Batch
from naruto_add.diffusion.schedule import load_schedule
from naruto_add.errors import UserError
from naruto_add.finetune import FineTune, build_finetune
from naruto_add.models.load import Components, load_components, save_components
from naruto_add.training.loop import train
from naruto_add.training.state import TrainState
from naruto_add.training.telemetry import Reporter
from naruto_add.training.world import World
from tests.tiny import EPSILON, LATENT_PX, TEXT_DIM, V_ZERO_SNR, tiny_components

OPTIM = OptimConfig(
    images=8, batch_size=2, learning_rate=1e-3, ema_images=2, checkpoint_images=2, preview_images=8, weight_decay=0.0
)
CONFIG = TeacherConfig(optim=OPTIM, text_dropout=0.0)


def built(config: TeacherConfig = CONFIG, scheduler_config: dict[str, object] = V_ZERO_SNR) -> FineTune:
    return build_finetune(config, tiny_components(scheduler_config=scheduler_config), "base", seed=0)


def batch_of(positions: list[int]) -> Batch:
    latents = rng.normal((4, LATENT_PX, LATENT_PX), 1, "latents", positions)
    text = rng.normal((48, TEXT_DIM), 1, "text", positions)
    return Batch(positions, positions, latents, text, text[:, 0])


class Feed:
    """Batches of two; the process dies before position `death`."""

    def __init__(self, death: int = 10**9) -> None:
        self.death = death

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, 2):
            if first >= self.death:
                raise KeyboardInterrupt
            yield batch_of([first, first + 1])


def states(method: FineTune) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.player.tensors()}


@pytest.mark.parametrize("scheduler_config", [V_ZERO_SNR, EPSILON], ids=["v", "eps"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_the_loss_is_the_weighted_error_of_the_base_s_own_target(
    scheduler_config: dict[str, object], gamma: float | None
) -> None:
    method = built(replace(CONFIG, snr_gamma=gamma), scheduler_config)
    batch = batch_of([3, 8, 11])
    alphas = load_schedule(scheduler_config).alphas
    expected = []
    for row, position in enumerate(batch.positions):
        t = rng.integers(1000, 5, "finetune-timestep", [position])
        eps = rng.normal((4, LATENT_PX, LATENT_PX), 5, "finetune-noise", [position])
        alpha, sigma = alphas[t].float().view(()), (1 - alphas[t].square()).sqrt().float().view(())
        x0 = batch.latents[row : row + 1]
        x_t = alpha * x0 + sigma * eps
        output = method.player.module(x_t, t, encoder_hidden_states=batch.text[row : row + 1]).sample
        target = eps if scheduler_config is EPSILON else alpha * eps - sigma * x0
        snr = (alpha / sigma) ** 2
        weight = 1.0 if gamma is None else min(snr, gamma) / (snr if scheduler_config is EPSILON else snr + 1)
        expected.append(weight * (output - target).square().mean())
    assert method.loss(method.player.module, batch, 5).item() == pytest.approx(sum(expected).item() / 3, rel=1e-4)


def test_pure_noise_keeps_its_weight() -> None:
    """Min-SNR gives v at zero terminal SNR no weight, yet sampling starts there."""
    weight = built()._weight(torch.tensor([999, 998]))
    assert weight[0] == 1 and 0 < weight[1] < 0.01


def test_text_dropout_replaces_that_share_of_the_captions_and_no_other() -> None:
    method = built(replace(CONFIG, text_dropout=0.25))
    batch = batch_of(list(range(400)))
    text = method._text(batch, 0)
    dropped = (text == method.uncond_text).flatten(1).all(1)
    assert 0.18 < dropped.float().mean() < 0.32
    assert torch.equal(text[~dropped], batch.text[~dropped])
    assert torch.equal(text[3:9], method._text(batch_of(list(range(3, 9))), 0))  # whatever batch they are in


def test_a_step_learns_and_reports() -> None:
    method = built()
    first = method.loss(method.player.module, batch_of([0, 1]), 0).item()
    for _ in range(8):
        losses = method.step(batch_of([0, 1]), TrainState(0, 2, 2))
    assert losses.keys() == {"loss", "grad_norm", "lr"}
    assert losses["loss"] < first and losses["grad_norm"] > 0 and 0 < losses["lr"] <= 1e-3


def test_micro_batches_change_nothing_but_memory() -> None:
    whole, parts = built(), built(replace(CONFIG, optim=replace(OPTIM, accumulation=2)))
    for method in (whole, parts):
        method.step(batch_of([0, 1]), TrainState(0, 2))
    found, wanted = states(parts), states(whole)
    gradients = [name for name in wanted if name.endswith("exp_avg")]
    assert gradients
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in gradients)


def test_only_the_unet_learns() -> None:
    base = tiny_components()
    method = build_finetune(CONFIG, base, "base", seed=0)
    method.step(batch_of([0, 1]), TrainState(0, 2))
    assert all(p.grad is None for module in (base.vae, base.text_encoder) for p in module.parameters())
    fresh = tiny_components()
    for module in ("vae", "text_encoder"):
        for mine, theirs in zip(getattr(base, module).parameters(), getattr(fresh, module).parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_the_compact_path_trains_the_kept_blocks_and_leaves_the_others() -> None:
    method = built(replace(CONFIG, compact_share=1.0))
    before = {n: p.detach().clone() for n, p in method.player.module.named_parameters()}
    method.step(batch_of([0, 1]), TrainState(0, 2))
    moved = {n for n, p in method.player.module.named_parameters() if not torch.equal(p, before[n])}
    assert any(n.startswith("down_blocks.1.resnets.0") for n in moved)
    assert any(n.startswith("up_blocks.1.resnets.2") for n in moved)
    assert not any(".resnets.1." in n and "mid" not in n for n in moved)


def test_the_share_of_compact_steps_is_addressed_by_the_step() -> None:
    method = built(replace(CONFIG, compact_share=0.3))
    paths = [method._path(TrainState(0, 2, 2 * step)) is method.compact for step in range(300)]
    assert 0.2 < sum(paths) / 300 < 0.4
    assert paths == [method._path(TrainState(0, 2, 2 * step)) is method.compact for step in range(300)]


def test_adapters_in_a_unet_to_be_cut_are_refused() -> None:
    with pytest.raises(UserError, match=r"compact_share.*lora_rank"):
        built(replace(CONFIG, compact_share=0.5, lora_rank=2))


def test_adapters_alone_learn_start_at_nothing_and_are_merged_at_the_end(tmp_path: Path) -> None:
    base = tiny_components()
    config = replace(CONFIG, lora_rank=2, optim=replace(OPTIM, ema_images=0))
    method = build_finetune(config, base, "base", seed=0)
    batch, fresh = batch_of([0, 1]), tiny_components()
    assert torch.allclose(outputs(method.player.module, batch), outputs(fresh.unet, batch), atol=1e-6)
    assert all("lora" in name for name in method.player.parameters)
    for _ in range(3):
        method.step(batch, TrainState(0, 2))
    learnt = outputs(method.player.module.eval(), batch)
    assert not torch.allclose(learnt, outputs(fresh.unet, batch), atol=1e-4)
    save_components(method.components(), tmp_path / "teacher")
    merged = load_components(tmp_path / "teacher")
    assert merged.unet.state_dict().keys() == fresh.unet.state_dict().keys()
    assert torch.allclose(outputs(merged.unet, batch), learnt, atol=1e-5)
    assert outputs(method.player.module, batch).equal(learnt)  # merging has left the player as it was


def outputs(unet: torch.nn.Module, batch: Batch) -> Tensor:
    with torch.no_grad():
        return unet(batch.latents, torch.tensor([500, 100]), encoder_hidden_states=batch.text).sample


def test_the_adapters_start_depends_on_the_seed_alone() -> None:
    config = replace(CONFIG, lora_rank=2)
    torch.manual_seed(1)
    one = build_finetune(config, tiny_components(), "base", seed=0)
    torch.manual_seed(2)
    two = build_finetune(config, tiny_components(), "base", seed=0)
    assert all(torch.equal(a, b) for a, b in zip(states(one).values(), states(two).values(), strict=True))


def test_the_teacher_is_the_average_and_loads_as_a_base(tmp_path: Path) -> None:
    method = built()
    method.step(batch_of([0, 1]), TrainState(0, 2))
    save_components(method.components(), tmp_path / "teacher")
    teacher: Components = load_components(tmp_path / "teacher")
    for name, weight in teacher.unet.state_dict().items():
        assert torch.equal(weight, method.player.ema.state_dict()[name]), name
    assert teacher.scheduler_config == V_ZERO_SNR


def test_previews_are_the_same_at_every_call() -> None:
    method = built()
    pictures = method.preview(["a ninja", "un ninja"])
    assert pictures.shape == (2, 3, 32, 32)
    assert pictures.equal(method.preview(["a ninja", "un ninja"]))
    assert pictures[0].allclose(method.preview(["a ninja"])[0], atol=1e-4)


def run(method: FineTune, feed: Feed, folder: Path) -> dict[str, Tensor]:
    train(method, feed, OPTIM, folder, Reporter(), 0, World())
    return states(method)


@pytest.fixture(scope="module", params=[{"compact_share": 0.5, "text_dropout": 0.5}, {"lora_rank": 2}])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TeacherConfig, dict[str, Tensor]]:
    config = replace(CONFIG, **request.param)
    return config, run(built(config), Feed(), tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("death", [2, 4, 6])
def test_killed_after_any_step_and_resumed_it_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: tuple[TeacherConfig, dict[str, Tensor]], death: int
) -> None:
    config, wanted = undisturbed
    with pytest.raises(KeyboardInterrupt):
        run(built(config), Feed(death), tmp_path)
    found = run(built(config), Feed(), tmp_path)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
