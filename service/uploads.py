"""Read a multipart form as it arrives: text fields into memory, image and mask onto the disk.

The framework's own form parser would take the whole body before a limit could be checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import (
    BadMultipartError,
    NotMultipartError,
    ServiceError,
    UploadStalledError,
)
from service.form_reader import FORM_OVERHEAD_BYTES, FormReader, Upload, too_large

_FLUSH_BYTES = 2**20
_DRAIN_LIMIT_S = 10.0


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


async def receive_form(body: Body, boundary: bytes, folder: Path, *, limit_bytes: int) -> Upload:
    """Write the files of a form below `folder` as they arrive, and return the rest.

    Raises
    ------
    UploadTooLargeError
        As soon as one byte too many has arrived, whatever the request's headers said.
    InvalidRequestError
        If there is no image, more than one, or a field comes twice.
    BadMultipartError, UploadStalledError
        If the body is malformed, cut short or stops arriving.
    """
    reader = FormReader(boundary, folder, limit_bytes)
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
