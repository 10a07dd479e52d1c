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

from imaging.planes import NOISE_KERNEL, QUANTISATION_SD

Energy = NDArray[np.float32]

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
# Soft clouds are no sign of defocus where nothing else is seen: sharp edges may be faint, but soft
# ones have to stand out from quiet windows and from noise before they are called blurred.
_SOFT_PX, _MIN_SOFT_CONTRAST, _MIN_SOFT_NOISE = 2.0, 4.0, 3.0
# Narrow over wide slope energy is 16 in white noise and 6 in noise smoothed by one pixel. Without
# contrast, windows as grainy as the first number hold noise only; with contrast, the best windows
# of noisy fields with sharp specks reach 5.4, and bands of compressed noise 6.4 and more.
_NOISE_RATIO, _BEST_NOISE_RATIO = 4.5, 6.0
# Slope energy under the wide blur that rounding to whole grey levels makes.
_ROUNDING_ENERGY = QUANTISATION_SD**2 / (4.0 * math.pi * _WIDE_PX**4)


@dataclass(frozen=True, slots=True)
class Focus:
    """How sharp a plane is.

    Attributes
    ----------
    blur_px : float, optional
        Standard deviation of the blur of its edges in pixels, 0 to 8, optics included; None where
        no edges stand out, or only soft ones that clouds in the tissue make as well.
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
    specks of dust, do not count. Noise is taken off by what the quiet windows hold and by what the
    fine grain of the best ones exceeds theirs, as shot noise does around bright signals.

    Parameters
    ----------
    planes : sequence of ndarray, shape (H, W)
        Samples of the section.
    masks : sequence of ndarray of bool, shape (H, W)
        Where each sample is tissue.
    faintest : float
        Slope, in grey values per pixel, under which the best windows count as blank.
    """
    looks = [_look(plane, mask) for plane, mask in zip(planes, masks, strict=True)]
    narrow, wide, variance = (np.concatenate([look[k] for look in looks]) for k in range(3))
    if len(wide) < _MIN_WINDOWS:
        return Focus(None, None, blank=False)
    quiet = [float(np.percentile(energy, _QUIET_PERCENTILE)) for energy in (narrow, wide)]
    best = wide >= np.percentile(wide, _BEST_PERCENTILE)
    strongest = float(wide[best].mean())
    contrast = strongest / max(quiet[1], _ROUNDING_ENERGY)
    flat = contrast < _MIN_CONTRAST
    ratio = float(np.median(narrow)) / max(float(np.median(wide)), _ROUNDING_ENERGY)
    best_ratio = float(np.median(narrow[best] / np.maximum(wide[best], _ROUNDING_ENERGY)))
    faint = strongest <= max(faintest**2, 3.0 * _ROUNDING_ENERGY)
    if faint or best_ratio > _BEST_NOISE_RATIO or (flat and ratio > _NOISE_RATIO):
        return Focus(None, contrast, blank=True)
    if flat:
        return Focus(None, contrast, blank=False)
    extra = np.maximum(variance[best] - np.percentile(variance, _QUIET_PERCENTILE), 0.0)
    sharp = narrow[best] - quiet[0] - extra * _noise_energy(_NARROW_PX)
    soft = wide[best] - quiet[1] - extra * _noise_energy(_WIDE_PX)
    blur_px = _blur(float(np.median(sharp / np.maximum(soft, _ROUNDING_ENERGY))))
    least = _MIN_SOFT_NOISE * float(np.median(variance)) * _noise_energy(_WIDE_PX)
    unsure = contrast < _MIN_SOFT_CONTRAST or float(np.median(soft)) < least
    return Focus(None if unsure and blur_px > _SOFT_PX else blur_px, contrast, blank=False)


def _blur(ratio: float) -> float:
    """Return the blur in pixels that leaves a ratio of narrow to wide slope energy."""
    power = max(ratio, 0.0) ** (1.0 / _EXPONENT)
    if power <= 1.0:
        return MAX_BLUR_PX
    square = (_WIDE_PX**2 - power * _NARROW_PX**2) / (power - 1.0)
    return min(math.sqrt(max(square, 0.0)), MAX_BLUR_PX)


def _look(plane: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[Energy, Energy, Energy]:
    """Return, of each window of tissue, the slope energy under either blur and the noise's."""
    picture = np.ascontiguousarray(plane, dtype=np.float32)
    kept = _window_means(mask.astype(np.float32)) >= 0.5
    narrow, wide = (_slope_energy(picture, sigma)[kept] for sigma in (_NARROW_PX, _WIDE_PX))
    return narrow, wide, _noise_variance(picture)[kept]


def _slope_energy(plane: NDArray[np.float32], sigma_px: float) -> Energy:
    """Return the variance of the slope in each window; a ramp, as uneven light makes, has none."""
    smooth = cv2.GaussianBlur(plane, (0, 0), sigma_px)
    energy = np.zeros_like(_window_means(plane))
    for order in ((1, 0), (0, 1)):
        slope = np.asarray(
            cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=1, scale=0.5), dtype=np.float32
        )
        energy += _window_means(slope**2) - _window_means(slope) ** 2
    return np.maximum(energy, 0.0)


def _noise_variance(plane: NDArray[np.float32]) -> Energy:
    """Return the variance of white noise in each window, as `imaging.planes.estimate_noise`."""
    grain = np.abs(np.asarray(cv2.filter2D(plane, -1, NOISE_KERNEL)))
    rows, columns = _window_means(plane).shape
    if not rows:
        return np.zeros((0, 0), dtype=np.float32)
    # Every other row is enough for a median.
    half = _WINDOW_PX // 2
    windows = _inner(grain, rows, columns)[::2].reshape(rows, half, columns, _WINDOW_PX)
    middle = np.median(windows.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=2)
    return np.asarray((middle * (1.4826 / 6.0)) ** 2, dtype=np.float32)


def _noise_energy(sigma_px: float) -> float:
    """Return the slope energy that white noise of variance 1 has under a blur."""
    return 1.0 / (4.0 * math.pi * sigma_px**4)


def _window_means(plane: NDArray[np.float32]) -> Energy:
    """Return the mean over each window (rows, columns), a border left out."""
    rows, columns = ((size - 2 * _BORDER_PX) // _WINDOW_PX for size in plane.shape)
    if min(rows, columns) < 1:
        return np.zeros((0, 0), dtype=np.float32)
    whole = np.ascontiguousarray(_inner(plane, rows, columns))
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, dtype=np.float32).reshape(rows, columns)


def _inner(plane: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Return the part of a plane that the windows cover."""
    bottom, right = (_BORDER_PX + count * _WINDOW_PX for count in (rows, columns))
    return plane[_BORDER_PX:bottom, _BORDER_PX:right]
