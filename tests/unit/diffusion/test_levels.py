"""The noise levels of LADD's discriminator."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from naruto_add.diffusion.levels import flow_times, timesteps_at
from naruto_add.diffusion.schedule import load_schedule
from tests.tiny import EPSILON, V_ZERO_SNR


def test_flow_times_have_the_logit_normal_density() -> None:
    """SD3 equation 19, integrated numerically, against the empirical distribution."""
    normal = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    times = flow_times(normal, 1.0, 0.5)
    grid = torch.linspace(1e-6, 1 - 1e-6, 200001, dtype=torch.float64)
    exponent = -((torch.logit(grid) - 1.0) ** 2) / (2 * 0.5**2)
    density = exponent.exp() / (0.5 * (2 * torch.pi) ** 0.5 * grid * (1 - grid))
    total = torch.cumulative_trapezoid(density, grid)
    assert float(total[-1]) == pytest.approx(1, abs=1e-6)

    def cdf(x: object) -> torch.Tensor:
        return total[torch.searchsorted(grid[1:], torch.as_tensor(x)).clamp(max=len(total) - 1)]

    assert stats.kstest(times.numpy(), lambda x: cdf(x).numpy()).pvalue > 0.01


@pytest.mark.parametrize("config", [V_ZERO_SNR, EPSILON])
def test_a_timestep_has_the_noise_of_its_flow_time(config: dict[str, object]) -> None:
    """Rectified flow at time t has sigma / alpha = t / (1 - t); the grid of timesteps is met within half a stride."""
    schedule = load_schedule(config)
    times = torch.linspace(0.05, 0.9, 50, dtype=torch.float64)
    t = timesteps_at(schedule, times)
    ratios = (schedule.sigmas / schedule.alphas).log()
    wanted = (times / (1 - times)).log()
    stride = torch.maximum(ratios[t + 1] - ratios[t], ratios[t] - ratios[t - 1])
    assert ((ratios[t] - wanted).abs() <= stride / 2 + 1e-12).all()


def test_extreme_times_stay_on_the_grid_and_never_at_zero_signal() -> None:
    schedule = load_schedule(V_ZERO_SNR)
    assert timesteps_at(schedule, torch.tensor([0.0, 1e-12])).tolist() == [0, 0]
    assert timesteps_at(schedule, torch.tensor([1 - 1e-12], dtype=torch.float64)).item() == 998
