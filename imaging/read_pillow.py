"""PNG and JPEG, decoded whole on the first read.

Pillow's plugins are called by name, never `PIL.Image.open`: nothing but these two formats is tried,
and the size is checked against our own limit before a pixel is decoded.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin, PngImagePlugin

from imaging.errors import UnreadableImageError
from imaging.sources import DECODER_FAULTS, Alpha, SourceInfo, default_names

_PNG_SIGNATURE_BYTES = 8
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_GREY, _PNG_RGB, _PNG_PALETTE, _PNG_GREY_ALPHA, _PNG_RGBA = 0, 2, 3, 4, 6


class PngSource:
    """A PNG file: grey, RGB or palette, 8 or 16 bit, with or without opacity."""

    decodes_whole = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pixels: NDArray[Any] | None = None
        with path.open("rb") as file:
            width, height, bits, self._kind, transparent = _png_header(file, path.name)
        self._sixteen_bit = bits == 16
        colour = self._kind in (_PNG_RGB, _PNG_PALETTE, _PNG_RGBA)
        # A transparent colour of a grey or RGB image (tRNS) marks nothing on a section.
        has_alpha = self._kind in (_PNG_GREY_ALPHA, _PNG_RGBA) or (
            self._kind == _PNG_PALETTE and transparent
        )
        alpha: Alpha | None = "straight" if has_alpha else None
        self.info = SourceInfo(
            levels=((width, height),),
            colour=colour,
            channel_names=default_names(3 if colour else 1, colour),
            dtype=np.dtype(np.uint16 if self._sixteen_bit else np.uint8),
            alpha=alpha,
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, C [+ alpha]) pixels; the file is decoded on the first call."""
        del level  # a PNG has one
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
        return self._pixels[y : y + height, x : x + width]

    def close(self) -> None:
        """Let the pixels go; the file is not kept open."""
        self._pixels = None

    def _decode(self) -> NDArray[Any]:
        channels = len(self.info.channel_names) + (self.info.alpha is not None)
        try:
            data = _critical_chunks(self._path)
            if self._sixteen_bit:
                # Pillow would round 16-bit colours to 8 bit.
                pixels = np.asarray(imagecodecs.png_decode(data))
            else:
                mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
                with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
                    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        except DECODER_FAULTS as fault:
            raise _damaged(self._path.name, "PNG", fault) from fault
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., :channels]
        width, height = self.info.levels[0]
        if pixels.shape != (height, width, channels) or pixels.dtype != self.info.dtype:
            raise _damaged(self._path.name, "PNG", "its pixels do not fit its header")
        return pixels


class JpegSource:
    """A JPEG file: grey or colour. Pixels are taken as stored; EXIF orientation is ignored."""

    decodes_whole = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pixels: NDArray[Any] | None = None
        try:
            with path.open("rb") as file, JpegImagePlugin.JpegImageFile(file) as image:
                size, mode = image.size, image.mode
        except DECODER_FAULTS as fault:
            raise _damaged(path.name, "JPEG", fault) from fault
        if mode not in ("L", "RGB"):
            raise UnreadableImageError(
                f"{path.name} is a {mode} JPEG, made for printing: save the scan as RGB."
            )
        colour = mode == "RGB"
        self.info = SourceInfo(
            levels=(size,),
            colour=colour,
            channel_names=default_names(3 if colour else 1, colour),
            dtype=np.dtype(np.uint8),
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, C) pixels; the file is decoded on the first call."""
        del level  # a JPEG has one
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
        return self._pixels[y : y + height, x : x + width]

    def close(self) -> None:
        """Let the pixels go; the file is not kept open."""
        self._pixels = None

    def _decode(self) -> NDArray[Any]:
        try:
            with (
                self._path.open("rb") as file,
                JpegImagePlugin.JpegImageFile(file) as image,
            ):
                pixels = np.asarray(image)
        except DECODER_FAULTS as fault:
            raise _damaged(self._path.name, "JPEG", fault) from fault
        return pixels[..., None] if pixels.ndim == 2 else pixels


def _critical_chunks(path: Path) -> bytes:
    """Return a PNG reduced to what makes its pixels, every checksum verified.

    Pillow checks no checksum of pixels, and metadata may expand to gigabytes.

    Raises
    ------
    ValueError
        When a checksum is wrong or the end is missing.
    """
    data = path.read_bytes()
    kept = [data[:_PNG_SIGNATURE_BYTES]]
    at = _PNG_SIGNATURE_BYTES
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + length + 12
        if end > len(data):
            raise ValueError("it ends inside its pixels")
        if kind in _PNG_KEPT:
            if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(
                data[end - 4 : end]
            ):
                raise ValueError(f"the checksum of its {kind.decode()} chunk is wrong")
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end


def _png_header(file: BinaryIO, name: str) -> tuple[int, int, int, int, bool]:
    """Return width, height, bits, colour type and whether a palette has opacity.

    Only the chunks before the first pixels are walked, and none is decompressed.
    """
    file.seek(_PNG_SIGNATURE_BYTES)
    width = height = bits = kind = 0
    transparent = False
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise _damaged(name, "PNG", "it ends before its first pixel")
        length, chunk = struct.unpack(">I4s", head)
        if chunk == b"IHDR":
            body = file.read(length)
            if len(body) != 13:
                raise _damaged(name, "PNG", "its header is not of 13 bytes")
            width, height, bits, kind = struct.unpack(">IIBB", body[:10])
            file.seek(4, 1)
            continue
        if chunk == b"acTL":
            raise UnreadableImageError(
                f"{name} is an animated PNG: save the one frame to measure as a still image."
            )
        if chunk in (b"IDAT", b"IEND"):
            break
        transparent = transparent or chunk == b"tRNS"
        file.seek(length + 4, 1)
    known = (_PNG_GREY, _PNG_RGB, _PNG_PALETTE, _PNG_GREY_ALPHA, _PNG_RGBA)
    if width < 1 or height < 1 or kind not in known or bits not in (1, 2, 4, 8, 16):
        raise _damaged(name, "PNG", f"its header claims {width} × {height} px at {bits} bit")
    return width, height, bits, kind, transparent


def _damaged(name: str, kind: str, fault: object) -> UnreadableImageError:
    """Return the error for a file that does not decode."""
    return UnreadableImageError(
        f"{name} cannot be decoded as {kind} ({fault}): it is damaged or was cut short. "
        "Export or copy it again."
    )
