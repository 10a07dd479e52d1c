"""Which pixels of a block each region holds: kept as bits, drawn one region at a time.

R regions as bool (R, h, w) would outgrow everything else that measuring a block needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.masks import Key, held_in, window_of
from imaging.tiles import Window

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bits:
    """A mask (h, w) at an eighth of its size or less; slices give its pixels back.

    Attributes
    ----------
    packed
        Eight pixels to a byte, row by row, of `box`.
    box
        Where the set pixels lie; None where there are none.
    shape
        (h, w).
    """

    packed: npt.NDArray[np.uint8]
    box: Window | None
    shape: tuple[int, int]

    @classmethod
    def of(cls, mask: Bools) -> Bits:
        """Pack a mask (h, w)."""
        shape = mask.shape[0], mask.shape[1]
        held = held_in(mask)
        if held is None:
            return cls(np.empty((0, 0), np.uint8), None, shape)
        return cls(np.packbits(mask[held], axis=1), window_of(held, shape), shape)

    def __getitem__(self, key: Key) -> Bools:
        window = window_of(key, self.shape)
        if window is None:
            return np.zeros((0, 0), np.bool_)
        drawn = np.zeros((window.height, window.width), np.bool_)
        if self.box is None:
            return drawn
        rows, columns = _common(window, self.box)
        if rows.stop > rows.start and columns.stop > columns.start:
            packed = self.packed[rows.start - self.box.y : rows.stop - self.box.y]
            pixels = np.unpackbits(packed, axis=1, count=self.box.width).view(np.bool_)
            drawn[_moved(rows, window.y), _moved(columns, window.x)] = pixels[
                :, _moved(columns, self.box.x)
            ]
        return drawn

    def mask(self) -> Bools:
        """Return all pixels (h, w)."""
        return self[:, :]


def _common(one: Window, other: Window) -> Key:
    """Return the rows and columns of two windows."""
    return (
        slice(max(one.y, other.y), min(one.bottom, other.bottom)),
        slice(max(one.x, other.x), min(one.right, other.right)),
    )


def _moved(part: slice, origin: int) -> slice:
    return slice(part.start - origin, part.stop - origin)


@dataclass(frozen=True)
class Ownership:
    """What R regions, which may overlap, hold of a block; iterating draws each anew, (h, w)."""

    regions: tuple[Bits, ...]
    window: Key = (slice(None), slice(None))

    @classmethod
    def of(cls, masks: Iterable[Bools]) -> Ownership:
        """Pack the regions (h, w) one after another."""
        return cls(tuple(Bits.of(mask) for mask in masks))

    def crop(self, window: Key) -> Ownership:
        """Return the same regions seen through a window of the block."""
        return Ownership(self.regions, window)

    def __len__(self) -> int:
        return len(self.regions)

    def __iter__(self) -> Iterator[Bools]:
        return (region[self.window] for region in self.regions)

    def at(self, y: Ints, x: Ints) -> Bools:
        """Say which regions (n, R) hold each pixel (n,)."""
        held = np.empty((len(y), len(self)), np.bool_)
        for number, region in enumerate(self):
            held[:, number] = region[y, x]
        return held
