"""A server to compare with: a plain FastAPI application with the same bundle, diffusers' pipeline and nothing of ours.

`python -m jobs.bench_peers BUNDLE PORT`; `jobs.bench_litserve` is the other one.
"""

from __future__ import annotations

import base64
import io
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from naruto_add.export.diffusers import open_bundle


class Pipeline:
    """The bundle as plain diffusers draws it."""

    def __init__(self, bundle: Path) -> None:
        torch.set_num_threads(1)
        self.pipeline = open_bundle(bundle)
        self.draw([{"prompt": "A ninja", "seed": 0, "steps": 4}])

    def draw(self, wishes: list[dict[str, Any]]) -> list[str]:
        """Pictures as base64 PNG, in one batch; the step count is the first one's, for want of better."""
        images = self.pipeline(
            [wish["prompt"] for wish in wishes],
            num_inference_steps=wishes[0]["steps"],
            generator=[torch.Generator().manual_seed(wish["seed"]) for wish in wishes],
        ).images
        return [encoded(image) for image in images]


def encoded(image: Image.Image) -> str:
    """Base64 PNG, compressed as by our server."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return base64.b64encode(file.getvalue()).decode()


def answer(picture: str) -> dict[str, Any]:
    """The answer's shape."""
    return {"data": [{"b64_json": picture}]}


def serve_fastapi(bundle: Path, port: int) -> None:
    """What one writes first: a synchronous handler, which FastAPI runs in threads, and a lock around the model."""
    import uvicorn
    from fastapi import Body, FastAPI

    app, pipeline, lock = FastAPI(), Pipeline(bundle), threading.Lock()

    @app.get("/health/ready")
    def ready() -> str:
        return "ok"

    @app.post("/v1/images/generations")
    def generate(wish: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
        with lock:
            return answer(pipeline.draw([wish])[0])

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    serve_fastapi(Path(sys.argv[1]), int(sys.argv[2]))
