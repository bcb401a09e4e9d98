"""Everything one copy of the application has: models, engine, memory, limits, metrics. The web knows only this."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from naruto_add.storage import fetched
from serve.auth import Keys
from serve.desk import Desk, OwnDesk, refuse
from serve.engine import Engine, Job, Preview
from serve.errors import ApiError
from serve.memory import PictureCache
from serve.metrics import Metrics
from serve.model import Ability, Model, Pixels, Wish, open_student, open_teacher
from serve.schemas import MAX_SEED, GenerationRequest
from serve.settings import Settings, bundles, teacher_place


@dataclass(frozen=True)
class Order:
    """A checked request: what to draw with which model."""

    ability: Ability
    wishes: tuple[Wish, ...]


class Studio:
    """Opened once; then it draws for whoever asks."""

    def __init__(self, settings: Settings, desk: Desk | None = None, name: str = "0") -> None:
        self.settings = settings
        self.metrics = Metrics(name)
        self.desk = desk or OwnDesk(settings)
        self.keys, self.cache = Keys(settings.keys), PictureCache(settings.cache_mb * 2**20)
        self.created = int(time.time())
        self.abilities: dict[str, Ability] = {}
        self._engine: Engine | None = None

    def open(self) -> None:
        """Load and verify the models, draw a first picture with each, start drawing; raises UserError."""
        torch.set_num_threads(self.settings.threads)
        models = {model.ability.name: model for model in open_models(self.settings)}
        for model in models.values():
            model.warm_up()
        self.abilities = {name: model.ability for name, model in models.items()}
        limits = self.settings
        engine = Engine(models, limits.max_batch, limits.max_waiting, self.metrics, limits.max_slowdown)
        self.metrics.waiting.set_function(lambda: engine.waiting)
        self.metrics.drawing.set_function(lambda: engine.drawing)
        engine.start()
        self._engine = engine
        self.metrics.ready.set(1)

    def close(self) -> None:
        """Stop drawing."""
        self.metrics.ready.set(0)
        if self._engine is not None:
            self._engine.stop()

    @property
    def status(self) -> str:
        """One of ok, starting, broken."""
        if self._engine is None:
            return "starting"
        return "ok" if self._engine.healthy else "broken"

    def order(self, request: GenerationRequest) -> Order:
        """Check a request against what is served here; raises ApiError 400, or 404 for an unknown model."""
        ability = self._ability(request.model)
        count = request.n or 1
        self._check(request, count)
        check_size(request.size, ability)
        steps, scale = chosen_steps(request.steps, ability), chosen_scale(request.guidance_scale, ability)
        seed = secrets.randbelow(MAX_SEED) if request.seed is None else request.seed
        wishes = (Wish(request.prompt, (seed + k) % (MAX_SEED + 1), steps, scale) for k in range(count))
        return Order(ability, tuple(wishes))

    async def spend(self, caller: str, order: Order) -> None:
        """Take the order out of the caller's allowance; raises ApiError 429."""
        if self.settings.keys and self.settings.requests_per_minute:
            refuse(await self.desk.wait_s(caller, len(order.wishes)), self.settings.requests_per_minute)

    def begin(
        self, order: Order, preview: Preview | None = None, after: frozenset[int] = frozenset()
    ) -> asyncio.Task[list[Pixels]]:
        """Take an order, with previews `after` these passes; raises ApiError 429 or 503 at once.

        The task gives its pictures (H,W,3), or raises ApiError 504; cancelling it frees their places.
        """
        known = [self.cache.get(order.ability.digest, wish) for wish in order.wishes]
        self.metrics.cached.labels(order.ability.name).inc(sum(pixels is not None for pixels in known))
        jobs = [
            Job(order.ability.name, wish, preview, after)
            for wish, pixels in zip(order.wishes, known, strict=True)
            if pixels is None
        ]
        self._running_engine().submit(jobs)
        return asyncio.ensure_future(self._finish(order, known, jobs))

    async def _finish(self, order: Order, known: Sequence[Pixels | None], jobs: Sequence[Job]) -> list[Pixels]:
        """The remembered pictures and the engine's, in the order's order."""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                drawn = iter(await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs)))
        except TimeoutError:
            text = f"Not done within {self.settings.timeout_s:g} s. Try fewer steps or pictures, or try again later."
            raise ApiError(504, text, code="timeout", retry_s=1) from None
        pictures = [next(drawn) if pixels is None else pixels for pixels in known]
        for wish, pixels in zip(order.wishes, pictures, strict=True):
            self.cache.put(order.ability.digest, wish, pixels)
        return pictures

    def _running_engine(self) -> Engine:
        if self._engine is None:
            raise ApiError(503, "This server is still loading its model.", code="starting", retry_s=5)
        return self._engine

    def _ability(self, name: str | None) -> Ability:
        self._running_engine()
        if name is None:
            return next(iter(self.abilities.values()))
        if name not in self.abilities:
            text = f"This server has no such model. It has: {', '.join(self.abilities)}."
            raise ApiError(404, text, param="model", code="model_not_found")
        return self.abilities[name]

    def _check(self, request: GenerationRequest, count: int) -> None:
        """What the settings allow."""
        most = self.settings.max_prompt_chars
        if len(request.prompt) > most:
            raise ApiError(400, f"prompt: {len(request.prompt)} characters; at most {most} here.", param="prompt")
        if count > self.settings.max_images:
            raise ApiError(400, f"n: {count} pictures; at most {self.settings.max_images} here.", param="n")
        if request.stream and count > 1:
            raise ApiError(400, "n: a stream shows one picture; ask for several without stream.", param="n")


def open_models(settings: Settings) -> list[Model]:
    """The students, and the teacher if there is to be one; raises UserError."""
    paths = {name: fetched.folder(path, "bundle") for name, path in bundles(settings).items()}
    models = [open_student(path, settings.max_batch, name) for name, path in paths.items()]
    if (teacher := teacher_place(settings)) is not None:
        path = fetched.folder(teacher, "teacher")
        models.append(open_teacher(path, settings.guidance_scale, settings.max_batch))
    return models


def check_size(size: str | None, ability: Ability) -> None:
    """Raise ApiError for another size than the model's."""
    own = f"{ability.size_px}x{ability.size_px}"
    if size not in (None, "auto", own):
        raise ApiError(400, f"size: {ability.name} draws {own} only.", param="size", code="invalid_value")


def chosen_steps(steps: int | None, ability: Ability) -> int:
    """The number of passes; raises ApiError outside the model's range."""
    if steps is None:
        return ability.default_steps
    if not ability.min_steps <= steps <= ability.max_steps:
        text = f"steps: {ability.name} draws in {ability.min_steps} to {ability.max_steps} steps."
        raise ApiError(400, text, param="steps", code="invalid_value")
    return steps


def chosen_scale(scale: float | None, ability: Ability) -> float | None:
    """The guidance; raises ApiError where the model has none."""
    if scale is not None and ability.guidance_scale is None:
        text = f"guidance_scale: {ability.name} draws without guidance; leave it out."
        raise ApiError(400, text, param="guidance_scale", code="invalid_value")
    return ability.guidance_scale if scale is None else scale
