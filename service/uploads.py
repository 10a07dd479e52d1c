"""Read a multipart form as it arrives: text fields into memory, the one image onto the disk.

The framework's own form parser would take the whole body before a limit could be checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import (
    BadMultipartError,
    InvalidRequestError,
    NotMultipartError,
    ServiceError,
    UploadStalledError,
    UploadTooLargeError,
)

IMAGE_FIELD = "image"
# Text that may also come as a file: curl sends `-F regions=@regions.geojson` so.
_TEXT_FILE_FIELDS = ("regions",)
# What surrounds the image in a request: part headers and text fields, outlines among them.
FORM_OVERHEAD_BYTES = 2**22
_FLUSH_BYTES = 2**20
_MAX_STEM_BYTES = 200
_MAX_SUFFIX_LENGTH = 12
_DRAIN_LIMIT_S = 10.0


@dataclass(frozen=True)
class Upload:
    """What a form held. `sha256` is of the image's bytes, `name` the client's name for them."""

    fields: Mapping[str, str]
    name: str
    sha256: str
    size_bytes: int


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary that a request's Content-Type declares.

    Raises
    ------
    NotMultipartError, BadMultipartError
        If the body is declared to be something else, or has no boundary.
    """
    kind, options = parse_options_header(content_type or "")
    if kind != b"multipart/form-data":
        raise NotMultipartError(
            "Send the image as multipart/form-data, in a field named image "
            "(curl: -F image=@section.png -F marker=CD31)."
        )
    if not options.get(b"boundary"):
        raise BadMultipartError("The Content-Type header names no boundary.")
    return options[b"boundary"]


def declared_size(content_length: str | None, limit_bytes: int) -> int:
    """Return how many bytes a request says it has, 0 if it does not say.

    Raises
    ------
    UploadTooLargeError
        If that is too many, before any of them is read.
    """
    if content_length is None or not content_length.isdigit():
        return 0
    size_bytes = int(content_length)
    if size_bytes > limit_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(limit_bytes, size_bytes)
    return size_bytes


def too_large(limit_bytes: int, value_bytes: int) -> UploadTooLargeError:
    """Return the error of an upload beyond its limit."""
    return UploadTooLargeError(
        f"The upload has at least {value_bytes} bytes; this service takes {limit_bytes}. "
        "Crop the image, or have ANGIOMETRY_MAX_UPLOAD_BYTES raised.",
        field=IMAGE_FIELD,
        limit=limit_bytes,
        value=value_bytes,
        unit="byte",
    )


