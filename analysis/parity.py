"""What other programs would report of the same mask: to compare with the literature.

Each number is computed as that program defines it, on the skeleton that this one draws; they are
no better for standing here. AngioTool: Zudaire et al., PLOS ONE 6:e27385, 2011. REAVER: Corliss et
al., Microcirculation 27:e12618, 2020. Q-VAT: Callewaert et al., Front Cardiovasc Med, 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from analysis.skeleton import Skeleton
from imaging.tiles import Window

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

BIN_PX = 0.05


@dataclass(frozen=True)
class ParityTally:
    """What the other definitions need beyond our own, by region.

    Attributes
    ----------
    outline
        Corners (n, 2), (x, y), among which those of the vessels' convex hull are.
    radii
        Skeleton pixels (R, B) by distance to the background, bins of `BIN_PX`.
    """

    outline: tuple[npt.NDArray[np.float32], ...]
    radii: Ints

    @classmethod
    def nothing(cls, regions: int) -> ParityTally:
        """Return the tally of a block that was not looked at."""
        return cls((np.empty((0, 2), np.float32),) * regions, np.zeros((regions, 1), np.int64))

    @staticmethod
    def merge(parts: Sequence[ParityTally]) -> ParityTally:
        """Add the tallies of disjoint blocks."""
        corners = zip(*(part.outline for part in parts), strict=True)
        return ParityTally(
            tuple(np.concatenate(found) for found in corners),
            sum((part.radii for part in parts[1:]), parts[0].radii),
        )


def tally_parity(
    vessels: Iterable[Bools],
    core: Window,
    skeleton: Skeleton,
    members: Bools,
    owned: Ints,
    max_radius_px: float,
) -> ParityTally:
    """Tally one block.

    Parameters
    ----------
    vessels
        The vessels (h, w) of the core in each region.
    core
        Where the block lies.
    skeleton
        Of the block's window.
    members
        Which regions (n, R) hold each of the `owned` pixels.
    owned
        Skeleton pixels of the core.
    max_radius_px
        Above this no vessel has a skeleton.
    """
    bins = int(np.ceil(2.0 * max_radius_px / BIN_PX)) + 1
    at = np.minimum((skeleton.radius[owned] / BIN_PX + 0.5).astype(np.int64), bins - 1)
    radii = [np.bincount(at[member], minlength=bins) for member in members.T]
    return ParityTally(
        tuple(_corners(mask, core) for mask in vessels), np.stack(radii).astype(np.int64)
    )


def _corners(mask: Bools, core: Window) -> npt.NDArray[np.float32]:
    """Return corners of the outermost pixels of each row: the hull's are among them."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.empty((0, 2), np.float32)
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    x = np.concatenate([left, left, right, right]) + core.x
    y = np.concatenate([rows, rows + 1, rows, rows + 1]) + core.y
    hull = cv2.convexHull(np.stack([x, y], axis=1).astype(np.float32))
    return np.asarray(hull.reshape(-1, 2), np.float32)


@dataclass(frozen=True)
class OwnSums:
    """Our own sums of one region, in pixels and thousandths of a pixel, that parity builds on."""

    region_px: int
    vessel_px: int
    length: int
    branchpoints: int
    segments: int
    mean_radius: int
    swept_area: int


def parity_of(tally: ParityTally, region: int, own: OwnSums, mpp_um: float) -> dict[str, Any]:
    """Return what each program would report; None where it would divide by zero."""
    corners, radii = tally.outline[region], tally.radii[region]
    hull_px = float(cv2.contourArea(cv2.convexHull(corners))) if len(corners) > 2 else 0.0
    mm2, mm = mpp_um**2 * 1e-6, mpp_um * 1e-3
    skeleton_px = int(radii.sum())
    area_mm2 = own.region_px * mm2
    return {
        "angiotool": {
            "explant_area_mm2": hull_px * mm2,
            "vessels_percentage_area": _ratio(100.0 * own.vessel_px, hull_px),
            "junctions_density_per_mm2": _ratio(own.branchpoints, hull_px * mm2),
            "total_vessels_length_mm": own.length * mm / 1000.0,
            "vessel_diameter_um": 2 * _median(radii) * mpp_um if skeleton_px else None,
        },
        "reaver": {
            "vessel_area_fraction": _ratio(own.vessel_px, own.region_px),
            "vessel_length_density_mm_per_mm2": _ratio(skeleton_px * mm, area_mm2),
            "mean_segment_diameter_um": _mean_diameter(own, mpp_um),
            "branchpoint_count": own.branchpoints,
        },
        "qvat": {
            "vascular_density": _ratio(2 * own.swept_area / 1000.0, own.region_px),
        },
    }


def _mean_diameter(own: OwnSums, mpp_um: float) -> float | None:
    """Return the mean over segments, long or short, of 2 · mean distance + 1 px."""
    mean = _ratio(own.mean_radius / 1000.0, own.segments)
    return None if mean is None else (2 * mean + 1) * mpp_um


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _median(histogram: Ints) -> float:
    total = np.cumsum(histogram)
    return float(np.searchsorted(total, total[-1] / 2.0)) * BIN_PX
