"""Exact distances to the background at chosen pixels.

A skeleton asks for the distance at about one pixel in thirty: the half of a distance transform
that looks along the rows need not be done for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Radii:
    """How far the pixels of a mask lie from the background, none further than `furthest_px`.

    Attributes
    ----------
    in_column
        Distance of every pixel (H, W) to the background in its own column, in whole pixels; the
        largest number of the type where that lies further off than `furthest_px`, or nowhere.
    furthest_px
        Given for pixels that lie further off.
    """

    in_column: npt.NDArray[np.unsignedinteger]
    furthest_px: int

    @classmethod
    def of(cls, mask: Bools, furthest_px: float) -> Radii:
        """Look along the columns of `mask` (H, W), beyond whose border nothing is known."""
        furthest = int(np.ceil(min(furthest_px, np.hypot(*mask.shape))))
        kind = np.uint8 if furthest < 128 else np.uint16
        # Two looks n px up and down find what is within n more: reaches of 1, 3, 7, 15 … px.
        distance = np.negative(mask.astype(kind))
        beyond = np.empty_like(distance)
        step = 1
        while step <= furthest:
            np.add(distance, kind(step), out=beyond)
            np.maximum(beyond, distance, out=beyond)  # the largest number stays the largest
            np.minimum(distance[step:], beyond[:-step], out=distance[step:])
            np.minimum(distance[:-step], beyond[step:], out=distance[:-step])
            step *= 2
        return cls(distance, furthest)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) of the mask."""
        height, width = self.in_column.shape
        return height, width

    def at(self, y: Ints, x: Ints) -> Floats:
        """Return the Euclidean distance (n,) of the pixels (y, x) to the background, in px."""
        width = self.shape[1]
        flat = self.in_column.reshape(-1)
        row = y * width
        found = np.minimum(flat[row + x].astype(np.int64), self.furthest_px) ** 2
        left, nearest = np.arange(len(y)), found
        for step in range(1, self.furthest_px + 1):
            further = nearest > step * step
            if not further.all():
                left, nearest, row, x = left[further], nearest[further], row[further], x[further]
            if not len(left):
                break
            # A column beyond the border is looked up at the border, which was nearer.
            for column in (np.maximum(x - step, 0), np.minimum(x + step, width - 1)):
                there = flat[row + column].astype(np.int64)
                np.minimum(nearest, there * there + step * step, out=nearest)
            found[left] = nearest
        root: Floats = np.sqrt(found.astype(np.float32))
        return root
