"""One multipart form as its parser meets it: text fields in memory, files on their way to disk."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BadMultipartError, InvalidRequestError, UploadTooLargeError
from service.store import TISSUE_DIR, UPLOAD_DIR

IMAGE_FIELD = "image"
TISSUE_FIELD = "tissue"
_FOLDER_OF_FIELD = {IMAGE_FIELD: UPLOAD_DIR, TISSUE_FIELD: TISSUE_DIR}
# Text that may also come as a file: curl sends `-F regions=@regions.geojson` so.
_TEXT_FILE_FIELDS = ("regions",)
# What surrounds the files in a request: part headers and text fields, outlines among them.
FORM_OVERHEAD_BYTES = 2**22
_MAX_STEM_BYTES = 200
_MAX_SUFFIX_LENGTH = 12


@dataclass(frozen=True)
class UploadedFile:
    """A file of a form on disk. `name` is the client's name for it, reduced to a safe one."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Upload:
    """What a form held; `tissue` is None where no mask came with the image."""

    fields: Mapping[str, str]
    image: UploadedFile
    tissue: UploadedFile | None = None


def too_large(limit_bytes: int, value_bytes: int, field: str = IMAGE_FIELD) -> UploadTooLargeError:
    """Return the error of an upload beyond its limit."""
    return UploadTooLargeError(
        f"The upload has at least {value_bytes} bytes; this service takes {limit_bytes}. "
        "Crop the image, or have ANGIOMETRY_MAX_UPLOAD_BYTES raised.",
        field=field,
        limit=limit_bytes,
        value=value_bytes,
        unit="byte",
    )


class _Incoming:
    """One file on its way to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.pending = bytearray()
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def flush(self) -> None:
        """Write what has come since the last time."""
        self._digest.update(self.pending)
        with self._path.open("ab") as stream:
            stream.write(self.pending)
        self.pending.clear()

    def uploaded(self) -> UploadedFile:
        """Return what has come."""
        return UploadedFile(self._path.name, self._digest.hexdigest(), self.size_bytes)


class FormReader:
    """Callbacks of the multipart parser, with what they have gathered so far.

    Files go to ``<folder>/upload/`` and ``<folder>/tissue/`` under their cleaned names; together
    they have at most `limit_bytes`.
    """

    def __init__(self, boundary: bytes, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._files: dict[str, _Incoming] = {}
        self._fields: dict[str, bytearray] = {}
        self._named: list[str] = []  # text fields that came as a file with a name
        self._field_bytes = 0
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
        """Bytes of files that are not on disk yet."""
        return sum(len(file.pending) for file in self._files.values())

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        self._parser.write(chunk)

    def flush(self) -> None:
        """Write what is pending to disk."""
        for file in self._files.values():
            file.flush()

    def finish(self) -> None:
        """Check that the body has come to its end."""
        self._parser.finalize()
        if not self._complete:
            raise BadMultipartError("The body ends before its last boundary; send it again.")

    def upload(self) -> Upload:
        """Return what the form held, after the last `flush`."""
        if IMAGE_FIELD not in self._files:
            raise InvalidRequestError(
                "The form holds no image; add the file in a field named image.", field=IMAGE_FIELD
            )
        files = {name: file.uploaded() for name, file in self._files.items()}
        tissue = files.get(TISSUE_FIELD)
        empty = [name for name in self._named if not self._fields[name].strip()]
        empty += [TISSUE_FIELD] if tissue is not None and not tissue.size_bytes else []
        for name in empty:
            raise InvalidRequestError(
                f"The file for {name} is empty; send one that holds something, or none.",
                field=name,
            )
        fields = {name: _text(name, bytes(value)) for name, value in self._fields.items()}
        return Upload(fields, files[IMAGE_FIELD], tissue)

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
        filename = options.get(b"filename", b"")
        if self._field == IMAGE_FIELD and IMAGE_FIELD in self._files:
            raise InvalidRequestError(
                "The form holds more than one image; send one request for each.",
                field=IMAGE_FIELD,
            )
        if self._field == IMAGE_FIELD and b"filename" not in options:
            raise InvalidRequestError(
                "The field image came as text, without a file's name; send the file itself "
                "(curl: -F image=@section.png, with an @ before its path).",
                field=IMAGE_FIELD,
            )
        if self._field in self._fields or self._field in self._files:
            raise InvalidRequestError(
                f"The field {self._field!r} is given twice.", field=self._field
            )
        # Browsers send an empty name where no file was chosen.
        if self._field == IMAGE_FIELD or (self._field == TISSUE_FIELD and filename):
            name = clean_name(filename.decode("utf-8", "replace"))
            self._files[self._field] = _Incoming(
                self._folder / _FOLDER_OF_FIELD[self._field] / name
            )
        else:
            self._begin_text(is_file=b"filename" in options, has_name=bool(filename))

    def _begin_text(self, *, is_file: bool, has_name: bool) -> None:
        if is_file and self._field not in (*_TEXT_FILE_FIELDS, TISSUE_FIELD):
            raise InvalidRequestError(
                f"The field {self._field!r} came as a file; only "
                f"{', '.join(_FOLDER_OF_FIELD)} and {', '.join(_TEXT_FILE_FIELDS)} may be one "
                "here.",
                field=self._field,
            )
        self._count_field_bytes(len(self._field))
        self._fields[self._field] = bytearray()
        if has_name:
            self._named.append(self._field)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        file = self._files.get(self._field)
        if file is None:
            self._count_field_bytes(end - start)
            self._fields[self._field] += data[start:end]
            return
        file.size_bytes += end - start
        size_bytes = sum(each.size_bytes for each in self._files.values())
        if size_bytes > self._limit_bytes:
            raise too_large(self._limit_bytes, size_bytes, self._field)
        file.pending += memoryview(data)[start:end]

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
