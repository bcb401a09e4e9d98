"""The web application: routes on a studio, and the gates before them. It runs under Ray Serve or any ASGI server."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from naruto_add import __version__
from serve import errors
from serve.answers import Answer
from serve.auth import ANYONE, KeyGate
from serve.door import Tally
from serve.errors import ApiError
from serve.limits import BodyLimit
from serve.logs import RequestLog, about_prompt
from serve.metrics import merged
from serve.model import Ability
from serve.page import playground
from serve.schemas import (
    ErrorResponse,
    GenerationRequest,
    GenerationResponse,
    Health,
    ModelCard,
    ModelList,
    Steps,
    Version,
)
from serve.studio import Studio

ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "Something in the request is not possible; `param` says what.",
        401: "No API key, or an unknown one.",
        404: "No such thing.",
        408: "The body took too long to arrive.",
        413: "The body is too long.",
        429: "The queue is full or the key's allowance is spent; Retry-After says for how long.",
        503: "Not ready, or going down.",
        504: "It took too long.",
    }.items()
}


def create_app(studio: Studio, echo_id: bool = True, behind_door: bool = False) -> ASGIApp:
    """The application with its gates, outermost first: log, CORS, keys, body limit.

    `echo_id` False: whoever runs it puts X-Request-Id into the answers. `behind_door`: all requests come through
    `serve.door.Door`.
    """
    settings = studio.settings
    app: ASGIApp = BodyLimit(create_routes(studio), settings.max_body_bytes, settings.timeout_s)
    app = KeyGate(app, studio.keys)
    if settings.cors_origins:
        app = CORSMiddleware(
            app, settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["authorization", "content-type"]
        )
    app = RequestLog(app, studio.metrics, echo_id)
    return Tally(app, studio.metrics) if behind_door else app


def create_routes(studio: Studio) -> FastAPI:
    """The routes and their OpenAPI document."""
    app = FastAPI(title="naruto-add", version=__version__, description="Few-step images, OpenAI's way.", redoc_url=None)
    errors.install(app)
    add_images(app, studio)
    add_models(app, studio)
    add_health(app, studio)
    if studio.settings.playground:
        add_playground(app)
    answers_are_400(app)
    return app


def add_images(app: FastAPI, studio: Studio) -> None:
    """Drawing, and fetching what was drawn."""

    @app.post("/v1/images/generations", responses=ANSWERS, response_model_exclude_none=True, tags=["images"])
    async def generate(asked: GenerationRequest, request: Request) -> GenerationResponse:
        """Draw pictures, as OpenAI's endpoint of this name does; `stream` answers with server-sent events."""
        order = studio.order(asked)
        state = request.scope["state"]
        await studio.spend(state.get("caller", ANYONE), order)
        wish = order.wishes[0]
        said = about_prompt(asked.prompt, studio.settings.log_prompts)
        state["about"] = {
            **state.get("about", {}),
            **said,
            "model": order.ability.name,
            "n": len(order.wishes),
            "steps": wish.steps,
            "seed": wish.seed,
        }
        answer = Answer(studio, request, asked, order)
        if asked.stream:
            stream = StreamingResponse(
                answer.stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
            )
            return cast(GenerationResponse, stream)  # FastAPI passes responses through as they are
        return await answer.whole()

    @app.get("/v1/images/results/{name}", responses={404: ANSWERS[404]}, response_class=Response, tags=["images"])
    async def result(name: str) -> Response:
        """A picture that was asked for as a URL, while it lives."""
        found = await studio.desk.fetch(name)
        if found is None:
            raise ApiError(404, "There is no such picture, or its time is over.", code="not_found")
        headers = {"Cache-Control": "private, max-age=600", "X-Content-Type-Options": "nosniff"}
        return Response(found.data, media_type=found.media_type, headers=headers)


def add_models(app: FastAPI, studio: Studio) -> None:
    """What is served."""

    @app.get("/v1/models", responses={401: ANSWERS[401]}, tags=["models"])
    async def models() -> ModelList:
        """The models and what they can do."""
        return ModelList(data=[card(ability, studio.created) for ability in studio.abilities.values()])

    @app.get("/v1/models/{name}", responses={404: ANSWERS[404]}, tags=["models"])
    async def model(name: str) -> ModelCard:
        """One of them."""
        if name not in studio.abilities:
            raise ApiError(404, "This server has no such model.", param="model", code="model_not_found")
        return card(studio.abilities[name], studio.created)

    @app.get("/version", tags=["health"])
    async def version() -> Version:
        """The program's version and the digests of the weights."""
        return Version(version=__version__, models={a.name: a.digest for a in studio.abilities.values()})


def card(ability: Ability, created: int) -> ModelCard:
    """A model as the API lists it."""
    return ModelCard(
        id=ability.name,
        created=created,
        size=f"{ability.size_px}x{ability.size_px}",
        steps=Steps(min=ability.min_steps, max=ability.max_steps, default=ability.default_steps),
        guidance_scale=ability.guidance_scale,
        digest=ability.digest,
    )


def add_health(app: FastAPI, studio: Studio) -> None:
    """What machines ask."""

    @app.get("/health/live", tags=["health"])
    async def live() -> Health:
        """The process answers."""
        return Health(status="ok")

    @app.get("/health/ready", responses={503: ANSWERS[503]}, tags=["health"])
    async def ready() -> Health:
        """It has drawn a picture and can draw more."""
        if studio.status != "ok":
            raise ApiError(503, f"Not ready: {studio.status}.", code=studio.status, retry_s=5)
        return Health(status="ok")

    @app.get("/metrics", response_class=Response, responses={401: ANSWERS[401]}, tags=["health"])
    async def metrics() -> Response:
        """Prometheus metrics of all copies, each with its name in the label `replica`."""
        texts = {**await studio.desk.texts(), studio.metrics.replica: studio.metrics.text()}
        return Response(merged(texts), media_type=studio.metrics.content_type)


def add_playground(app: FastAPI) -> None:
    """The page to play on."""
    page, headers = playground()

    @app.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def answers_are_400(app: FastAPI) -> None:
    """Take FastAPI's own 422 out of the document: a body that does not fit is answered 400, in OpenAI's shape."""
    document = app.openapi()
    for path in document["paths"].values():
        for operation in path.values():
            if operation["responses"].pop("422", None):
                operation["responses"].setdefault("400", {"$ref": "#/components/responses/Invalid"})
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    document["components"]["responses"] = {"Invalid": {"description": "Not possible.", "content": content}}
