"""One row of the table of scores. What does not apply is None, never zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from naruto_add.evaluation.bootstrap import Estimate, mean_estimate
from naruto_add.evaluation.frechet import frechet_estimate
from naruto_add.evaluation.kid import kernel_estimate
from naruto_add.evaluation.latency import Split
from naruto_add.evaluation.observe import Observed

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A model at a step count, or a floor. Intervals are 95 %, over its pictures."""

    n: int | None = None
    """Pictures scored; None for a row that was only timed."""
    fd_real: float | None = None
    """Frechet distance to the held-out real images."""
    fd_real_interval: Interval | None = None
    kid_real: float | None = None
    """Kernel distance to the held-out real images: unbiased, may be negative."""
    kid_real_interval: Interval | None = None
    fd_teacher: float | None = None
    """Frechet distance to the teacher's pictures."""
    fd_teacher_interval: Interval | None = None
    lpips_teacher: float | None = None
    """Mean perceptual distance to the teacher's picture of the same caption (and noise, but for the floors)."""
    lpips_teacher_interval: Interval | None = None
    diversity: float | None = None
    """Mean perceptual distance between pictures of one caption from different noise."""
    diversity_interval: Interval | None = None
    prompt_accuracy: float | None = None
    """Share of the attributes named in the caption that the judge finds in the picture."""
    prompt_accuracy_interval: Interval | None = None
    latency_s: float | None = None
    """Seconds for one picture, batch 1."""
    latency_split: dict[str, float] | None = None
    passes: int | None = None
    """UNet passes for one picture, guidance counted twice."""

    def to_json(self) -> dict[str, Any]:
        """The row of report.json."""
        return asdict(self)


@dataclass(frozen=True)
class Scorer:
    """Turns what was observed into scores, with intervals."""

    resamples: int
    seed: int
    real: Tensor
    """Features (M, F) of the reference: the held-out real images."""

    def score(
        self, observed: Observed, *, teacher: Tensor | None, diversity: Tensor | None = None, real: bool = True
    ) -> dict[str, Any]:
        """The fields of a `Score` that pictures decide; `teacher` are the features of the teacher's pictures."""
        features = observed.all_features
        return {
            "n": len(features),
            **pair("fd_real", self._frechet(features, self.real if real else None)),
            **pair("kid_real", kernel_estimate(features, self.real, self.resamples, self.seed) if real else None),
            **pair("fd_teacher", self._frechet(features, teacher)),
            **pair("lpips_teacher", self._mean(observed.all_to_teacher)),
            **pair("diversity", self._mean(diversity)),
            **pair("prompt_accuracy", self._mean(observed.all_right)),
        }

    def _frechet(self, features: Tensor, reference: Tensor | None) -> Estimate | None:
        return None if reference is None else frechet_estimate(features, reference, self.resamples, self.seed)

    def _mean(self, values: Tensor | None) -> Estimate | None:
        return None if values is None else mean_estimate(values, self.resamples, self.seed)


def pair(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """A score and its interval, or nothing where it does not apply."""
    return {} if estimate is None else {name: estimate.value, f"{name}_interval": estimate.interval}


def timed(split: Split, passes: int) -> dict[str, Any]:
    """The fields of a `Score` that the clock decides."""
    parts = {"text_s": split.text_s, "unet_s": split.unet_s, "decode_s": split.decode_s}
    return {"latency_s": split.total_s, "latency_split": parts, "passes": passes}
