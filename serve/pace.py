"""How long drawing takes here, measured: from that the engine tells whether one more picture would make others late.

Where a pass of two pictures takes nearly twice as long as that of one (processors), whoever is let in makes everybody
slower; where it takes the same time (accelerators), batches are free. So the number of places is not a setting.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy

RECENT = 0.2
"""Weight of the newest pass in `Pace.slowness`."""
USUAL = 0.05
"""Weight of the newest lone pass in `Pace.usual_slowness`, once there are so many that a plain mean would take less."""


class Pace:
    """The least seconds seen of one UNet pass, by the pictures in it, and of decoding a picture.

    The least, because a machine that is busy with other things says nothing about batches. How busy it is `slowness`
    tells: how many times the least the last passes took. `usual_slowness` is the same of those that had no company: an
    engine at rest starts slowly (threads sleep, caches are others'), and that is how a picture alone is drawn here.
    Promises are made by what is usual, and who comes is judged by how things are.
    """

    def __init__(self) -> None:
        self._passes: dict[int, float] = {}
        self._decode_s = math.inf
        self.slowness = self.usual_slowness = 1.0
        self._lone_passes = 0

    def note_pass(self, pictures: int, seconds: float) -> None:
        """A pass of so many pictures was made."""
        least = self._passes[pictures] = min(seconds, self._passes.get(pictures, math.inf))
        self.slowness += RECENT * (seconds / least - self.slowness)
        if pictures == 1:
            self._lone_passes += 1
            self.usual_slowness += max(USUAL, 1 / self._lone_passes) * (seconds / least - self.usual_slowness)

    def note_decode(self, seconds: float) -> None:
        """A picture was decoded."""
        self._decode_s = min(seconds, self._decode_s)

    def pass_s(self, pictures: int) -> float:
        """Seconds of a pass, between measured batches interpolated."""
        sizes = sorted(self._passes)
        return float(numpy.interp(pictures, sizes, [self._passes[size] for size in sizes]))

    def done_s(self, passes: Sequence[int], max_batch: int) -> list[float]:
        """Least seconds until each of these pictures is done, which lack so many passes and are all there is.

        Each stays until it is done. More than `max_batch` take turns: then a pass of everybody is as many full ones.
        """
        rising = sorted(passes)
        seconds, made, after = 0.0, 0, {}
        for gone, wanted in enumerate(rising):
            company = len(passes) - gone
            seconds += (wanted - made) * max(1, company / max_batch) * self.pass_s(min(company, max_batch))
            made = wanted
            after[wanted] = seconds
        return [after[own] + bisect_right(rising, own) * self._decode_s for own in passes]
