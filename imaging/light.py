"""Whether a camera's scale was exceeded, and whether light or background is even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
# Lenses darken corners by the square of the distance from the axis or steeper; at its fourth power
# the middle is flat, and a bowl alone reads half of the fall.
_FALLS = (2, 4)
# Corners are what a vignette is about: windows on a side of 16 come near enough to them.
_FINEST_SIDE_PX = 1024
# Tissue brightens here and there; a fall of light explains most of what the background does.
_EXPLAINED = 0.7
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


def vignetting_od(levels: Levels, *, envelope: bool) -> float | None:
    """Return how much less light the corners of a frame get than its middle, in optical density.

    Parameters
    ----------
    levels : Levels
        Optical density of the background, or what falls with its light by as much.
    envelope : bool
        Whether tissue only ever darkens, so that the lightest windows tell (brightfield). Where it
        glows, a fall counts that explains most of the background's change.

    Returns
    -------
    float, optional
        The mean of the four corners, so that a tilt counts nothing; 0 where they are not darker,
        None for scattered samples and for fewer than nine windows.
    """
    if levels.positions is None or len(levels.values) < _MIN_WINDOWS:
        return None
    share = _ENVELOPE if envelope else 0.5
    fits = [_fitted(levels, power, share) for power in (_FALLS if envelope else _FALLS[:1])]
    best = min(fits, key=lambda fit: fit.loss)
    told = envelope or best.explained >= _EXPLAINED
    return max(best.corner, 0.0) if told else 0.0


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
    *,
    fine: bool = False,
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
    fine : bool
        Whether windows are small in larger fields, too.
    """
    shortest = min(min(plane.shape) for plane in planes)
    small = shortest < (_FINEST_SIDE_PX if fine else 3 * _WINDOW_PX)
    side = _SMALL_WINDOW_PX if small else _WINDOW_PX
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
) -> tuple[float, float | None] | None:
    """Return how the background of a fluorescence plane changes, None where that can't be told.

    Its range over the frame as a share of its median, and what its corners lose against its middle
    in optical density (see `vignetting_od`). Both are unknown where the field is too small, or the
    background drowns in noise of the SD given.
    """
    seen = levels(planes, masks, _DARK_PERCENTILE)
    spread = seen.spread()
    if spread is None or spread[0] < _MIN_BACKGROUND_SD * max(noise_sd, 1.0):
        return None
    light = replace(seen, values=-np.log10(np.maximum(seen.values, 1.0)))
    return spread[1] / spread[0], vignetting_od(light, envelope=False)


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
    """Return a tilt and a bowl that lie under the values."""
    return _fitted(Levels(values, positions), 2, _ENVELOPE).values


@dataclass(frozen=True, slots=True)
class _Fit:
    """A tilt and a bowl: their values, what they leave over, and the bowl at the four corners."""

    values: NDArray[np.float64]
    loss: float
    explained: float
    corner: float


def _fitted(levels: Levels, power: int, above: float) -> _Fit:
    """Fit a tilt and a bowl of a power of the distance, with a weight for what lies above it.

    This is expectile regression; with a weight of a half, least squares.
    """
    values, positions = levels.values, levels.positions
    assert positions is not None
    distance = np.sqrt((positions**2).sum(axis=1))
    terms = np.stack([np.ones(len(values)), *positions.T, distance**power], axis=1)
    weights = np.ones(len(values))
    fitted, solved = values, np.zeros(4)
    for _ in range(_FITS):
        root = np.sqrt(weights)
        solved, *_ = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)
        fitted = terms @ solved
        weights = np.where(values > fitted, above, 1.0 - above)
    left = (values - fitted) ** 2
    whole = float(((values - values.mean()) ** 2).sum())
    return _Fit(
        np.asarray(fitted),
        float((weights * left).sum()),
        1.0 - float(left.sum()) / whole if whole > 0 else 0.0,
        float(solved[3]) * 2.0 ** (power / 2),
    )
