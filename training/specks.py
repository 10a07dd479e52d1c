"""Strew bright specks over a fluorescence tile, beside which its vessels look faint.

Precipitate of the dye, blood cells and lipofuscin glow several times as brightly as vessels. An
image is scaled by its brightest parts, so that where there are many of them everything else is
darker than in any other image.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SIZES_PX = (0.7, 1.2, 2.0, 3.0)  # standard deviations of a speck's profile
_COUNT = (0.3, 2.3)  # decimal logarithm, of the smallest in a tile of 256 px
_TILE_AREA = 256**2
_DIMMED = (0.25, 0.8)
_PEAKS = (60.0, 400.0)  # of 255, before all are dimmed alike
_CLUSTER_PX = 6


def specked(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return marker channels (H, W, 3) with a dimmer marker, among specks as bright as it was.

    Half of the sizes come in clusters.
    """
    marker = image[..., 0].astype(np.float32) * rng.uniform(*_DIMMED)
    height, width = marker.shape
    strewn = np.zeros_like(marker)
    for sigma in _SIZES_PX:
        count = 10 ** rng.uniform(*_COUNT) / sigma * height * width / _TILE_AREA
        spots = rng.uniform((0, 0), (height, width), (int(np.ceil(count)), 2))
        if rng.random() < 0.5:
            spots = np.concatenate([spots, *(spots + _scatter(rng, len(spots)) for _ in range(2))])
        rows, columns = np.clip(spots, 0, (height - 1, width - 1)).astype(int).T
        dots = np.zeros_like(marker)
        dots[rows, columns] = rng.uniform(*_PEAKS, len(spots))
        # A blurred dot is as high at its peak as the dot was.
        strewn = np.maximum(strewn, cv2.GaussianBlur(dots, (0, 0), sigma) * 2 * np.pi * sigma**2)
    changed = image.copy()
    bright = np.maximum(marker, strewn * rng.uniform(0.4, 1.0))
    changed[..., 0] = np.clip(np.rint(bright), 0, 255).astype(np.uint8)
    return changed


def _scatter(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    return rng.uniform(-_CLUSTER_PX, _CLUSTER_PX, (count, 2))
