"""TIFF, OME-TIFF and ImageJ TIFF, read strip by strip or tile by tile."""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from imaging.errors import UnreadableImageError
from imaging.sources import DECODER_FAULTS, SourceInfo, full_scale_of
from imaging.tiff_layout import Layout, layout_of

_CACHE_BYTES = 128 * 2**20
# What the decoder only remarks upon: the directory of a page, or what it names, lies beyond the end
# of the file. It then reads as many pages as are left, and a section would lose channels.
_CUT_SHORT = re.compile(r"invalid (page|value) offset|corrupted")


class _Remarks(logging.Handler):
    """What tifffile's logger says in this thread while a file is opened."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        if record.thread == self._thread:
            self.texts.append(record.getMessage())

    def __enter__(self) -> _Remarks:
        logging.getLogger("tifffile").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tifffile").removeHandler(self)


class TiffSource:
    """One series of a TIFF file and its pyramid.

    Uncompressed pixels are mapped from the file; others are decoded by strip or tile, the last
    128 MiB of them kept.

    Parameters
    ----------
    path
        The file.
    any_number
        Whether pixels may be numbers of any type, as in masks.
    """

    def __init__(self, path: Path, *, any_number: bool = False) -> None:
        self._path = path
        self._any_number = any_number
        self._mapped: NDArray[Any] | None = None
        self._lock = threading.Lock()
        self._segments: OrderedDict[tuple[int, int, int], NDArray[Any]] = OrderedDict()
        self._cached_bytes = 0
        with _Remarks() as remarks:
            self._open(path)
        if any(_CUT_SHORT.search(text) for text in remarks.texts):
            self._tiff.close()
            raise self._damaged(ValueError(remarks.texts[0]))

    def _open(self, path: Path) -> None:
        try:
            # An OME-TIFF may name other files on this machine: never follow.
            self._tiff = tifffile.TiffFile(path, _multifile=False)
        except DECODER_FAULTS as fault:
            raise self._damaged(fault) from fault
        try:
            self._layout: Layout = layout_of(self._tiff, path.name, any_number=self._any_number)
            self.info: SourceInfo = self._layout.info
            page = self._layout.pages[0][0]
            self.decodes_whole = not page.is_tiled and page.rowsperstrip >= page.imagelength
        except UnreadableImageError:
            self._tiff.close()
            raise
        except DECODER_FAULTS as fault:
            self._tiff.close()
            raise self._damaged(fault) from fault

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, C [+ alpha]) pixels of a level."""
        mapped = self._map() if level == 0 else None
        if mapped is not None:
            pixels = np.array(mapped[y : y + height, x : x + width])
        else:
            try:
                planes = [
                    self._read_page(level, number, x, y, width, height)
                    for number in range(len(self._layout.pages[level]))
                ]
            except UnreadableImageError:
                raise
            except DECODER_FAULTS as fault:
                raise self._damaged(fault) from fault
            pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        if pixels.dtype == np.bool_:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        pixels = pixels.astype(self.info.dtype, copy=False)
        if self._layout.palette is not None:
            return np.asarray(self._layout.palette[pixels[..., 0]])
        if self._layout.inverted:
            return np.asarray(full_scale_of(self.info.dtype) - pixels).astype(self.info.dtype)
        return pixels[..., : self._layout.samples]

    def close(self) -> None:
        """Close the file."""
        self._segments.clear()
        self._mapped = None
        self._tiff.close()

    def _map(self) -> NDArray[Any] | None:
        """Return the largest level as a mapped (H, W, C) array where it lies uncompressed."""
        series = self._layout.series
        page = self._layout.pages[0][0]
        if series.dataoffset is None or not page.is_memmappable:
            return None
        with self._lock:
            if self._mapped is None:
                try:
                    mapped = np.memmap(
                        self._path,
                        dtype=np.dtype(page.dtype).newbyteorder(self._tiff.byteorder),
                        mode="r",
                        offset=series.dataoffset,
                        shape=series.shape,
                    )
                except DECODER_FAULTS as fault:
                    raise self._damaged(fault) from fault
                self._mapped = _channels_last(mapped, series.axes)
            return self._mapped

    def _read_page(
        self, level: int, number: int, x: int, y: int, width: int, height: int
    ) -> NDArray[Any]:
        """Return (height, width, samples) pixels of one page, from its strips or tiles."""
        page = self._layout.pages[level][number]
        segment_width, segment_height, planes = _segment_shape(page)
        across = -(-page.imagewidth // segment_width)
        down = -(-page.imagelength // segment_height)
        samples = page.samplesperpixel
        out = np.zeros((height, width, samples), dtype=page.dtype)
        for plane in range(planes):
            target = out[..., plane : plane + 1] if planes > 1 else out
            for row in range(y // segment_height, (y + height - 1) // segment_height + 1):
                for column in range(x // segment_width, (x + width - 1) // segment_width + 1):
                    index = (plane * down + row) * across + column
                    segment = self._segment(page, level, number, index)
                    left, top = column * segment_width, row * segment_height
                    x0, x1 = max(x, left), min(x + width, left + segment.shape[1])
                    y0, y1 = max(y, top), min(y + height, top + segment.shape[0])
                    target[y0 - y : y1 - y, x0 - x : x1 - x] = segment[
                        y0 - top : y1 - top, x0 - left : x1 - left
                    ]
        return out

    def _segment(self, page: Any, level: int, number: int, index: int) -> NDArray[Any]:
        """Return one decoded strip or tile as (H, W, samples)."""
        key = (level, number, index)
        with self._lock:
            if key in self._segments:
                self._segments.move_to_end(key)
                return self._segments[key]
            try:
                offset, count = page.dataoffsets[index], page.databytecounts[index]
                file = self._tiff.filehandle
                file.seek(offset)
                data = file.read(count) if count else None
            except DECODER_FAULTS as fault:
                raise self._damaged(fault) from fault
        if data is not None and len(data) != count:
            raise self._damaged("it ends before its last strip or tile")
        segment = self._decode(page, data, index)
        with self._lock:
            if key not in self._segments:
                self._segments[key] = segment
                self._cached_bytes += segment.nbytes
            while self._cached_bytes > _CACHE_BYTES and len(self._segments) > 1:
                _, old = self._segments.popitem(last=False)
                self._cached_bytes -= old.nbytes
        return segment

    def _decode(self, page: Any, data: bytes | None, index: int) -> NDArray[Any]:
        """Return the pixels of one encoded strip or tile; an absent one is zero."""
        try:
            decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
            if decoded is None:
                return np.zeros(shape[1:], dtype=page.dtype)
            segment: NDArray[Any] = decoded[0, : shape[1], : shape[2]]
        except DECODER_FAULTS as fault:
            raise self._damaged(fault) from fault
        return segment

    def _damaged(self, fault: object) -> UnreadableImageError:
        """Return the error for a file that does not decode."""
        return UnreadableImageError(
            f"{self._path.name} cannot be decoded as TIFF ({fault}): it is damaged, was cut "
            "short, or uses a compression that is not supported. Save it again, as 8- or 16-bit "
            "TIFF with no, LZW or deflate compression."
        )


def _segment_shape(page: Any) -> tuple[int, int, int]:
    """Return width and height of a strip or tile, and the number of separate planes."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    if page.is_tiled:
        return page.tilewidth, page.tilelength, planes
    return page.imagewidth, min(page.rowsperstrip, page.imagelength), planes


def _channels_last(stack: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return a view (H, W, C) of an array whose other axes have the length 1."""
    kept = [axis for axis, name in enumerate(axes) if name in "YXSC"]
    names = [axes[axis] for axis in kept]
    plain = stack.reshape([stack.shape[axis] for axis in kept])
    order = [names.index("Y"), names.index("X")]
    order += [axis for axis in range(len(names)) if axis not in order]
    moved = plain.transpose(order)
    return moved.reshape(*moved.shape[:2], -1)
