import pytest

from naruto_add.training.pace import crossed, ema_decay, learning_rate, pace, total_images
from tests.unit.training.toys import optim_of


def test_the_rate_rises_linearly_then_falls_as_a_half_cosine() -> None:
    optim = optim_of(images=108, batch_size=4, learning_rate=2.0, warmup_images=8, final_lr=0.1)
    assert learning_rate(optim, 4) == pytest.approx(1.0)
    assert learning_rate(optim, 8) == pytest.approx(2.0)
    assert learning_rate(optim, 58) == pytest.approx(2.0 * (0.1 + 0.9 / 2))  # half way down
    assert learning_rate(optim, 108) == pytest.approx(0.2)


def test_without_warmup_the_first_step_is_nearly_at_the_peak() -> None:
    assert pace(optim_of(images=400, warmup_images=0), 4) == pytest.approx(1.0, abs=1e-3)


def test_another_peak_keeps_the_shape() -> None:
    optim = optim_of(learning_rate=1e-2)
    assert learning_rate(optim, 12, peak=1e-4) == pytest.approx(learning_rate(optim, 12) / 100)


def test_the_total_is_rounded_up_to_whole_steps() -> None:
    assert total_images(optim_of(images=21, batch_size=8)) == 24


def test_the_average_halves_the_past_over_its_half_life() -> None:
    decay = ema_decay(optim_of(batch_size=4, ema_images=20))
    assert decay**5 == pytest.approx(0.5)
    assert ema_decay(optim_of(ema_images=0)) == 0.0


@pytest.mark.parametrize(("before", "after", "due"), [(4, 8, True), (8, 12, False), (6, 14, True), (0, 4, False)])
def test_an_interval_is_due_where_a_multiple_is_reached_or_passed(before: int, after: int, due: bool) -> None:
    assert crossed(8, before, after) is due
