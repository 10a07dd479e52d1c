"""Which windows of a large section are looked at, so that memory does not grow with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from imaging.open import SectionImage
    from imaging.tissue import Tissue

_SAMPLE_PX = 256
_SAMPLE_COUNT = 64
_RIM_UM = 20.0


def tissue_samples(
    image: SectionImage, tissue: Tissue | None, mpp_um: float
) -> tuple[list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Return windows spread evenly over the tissue, and where they are tissue."""
    grid_um = max(image.mpp_um, mpp_um)
    width, height = image.size_at(grid_um)
    boxes = _sample_boxes(width, height)
    tiles, masks = [], []
    if tissue is not None:
        kept = [box for box in boxes if tissue.read(*box, grid_um).mean() >= 0.25]
        kept = kept or [box for box in boxes if tissue.read(*box, grid_um).any()]
        boxes = kept or boxes
    step = max(1, math.ceil(len(boxes) / _SAMPLE_COUNT))
    for box in boxes[::step]:
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


def _sample_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return boxes (x, y, width, height): the whole of a small section, else an even lattice."""
    if width * height <= _SAMPLE_COUNT * _SAMPLE_PX**2:
        return [(0, 0, width, height)]
    columns, rows = (min(size // _SAMPLE_PX or 1, 24) for size in (width, height))
    box_width, box_height = min(_SAMPLE_PX, width), min(_SAMPLE_PX, height)
    xs = np.linspace(0, width - box_width, columns).round().astype(int)
    ys = np.linspace(0, height - box_height, rows).round().astype(int)
    return [(int(x), int(y), box_width, box_height) for y in ys for x in xs]
