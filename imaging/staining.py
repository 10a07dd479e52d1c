"""Whether a brightfield section shows hematoxylin and DAB, and whether it lies flat."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.stains import StainVectors, separate

_MIN_STAINED_PX = 200
_STAINED_OD = 0.1
# Saturated pixels have no hue left.
_BLACK_OD = 2.0
# Hematoxylin runs from violet to a clear blue and DAB from reddish to yellowish brown, on the
# residual's positive side: published vectors reach this share of the stain's own amount.
_HEMATOXYLIN_SWING, _DAB_SWING = 0.6, 0.13

_FOLD_GRID_UM = 4.0
_FOLD_WIDTH_UM = 20.0
_FOLD_LENGTH_UM = 100.0
_FOLD_ELONGATION = 1.5
# Two layers absorb twice as much as one, in every colour alike, and less of it shows where glass
# has a density of its own. So chosen, 2 of 100 drawn sections and none of 20 published fields are
# thought folded (by brown blotches); of 40 drawn double layers 14 are found, the less pale ones.
_FOLD_GAIN, _FOLD_RISE_OD, _FOLD_HUE = 1.3, 0.03, 1.2
_LEAST_OD = 0.01


def unexplained_share(od: NDArray[np.float32], vectors: StainVectors) -> float | None:
    """Return the share of optical density that neither hematoxylin nor DAB explains.

    Parameters
    ----------
    od : ndarray, shape (N, 3)
        Optical densities of tissue pixels.
    vectors : StainVectors
        Hematoxylin and DAB.

    Returns
    -------
    float or None
        0 to 1; eosin and other reds lie on the residual's negative side and count fully. None
        where too few pixels are stained.
    """
    stained = od[(od.mean(axis=1) > _STAINED_OD) & (od.max(axis=1) < _BLACK_OD)]
    if len(stained) < _MIN_STAINED_PX:
        return None
    dab, hematoxylin, residual = separate(stained, vectors).T
    swing = _HEMATOXYLIN_SWING * np.maximum(hematoxylin, 0.0) + _DAB_SWING * np.maximum(dab, 0.0)
    unexplained = np.maximum(-residual, 0.0) + np.maximum(residual - swing, 0.0)
    total = float(np.linalg.norm(stained, axis=1).sum())
    return min(1.0, float(unexplained.sum()) / total)


def counterstain_od(od: NDArray[np.float32], vectors: StainVectors) -> float | None:
    """Return how far nuclei stand out in hematoxylin, in optical density.

    The 99.5th percentile of hematoxylin less its median, over pixels with no more DAB than most:
    a veil of hematoxylin without nuclei gives about 0. None where too few pixels are left.

    Parameters
    ----------
    od : ndarray, shape (N, 3)
        Optical densities of tissue pixels, of about 2 µm.
    vectors : StainVectors
        Hematoxylin and DAB.
    """
    if not len(od):
        return None
    dab, hematoxylin, _ = separate(od, vectors).T
    rest = hematoxylin[(dab < np.median(dab) + 0.05) & (od.max(axis=1) < _BLACK_OD)]
    if len(rest) < _MIN_STAINED_PX:
        return None
    middle, high = np.percentile(rest, (50.0, 99.5))
    return float(high - middle)


def fold_share(
    densities: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]], mpp_um: float
) -> float | None:
    """Return the share of tissue that lies upon itself.

    Bands wider than 20 µm and longer than 100 µm that absorb at least 1.3 times as much as the
    tissue's median, in all three colours alike, and by 0.03 more. Folds of pale tissue, whose
    double layer is no darker than that, are not seen.

    Parameters
    ----------
    densities : sequence of ndarray, shape (H, W, 3)
        Optical densities.
    masks : sequence of ndarray of bool, shape (H, W)
        Where each is tissue.
    mpp_um : float
        Their pixel size.
    """
    broad = [_opened(density, mpp_um) for density in densities]
    where = [_shrunk(mask, plane) for mask, plane in zip(masks, broad, strict=True)]
    tissue = sum(int(np.count_nonzero(mask)) for mask in where)
    if not tissue:
        return None
    middle = np.median(np.concatenate([b[m] for b, m in zip(broad, where, strict=True)]), axis=0)
    middle = np.maximum(middle, _LEAST_OD)
    grid_um = max(mpp_um, _FOLD_GRID_UM)
    folded = [_bands(_doubled(b, middle) & m, grid_um) for b, m in zip(broad, where, strict=True)]
    return sum(folded) / tissue


def _opened(density: NDArray[np.float32], mpp_um: float) -> NDArray[np.float32]:
    """Return optical density on a coarse grid without all that is narrower than a fold."""
    height, width = density.shape[:2]
    step = max(1.0, _FOLD_GRID_UM / mpp_um)
    size = max(1, round(width / step)), max(1, round(height / step))
    coarse = cv2.resize(np.maximum(density, 0.0), size, interpolation=cv2.INTER_AREA)
    side = max(1, round(_FOLD_WIDTH_UM / (mpp_um * step))) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(
        cv2.morphologyEx(coarse, cv2.MORPH_OPEN, disc, borderType=cv2.BORDER_REPLICATE),
        dtype=np.float32,
    )


def _shrunk(mask: NDArray[np.bool_], like: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask on the grid of another array."""
    size = like.shape[1], like.shape[0]
    return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)


def _doubled(density: NDArray[np.float32], middle: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where all colours are absorbed more than usual by the same factor."""
    gain = density / middle
    least, most = gain.min(axis=2), gain.max(axis=2)
    rise = (density - middle).min(axis=2)
    return np.asarray((least > _FOLD_GAIN) & (most < _FOLD_HUE * least) & (rise > _FOLD_RISE_OD))


def _bands(mask: NDArray[np.bool_], mpp_um: float) -> int:
    """Return how many pixels belong to long bands."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    # Beyond the frame a band goes on.
    padded = cv2.copyMakeBorder(closed, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    folded = 0
    for label in range(1, count):
        area = int(stats[label, cv2.CC_STAT_AREA])
        width = 2.0 * float(inside[labels == label].max())
        length_um = area / width * mpp_um
        if length_um >= max(_FOLD_LENGTH_UM, _FOLD_ELONGATION * width * mpp_um):
            folded += area
    return folded
