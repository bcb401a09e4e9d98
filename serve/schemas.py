"""What goes in and out as JSON: OpenAI's image API, and what it lacks (seed, steps, guidance_scale, metadata)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_SEED = 2**32 - 1
OutputFormat = Literal["png", "webp", "jpeg"]


class GenerationRequest(BaseModel):
    """Body of POST /v1/images/generations."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"prompt": "Naruto meditating on a mountain under the sunset", "seed": 7, "steps": 4}
        },
    )

    prompt: Annotated[str, Field(min_length=1, description="What to draw, in English or French.")]
    model: Annotated[str | None, Field(max_length=200, description="An id of GET /v1/models. Default: the first.")] = (
        None
    )
    n: Annotated[int | None, Field(ge=1, le=10, description="How many; picture k has seed + k.")] = 1
    size: Annotated[str | None, Field(max_length=20, description="The model's own size, as WIDTHxHEIGHT, or auto.")] = (
        None
    )
    response_format: Annotated[
        Literal["b64_json", "url"] | None, Field(description="The picture itself, or a link that lives ten minutes.")
    ] = "b64_json"
    output_format: Annotated[OutputFormat | None, Field(description="PNG loses nothing.")] = "png"
    output_compression: Annotated[
        int | None, Field(ge=0, le=100, description="Quality of JPEG and WebP; 100 makes WebP lossless.")
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, le=MAX_SEED, description="Same seed, prompt, steps and model: same picture. Default: any."),
    ] = None
    steps: Annotated[int | None, Field(ge=1, le=100, description="Passes of the UNet. Default: the model's.")] = None
    guidance_scale: Annotated[
        float | None, Field(ge=0, le=30, allow_inf_nan=False, description="Only for models that have it (the teacher).")
    ] = None
    stream: Annotated[bool | None, Field(description="Server-sent events: previews, then the picture.")] = False
    partial_images: Annotated[
        int | None, Field(ge=0, le=100, description="Previews at most when streaming. Default: one a step.")
    ] = None
    metadata: Annotated[bool | None, Field(description="Write prompt, settings and bundle digest into the file.")] = (
        False
    )
    # OpenAI's, taken so that its clients work, and without effect here:
    user: Annotated[str | None, Field(max_length=512, description="No effect.")] = None
    quality: Annotated[str | None, Field(max_length=20, description="No effect.")] = None
    background: Annotated[Literal["auto", "opaque"] | None, Field(description="No effect.")] = None
    moderation: Annotated[str | None, Field(max_length=20, description="No effect.")] = None
    style: Annotated[str | None, Field(max_length=20, description="No effect.")] = None

    @field_validator("prompt")
    @classmethod
    def said_something(cls, prompt: str) -> str:
        """Refuse blank prompts."""
        if not prompt.strip():
            raise ValueError("is blank; say what to draw")
        return prompt


class Picture(BaseModel):
    """One picture of an answer."""

    b64_json: str | None = None
    url: str | None = None
    seed: int


class GenerationResponse(BaseModel):
    """Answer of POST /v1/images/generations."""

    created: int
    data: list[Picture]
    output_format: OutputFormat
    size: str
    model: str
    steps: int
    guidance_scale: Annotated[float | None, Field(description="Absent where the model has none.")] = None
    bundle: Annotated[str, Field(description="Digest of the weights that drew it.")]
    seconds: Annotated[float, Field(description="From reading the request to the encoded pictures.")]


class Steps(BaseModel):
    """The step counts that a model takes."""

    min: int
    max: int
    default: int


class ModelCard(BaseModel):
    """One entry of GET /v1/models."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "naruto-add"
    size: str
    steps: Steps
    guidance_scale: Annotated[float | None, Field(description="The default; null where the model has none.")]
    digest: str


class ModelList(BaseModel):
    """Answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Version(BaseModel):
    """Answer of GET /version."""

    version: str
    models: dict[str, str]


class Health(BaseModel):
    """Answer of the health checks."""

    status: Literal["ok", "starting", "broken"]
