"""How long drawing takes here, measured: from that the engine tells whether one more picture would make others late.

Where a pass of two pictures takes nearly twice as long as that of one (processors), whoever is let in makes everybody
slower; where it takes the same time (accelerators), batches are free. So the number of places is not a setting.
"""

from __future__ import annotations

import math

import numpy

RECENT = 0.2
"""Weight of the newest pass in `Pace.slowness`."""


class Pace:
    """The least seconds seen of one UNet pass, by the pictures in it, and of decoding a picture.

    The least, because a machine that is busy with other things says nothing about batches. How busy it is `slowness`
    tells: how many times the least the last passes took. Promises are made in least seconds, and who comes is judged
    by how things are.
    """

    def __init__(self) -> None:
        self._passes: dict[int, float] = {}
        self._decode_s = math.inf
        self.slowness = 1.0

    def note_pass(self, pictures: int, seconds: float) -> None:
        """A pass of so many pictures was made."""
        least = self._passes[pictures] = min(seconds, self._passes.get(pictures, math.inf))
        self.slowness += RECENT * (seconds / least - self.slowness)

    def note_decode(self, seconds: float) -> None:
        """A picture was decoded."""
        self._decode_s = min(seconds, self._decode_s)

    def pass_s(self, pictures: int) -> float:
        """Seconds of a pass, between measured batches interpolated."""
        sizes = sorted(self._passes)
        return float(numpy.interp(pictures, sizes, [self._passes[size] for size in sizes]))

    def drawn_s(self, passes: int, pictures: int, max_batch: int) -> float:
        """Seconds until a picture is done that lacks so many passes, among so many that are always in work."""
        together = min(pictures, max_batch)
        return pictures / together * (passes * self.pass_s(together) + together * self._decode_s)
