"""From an order to an answer: JSON with pictures or links, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request

from naruto_add import __version__
from serve.errors import MESSAGES, ApiError
from serve.model import Pixels, Wish
from serve.pictures import MEDIA_TYPES, encode
from serve.schemas import GenerationRequest, GenerationResponse, OutputFormat, Picture
from serve.studio import Order, Studio


@dataclass(frozen=True)
class Answer:
    """How one request is answered."""

    studio: Studio
    request: Request
    asked: GenerationRequest
    order: Order

    @property
    def output_format(self) -> OutputFormat:
        """Png unless asked otherwise."""
        return self.asked.output_format or "png"

    async def whole(self) -> GenerationResponse:
        """All pictures at once."""
        began = time.perf_counter()
        pictures = await self.studio.begin(self.order)
        data = [await self._picture(pixels, wish) for pixels, wish in zip(pictures, self.order.wishes, strict=True)]
        seconds = round(time.perf_counter() - began, 4)
        return GenerationResponse(created=int(time.time()), data=data, seconds=seconds, **self._facts())

    def stream(self) -> AsyncIterator[bytes]:
        """A preview after each pass but the last, as many as wanted, then the picture; an error ends the stream.

        Raises ApiError where the order is not taken, before anything is sent.
        """
        previews: asyncio.Queue[tuple[int, Pixels] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def preview(number: int, pixels: Pixels) -> None:
            loop.call_soon_threadsafe(previews.put_nowait, (number, pixels))

        drawing = self.studio.begin(self.order, preview, self._shown_passes)
        drawing.add_done_callback(lambda _: previews.put_nowait(None))
        return self._events(drawing, previews)

    async def _events(
        self, drawing: asyncio.Task[list[Pixels]], previews: asyncio.Queue[tuple[int, Pixels] | None]
    ) -> AsyncIterator[bytes]:
        began, index = time.perf_counter(), 0
        try:
            while (seen := await previews.get()) is not None:
                yield await self._partial(index, *seen)
                index += 1
            yield await self._completed((await drawing)[0], began)
        except ApiError as error:
            yield event("error", error.body())
        except (RuntimeError, ValueError, MemoryError):
            yield event("error", ApiError(500, MESSAGES[500], code="internal_error").body())
            raise
        finally:
            drawing.cancel()

    @property
    def _shown_passes(self) -> frozenset[int]:
        """The passes to show: all but the last, or as many as wanted, evenly spread."""
        steps = self.order.wishes[0].steps
        wanted = steps - 1 if self.asked.partial_images is None else min(steps - 1, self.asked.partial_images)
        return frozenset((index + 1) * steps // (wanted + 1) for index in range(wanted))

    async def _partial(self, index: int, step: int, pixels: Pixels) -> bytes:
        data = await asyncio.to_thread(encode, pixels, self.output_format, self.asked.output_compression)
        shown = {"b64_json": base64.b64encode(data).decode(), "partial_image_index": index, "step": step}
        return event("image_generation.partial_image", {**shown, **self._openai_facts()})

    async def _completed(self, pixels: Pixels, began: float) -> bytes:
        picture = await self._picture(pixels, self.order.wishes[0])
        seconds = round(time.perf_counter() - began, 4)
        shown = picture.model_dump(exclude_none=True) | {"seconds": seconds, "usage": None}
        return event("image_generation.completed", {**shown, **self._facts(), **self._openai_facts()})

    async def _picture(self, pixels: Pixels, wish: Wish) -> Picture:
        """The encoded picture, or a link to it."""
        began = time.perf_counter()
        settings = self._settings(wish) if self.asked.metadata else None
        data = await asyncio.to_thread(encode, pixels, self.output_format, self.asked.output_compression, settings)
        self.studio.metrics.phase.labels("encode").observe(time.perf_counter() - began)
        if self.asked.response_format == "url":
            name = await self.studio.desk.keep(data, MEDIA_TYPES[self.output_format])
            return Picture(url=str(self.request.url_for("result", name=name)), seed=wish.seed)
        return Picture(b64_json=base64.b64encode(data).decode(), seed=wish.seed)

    def _settings(self, wish: Wish) -> dict[str, Any]:
        """What goes into the file: all that is needed to draw it again."""
        ability = self.order.ability
        return {
            "software": f"naruto-add {__version__}",
            "model": ability.name,
            "bundle": ability.digest,
            **asdict(wish),
        }

    def _facts(self) -> dict[str, Any]:
        ability, wish = self.order.ability, self.order.wishes[0]
        return {
            "output_format": self.output_format,
            "size": f"{ability.size_px}x{ability.size_px}",
            "model": ability.name,
            "steps": wish.steps,
            "guidance_scale": wish.guidance_scale,
            "bundle": ability.digest,
        }

    def _openai_facts(self) -> dict[str, Any]:
        """What OpenAI's events carry beside the picture."""
        facts = self._facts()
        kept = {"size": facts["size"], "output_format": facts["output_format"]}
        return {"created_at": int(time.time()), "quality": "auto", "background": "opaque", **kept}


def event(name: str, values: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **values})}\n\n".encode()
