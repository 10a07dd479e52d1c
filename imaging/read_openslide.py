"""Whole slides that OpenSlide reads: SVS and its kin, DICOM whole-slide images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray

from imaging.calibration import openslide_calibration
from imaging.errors import UnreadableImageError
from imaging.sources import SourceInfo, default_names

_BLOCK_PX = 512
_CACHED_BLOCKS = 64  # of 1 MiB


class OpenSlideSource:
    """A slide with its pyramid; transparent parts, which were not scanned, are composited."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as fault:
            raise UnreadableImageError(
                f"{path.name} cannot be opened as a slide ({_reason(fault, path)}): "
                "export it again, as a brightfield RGB slide of 8 bit, or as a TIFF."
            ) from fault
        self._downsamples = self._slide.level_downsamples
        self.info = SourceInfo(
            levels=tuple((int(w), int(h)) for w, h in self._slide.level_dimensions),
            colour=True,
            channel_names=default_names(3, True),
            dtype=np.dtype(np.uint8),
            alpha="straight",
            calibration=openslide_calibration(self._slide.properties),
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, 4) pixels of a level."""
        if level == 0:
            return self._read_slide(0, x, y, width, height)
        # OpenSlide takes positions on the largest level, so a smaller one is hit between pixels
        # when its scale is not whole. Reading fixed blocks makes that shift the same each time.
        out = np.empty((height, width, 4), dtype=np.uint8)
        for row in range(y // _BLOCK_PX, (y + height - 1) // _BLOCK_PX + 1):
            for column in range(x // _BLOCK_PX, (x + width - 1) // _BLOCK_PX + 1):
                left, top = column * _BLOCK_PX, row * _BLOCK_PX
                block = self._block(level, column, row)
                x0, x1 = max(x, left), min(x + width, left + block.shape[1])
                y0, y1 = max(y, top), min(y + height, top + block.shape[0])
                out[y0 - y : y1 - y, x0 - x : x1 - x] = block[
                    y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return out

    def close(self) -> None:
        """Close the slide."""
        self._blocks.clear()
        self._slide.close()

    def _block(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one block of a level's fixed lattice."""
        key = (level, column, row)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        level_width, level_height = self.info.levels[level]
        left, top = column * _BLOCK_PX, row * _BLOCK_PX
        width, height = min(_BLOCK_PX, level_width - left), min(_BLOCK_PX, level_height - top)
        block = self._read_slide(level, left, top, width, height)
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _read_slide(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        scale = self._downsamples[level]
        try:
            location = (round(x * scale), round(y * scale))
            region = self._slide.read_region(location, level, (width, height))
        except openslide.OpenSlideError as fault:
            raise UnreadableImageError(
                f"{self._path.name} cannot be decoded at ({x}, {y}) of level {level} "
                f"({_reason(fault, self._path)}): it is damaged or was cut "
                "short. Export or copy it again."
            ) from fault
        return np.asarray(region)


def _reason(fault: openslide.OpenSlideError, path: Path) -> str:
    """Return OpenSlide's words without the folder, which is no business of a remote reader."""
    return str(fault).replace(str(path), path.name).removeprefix(f"Reading {path.name}: ")
