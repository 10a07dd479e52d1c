"""Resampling with one fixed geometry, however a grid is cut into regions.

Pixel i of a grid has its centre at (i + 0.5)·scale − 0.5 pixels of the level below it, always;
a region reads a margin as wide as the filter, and beyond the image its border pixels repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.sources import full_scale_of

# Catmull-Rom, widened by the scale when shrinking; reaches two pixels to each side.
_FILTER = Image.Resampling.BICUBIC
_REACH_PX = 2.0

ReadBox = Callable[[int, int, int, int], NDArray[Any]]


def resample(
    read: ReadBox,
    size: tuple[int, int],
    scale: tuple[float, float],
    box: tuple[int, int, int, int],
) -> NDArray[Any]:
    """Return one region of a grid.

    Parameters
    ----------
    read : callable
        Returns (height, width, C) pixels for a box (x, y, width, height) inside the level.
    size : (int, int)
        Width and height of the level.
    scale : (float, float)
        Pixels of the level per pixel of the grid, in x and y.
    box : (int, int, int, int)
        x, y, width and height on the grid.

    Returns
    -------
    ndarray, shape (height, width, C)
        In the number type of the level.
    """
    x, y, width, height = box
    left, before_x, first_x, stop_x, after_x = _span(x, width, scale[0], size[0])
    top, before_y, first_y, stop_y, after_y = _span(y, height, scale[1], size[1])
    pixels = read(first_x, first_y, stop_x - first_x, stop_y - first_y)
    if before_x or after_x or before_y or after_y:
        margins = ((before_y, after_y), (before_x, after_x), (0, 0))
        pixels = np.pad(pixels, margins, mode="edge")
    source = (left, top, left + width * scale[0], top + height * scale[1])
    return _resize(pixels, (width, height), source)


def _span(start: int, count: int, scale: float, size: int) -> tuple[float, int, int, int, int]:
    """Return how one axis of a region is read.

    The start of the region in the padded array, pixels repeated before, first and stop pixel
    read, pixels repeated after.
    """
    margin = math.ceil(_REACH_PX * max(scale, 1.0)) + 1
    first = math.floor(start * scale) - margin
    stop = math.ceil((start + count) * scale) + margin
    first_read, stop_read = min(max(first, 0), size - 1), max(min(stop, size), 1)
    return start * scale - first, first_read - first, first_read, stop_read, stop - stop_read


def _resize(
    pixels: NDArray[Any], size: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[Any]:
    """Return pixels (H, W, C) resized from a box of fractional coordinates.

    In floating point: on 8 bit, Pillow rounds between its two passes, and regions cut differently
    then differ by two grey levels.
    """
    limit = float(full_scale_of(pixels.dtype))
    resized = np.empty((size[1], size[0], pixels.shape[2]), dtype=pixels.dtype)
    for channel in range(pixels.shape[2]):
        plane = Image.fromarray(pixels[..., channel].astype(np.float32))
        values = np.asarray(plane.resize(size, _FILTER, box))
        resized[..., channel] = np.clip(np.rint(values), 0.0, limit)
    return resized
