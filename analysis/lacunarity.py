"""Lacunarity: how unevenly vessels fill boxes of growing size.

Λ(r) = E[M²] / E[M]², M the vessel pixels in a box of side r that glides over every position where
it lies wholly in the region (Allain and Cloitre, Phys Rev A 44:3552, 1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.masks import held_in
from analysis.ownership import Ownership
from analysis.record import Lacunarity
from imaging.tiles import Tile

Bools = npt.NDArray[np.bool_]

BOXES_UM = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
# A box must be seen whole from the block where it begins: this bounds the halo.
MAX_BOX_PX = 1024
_MIN_BOXES = 100

NO_VESSEL = "the region holds no vessel"
NO_BOX = "no box size fits into the region a hundred times"


def boxes_px(mpp_um: float) -> tuple[int, ...]:
    """Return the side of each box in whole pixels.

    0 for one that is too small or too large, or as many pixels as the next.
    """
    sides = [round(box / mpp_um) for box in BOXES_UM]
    return tuple(
        side if 1 <= side <= MAX_BOX_PX and side != further else 0
        for side, further in zip(sides, [*sides[1:], 0], strict=True)
    )


@dataclass(frozen=True)
class LacunarityTally:
    """Boxes, their vessel pixels and the squares of these, by region and size (R, 7)."""

    boxes: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    square: npt.NDArray[np.float64]

    @classmethod
    def nothing(cls, regions: int) -> LacunarityTally:
        """Return the tally of a block that was not looked at."""
        return cls(*np.zeros((3, regions, len(BOXES_UM))))

    @staticmethod
    def merge(parts: Sequence[LacunarityTally]) -> LacunarityTally:
        """Add the tallies of disjoint blocks."""
        return LacunarityTally(
            *(sum(getattr(part, name) for part in parts) for name in ("boxes", "mass", "square"))
        )


def tally_lacunarity(
    mask: Bools, regions: Ownership | None, tile: Tile, shape: tuple[int, int], mpp_um: float
) -> LacunarityTally:
    """Tally the boxes whose first pixel lies in the block's core.

    Parameters
    ----------
    mask
        Vessels in the tile's outer window (h, w), which reaches the largest box's side beyond the
        core, or to the image's border.
    regions
        Regions over the outer window; None for one that is the whole image.
    tile, shape, mpp_um
        The block, (height, width) of the image, and the side of a pixel.
    """
    sides = boxes_px(mpp_um)
    if regions is None:
        return LacunarityTally(*_sums(mask, None, tile, shape, sides)[:, None])
    return LacunarityTally(
        *np.stack([_sums(mask, region, tile, shape, sides) for region in regions], axis=1)
    )


def _sums(
    mask: Bools, region: Bools | None, tile: Tile, shape: tuple[int, int], sides: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return boxes, mass and squares (3, 7) of one region."""
    sums = np.zeros((3, len(sides)))
    bounds = (
        (slice(0, mask.shape[0]), slice(0, mask.shape[1])) if region is None else held_in(region)
    )
    if bounds is None:
        return sums
    for size, side in enumerate(sides):
        starts = _starts(tile, shape, side, bounds)
        if starts is None:
            continue
        rows, columns = starts
        reach = (
            slice(rows.start, rows.stop + side - 1),
            slice(columns.start, columns.stop + side - 1),
        )
        held = mask[reach] if region is None else mask[reach] & region[reach]
        if region is None and not held.any():
            sums[0, size] = (rows.stop - rows.start) * (columns.stop - columns.start)
            continue
        mass = _box_sums(held, side)
        boxes = mass.size
        if region is not None:
            valid = (_box_sums(region[reach], side) == side * side).view(np.uint8)
            mass *= valid
            boxes = cv2.countNonZero(valid)
        sums[:, size] = boxes, cv2.sumElems(mass)[0], cv2.norm(mass, cv2.NORM_L2SQR)
    return sums


def _starts(
    tile: Tile, shape: tuple[int, int], side: int, bounds: tuple[slice, slice]
) -> tuple[slice, slice] | None:
    """Return where in the outer window the core's boxes begin that lie in `bounds`, if any do."""
    core, outer = tile.core, tile.outer
    top = max(core.y - outer.y, bounds[0].start)
    left = max(core.x - outer.x, bounds[1].start)
    bottom = min(min(core.bottom, shape[0] - side + 1) - outer.y, bounds[0].stop - side + 1)
    right = min(min(core.right, shape[1] - side + 1) - outer.x, bounds[1].stop - side + 1)
    if not side or bottom <= top or right <= left:
        return None
    return slice(top, bottom), slice(left, right)


def _box_sums(mask: Bools, side: int) -> npt.NDArray[np.int32]:
    """Return the set pixels in each box (h − side + 1, w − side + 1)."""
    sums = cv2.boxFilter(
        np.ascontiguousarray(mask).view(np.uint8), cv2.CV_32S, (side, side), anchor=(0, 0),
        normalize=False, borderType=cv2.BORDER_CONSTANT,
    )  # fmt: skip
    height, width = mask.shape
    # A view: OpenCV sums rows that lie apart in memory as well.
    return np.asarray(sums[: height - side + 1, : width - side + 1], np.int32)


def lacunarity_of(tally: LacunarityTally, region: int, mpp_um: float) -> tuple[Lacunarity, str]:
    """Return the lacunarity of one region, and why it is null where it is."""
    boxes, mass, square = (v[region] for v in (tally.boxes, tally.mass, tally.square))
    enough = (boxes >= _MIN_BOXES) & (mass > 0)
    value = tuple(
        float(square[k] * boxes[k] / mass[k] ** 2) if enough[k] else None
        for k in range(len(BOXES_UM))
    )
    if not enough.any():
        return Lacunarity(BOXES_UM, value), NO_BOX if (boxes < _MIN_BOXES).all() else NO_VESSEL
    known = np.array([v for v in value if v is not None])
    slope = None
    if len(known) > 1:
        sides = np.log(np.array(boxes_px(mpp_um))[enough] * mpp_um)
        slope = float(np.polyfit(sides, np.log(known), 1)[0])
    return Lacunarity(BOXES_UM, value, float(known.mean()), slope), ""
