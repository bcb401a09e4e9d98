from __future__ import annotations

import torch

from naruto_add.evaluation.latency import latency
from naruto_add.evaluation.painters import Easel, FewStepPainter, GuidedPainter
from tests import tiny

EASEL = Easel(tiny.SIZE_PX, torch.device("cpu"))


def test_phases_add_up_and_more_passes_take_longer() -> None:
    components = tiny.tiny_components()
    student = FewStepPainter("student", components, EASEL, (249, 499, 749, 999))
    teacher = GuidedPainter("teacher", components, EASEL, 3.0)
    fast, slow = latency(student, 1, "a ninja", repeats=3), latency(teacher, 25, "a ninja", repeats=3)
    assert min(fast.text_s, fast.unet_s, fast.decode_s) > 0
    assert fast.total_s == fast.text_s + fast.unet_s + fast.decode_s
    assert slow.unet_s > 5 * fast.unet_s
    assert slow.decode_s < slow.unet_s
