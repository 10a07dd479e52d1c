"""Addresses of analyses: each receives, hands on, and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from service.analyses import Analyses
from service.errors import NotAcceptableError
from service.negotiation import preferred
from service.openapi import (
    CREATE_DESCRIPTION,
    CSV_ANSWER,
    files,
    problems,
    request_body,
)
from service.schemas import Envelope
from service.store import FILES

router = APIRouter(prefix="/v1/analyses", tags=["analyses"])

FileName = Literal[
    "measurements.csv",
    "measurements.xlsx",
    "objects.geojson",
    "objects.csv",
    "mask.ome.tif",
    "mask_vegf_cell.ome.tif",
    "labels.ome.tif",
    "overlay.png",
    "skeleton.png",
]


def get_analyses(request: Request) -> Analyses:
    """Return the application's analyses."""
    analyses: Analyses = request.app.state.analyses
    return analyses


AnalysesPart = Annotated[Analyses, Depends(get_analyses)]


@router.post(
    "",
    operation_id="createAnalysis",
    summary="Measure an image",
    description=CREATE_DESCRIPTION,
    response_model=Envelope,
    responses=problems(400, 403, 408, 409, 413, 415, 422, 503, 507),
    openapi_extra=request_body(),
)
async def create_analysis(
    request: Request,
    analyses: AnalysesPart,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Response:
    """Measure an image."""
    envelope = await analyses.create(request, idempotency_key)
    return JSONResponse(envelope, headers={"Content-Location": envelope["links"]["self"]})


@router.get(
    "/{analysis_id}",
    operation_id="getAnalysis",
    summary="Get an analysis as JSON, or its measurements as CSV",
    response_model=Envelope,
    responses={200: CSV_ANSWER, **problems(404, 406, 422)},
)
async def get_analysis(
    analysis_id: UUID,
    analyses: AnalysesPart,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Answer with the envelope, or with the measurements as CSV if those are preferred."""
    kind = preferred(accept, ("application/json", "text/csv"))
    if kind is None:
        raise NotAcceptableError("An analysis is answered as application/json or text/csv.")
    headers = {"Vary": "Accept"}
    if kind == "text/csv":
        path = await analyses.file(analysis_id, "measurements.csv")
        return FileResponse(path, media_type=FILES["measurements.csv"], headers=headers)
    return JSONResponse(analyses.get(analysis_id), headers=headers)


@router.get(
    "/{analysis_id}/files/{name}",
    operation_id="getAnalysisFile",
    summary="Download a file of an analysis",
    response_class=FileResponse,
    responses={200: files(), 304: {"description": "Not modified"}, **problems(404, 422)},
)
async def get_file(
    analysis_id: UUID,
    name: FileName,
    analyses: AnalysesPart,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with a file; it never changes, so that a client may keep it."""
    path = await analyses.file(analysis_id, name)
    etag = f'"{analysis_id}.{name}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if if_none_match is not None and _matches(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    # The page shows the overlay; everything else is for saving.
    disposition = "inline" if name == "overlay.png" else "attachment"
    headers["Content-Disposition"] = f'{disposition}; filename="{name}"'
    return FileResponse(path, media_type=FILES[name], headers=headers)


@router.delete(
    "/{analysis_id}",
    operation_id="deleteAnalysis",
    summary="Remove an analysis and its files",
    status_code=204,
    responses=problems(403, 404, 422),
)
def delete_analysis(analysis_id: UUID, analyses: AnalysesPart) -> Response:
    """Remove an analysis."""
    analyses.delete(analysis_id)
    return Response(status_code=204)


def _matches(etag: str, if_none_match: str) -> bool:
    given: list[Any] = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in given or etag in given
