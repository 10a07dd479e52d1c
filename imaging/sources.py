"""What every reader offers: levels of pixels behind one lazy interface."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

# A PNG, a JPEG or a compressed strip has to be decoded whole; at 3 bytes a pixel this is 1.5 GiB.
WHOLE_DECODE_LIMIT_PX = 2**29

# What decoders raise on damaged data besides their own errors; imagecodecs' are RuntimeErrors.
DECODER_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    EOFError,
    SyntaxError,  # Pillow, on a broken PNG
    MemoryError,
    struct.error,
)

Alpha = Literal["straight", "premultiplied", "ignored"]


@dataclass(frozen=True, slots=True)
class FileCalibration:
    """The pixel size that a file states.

    Attributes
    ----------
    x_um, y_um : float
        Width and height of a pixel in µm.
    origin : str
        Where the file says so, for messages.
    """

    x_um: float
    y_um: float
    origin: str


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of an image before any pixel is decoded.

    Attributes
    ----------
    levels : tuple of (width, height)
        The image and its smaller copies, in pixels, largest first.
    colour : bool
        Whether the first three channels are red, green and blue.
    channel_names : tuple of str
        Names from the file, or red, green, blue; one per channel, alpha left out.
    dtype : numpy dtype
        uint8 or uint16.
    alpha : str, optional
        How a last, further plane of opacity is to be applied; None where there is none.
    calibration : FileCalibration, optional
        Pixel size of the largest level.
    white_is_zero : bool
        Whether the file stores dark as high values, which are read as what they look like.
    """

    levels: tuple[tuple[int, int], ...]
    colour: bool
    channel_names: tuple[str, ...]
    dtype: np.dtype[Any]
    alpha: Alpha | None = None
    calibration: FileCalibration | None = None
    white_is_zero: bool = False


class PixelSource(Protocol):
    """An open file; reads are safe from several threads."""

    info: SourceInfo

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Return (height, width, C [+ alpha]) pixels of a level; the box lies inside it."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def default_names(count: int, colour: bool) -> tuple[str, ...]:
    """Return names for channels that the file does not name."""
    if colour and count == 3:
        return ("red", "green", "blue")
    return tuple(f"channel {index}" for index in range(count))


def full_scale_of(dtype: np.dtype[Any]) -> int:
    """Return the greatest grey value of a number type."""
    return int(np.iinfo(dtype).max)
