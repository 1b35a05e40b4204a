"""Errors as HTTP answers, in the shape that clients of the OpenAI and Anthropic APIs read."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mistralrs.api import errors

INVALID, INTERNAL = "invalid_request_error", "server_error"
# The first row that fits counts: class, status, type, code.
ROWS: tuple[tuple[type[Exception], int, str, str | None], ...] = (
    (errors.ContextLengthError, 400, INVALID, "context_length_exceeded"),
    (errors.RequestError, 400, INVALID, None),
    (errors.ModelNotFoundError, 404, INVALID, "model_not_found"),
    (errors.NotSupportedError, 400, INVALID, "not_supported"),
    (errors.LoraAdapterError, 400, INVALID, None),
    (errors.AccessError, 403, "permission_error", None),
    (errors.ModelStateError, 409, INVALID, "model_state"),
    (errors.RequestTimeoutError, 504, "timeout_error", "timeout"),
    (errors.OutOfMemoryError, 503, "overloaded_error", "out_of_memory"),
    (errors.CanceledError, 503, INTERNAL, "canceled"),
)
TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def described(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return the status and the error object; what is no fault of the request is a 500."""
    for kind, status, type, code in ROWS:
        if isinstance(error, kind):
            return status, body(str(error), type, code)
    return 500, body(str(error) or type_name(error), INTERNAL, None)


def body(
    message: str, type: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the error object of the OpenAI API."""
    return {"message": message, "type": type, "param": param, "code": code}


def type_name(error: Exception) -> str:
    """Return what stands for an error without a message."""
    return type(error).__name__


def shaped(path: str, error: dict[str, Any]) -> dict[str, Any]:
    """Return the whole answer for a path: Anthropic's clients expect another one."""
    if path.startswith("/v1/messages"):
        kind = "api_error" if error["type"] == INTERNAL else error["type"]
        return {"type": "error", "error": {"type": kind, "message": error["message"]}}
    return {"error": error, "message": error["message"]}


def answer(path: str, status: int, error: dict[str, Any]) -> JSONResponse:
    """Return the error as a response."""
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(shaped(path, error), status, headers)


async def on_package_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for an error of the package."""
    return answer(request.url.path, *described(error))


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for an unknown path, a wrong method and the like."""
    assert isinstance(error, HTTPException)
    kind = TYPES.get(error.status_code, INVALID)
    return answer(request.url.path, error.status_code, body(str(error.detail), kind))


async def on_invalid_body(request: Request, error: Exception) -> JSONResponse:
    """Answer for a body that is no JSON, or has the wrong shape: the first mistake and where it is."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        return answer(
            request.url.path, 400, body("the body is not valid JSON", INVALID, "invalid_json")
        )
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    return answer(request.url.path, 400, body(message, INVALID, None, where or None))
