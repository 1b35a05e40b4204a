"""The OpenAPI document: what the routes cannot tell of themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]
CODES = {
    400: "Something is wrong with the request",
    401: "The key is missing or wrong",
    403: "The model may not be read",
    404: "There is no such model or path",
    408: "The body came too slowly",
    409: "The state of the model does not allow it",
    413: "The body is too large",
    429: "Too many requests are in flight",
    500: "A mistake of the server",
    503: "Try again in a moment",
    504: "It took too long",
}


class Problem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """An error as the OpenAI API has it."""

    error: Problem
    message: str


class AnthropicProblem(BaseModel):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """An error as the Anthropic API has it."""

    type: str
    error: AnthropicProblem


def errors(model: type[BaseModel]) -> Responses:
    """Return every answer that says that something went wrong."""
    return {code: {"description": text, "model": model} for code, text in CODES.items()}


ERRORS, ANTHROPIC_ERRORS = errors(Error), errors(AnthropicError)
STREAMED: Responses = {
    200: {"description": "The answer, or its events", "content": {"text/event-stream": {}}}
}


PLAIN: Responses = {200: {"description": "A text", "content": {"text/plain": {}}}}


class ModelState(BaseModel):
    """What became of a model."""

    model_id: str
    status: str
    error: str


STATES: Responses = {
    404: {"description": CODES[404], "model": ModelState},
    500: {"description": "It could not be loaded or unloaded", "model": ModelState},
}


def allowed(app: FastAPI, path: str) -> str:
    """Return the methods of a path of the document, for the header Allow."""
    methods = {name.upper() for name in app.openapi()["paths"].get(path, ())}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def describe(app: FastAPI) -> None:
    """Let the application show a document without FastAPI's own answer to invalid bodies, which is a 400 here."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for path in found["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                found["components"]["schemas"].pop(name, None)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