class Body:
    """The body of one request as it arrives."""

    def __init__(self, receive: Receive, idle_limit_s: float) -> None:
        self._receive = receive
        self._idle_limit_s = idle_limit_s
        self._is_complete = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body piece by piece."""
        while not self._is_complete:
            yield await self._next()

    @asynccontextmanager
    async def drained(self, limit_bytes: int) -> AsyncIterator[None]:
        """Read and drop the rest of a refused body, within bounds.

        A server that closes while its client still sends resets the connection, and many clients
        then report that instead of the answer.
        """
        try:
            yield
        except ServiceError:
            await self._drain(limit_bytes)
            raise

    async def _drain(self, limit_bytes: int) -> None:
        dropped = 0
        with suppress(TimeoutError, ClientDisconnect, UploadStalledError):
            async with asyncio.timeout(_DRAIN_LIMIT_S):
                while not self._is_complete and dropped <= limit_bytes:
                    dropped += len(await self._next())

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_limit_s):
                message = await self._receive()
        except TimeoutError as error:
            raise UploadStalledError(
                f"Nothing arrived for {self._idle_limit_s:g} s; send the image again."
            ) from error
        if message["type"] == "http.disconnect":
            self._is_complete = True
            raise ClientDisconnect
        self._is_complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk


async def receive_form(body: Body, boundary: bytes, target: Path, *, limit_bytes: int) -> Upload:
    """Write the image of a form to `target` as it arrives, and return the rest.

    Raises
    ------
    UploadTooLargeError
        As soon as one byte too many has arrived, whatever the request's headers said.
    InvalidRequestError
        If there is no image, more than one, or a field comes twice.
    BadMultipartError, UploadStalledError
        If the body is malformed, cut short or stops arriving.
    """
    with target.open("wb") as stream:
        reader = _FormReader(boundary, stream, limit_bytes)
        try:
            async for chunk in body.chunks():
                reader.feed(chunk)
                if reader.pending_bytes >= _FLUSH_BYTES:
                    await asyncio.to_thread(reader.flush)
            reader.finish()
        except FormParserError as error:
            raise BadMultipartError(f"The multipart body is malformed: {error}.") from error
        await asyncio.to_thread(reader.flush)
    return reader.upload()


class _FormReader:
    """Callbacks of the multipart parser, with what they have gathered so far."""

    def __init__(self, boundary: bytes, stream: IO[bytes], limit_bytes: int) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._fields: dict[str, bytearray] = {}
        self._files: list[str] = []  # fields that came as a file with a name
        self._field_bytes = 0
        self._name: str | None = None
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._pending = bytearray()
        self._header = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._field = ""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_part_data": self._part_data,
                "on_header_begin": self._header_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_text,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_end": self._end,
            },
        )

    @property
    def pending_bytes(self) -> int:
        return len(self._pending)

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def flush(self) -> None:
        self._digest.update(self._pending)
        self._stream.write(self._pending)
        self._pending.clear()

    def finish(self) -> None:
        self._parser.finalize()
        if not self._complete:
            raise BadMultipartError("The body ends before its last boundary; send it again.")

    def upload(self) -> Upload:
        if self._name is None:
            raise InvalidRequestError(
                "The form holds no image; add the file in a field named image.", field=IMAGE_FIELD
            )
        for name in self._files:
            if not self._fields[name].strip():
                raise InvalidRequestError(
                    f"The file for {name} is empty; send one that holds something, or none.",
                    field=name,
                )
        fields = {name: _text(name, bytes(value)) for name, value in self._fields.items()}
        return Upload(fields, self._name, self._digest.hexdigest(), self._size_bytes)

    def _part_begin(self) -> None:
        self._disposition = b""

    def _header_begin(self) -> None:
        self._header.clear()
        self._header_value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise BadMultipartError("A part of the form has no name.")
        self._field = options[b"name"].decode("utf-8", "replace")
        if self._field == IMAGE_FIELD:
            if self._name is not None:
                raise InvalidRequestError(
                    "The form holds more than one image; send one request for each.",
                    field=IMAGE_FIELD,
                )
            self._name = clean_name(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif self._field in self._fields:
            raise InvalidRequestError(
                f"The field {self._field!r} is given twice.", field=self._field
            )
        else:
            if b"filename" in options and self._field not in _TEXT_FILE_FIELDS:
                raise InvalidRequestError(
                    f"The field {self._field!r} came as a file; only {IMAGE_FIELD!r} "
                    f"and {', '.join(_TEXT_FILE_FIELDS)} may be one here.",
                    field=self._field,
                )
            self._count_field_bytes(len(self._field))
            self._fields[self._field] = bytearray()
            if options.get(b"filename"):
                self._files.append(self._field)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == IMAGE_FIELD:
            self._size_bytes += end - start
            if self._size_bytes > self._limit_bytes:
                raise too_large(self._limit_bytes, self._size_bytes)
            self._pending += memoryview(data)[start:end]
        else:
            self._count_field_bytes(end - start)
            self._fields[self._field] += data[start:end]

    def _count_field_bytes(self, count: int) -> None:
        self._field_bytes += count
        if self._field_bytes > FORM_OVERHEAD_BYTES:
            raise UploadTooLargeError(
                f"The text fields have more than {FORM_OVERHEAD_BYTES} bytes together.",
                field=self._field,
                limit=FORM_OVERHEAD_BYTES,
                value=self._field_bytes,
                unit="byte",
            )

    def _end(self) -> None:
        self._complete = True


def clean_name(name: str) -> str:
    """Reduce a client's file name to one that is safe as a file's name here.

    What remains is its last part without control characters, short enough for any file system.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip().lstrip(".")
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix) > _MAX_SUFFIX_LENGTH:
        stem, suffix = kept, ""
    short = stem.encode()[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    return (short or "image") + (f".{suffix}" if suffix else "")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"The field {name!r} is no UTF-8 text.", field=name) from error
