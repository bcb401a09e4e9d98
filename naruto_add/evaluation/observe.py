"""Looking at every set of pictures once, batch by batch, beside the teacher's pictures of the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from naruto_add.evaluation.eyes import Eyes, Look
from naruto_add.evaluation.judge import AttributeJudge


@dataclass(frozen=True)
class Source:
    """A set of pictures to score."""

    count: int
    images: Callable[[Sequence[int]], Tensor]
    """8-bit pictures (B, 3, H, W) of some rows 0..count-1."""
    asked: Sequence[Mapping[str, str]] | None = None
    """The attributes that each picture should show; None where they are not known."""
    beside_teacher: bool = False
    """Whether row n shows the caption of the teacher's row n, so that the two can be compared."""


@dataclass
class Observed:
    """What was seen of a source."""

    features: list[Tensor] = field(default_factory=list)
    to_teacher: list[Tensor] = field(default_factory=list)
    right: list[float] = field(default_factory=list)

    @property
    def all_features(self) -> Tensor:
        """(N, F), float64."""
        return torch.cat(self.features)

    @property
    def all_to_teacher(self) -> Tensor | None:
        """Perceptual distance (N,) to the teacher's picture of the same caption, None where there is none."""
        return torch.cat(self.to_teacher) if self.to_teacher else None

    @property
    def all_right(self) -> Tensor | None:
        """Share of the attributes asked for that are there, (pictures that were asked for some,), or None."""
        return torch.tensor(self.right, dtype=torch.float64) if self.right else None


@dataclass(frozen=True)
class Observer:
    """Eyes, and a judge where there is one."""

    eyes: Eyes
    judge: AttributeJudge | None
    batch_size: int

    def observe(self, sources: Mapping[str, Source], teacher: str) -> dict[str, Observed]:
        """Look at all sources; `teacher` names the one that the others are compared with."""
        observed = {label: Observed() for label in sources}
        others = [label for label in sources if label != teacher]
        for start in range(0, max(source.count for source in sources.values()), self.batch_size):
            beside = self._look(sources[teacher], observed[teacher], start, None)
            for label in others:
                self._look(sources[label], observed[label], start, beside)
        return observed

    def features(self, source: Source) -> Tensor:
        """(N, F) of a source alone."""
        starts = range(0, source.count, self.batch_size)
        return torch.cat([self.eyes.features(source.images(self._rows(source, start))) for start in starts])

    def _rows(self, source: Source, start: int) -> range:
        return range(start, min(start + self.batch_size, source.count))

    def _look(self, source: Source, observed: Observed, start: int, teacher: Look | None) -> Look | None:
        rows = self._rows(source, start)
        if not rows:
            return None
        look = self.eyes.look(source.images(rows))
        observed.features.append(look.features)
        if source.beside_teacher and teacher is not None:
            observed.to_teacher.append(self._compare(look, teacher))
        if source.asked is not None and self.judge is not None:
            observed.right += self.judge.right(look.raw, [source.asked[row] for row in rows])
        return look

    def _compare(self, look: Look, teacher: Look) -> Tensor:
        count = len(look.features)
        beside = [level[:count] for level in teacher.maps]
        return self.eyes.perceptual.between(look.maps, beside).double().cpu()
