"""How blurred the edges in a section are, told apart from how many there are and from noise.

A blur of known width is laid over the picture twice, once narrow and once wide. Where edges are
sharp, the wide one takes far more of their slope away than the narrow one; where they are soft
already, both leave about the same. The ratio of the slopes gives the blur that was there before
(after Zhuo and Sim, Pattern Recognit 44:1852, 2011). Noise and even texture are what the quiet
windows hold too, so what they hold is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.planes import QUANTISATION_SD

_NARROW_PX, _WIDE_PX = 1.0, 2.0
# Slope energy falls with (blur² + σ²)^½ across a step and with ^(3/2) across a thin line. Walls of
# vessels and rims of nuclei lie between: 0.75 returns the blur that was put in, within 0.5 px.
_EXPONENT = 0.75
MAX_BLUR_PX = 8.0

_WINDOW_PX = 32
_BORDER_PX = 4
_MIN_WINDOWS = 4
_QUIET_PERCENTILE, _BEST_PERCENTILE = 20.0, 90.0
# Windows of pure noise differ by a factor of 1.5 between these percentiles.
_MIN_CONTRAST = 2.0
# Narrow over wide slope energy is 16 in white noise and 6 in noise smoothed by one pixel; around
# edges, however sharp, it is below 3.
_NOISE_RATIO = 4.5
# Slope energy under the wide blur that rounding to whole grey levels makes.
_ROUNDING_ENERGY = QUANTISATION_SD**2 / (4.0 * math.pi * _WIDE_PX**4)


@dataclass(frozen=True, slots=True)
class Focus:
    """How sharp a plane is.

    Attributes
    ----------
    blur_px : float, optional
        Standard deviation of the blur of its edges in pixels, 0 to 8, optics included; None where
        no edges stand out.
    contrast : float, optional
        Slope energy of the best windows over that of the quiet ones; None in a field of fewer
        than four windows of 32 px.
    blank : bool
        Whether there is nothing but noise.
    """

    blur_px: float | None
    contrast: float | None
    blank: bool


def measure_focus(
    planes: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], faintest: float = 0.0
) -> Focus:
    """Measure the blur of one plane, a picture linear in light.

    The median over the tenth of the windows that hold the strongest edges: empty parts, and a few
    specks of dust, do not count.

    Parameters
    ----------
    planes : sequence of ndarray, shape (H, W)
        Samples of the section.
    masks : sequence of ndarray of bool, shape (H, W)
        Where each sample is tissue.
    faintest : float
        Slope, in grey values per pixel, under which the best windows count as blank.
    """
    pairs = [_slopes(plane, mask) for plane, mask in zip(planes, masks, strict=True)]
    narrow, wide = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    if len(wide) < _MIN_WINDOWS:
        return Focus(None, None, False)
    quiet = [float(np.percentile(energy, _QUIET_PERCENTILE)) for energy in (narrow, wide)]
    best = wide >= np.percentile(wide, _BEST_PERCENTILE)
    strongest = float(wide[best].mean())
    contrast = strongest / max(quiet[1], _ROUNDING_ENERGY)
    noisy = float(np.median(narrow)) > _NOISE_RATIO * float(np.median(wide))
    faint = strongest <= max(faintest**2, 3.0 * _ROUNDING_ENERGY)
    if faint or contrast < _MIN_CONTRAST:
        return Focus(None, contrast, faint or noisy)
    kept = narrow[best] - quiet[0], np.maximum(wide[best] - quiet[1], _ROUNDING_ENERGY)
    return Focus(_blur(float(np.median(kept[0] / kept[1]))), contrast, False)


def _blur(ratio: float) -> float:
    """Return the blur in pixels that leaves a ratio of narrow to wide slope energy."""
    power = max(ratio, 0.0) ** (1.0 / _EXPONENT)
    if power <= 1.0:
        return MAX_BLUR_PX
    square = (_WIDE_PX**2 - power * _NARROW_PX**2) / (power - 1.0)
    return min(math.sqrt(max(square, 0.0)), MAX_BLUR_PX)


def _slopes(
    plane: NDArray[Any], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the slope energy of each window of tissue under the narrow and the wide blur."""
    picture = np.ascontiguousarray(plane, dtype=np.float32)
    kept = _window_means(mask.astype(np.float32)) >= 0.5
    narrow, wide = (_slope_energy(picture, sigma)[kept] for sigma in (_NARROW_PX, _WIDE_PX))
    return narrow, wide


def _slope_energy(plane: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Return the variance of the slope in each window; a ramp, as uneven light makes, has none."""
    smooth = cv2.GaussianBlur(plane, (0, 0), sigma_px)
    energy = np.zeros_like(_window_means(plane))
    for order in ((1, 0), (0, 1)):
        slope = np.asarray(
            cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=1, scale=0.5), dtype=np.float32
        )
        energy += _window_means(slope**2) - _window_means(slope) ** 2
    return np.maximum(energy, 0.0)


def _window_means(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over each window (rows, columns), a border left out."""
    inner = plane[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX]
    rows, columns = (size // _WINDOW_PX for size in inner.shape)
    if min(rows, columns) < 1:
        return np.zeros((0, 0), dtype=np.float32)
    whole = np.ascontiguousarray(inner[: rows * _WINDOW_PX, : columns * _WINDOW_PX])
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, dtype=np.float32).reshape(rows, columns)
