"""A server to compare with: LitServe with dynamic batching, on the same bundle and diffusers' pipeline.

`python -m jobs.bench_litserve BUNDLE PORT`. A module of its own, because its workers import the class by name.
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `request` as a type.

import sys
from pathlib import Path
from typing import Any

import litserve

from jobs.bench_peers import Pipeline, answer

MAX_BATCH = 8
BATCH_WAIT_S = 0.02


class Api(litserve.LitAPI):
    """The endpoint; LitServe makes the batches."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_S, api_path="/v1/images/generations")
        self.bundle = bundle

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.pipeline = Pipeline(self.bundle)

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """A wish as it is."""
        return request

    def predict(self, wishes: list[dict[str, Any]]) -> list[str]:
        """A batch."""
        return self.pipeline.draw(wishes)

    def encode_response(self, output: str) -> dict[str, Any]:
        """The answer's shape."""
        return answer(output)


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(Path(sys.argv[1])), accelerator="cpu", workers_per_device=1, timeout=120, healthcheck_path="/health/ready"
    )
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
