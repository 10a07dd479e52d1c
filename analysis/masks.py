"""Masks of a section that are read window by window and never held whole.

Letters: K targets stored, H, W pixels of the model's grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from imaging.tiles import Window

Key: TypeAlias = tuple[slice, slice]


class MaskLike(Protocol):
    """Anything of two dimensions that gives a bool array for ``[y0:y1, x0:x1]``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (H, W)."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return the window's pixels."""
        ...


class TissueLike(Protocol):
    """The part of `imaging.tissue.Tissue` that measuring needs."""

    @property
    def fraction(self) -> float:
        """Return the share of the frame that is tissue."""
        ...

    def read(self, x: int, y: int, width: int, height: int, mpp_um: float) -> npt.NDArray[np.bool_]:
        """Return the window's tissue at `mpp_um`."""
        ...


@dataclass(frozen=True)
class ProbabilityStore:
    """Probabilities of one section on disk, uint8 (K, H, W) in one ``.npy`` file.

    The file is mapped anew for every access, so that pages already used leave the process's
    memory, and the store can be sent to another process.
    """

    path: Path
    targets: tuple[str, ...]
    height_px: int
    width_px: int

    @classmethod
    def create(
        cls, path: Path, targets: tuple[str, ...], height_px: int, width_px: int
    ) -> ProbabilityStore:
        """Make an empty store; the file system leaves unwritten parts unallocated."""
        shape = (len(targets), height_px, width_px)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        return cls(path, targets, height_px, width_px)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (K, H, W)."""
        return len(self.targets), self.height_px, self.width_px

    def open(self) -> npt.NDArray[np.uint8]:
        """Return the whole store as a read-only memory map, uint8 (K, H, W)."""
        array: npt.NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
        return array

    def write(self, target: str, window: Window, values: npt.NDArray[np.uint8]) -> None:
        """Store one window, uint8 (height, width), of `target`."""
        array = np.lib.format.open_memmap(self.path, mode="r+")
        array[(self.targets.index(target), *window.slices())] = values

    def layer(self, target: str) -> ProbabilityLayer:
        """Return the map of one target, sliceable as an array (H, W)."""
        return ProbabilityLayer(self, self.targets.index(target))


@dataclass(frozen=True)
class ProbabilityLayer:
    """One target's probabilities, uint8 (H, W), copied from disk window by window."""

    store: ProbabilityStore
    index: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.store.height_px, self.store.width_px

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        return np.array(self.store.open()[self.index][key])


@dataclass(frozen=True)
class ThresholdMask:
    """Where a probability reaches `level`, bool (H, W): bytes are compared, not floats."""

    layer: ProbabilityLayer
    level: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.layer.shape

    def __getitem__(self, key: Any) -> npt.NDArray[np.bool_]:
        return np.asarray(self.layer[key] >= self.level)


@dataclass(frozen=True)
class TissueMask:
    """Ω on the model's grid, bool (H, W), read window by window."""

    tissue: TissueLike
    height_px: int
    width_px: int
    mpp_um: float

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.height_px, self.width_px

    def __getitem__(self, key: Key) -> npt.NDArray[np.bool_]:
        window = window_of(key, self.shape)
        if window is None:
            return np.zeros((0, 0), np.bool_)
        return self.tissue.read(window.x, window.y, window.width, window.height, self.mpp_um)


def window_of(key: Key, shape: tuple[int, int]) -> Window | None:
    """Return the window that a pair of slices names in an array (H, W); None if it is empty."""
    (y0, y1, y_step), (x0, x1, x_step) = (s.indices(n) for s, n in zip(key, shape, strict=True))
    if y_step != 1 or x_step != 1:
        raise IndexError("masks are read in windows: slices have a step of 1")
    return Window(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def held_in(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the rows and columns between which the set pixels of `mask` (h, w) lie, if any."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def counts_between(
    mask: npt.NDArray[np.bool_], rows: npt.NDArray[Any], columns: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Count the set pixels of `mask` (H, W) in each cell (n, m) of a grid.

    `rows` (n,) and `columns` (m,) are the first row and column of the cells, in rising order; the
    last cells reach to the end.
    """
    summed = cv2.integral(mask.view(np.uint8), sdepth=cv2.CV_32S)
    y, x = np.append(rows, mask.shape[0]), np.append(columns, mask.shape[1])
    corners = summed[np.ix_(y, x)].astype(np.int64)
    return np.asarray(np.diff(np.diff(corners, axis=0), axis=1))


Intensity: TypeAlias = Callable[[Window], npt.NDArray[np.float32]]
"""Raw marker intensity of a window of the model's grid, float32 (height, width)."""
