"""Where a slide is empty, seen on an overview: flat, as bright or dark as the slide gets, large.

A plane here is "darkness of the preparation": optical density in brightfield, grey value in
fluorescence; glass lies at its low end in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_GLASS_MM2 = 0.05
# Between the vessels of a dark field there is no disc of this radius without a vessel, since
# capillaries of the cortex lie about 50 µm apart; on glass there is.
_CLEAR_RADIUS_UM = 40.0
_FLAT_WINDOW_PX = 7
_SMOOTH_SIGMA_PX = 2.0
# Across this belt beside unscanned fill, windows see both it and glass.
_SEAM_PX = 9
# Along a circle a share of 0.22 runs within 10° of rows and columns.
_STRAIGHT_SHARE = 0.6
# Local deviation of noise alone, over a window of 49 pixels, stays under 1.4 times its SD.
_FLAT_SD = 2.0
# The tissue's edge is a step of this many tolerances between two belts beside it; uneven light
# rises by less over their distance.
_EDGE_STEP = 0.8
_EDGE_NEAR_UM, _EDGE_FAR_UM = 10.0, 50.0


@dataclass(frozen=True, slots=True)
class GlassRule:
    """What counts as glass on one kind of plane.

    Attributes
    ----------
    tolerance : float
        Distance from the level of glass, in units of the plane; with `tolerance_sd`, the larger.
    tolerance_sd : float
        The same in SD of the noise.
    quietest_sd : float
        Deviation that is always flat: rounding and compression.
    loudest_sd : float
        Deviation that is never flat.
    fill_gap : float
        How far the level of glass may lie from that of fields which were not scanned.
    """

    tolerance: float
    tolerance_sd: float
    quietest_sd: float
    loudest_sd: float = math.inf
    fill_gap: float = math.inf


# 0.02 OD by definition; a texture of 0.012 OD at 2 µm is pale tissue, not glass.
BRIGHTFIELD = GlassRule(
    tolerance=0.02, tolerance_sd=0.0, quietest_sd=0.003, loudest_sd=0.012, fill_gap=0.08
)


def fluorescence_rule(grey_level: float) -> GlassRule:
    """Return the rule for planes whose smallest step is `grey_level`."""
    return GlassRule(tolerance=grey_level, tolerance_sd=3.0, quietest_sd=0.5 * grey_level)


def find_glass(
    planes: list[NDArray[Any]], rule: GlassRule, mpp_um: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the slide is empty.

    Scanners and stitching programs fill the fields that were not scanned with pure white or
    black; where such a fill, bounded by straight lines, is found, glass is looked for beside it.

    Parameters
    ----------
    planes : list of ndarray, shape (H, W)
        Planes that are all at their lowest on glass.
    rule : GlassRule
        What is flat and near enough.
    mpp_um : float
        Pixel size of the planes.

    Returns
    -------
    glass, fill : ndarray of bool, shape (H, W)
        Areas of at least 0.05 mm² that reach the border, all False where there is none; and the
        part of them that was not scanned.
    """
    shape = planes[0].shape
    min_px = math.ceil(MIN_GLASS_MM2 * 1e6 / mpp_um**2)
    none = np.zeros(shape, dtype=bool)
    if shape[0] * shape[1] < min_px:
        return none, none
    view = _View([np.ascontiguousarray(plane, dtype=np.float32) for plane in planes])
    fill = view.fill(rule)
    if not _rectilinear(fill):
        return _proven(view, none, ~none, rule, mpp_um, min_px), none
    scanned = cv2.erode((~fill).astype(np.uint8), _disc(_SEAM_PX)).astype(bool)
    glass = none
    if int(scanned.sum()) >= min_px:
        glass = _proven(view, fill, scanned, rule, mpp_um, min_px)
    if not glass.any():
        glass = _large_border_areas(_roomy(fill, mpp_um), min_px)
    return glass, glass & fill


class _View:
    """The planes of an overview with what is derived from each once."""

    def __init__(self, planes: list[NDArray[np.float32]]) -> None:
        self.planes = planes
        self.smooth = [
            np.asarray(cv2.GaussianBlur(plane, (0, 0), _SMOOTH_SIGMA_PX), dtype=np.float32)
            for plane in planes
        ]
        self.sd = [_local_sd(plane) for plane in planes]
        # The lowest pixels in all planes together, each plane on the scale of its own range.
        self.rank = np.sum([_unit_range(plane) for plane in self.smooth], axis=0)

    def fill(self, rule: GlassRule) -> NDArray[np.bool_]:
        """Return where all planes are constant at 0, pure white or black."""
        constant, faint = [], []
        for plane, sd in zip(self.planes, self.sd, strict=True):
            constant.append((np.abs(plane) < 1e-6) & (sd < 1e-6))
            faint.append(np.abs(plane) <= rule.quietest_sd)
        sure = np.all(constant, axis=0)
        # Lossy compression leaks into the fill along its seams.
        near = cv2.dilate(sure.astype(np.uint8), _disc(3 * _SEAM_PX)) > 0
        return np.asarray(sure | (near & np.all(faint, axis=0)))


