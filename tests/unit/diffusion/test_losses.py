"""Every equation of ADD against its definition, in float64 and with autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from naruto_add.diffusion import losses
from naruto_add.diffusion.schedule import load_schedule
from tests.tiny import EPSILON, V_ZERO_SNR

CONFIGS = [EPSILON, V_ZERO_SNR]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hinge_g_is_equation_2() -> None:
    fake = [torch.tensor([[1.0, 3.0]]), torch.tensor([[-4.0]])]
    assert losses.hinge_g(fake) == -(2.0 - 4.0)


def test_hinge_d_is_equation_3() -> None:
    real = [torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0]])]  # max(0, 1 - r): 0, 1 | 0
    fake = [torch.tensor([[-2.0, 1.0]]), torch.tensor([[0.5]])]  # max(0, 1 + f): 0, 2 | 1.5
    assert losses.hinge_d(real, fake) == 0.5 + 0.0 + 1.0 + 1.5


def test_r1_of_a_known_function() -> None:
    features = [normal(2, 3, 2, 2).requires_grad_(), normal(2, 5, 1, 1, seed=1).requires_grad_()]
    logits = [x.square().sum(1).flatten(1) for x in features]  # gradient 2 x
    expected = sum(4 * x.square().sum() / 2 for x in features)
    torch.testing.assert_close(losses.r1_penalty(logits, features), expected)


def test_r1_reaches_the_heads_weights_and_stops_at_the_features() -> None:
    conv, body = nn.Conv2d(3, 1, 1).double(), nn.Conv2d(3, 3, 1).double()
    features = [body(normal(2, 3, 4, 4)).detach().requires_grad_()]
    losses.r1_penalty([conv(features[0]).square().flatten(1)], features).backward()
    assert conv.weight.grad is not None and conv.weight.grad.abs().max() > 0
    assert body.weight.grad is None


def test_distillation_is_equation_4() -> None:
    x_hat, target, c = normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1), torch.tensor([0.5, 2.0])
    expected = (0.5 * (x_hat[0] - target[0]).square().mean() + 2 * (x_hat[1] - target[1]).square().mean()) / 2
    torch.testing.assert_close(losses.distillation(x_hat, target, c), expected)


def test_exponential_weight_is_alpha() -> None:
    schedule = load_schedule(V_ZERO_SNR)
    assert torch.equal(losses.exponential_weight(schedule.alphas, schedule.sigmas), schedule.alphas)


@pytest.mark.parametrize("config", CONFIGS)
def test_sds_weight_gives_the_sds_gradient(config: dict[str, object]) -> None:
    """Appendix A: with c = alpha w / (2 sigma) equation 4's gradient is w(t) (eps_psi - eps'), here w = sigma^2."""
    schedule = load_schedule(config)
    t = torch.tensor([1, 300, 700, 998])
    x_hat, eps, output = normal(4, 4, 3, 3).requires_grad_(), normal(4, 4, 3, 3, seed=1), normal(4, 4, 3, 3, seed=2)
    x_t = schedule.add_noise(x_hat.detach(), eps, t)
    target = schedule.to_x0(output, x_t, t)
    losses.distillation(x_hat, target, losses.sds_weight(schedule.alphas[t], schedule.sigmas[t])).backward()
    sds = schedule.sigma(t, eps).square() * (schedule.to_eps(output, x_t, t) - eps)
    torch.testing.assert_close(x_hat.grad, sds / x_hat.numel())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("has_negative", [True, False])
def test_nfsd_gradient(config: dict[str, object], has_negative: bool) -> None:
    """NFSD equation 9: the gradient is w(t) (delta_D + s delta_C), whatever was added as noise."""
    schedule, scale = load_schedule(config), 7.5
    t = torch.tensor([1, 199, 200, 700, 998])
    x_hat, eps = normal(5, 4, 3, 3).requires_grad_(), normal(5, 4, 3, 3, seed=1)
    x_t = schedule.add_noise(x_hat.detach(), eps, t)
    outputs = [normal(5, 4, 3, 3, seed=seed) for seed in (2, 3, 4)]
    x0_cond, x0_uncond, x0_negative = (schedule.to_x0(output, x_t, t) for output in outputs)
    eps_cond, eps_uncond, eps_negative = (schedule.to_eps(output, x_t, t) for output in outputs)

    target = losses.nfsd_target(
        x_hat.detach(), x_t, schedule.alpha(t, x_t), t, x0_cond, x0_uncond, x0_negative if has_negative else None, scale
    )
    losses.distillation(x_hat, target, losses.sds_weight(schedule.alphas[t], schedule.sigmas[t])).backward()

    domain = torch.where((t < 200).view(-1, 1, 1, 1), eps_uncond, (eps_uncond - eps_negative) * has_negative)
    direction = schedule.sigma(t, eps).square() * (domain + scale * (eps_cond - eps_uncond))
    torch.testing.assert_close(x_hat.grad, direction / x_hat.numel())


def test_nfsd_is_finite_at_zero_terminal_snr() -> None:
    schedule, t = load_schedule(V_ZERO_SNR), torch.tensor([999])
    x = normal(1, 4, 3, 3)
    target = losses.nfsd_target(x, x, schedule.alpha(t, x), t, x + 1, x, None, 2.0)
    torch.testing.assert_close(target, x + 2)


def test_min_snr_weight() -> None:
    snr = torch.tensor([0.0, 1.0, 5.0, 20.0], dtype=torch.float64)
    assert losses.min_snr_weight(snr, 5.0, "epsilon").tolist() == [1.0, 1.0, 1.0, 0.25]
    assert losses.min_snr_weight(snr, 5.0, "v_prediction").tolist() == [0.0, 0.5, 5 / 6, 5 / 21]


def test_hinge_wrong_is_the_half_of_hinge_d_that_refuses() -> None:
    fake = [torch.tensor([[-2.0, 1.0]]), torch.tensor([[0.5]])]  # max(0, 1 + f): 0, 2 | 1.5
    assert losses.hinge_wrong(fake) == 1.0 + 1.5


def test_perceptual_is_equation_1_of_lpips_with_equal_weights() -> None:
    a = [normal(2, 3, 4, 4), normal(2, 5, 2, 2, seed=1)]
    b = [normal(2, 3, 4, 4, seed=2), normal(2, 5, 2, 2, seed=3)]
    expected = []
    for image in range(2):
        levels = []
        for x, y in zip(a, b, strict=True):
            places = [
                (x[image, :, i, j] / x[image, :, i, j].norm() - y[image, :, i, j] / y[image, :, i, j].norm()).square()
                for i in range(x.shape[2])
                for j in range(x.shape[3])
            ]
            levels.append(torch.stack([place.sum() for place in places]).mean())
        expected.append(torch.stack(levels).mean())
    torch.testing.assert_close(losses.perceptual(a, b), torch.stack(expected))
    assert losses.perceptual(a, a).abs().max() == 0


def test_opposite_features_are_the_furthest() -> None:
    a = [normal(1, 3, 4, 4)]
    torch.testing.assert_close(losses.perceptual(a, [-a[0]]), torch.tensor([4.0], dtype=torch.float64))


def test_feature_distillation_is_the_sum_over_stages() -> None:
    student, teacher = [normal(2, 3, 4, 4), normal(2, 5)], [normal(2, 3, 4, 4, seed=1), normal(2, 5, seed=2)]
    expected = sum((s - t).square().sum() / s.numel() for s, t in zip(student, teacher, strict=True))
    torch.testing.assert_close(losses.feature_distillation(student, teacher), expected)
