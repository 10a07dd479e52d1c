"""What OpenAPI says beyond the shapes: the multipart body, files, problems of every status."""

from __future__ import annotations

from typing import Any

from service.errors import PROBLEM_MEDIA_TYPE, TABLE
from service.form import AnalysisForm
from service.schemas import Problem
from service.store import FILES

DESCRIPTION = """Measure CD31+ blood vessels and VEGF-positive cells on brain sections.

Send an image to `POST /v1/analyses`; the answer holds the measurement record with units, settings
and the model's hash. Every answer that is not 2xx is `application/problem+json` and says what to
do next. Nothing leaves this machine.
"""

CREATE_DESCRIPTION = """Measures one image and answers when it is done.

The image is streamed to disk and decoded in a separate process; its size is checked from the file
header before a pixel is decoded. The uploaded image is removed once it was measured, unless the
operator keeps uploads; the record holds its SHA-256. `Prefer: respond-async` is not honoured by
this version (no `Preference-Applied` is sent). With an `Idempotency-Key`, the same request sent
again gets the stored answer, and one whose client went away is finished and kept.
"""

CSV_ANSWER: dict[str, Any] = {"content": {"text/csv": {"schema": {"type": "string"}}}}
RECORD_EXAMPLE: dict[str, Any] = {
    "id": "0b4a3c1e-6b0e-4f0e-9f5e-2f5d3c1b7a90",
    "state": "succeeded",
    "progress_fraction": 1.0,
    "tiles_done": 4,
    "tiles_total": 4,
    "eta_s": 0.0,
    "record": None,
    "problem": None,
    "links": {"self": "/v1/analyses/0b4a3c1e-6b0e-4f0e-9f5e-2f5d3c1b7a90"},
}


def request_body() -> dict[str, Any]:
    """Return the multipart body of ``POST /v1/analyses``."""
    fields = AnalysisForm.model_json_schema()["properties"]
    image = {
        "type": "string",
        "format": "binary",
        "contentMediaType": "application/octet-stream",
        "description": "PNG, JPEG, TIFF, OME-TIFF, SVS or DICOM; one file.",
    }
    schema = {
        "type": "object",
        "required": ["image", "marker"],
        "additionalProperties": False,
        "properties": {"image": image} | fields,
    }
    examples = {
        "brightfield": {
            "summary": "H-DAB section stained for CD31, 0.5 µm/px",
            "value": {"image": "section.png", "marker": "CD31", "mpp_um": 0.5},
        },
        "fluorescence": {
            "summary": "Two markers and nuclei in one multichannel TIFF",
            "value": {
                "image": "section.ome.tif",
                "marker": "CD31+VEGF",
                "modality": "fluorescence",
                "channels": "CD31=1,VEGF=2,nuclei=0",
            },
        },
    }
    content = {"multipart/form-data": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation that are problems, by status."""
    return {status: _problem(status) for status in (*statuses, 421, 500)}


def _problem(status: int) -> dict[str, Any]:
    titles = [kind.title for _, kind in TABLE if kind.status == status]
    return {
        "description": "; ".join(titles) or "Problem",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def files() -> dict[str, Any]:
    """Return the answer that is a file."""
    media_types = {media_type.partition(";")[0] for media_type in FILES.values()}
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"description": "The file", "content": dict.fromkeys(sorted(media_types), binary)}


def add_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Add the schema that all problems refer to."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    document.setdefault("components", {}).setdefault("schemas", {}).update(
        parts | {"Problem": schema}
    )
    return document
