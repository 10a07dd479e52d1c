"""Masks of any number type, read as bytes of 0 and 255."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.errors import MaskValuesError
from imaging.read_tiff import TiffSource
from imaging.sources import SourceInfo

_MOST_SHOWN = 5

# Of what fills the whole frame, these and the type's own white are a mask; else it is a grey.
_FILLS = (1, 255)


def is_fill(value: float, white: int) -> bool:
    """Tell whether a value that all of a file has makes it a mask of everything."""
    return value in _FILLS or value == white


class MaskSource:
    """A TIFF mask whose numbers are floats, signed or wider than 16 bit, as NumPy users save them.

    0 and one positive value are a mask, in whatever windows they are read. Bytes and 16-bit numbers
    need no such care: they are read as they are.
    """

    def __init__(self, source: TiffSource, name: str) -> None:
        self._source = source
        self._name = name
        self._lock = threading.Lock()
        self._value: float | int | None = None
        dtype = source.info.dtype
        self._white = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
        self.decodes_whole = source.decodes_whole
        self.info: SourceInfo = dataclasses.replace(source.info, dtype=np.dtype(np.uint8))

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, C) pixels of a level, 0 and 255.

        Raises
        ------
        MaskValuesError
            When another value than 0 and the one positive value seen so far is found.
        """
        pixels = self._source.read(level, x, y, width, height)
        values = np.unique(pixels[pixels != 0])  # NaN is not 0
        with self._lock:
            if self._value is None and len(values):
                self._value = values[0].item()
            known = self._value
        # A value that is no number equals nothing, itself included.
        if not all(value == known and 0 < value < np.inf for value in values.tolist()):
            found = np.unique([*([] if known is None else [known]), *values.tolist()])
            shown = ", ".join(f"{value:g}" for value in [0, *found.tolist()][:_MOST_SHOWN])
            more = " …" if len(found) >= _MOST_SHOWN else ""
            raise MaskValuesError(
                f"{self._name} is no binary mask: it holds the values {shown}{more}; save it with "
                "0 outside and 255 inside"
            )
        return np.where(pixels != 0, np.uint8(255), np.uint8(0))

    @property
    def numbers(self) -> tuple[float | int, int] | None:
        """Return the positive value that was read, if any, and the type's own white."""
        return None if self._value is None else (self._value, self._white)

    def close(self) -> None:
        """Close the file."""
        self._source.close()
