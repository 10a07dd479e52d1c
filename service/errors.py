"""One table from exception to HTTP status, and the problem+json answer (RFC 9457) of each.

ServiceError
├── InvalidRequestError     422  a field is missing, unknown or wrong; carries all of them
├── BadMultipartError       400  the body is no multipart form
├── NotMultipartError       415  the body is declared to be something else
├── UploadTooLargeError     413  more bytes than allowed
├── UploadStalledError      408  the client went silent while it sent
├── NotFoundError           404  no such analysis, file or model
├── NotAcceptableError      406  the client wants a media type that there is not
├── KeyReusedError          422  an Idempotency-Key comes back with another body
├── KeyBusyError            409  the request with this Idempotency-Key is still running
├── WrongHostError          421  the Host header names somebody else
├── CrossOriginError        403  a page of another site sends the request
├── WorkerLimitError        422  the image needs more time or memory than a worker may use
├── WorkerCrashedError      422  the worker's process died of this image
├── QueueFullError          503  too many requests wait
├── WorkerUnavailableError  503  the worker was stopped from outside, or cannot start
├── NotReadyError           503  a condition of /readyz is not met
└── DiskFullError           507  the disk is below its floor
"""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.errors import AnalysisError
from imaging.errors import ImageTooLargeError, ImagingError, UnsupportedFormatError
from model.errors import ModelError

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """A request that cannot be served; the message says what is wrong and what to do."""

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        limit: float | None = None,
        value: float | None = None,
        unit: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.limit = limit
        self.value = value
        self.unit = unit
        self.errors = list(errors) or ([{"field": field, "message": detail}] if field else [])
        self.headers = dict(headers or {})


class InvalidRequestError(ServiceError):
    """One or several fields of the request are missing, unknown or wrong."""


class BadMultipartError(ServiceError):
    """The body cannot be read as a multipart form."""


class NotMultipartError(ServiceError):
    """The body is not declared to be a multipart form."""


class UploadTooLargeError(ServiceError):
    """The upload holds more bytes than allowed."""


class UploadStalledError(ServiceError):
    """The client stopped sending."""


class NotFoundError(ServiceError):
    """There is nothing under this address."""


class NotAcceptableError(ServiceError):
    """No media type that the client accepts is offered."""


class KeyReusedError(ServiceError):
    """An Idempotency-Key was used before with another body."""


class KeyBusyError(ServiceError):
    """The first request with this Idempotency-Key has not been answered yet."""


class WrongHostError(ServiceError):
    """The Host header names a host that this service does not answer for."""


class CrossOriginError(ServiceError):
    """A web page of another origin tries to change something here."""


class WorkerLimitError(ServiceError):
    """An image needs more time or memory than a worker may use."""


class WorkerCrashedError(ServiceError):
    """The process that worked on an image died of it."""


class QueueFullError(ServiceError):
    """As many requests wait as may."""


class WorkerUnavailableError(ServiceError):
    """No worker can take the request now."""


class NotReadyError(ServiceError):
    """An analysis would not be accepted now."""


class DiskFullError(ServiceError):
    """The disk has less free space than its floor."""


@dataclass(frozen=True)
class Kind:
    """How one family of exceptions is answered."""

    status: int
    slug: str
    title: str


# The first entry whose class matches wins, so that a base class comes after its special cases.
TABLE: tuple[tuple[type[Exception], Kind], ...] = (
    (UnsupportedFormatError, Kind(415, "unsupported-format", "Image format not accepted")),
    (ImageTooLargeError, Kind(413, "image-too-large", "Image has too many pixels")),
    (ImagingError, Kind(422, "image-not-measurable", "Image cannot be measured")),
    (AnalysisError, Kind(422, "image-not-measurable", "Image cannot be measured")),
    (ModelError, Kind(422, "model-not-usable", "Model or marker cannot be used")),
    (NotMultipartError, Kind(415, "not-multipart", "Body is no multipart form")),
    (BadMultipartError, Kind(400, "bad-multipart", "Multipart form cannot be read")),
    (UploadTooLargeError, Kind(413, "upload-too-large", "Upload has too many bytes")),
    (UploadStalledError, Kind(408, "upload-stalled", "Upload stopped arriving")),
    (NotFoundError, Kind(404, "not-found", "Not found")),
    (NotAcceptableError, Kind(406, "not-acceptable", "Media type not offered")),
    (KeyReusedError, Kind(422, "idempotency-key-reused", "Idempotency-Key used before")),
    (KeyBusyError, Kind(409, "idempotency-key-busy", "Request is still running")),
    (WrongHostError, Kind(421, "wrong-host", "Host not served here")),
    (CrossOriginError, Kind(403, "cross-origin", "Request from another origin")),
    (WorkerLimitError, Kind(422, "worker-limit", "Image needs too much time or memory")),
    (WorkerCrashedError, Kind(422, "image-crashed-worker", "Image could not be processed")),
    (QueueFullError, Kind(503, "queue-full", "Too many requests wait")),
    (WorkerUnavailableError, Kind(503, "worker-unavailable", "Not ready")),
    (NotReadyError, Kind(503, "not-ready", "Not ready")),
    (DiskFullError, Kind(507, "disk-full", "Disk is full")),
    (InvalidRequestError, Kind(422, "invalid-request", "Request is not valid")),
)

INTERNAL = Kind(500, "internal", "Unexpected error in Angiometry")


def kind_of(error: BaseException) -> Kind:
    """Return how `error` is answered; what nobody foresaw is an internal error."""
    return next((kind for family, kind in TABLE if isinstance(error, family)), INTERNAL)


def problem_of(error: BaseException) -> dict[str, Any]:
    """Describe `error` as the members of a problem that do not depend on the request."""
    kind = kind_of(error)
    if kind is INTERNAL:
        detail = "The service met an error of its own; its log tells more under the request id."
        return problem(kind, detail)
    if isinstance(error, ServiceError):
        return problem(kind, error.detail, error.errors, error.limit, error.value, error.unit)
    limit, value = getattr(error, "limit_px", None), getattr(error, "value_px", None)
    errors = [{"field": getattr(error, "field", "image"), "message": str(error)}]
    return problem(kind, str(error), errors, limit, value, "px" if limit is not None else None)


def problem(
    kind: Kind,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    limit: float | None = None,
    value: float | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """Assemble a problem; `limit`, `value` and `unit` are there only where a limit was passed."""
    body: dict[str, Any] = {
        "type": f"urn:angiometry:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "errors": [dict(entry) for entry in errors],
    }
    if limit is not None:
        body |= {"limit": limit, "value": value, "unit": unit}
    return body


def kind_of_status(status: int) -> Kind:
    """Return the kind of an answer that the framework makes by itself, such as 405."""
    phrase = http.HTTPStatus(status).phrase
    return Kind(status, phrase.lower().replace(" ", "-"), phrase)
