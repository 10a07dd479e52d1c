"""Which reader opens a file, decided by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide

from imaging.errors import UnreadableImageError, UnsupportedFormatError
from imaging.mask_source import MaskSource
from imaging.read_openslide import OpenSlideSource
from imaging.read_pillow import JpegSource, PngSource
from imaging.read_tiff import TiffSource
from imaging.sources import PixelSource

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_DICOM, _DICOM_AT = b"DICM", 128

# TIFF slides whose vendor's layout OpenSlide knows; any other TIFF is read by its tags.
_SLIDE_VENDORS = ("aperio", "hamamatsu", "leica", "philips-tiff", "trestle", "ventana")


def open_source(path: Path, *, mask: bool = False) -> PixelSource:
    """Open a file with the reader for its format; no pixel is decoded.

    A TIFF that is a `mask` may hold numbers of any type, see `imaging.mask_source`.

    Raises
    ------
    UnsupportedFormatError
        When the first bytes are none of the accepted formats.
    UnreadableImageError
        When the file is missing, empty or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_DICOM_AT + len(_DICOM))
    except OSError as fault:
        raise UnreadableImageError(
            f"{path.name or path} cannot be read ({fault.strerror or fault}): give the path of an "
            "image."
        ) from fault
    if not head:
        raise UnreadableImageError(f"{path.name} is empty: copy or upload it again.")
    if head.startswith(_PNG):
        return PngSource(path)
    if head.startswith(_JPEG):
        return JpegSource(path)
    if head.startswith(_TIFF):
        return _tiff(path, mask)
    if head[_DICOM_AT:] == _DICOM:
        return OpenSlideSource(path)
    raise UnsupportedFormatError(
        f"{path.name} is not an image that can be measured: give a PNG, JPEG, TIFF, OME-TIFF, "
        "SVS or DICOM whole-slide image. Its first bytes decide, not its name."
    )


def _tiff(path: Path, mask: bool) -> PixelSource:
    if _vendor(path) in _SLIDE_VENDORS:
        return OpenSlideSource(path)
    source = TiffSource(path, any_number=mask)
    return source if source.info.dtype in (np.uint8, np.uint16) else MaskSource(source, path.name)


def _vendor(path: Path) -> str | None:
    """Return the slide vendor that OpenSlide recognises, or None."""
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:
        return None
    return vendor
