"""Whether a camera's scale was exceeded, and whether light or background is even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A camera of fewer bits than the file ends below full scale: the last value is then held by many
# more pixels than its neighbours. Ten times as many never happens without (5 at most, 100 fields).
_PILE_UP = 10.0
_PILE_UP_REACH = 0.02
_TOP_OF_SCALE = 0.75
_MIN_PILE_UP_SHARE = 1e-4

_WINDOW_PX, _SMALL_WINDOW_PX = 128, 64
_MIN_WINDOWS = 9
# Expectiles this low follow the lightest windows and ignore those that hold darker tissue.
_ENVELOPE = 0.02
_FITS = 20
# Background of fluorescence lies between signals, which may cover half of a window. Where it is
# less than four times noise or rounding, its level tells of them.
_DARK_PERCENTILE = 25.0
_MIN_BACKGROUND_SD = 4.0
_CORRELATED_PX = 200_000


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of the background, window by window.

    Attributes
    ----------
    values : ndarray, shape (N,)
        Background level of each window.
    positions : ndarray, shape (N, 2), optional
        Centre of each window, −1 to 1 across the frame; None where the windows are scattered
        samples of a large section.
    """

    values: NDArray[np.float64]
    positions: NDArray[np.float64] | None

    def spread(self) -> tuple[float, float] | None:
        """Return middle and 5th-to-95th-percentile range of the background over the frame.

        Of a tilt and a bowl fitted to the lower envelope of the levels where their positions are
        known, of the levels themselves otherwise; None for fewer than nine windows.
        """
        if len(self.values) < _MIN_WINDOWS:
            return None
        fitted = self.values if self.positions is None else _envelope(self.values, self.positions)
        low, middle, high = np.percentile(fitted, (5.0, 50.0, 95.0))
        return float(middle), float(high - low)


def clipped_brightfield(
    tiles: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], full_scale: int
) -> float:
    """Return the share of tissue pixels with a colour at 0, or all three at full scale."""
    clipped = total = 0
    for tile, mask in zip(tiles, masks, strict=True):
        # Plane by plane: NumPy takes ten times as long along an axis of three.
        least = reduce(np.minimum, (tile[..., plane] for plane in range(tile.shape[2])))
        beyond = (least >= full_scale) | (least == 0)
        clipped += int(np.count_nonzero(beyond & mask))
        total += int(np.count_nonzero(mask))
    return clipped / max(total, 1)


def clipped_fluorescence(
    planes: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], full_scale: int
) -> float:
    """Return the share of tissue pixels at full scale, or at the level where the camera ended."""
    kept = [plane[mask] for plane, mask in zip(planes, masks, strict=True)]
    values = np.concatenate(kept)
    greatest = int(values.max()) if values.size else 0
    if greatest == 0:
        return 0.0
    counts = np.bincount(values)
    lowest = int(_TOP_OF_SCALE * greatest)
    level = lowest + int(np.argmax(counts[lowest:]))
    reach = max(3, int(_PILE_UP_REACH * greatest))
    beside = np.concatenate([counts[max(0, level - reach) : level], counts[level + 1 :][:reach]])
    beside = beside[beside > 0]
    share = float(counts[level:].sum()) / values.size
    # All pixels at one value below full scale are a blank frame, not a saturated one.
    piled = beside.size and counts[level] > _PILE_UP * beside.mean() and share > _MIN_PILE_UP_SHARE
    if piled:
        return share
    return float(counts[full_scale:].sum()) / values.size


def levels(
    planes: Sequence[NDArray[np.float32]],
    masks: Sequence[NDArray[np.bool_]] | None,
    percentile: float,
) -> Levels:
    """Return the background level of each window of the samples.

    Parameters
    ----------
    planes : sequence of ndarray, shape (H, W)
        A plane that is lowest where the preparation is empty.
    masks : sequence of ndarray of bool, shape (H, W), optional
        Only windows that are nearly all tissue count; all of them if absent.
    percentile : float
        Which percentile of a window is its background.
    """
    shortest = min(min(plane.shape) for plane in planes)
    side = _SMALL_WINDOW_PX if shortest < 3 * _WINDOW_PX else _WINDOW_PX
    if len(planes) > 1:
        # Scattered samples are not fitted, so that each is one window, as wide as it is.
        side = shortest
    values, positions = [], []
    for index, plane in enumerate(planes):
        height, width = plane.shape
        for top in range(0, height - side + 1, side):
            for left in range(0, width - side + 1, side):
                # Every other row and column is enough for a percentile.
                window = np.s_[top : top + side : 2, left : left + side : 2]
                if masks is not None and masks[index][window].mean() < 0.9:
                    continue
                values.append(float(np.percentile(plane[window], percentile)))
                centre = (left + side / 2) / width, (top + side / 2) / height
                positions.append((2 * centre[0] - 1, 2 * centre[1] - 1))
    where = np.asarray(positions, dtype=np.float64) if len(planes) == 1 else None
    return Levels(np.asarray(values, dtype=np.float64), where)


def uneven_background(
    planes: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], noise_sd: float
) -> float | None:
    """Return how much the background of a fluorescence plane changes, as a share of its median.

    None where the field is too small, or the background drowns in noise of the SD given.
    """
    spread = levels(planes, masks, _DARK_PERCENTILE).spread()
    if spread is None or spread[0] < _MIN_BACKGROUND_SD * max(noise_sd, 1.0):
        return None
    return spread[1] / spread[0]


def correlation(
    first: Sequence[NDArray[Any]],
    second: Sequence[NDArray[Any]],
    masks: Sequence[NDArray[np.bool_]],
) -> float:
    """Return the correlation of two planes over tissue, 0 where one of them is constant."""
    values = [
        np.concatenate([plane[mask] for plane, mask in zip(planes, masks, strict=True)])
        for planes in (first, second)
    ]
    step = max(1, len(values[0]) // _CORRELATED_PX)
    a, b = (part[::step].astype(np.float64) for part in values)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _envelope(values: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a tilt and a bowl that lie under the values (expectile regression)."""
    columns = [np.ones(len(values)), *positions.T, (positions**2).sum(axis=1)]
    terms = np.stack(columns, axis=1)
    weights = np.ones(len(values))
    fitted = values
    for _ in range(_FITS):
        root = np.sqrt(weights)
        solved, *_ = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)
        fitted = terms @ solved
        weights = np.where(values > fitted, _ENVELOPE, 1.0 - _ENVELOPE)
    return np.asarray(fitted)
