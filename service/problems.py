"""Every answer that is not 2xx, as problem+json, including those the framework makes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from service.errors import (
    INTERNAL,
    PROBLEM_MEDIA_TYPE,
    TABLE,
    InvalidRequestError,
    NotFoundError,
    NotReadyError,
    kind_of,
    kind_of_status,
    problem,
    problem_of,
)

_log = structlog.get_logger("angiometry.problem")


def install_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every error as a problem."""
    for family, _ in TABLE:
        app.add_exception_handler(family, _on_known_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_framework_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_known_error)


def problem_response(request: Request, error: Exception) -> Response:
    """Answer `request` with the problem that `error` stands for."""
    kind = kind_of(error)
    if kind is INTERNAL:
        _log.error("internal error", exc_info=error)
    elif not isinstance(error, NotReadyError):
        _log.info("refused", problem=kind.slug, detail=str(error)[:300])
    headers = getattr(error, "headers", None)
    return _respond(request, problem_of(error), headers)


def _respond(
    request: Request, body: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    request_id = getattr(request.state, "request_id", "")
    full = body | {"instance": request.url.path, "request_id": request_id}
    return JSONResponse(full, body["status"], dict(headers or {}), PROBLEM_MEDIA_TYPE)


async def _on_known_error(request: Request, error: Exception) -> Response:
    return problem_response(request, error)


async def _on_framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = kind_of_status(error.status_code)
    detail = {
        404: f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, str(error.detail))
    return _respond(request, problem(kind, detail), error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    # What does not even look like an id or a file name cannot be found.
    if faults and all(fault["loc"][0] == "path" for fault in faults):
        return problem_response(request, NotFoundError(f"There is nothing at {request.url.path}."))
    errors = [{"field": str(fault["loc"][-1]), "message": str(fault["msg"])} for fault in faults]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return problem_response(request, InvalidRequestError(detail, errors=errors))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Answer into the void: nobody listens any more."""
    return _respond(request, problem(kind_of_status(400), "The client went away."))
