"""Shapes of the answers, for OpenAPI; the values come from the store and the record as they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.record import Record

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class FieldError(BaseModel):
    """One input at fault."""

    field: Annotated[str, Field(examples=["mpp_um"])]
    message: Annotated[str, Field(examples=["the file states no pixel size; give mpp_um"])]


class Problem(BaseModel):
    """What went wrong and what to do about it (RFC 9457)."""

    type: Annotated[str, Field(examples=["urn:angiometry:problem:image-not-measurable"])]
    title: Annotated[str, Field(examples=["Image cannot be measured"])]
    status: Annotated[int, Field(examples=[422])]
    detail: Annotated[str, Field(examples=["The file states no pixel size; give mpp_um."])]
    instance: Annotated[str, Field(examples=["/v1/analyses"])]
    request_id: Annotated[str, Field(examples=["8b0c5f0e6d6f4d2c9c1f1a4c2a6b7d3e"])]
    errors: list[FieldError]
    limit: Annotated[float | None, Field(description="The limit that was passed, if one was.")] = (
        None
    )
    value: Annotated[float | None, Field(description="What the request came to.")] = None
    unit: Annotated[str | None, Field(description="Unit of limit and value.")] = None


class Envelope(BaseModel):
    """An analysis: how far it is, and its record once it succeeded."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    state: State
    progress_fraction: Annotated[float, Field(ge=0, le=1)]
    tiles_done: Annotated[int, Field(ge=0)]
    tiles_total: Annotated[int, Field(ge=0)]
    eta_s: Annotated[float | None, Field(description="Seconds still to wait, as far as known.")]
    record: Record | None
    problem: Problem | None
    links: Annotated[dict[str, str], Field(description="The analysis itself and its files.")]


class ModelSummary(BaseModel):
    """A bundle that can be asked for by its name."""

    name: str
    version: str
    description: str
    sha256: Annotated[str, Field(description="Hash of the whole bundle; results name it.")]
    is_default: bool
    targets: list[str]
    mpp_um: Annotated[float, Field(description="Images are resampled to this pixel size.")]
    thresholds: dict[str, float]
    validation_scores: dict[str, Any]


class ModelDetail(ModelSummary):
    """Everything that a bundle says of itself, with its card."""

    metadata: dict[str, Any]
    card: Annotated[
        str | None, Field(description="Its own MODEL_CARD.md, as Markdown; null without one.")
    ]


class ModelList(BaseModel):
    """The bundles of this service."""

    models: list[ModelSummary]


class Limits(BaseModel):
    """What a request may hold."""

    sync_limit_px: int
    max_upload_bytes: int


class Version(BaseModel):
    """What runs here."""

    version: str
    git_revision: str | None
    limits: Limits


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Check(BaseModel):
    """One condition of being ready."""

    name: Literal["model", "data_dir", "disk", "queue"]
    ok: bool
    detail: str


class Readiness(BaseModel):
    """All conditions under which an analysis is accepted."""

    status: Literal["ready"]
    checks: list[Check]
