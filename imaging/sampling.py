"""Which windows of a large section are looked at, so that memory does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from imaging.open import SectionImage
    from imaging.tissue import Tissue

Box = tuple[int, int, int, int]

_RIM_UM = 20.0


@dataclass(frozen=True, slots=True)
class Lattice:
    """How windows are spread over a section.

    Attributes
    ----------
    side_px
        Side of a window; that of the section where it is smaller.
    most_across
        Most windows in a row or column before those off the tissue are left out.
    most
        Most windows that are kept, evenly.
    least_tissue
        Share of a window that has to be tissue. Where no window reaches it the next share counts,
        and all windows where none reaches the last.
    """

    side_px: int
    most_across: int
    most: int
    least_tissue: Sequence[float]


# Where a quarter of no window is tissue, any of it will do.
_SAMPLES = Lattice(side_px=256, most_across=24, most=64, least_tissue=(0.25, 1e-9))


def spread_boxes(
    size_px: tuple[int, int], tissue: Tissue | None, mpp_um: float, lattice: Lattice
) -> list[Box]:
    """Return windows (x, y, width, height) of a grid, spread evenly over the tissue.

    Parameters
    ----------
    size_px
        Width and height of the grid.
    tissue
        Ω; every window counts without it.
    mpp_um
        Pixel size of the grid.
    lattice
        How many windows, how large, and how much of each has to be tissue.
    """
    sides = [min(lattice.side_px, size) for size in size_px]
    xs, ys = (
        np.linspace(0, size - side, min(size // side, lattice.most_across)).round().astype(int)
        for size, side in zip(size_px, sides, strict=True)
    )
    boxes = [(int(x), int(y), sides[0], sides[1]) for y in ys for x in xs]
    if tissue is not None:
        shares = [float(tissue.read(*box, mpp_um).mean()) for box in boxes]
        for least in lattice.least_tissue:
            kept = [box for box, share in zip(boxes, shares, strict=True) if share >= least]
            if kept:
                boxes = kept
                break
    return boxes[:: max(1, math.ceil(len(boxes) / lattice.most))]


def tissue_samples(
    image: SectionImage, tissue: Tissue | None, mpp_um: float
) -> tuple[list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Return the whole of a small section or windows over its tissue, and where they are tissue."""
    grid_um = max(image.mpp_um, mpp_um)
    width, height = image.size_at(grid_um)
    whole = width * height <= _SAMPLES.most * _SAMPLES.side_px**2
    boxes = (
        [(0, 0, width, height)]
        if whole
        else spread_boxes((width, height), tissue, grid_um, _SAMPLES)
    )
    tiles, masks = [], []
    for box in boxes:
        tiles.append(image.read_region(*box, grid_um))
        masks.append(
            np.ones((box[3], box[2]), dtype=bool)
            if tissue is None
            else _inner(tissue.read(*box, grid_um), grid_um)
        )
    if not any(mask.any() for mask in masks):
        masks = [np.ones_like(mask) for mask in masks]
    return tiles, masks


def _inner(mask: NDArray[np.bool_], mpp_um: float) -> NDArray[np.bool_]:
    """Return tissue without its rim, where the glass's darkness would set the low percentile."""
    side = 2 * max(1, round(_RIM_UM / mpp_um)) + 1
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), dtype=np.uint8)) > 0
    return np.asarray(inner) if inner.any() else mask
