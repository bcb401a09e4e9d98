"""Every error in OpenAI's shape: {"error": {"message", "type", "param", "code"}}, and nothing of our insides in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from naruto_add.recipe import nearest
from serve.schemas import GenerationRequest

INVALID = "invalid_request_error"
FULL, RETRY_MS = b"x-full", b"retry-after-ms"
"""Headers of answers: there is no place for even one more picture (`serve.door`), and when to come back."""
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
MESSAGES = {
    404: "There is nothing at {method} {path}. See /docs for what there is.",
    405: "{method} is not for {path}. See /docs for what is.",
    500: "Something broke on our side. The request id says to whoever runs this server what.",
}


class ApiError(Exception):
    """An answer other than success: HTTP status, a sentence for a person, the guilty parameter, a code for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_s: float | None = None,
        full: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_s, self.full = retry_s, full

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {
            "error": {"message": self.message, "type": kind(self.status), "param": self.param, "code": self.code},
        }

    def response(self) -> JSONResponse:
        """The answer itself."""
        headers = {} if self.retry_s is None else retry_headers(self.retry_s)
        if self.full:
            headers[FULL.decode()] = "1"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def retry_headers(seconds: float) -> dict[str, str]:
    """When to come back: HTTP's header in whole seconds, and the one in milliseconds that OpenAI's clients prefer."""
    return {"Retry-After": str(max(1, math.ceil(seconds))), "Retry-After-Ms": str(math.ceil(seconds * 1e3))}


def kind(status: int) -> str:
    """OpenAI's error type of an HTTP status."""
    return TYPES.get(status, "server_error" if status >= 500 else INVALID)


def install(app: FastAPI) -> None:
    """Have the application answer all its errors in this shape."""
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_bug)


async def on_api_error(request: Request, error: Exception) -> JSONResponse:
    """What we raise ourselves."""
    assert isinstance(error, ApiError)
    request.scope.setdefault("state", {})["rejected"] = error.code
    return error.response()


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """What the framework raises: no such path, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    text = MESSAGES.get(error.status_code, str(error.detail))
    answer = ApiError(error.status_code, text.format(method=request.method, path=request.url.path)).response()
    answer.headers.update(error.headers or {})
    return answer


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that does not fit the schema: 400 as OpenAI does, all mistakes in one sentence each."""
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    param = place(problems[0])
    text = " ".join(dict.fromkeys(sentence(problem) for problem in problems))
    return ApiError(400, text, param=printable(param) or None, code="invalid_value").response()


async def on_bug(request: Request, error: Exception) -> JSONResponse:
    """Our own mistake: the log has the traceback, the client none of it."""
    return ApiError(500, MESSAGES[500], code="internal_error").response()


def place(problem: Mapping[str, Any]) -> str:
    """The parameter that a validation problem is about, "" for the body as a whole; as the client wrote it."""
    return ".".join(str(part) for part in problem["loc"] if part != "body" and not isinstance(part, int))


def sentence(problem: Mapping[str, Any]) -> str:
    """A validation problem in words."""
    name = place(problem)
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON."
    if problem["type"] == "missing":
        return f"{name} is missing." if name else "The body is missing; send JSON with Content-Type: application/json."
    if problem["type"] == "extra_forbidden":
        return f"There is no parameter {printable(name)}{nearest(printable(name), parameters())}"
    what = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name or 'The body'}: {printable(what)}."


def parameters() -> list[str]:
    """The parameters that a request may have."""
    return list(GenerationRequest.model_fields)


def printable(text: str) -> str:
    """A client's own text, fit for an answer: short, and valid UTF-8 whatever came in."""
    return text[:120].encode("utf-8", "replace").decode()
