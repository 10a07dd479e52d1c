"""What OpenAPI says beyond the shapes: the multipart body, files, problems of every status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from service.errors import PROBLEM_MEDIA_TYPE, TABLE, kind_of_status, problem
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


_EXAMPLE = Path(__file__).with_name("example_envelope.json")
# What each status may say; where none stands here the title says it all.
_DETAILS: dict[int, tuple[str, list[dict[str, str]]]] = {
    413: ("The image has 90,000,000 pixels and at most 4,000,000 are allowed: crop it.", []),
    415: ("notes.txt is not an image that can be read: give PNG, JPEG, TIFF, SVS or DICOM.", []),
    422: (
        "mpp_um: is '-1'; should be greater than 0.",
        [{"field": "mpp_um", "message": "is '-1'; should be greater than 0"}],
    ),
    503: ("8 requests wait, and at most 8 may: try again in 10 seconds.", []),
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
        "properties": {"image": image} | fields | {"tissue": _text_or_file(fields["tissue"])},
    }
    examples = {
        "brightfield": {
            "summary": "H-DAB section stained for CD31, 0.5 µm/px",
            "value": {"image": "section.png", "marker": "CD31", "mpp_um": 0.5},
        },
        "mask": {
            "summary": "Only where a mask of the image's size says that tissue is",
            "value": {
                "image": "section.png",
                "marker": "CD31",
                "mpp_um": 0.5,
                "tissue": "mask.png",
            },
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


def _text_or_file(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a text field that may be a file as well."""
    about = {name: field[name] for name in ("title", "description", "default")}
    text = {name: value for name, value in field.items() if name not in about}
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    return about | {"anyOf": [text, file]}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation that are problems, by status."""
    return {status: _problem(status) for status in (*statuses, 421, 500)}


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for _, kind in TABLE if kind.status == status] or [kind_of_status(status)]
    detail, errors = _DETAILS.get(status, (f"{kinds[0].title}.", []))
    example = problem(kinds[0], detail, errors) | {
        "instance": "/v1/analyses",
        "request_id": "b7c0a1f2",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "example": example}},
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


def add_envelope_example(document: dict[str, Any]) -> dict[str, Any]:
    """Show a real answer wherever an envelope is answered.

    It is added to the finished document: the framework leaves nulls out of what it is given, and a
    null with its reason is part of the answer.
    """
    value = json.loads(_EXAMPLE.read_text(encoding="utf-8"))
    examples = {"section": {"summary": "A section stained for CD31", "value": value}}
    for path, method in (("/v1/analyses", "post"), ("/v1/analyses/{analysis_id}", "get")):
        answer = document["paths"][path][method]["responses"]["200"]
        answer["content"]["application/json"]["examples"] = examples
    return document
