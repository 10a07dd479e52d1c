"""Addresses that tell about the service: models, health, version, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from analysis.version import software
from service.errors import NotFoundError, NotReadyError
from service.models import ModelRegistry
from service.openapi import problems
from service.readiness import check_readiness
from service.schemas import Health, ModelDetail, ModelList, Readiness, Version

STATIC = Path(__file__).parent / "static"

router = APIRouter()


def get_models(request: Request) -> ModelRegistry:
    """Return the application's models."""
    models: ModelRegistry = request.app.state.models
    return models


ModelsPart = Annotated[ModelRegistry, Depends(get_models)]


@router.get(
    "/v1/models",
    operation_id="listModels",
    summary="List the models",
    tags=["models"],
    response_model=ModelList,
    responses=problems(503),
)
def list_models(models: ModelsPart) -> dict[str, Any]:
    """List every bundle that an analysis can name."""
    return {"models": models.summaries()}


@router.get(
    "/v1/models/{name}",
    operation_id="getModel",
    summary="Get a model with its scores and card",
    tags=["models"],
    response_model=ModelDetail,
    responses=problems(404, 422, 503),
)
def get_model(name: str, models: ModelsPart) -> dict[str, Any]:
    """Describe one bundle wholly."""
    if name not in models.names():
        raise NotFoundError(f"There is no model {name[:100]!r}; GET /v1/models lists them.")
    return models.detail(name)


@router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Tell whether the process answers",
    tags=["service"],
    response_model=Health,
    responses=problems(),
)
async def get_health() -> dict[str, str]:
    """Answer, whatever the state of the model."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Tell whether an analysis would be accepted",
    tags=["service"],
    response_model=Readiness,
    responses=problems(503),
)
def get_readiness(request: Request) -> Any:
    """Check model, data directory, disk and queue."""
    state = request.app.state
    checks = check_readiness(state.settings, state.store, state.engine)
    failed = [check for check in checks if not check["ok"]]
    if failed:
        raise NotReadyError(
            "; ".join(check["detail"] for check in failed),
            errors=[{"field": check["name"], "message": check["detail"]} for check in failed],
            headers={"Retry-After": "5"},
        )
    return {"status": "ready", "checks": checks}


@router.get(
    "/version",
    operation_id="getVersion",
    summary="Tell what runs here and what it accepts",
    tags=["service"],
    response_model=Version,
    responses=problems(),
)
def get_version(request: Request) -> dict[str, Any]:
    """Tell the version, its git revision and the limits of a request."""
    settings, running = request.app.state.settings, software()
    return {
        "version": running.version,
        "git_revision": running.git_revision,
        "limits": {
            "sync_limit_px": settings.sync_limit_px,
            "max_upload_bytes": settings.max_upload_bytes,
        },
    }


@router.get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> Response:
    """Describe this interface."""
    return JSONResponse(request.app.openapi())


@router.get("/", include_in_schema=False)
async def get_page() -> Response:
    """Show the page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