def _proven(
    view: _View,
    fill: NDArray[np.bool_],
    scanned: NDArray[np.bool_],
    rule: GlassRule,
    mpp_um: float,
    min_px: int,
) -> NDArray[np.bool_]:
    """Return the glass at the lowest level of what was scanned, if its edge is a step."""
    calm = scanned & np.all([sd <= rule.loudest_sd for sd in view.sd], axis=0)
    if int(calm.sum()) < min_px:
        return np.zeros_like(fill)
    seed = calm & (view.rank <= np.partition(view.rank[calm], min_px - 1)[min_px - 1])
    quiet = np.ones(fill.shape, dtype=bool)
    steps = []
    for plane, smooth, deviation in zip(view.planes, view.smooth, view.sd, strict=True):
        base, noise = float(np.median(plane[seed])), _noise(plane, seed)
        if fill.any() and base > rule.fill_gap:
            return np.zeros_like(fill)
        reach = max(rule.tolerance, rule.tolerance_sd * noise)
        flat_sd = min(max(_FLAT_SD * noise, rule.quietest_sd), rule.loudest_sd)
        quiet &= (smooth <= base + reach) & (deviation <= flat_sd)
        steps.append((smooth, base + reach, _EDGE_STEP * reach))
    level = np.all([smooth <= limit for smooth, limit, _ in steps], axis=0)
    quiet |= fill | (~scanned & level)
    glass = _large_border_areas(_roomy(quiet, mpp_um), min_px)
    # The windows that judge flatness stop short of the tissue by their own width.
    glass = _grown(glass, level)
    if glass.all() or any(_edge_step(smooth, glass, mpp_um) >= need for smooth, _, need in steps):
        return glass
    return np.zeros_like(fill)


def _unit_range(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a plane scaled by its percentiles 0.1 and 99."""
    low, high = np.percentile(plane, (0.1, 99.0))
    return np.asarray((plane - low) / max(float(high - low), 1e-6), dtype=np.float32)


def _noise(plane: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return the noise SD of a part of a plane, by Immerkær's difference of Laplacians."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    response = np.abs(cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT))[where]
    return 1.4826 * float(np.median(response)) / 6.0


def _local_sd(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation around each pixel."""
    centred = plane.astype(np.float64) - float(plane.mean())
    size = (_FLAT_WINDOW_PX, _FLAT_WINDOW_PX)
    mean = cv2.blur(centred, size, borderType=cv2.BORDER_REFLECT)
    square = cv2.blur(centred * centred, size, borderType=cv2.BORDER_REFLECT)
    return np.sqrt(np.maximum(square - mean * mean, 0.0)).astype(np.float32)


def _roomy(quiet: NDArray[np.bool_], mpp_um: float) -> NDArray[np.bool_]:
    """Return the part of a mask that a disc of the clear radius covers, and what adjoins it."""
    # Specks of dust do not end the glass.
    closed = cv2.morphologyEx(quiet.astype(np.uint8), cv2.MORPH_CLOSE, _disc(4.0 / mpp_um))
    radius_px = _CLEAR_RADIUS_UM / mpp_um
    # Beyond the border the glass goes on: the frame cuts it, it does not end it.
    pad = math.ceil(radius_px) + 2
    padded = cv2.copyMakeBorder(closed, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if not (padded == 0).any():
        return np.ones_like(quiet)
    core = (inside > radius_px).astype(np.uint8)
    if not core.any():
        return np.zeros_like(quiet)
    beyond = cv2.distanceTransform(1 - core, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    covered = (beyond <= radius_px * 1.5) & (padded > 0)
    return np.asarray(covered[pad:-pad, pad:-pad])


def _rectilinear(fill: NDArray[np.bool_]) -> bool:
    """Return whether an area ends mostly along rows and columns, as unscanned fields do.

    Glass that saturates the camera is as constant, but ends where the tissue begins.
    """
    blurred = cv2.GaussianBlur(fill.astype(np.float32), (0, 0), 2 * _SMOOTH_SIGMA_PX)
    dx, dy = (cv2.Sobel(blurred, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    steepness = np.hypot(dx, dy)
    edge = steepness > 0.5 * max(float(steepness.max()), 1e-6)
    if not edge.any():
        return False
    off_axis = np.minimum(np.abs(dx[edge]), np.abs(dy[edge])) / steepness[edge]
    return float((off_axis < math.sin(math.radians(10.0))).mean()) > _STRAIGHT_SHARE


def _grown(glass: NDArray[np.bool_], level: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return glass grown by the reach of the flatness window, where the level is that of glass."""
    near = cv2.dilate(glass.astype(np.uint8), _disc(_FLAT_WINDOW_PX // 2 + 2 * _SMOOTH_SIGMA_PX))
    return np.asarray(glass | ((near > 0) & level))


def _large_border_areas(mask: NDArray[np.bool_], min_px: int) -> NDArray[np.bool_]:
    """Return the 8-connected areas of at least `min_px` pixels that touch the border."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= min_px
    kept[0] = False
    at_border = np.zeros(len(stats), dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_border[np.unique(edge)] = True
    return np.asarray((kept & at_border)[labels])


def _edge_step(smooth: NDArray[np.float32], glass: NDArray[np.bool_], mpp_um: float) -> float:
    """Return how much higher a plane is just outside the glass than just inside."""
    medians = []
    for side in (glass, ~glass):
        away = cv2.distanceTransform((~side).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        belt = (away * mpp_um > _EDGE_NEAR_UM) & (away * mpp_um <= _EDGE_FAR_UM)
        if not belt.any():
            return -math.inf
        medians.append(float(np.median(smooth[belt])))
    return medians[0] - medians[1]


def _disc(radius_px: float) -> NDArray[np.uint8]:
    """Return a round structuring element."""
    size = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
