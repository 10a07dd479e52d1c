"""Where the density of the tissue at large probably lies, of which a section shows a piece.

The region is cut into blocks of about equal area; leaving each out in turn shows how much the
density, a ratio of sums, depends on where the tissue was looked at (the delete-one jackknife of the
logarithm of a ratio, with Student's t). Vessels that lie in groups fall into neighbouring blocks
together, so that blocks differ less than stretches of tissue do: what neighbours share widens the
interval. It is not the error of segmentation, nor the spread between sections or animals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.quadrats import QuadratGrid, QuadratSums

Ints = npt.NDArray[np.int64]

METHOD = "delete-one-block jackknife of the log ratio of sums, widened by what neighbours share, t"
THRESHOLD_SHIFT = 0.05
BLOCK_MM2 = 0.25
LEAST_BLOCK_MM2 = 0.04
LEAST_BLOCKS = 6

NOTHING = "nothing was counted, so the logarithm of the density has no interval"
ONE_BLOCK = "nearly all that was counted lies in one block"
# An interval that reaches over more than this factor to either side says nothing but that.
_WIDEST = 10.0


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of the value at `path`; both ends are None where `reason` says why."""

    path: str
    low: float | None = None
    high: float | None = None
    reason: str = ""


def intervals(
    values: Mapping[str, float | None],
    sums: Mapping[str, QuadratSums],
    area: QuadratSums,
    region: int,
    grid: QuadratGrid,
    mpp_um: float,
) -> tuple[Interval, ...]:
    """Return the interval of each density of one region.

    Parameters
    ----------
    values
        The densities by path; one that is None has no interval.
    sums
        Their numerators, in any unit, by the same paths.
    area
        Pixels of the regions.
    region, grid, mpp_um
        The region's number, the quadrats, and the side of a pixel.
    """
    cut = Blocks.of(area, region, grid, mpp_um)
    if cut is None:
        least = LEAST_BLOCKS * LEAST_BLOCK_MM2
        reason = f"an interval needs {LEAST_BLOCKS} blocks of tissue, that is {least:g} mm²"
        return tuple(Interval(path, reason=reason) for path in sums)
    below = cut.sums(area)
    found = []
    for path, sum_ in sums.items():
        value = values[path]
        low, high, reason = None, None, NOTHING
        if value:
            low, high, reason = _scaled(value, cut.sums(sum_), below, cut.neighbours)
            if high is not None and path.endswith("area_fraction"):
                high = min(high, 1.0)  # the logarithm knows no upper end
        found.append(Interval(path, low, high, reason))
    return tuple(found)


@dataclass(frozen=True)
class Blocks:
    """One region's quadrats, put together to blocks.

    Attributes
    ----------
    region
        Number of the region.
    quadrat, block
        Its quadrats (Q,), and the block of each.
    count
        Number of blocks.
    neighbours
        Pairs (P, 2) of blocks that share an edge of a quadrat.
    """

    region: int
    quadrat: Ints
    block: Ints
    count: int
    neighbours: Ints

    @classmethod
    def of(cls, area: QuadratSums, region: int, grid: QuadratGrid, mpp_um: float) -> Blocks | None:
        """Cut a region, given its pixels by quadrat; None where it is too small."""
        held = area.value[:, region] > 0
        quadrat, pixels = area.quadrat[held], area.value[held, region]
        count = block_count(float(pixels.sum()) * mpp_um**2 * 1e-6)
        if not count:
            return None
        row, column = np.divmod(quadrat, grid.columns)
        block = blocks(row, column, pixels, count)
        return cls(region, quadrat, block, count, neighbours(row, column, block))

    def sums(self, of: QuadratSums) -> npt.NDArray[np.float64]:
        """Return what lies in each block (n,)."""
        weight = of.at(self.quadrat, self.region).astype(np.float64)
        return np.bincount(self.block, weight, minlength=self.count).astype(np.float64)


def block_count(area_mm2: float) -> int:
    """Return into how many blocks a region is cut; 0 where it is too small for an interval."""
    count = math.floor(area_mm2 / BLOCK_MM2 + 1e-9)
    if count >= LEAST_BLOCKS:
        return count
    fits = math.floor(area_mm2 / LEAST_BLOCK_MM2 + 1e-9)
    return LEAST_BLOCKS if fits >= LEAST_BLOCKS else 0


def blocks(row: Ints, column: Ints, weight: Ints, count: int) -> Ints:
    """Put quadrats (Q,) together to `count` compact blocks of about equal weight; their numbers.

    The set is halved across its longer side, and each half again, so that blocks are connected as
    far as the region is.
    """
    block = np.zeros(len(row), np.int64)
    waiting = [(np.arange(len(row)), 0, count)]
    while waiting:
        chosen, first, parts = waiting.pop()
        block[chosen] = first
        if parts == 1 or len(chosen) < 2:
            continue
        y, x = row[chosen], column[chosen]
        order = np.lexsort((x, y) if np.ptp(y) >= np.ptp(x) else (y, x))
        total = np.cumsum(weight[chosen][order])
        middle = total - weight[chosen][order] / 2
        cut = int(np.searchsorted(middle, total[-1] * (parts // 2) / parts))
        cut = min(max(cut, 1), len(chosen) - 1)
        waiting.append((chosen[order[:cut]], first, parts // 2))
        waiting.append((chosen[order[cut:]], first + parts // 2, parts - parts // 2))
    return block


def neighbours(row: Ints, column: Ints, block: Ints) -> Ints:
    """Return each pair (P, 2) of blocks of which two quadrats (Q,) share an edge, once."""
    height, width = int(row.max()) + 2, int(column.max()) + 2
    number = np.full((height, width), -1, np.int64)
    number[row, column] = block
    pairs = [
        np.stack([one.reshape(-1), other.reshape(-1)], axis=1)
        for one, other in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:]))
    ]
    met = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(met[(met[:, 0] >= 0) & (met[:, 0] < met[:, 1])], axis=0)


def jackknife(
    above: npt.NDArray[Any], below: npt.NDArray[Any], joined: Ints | None = None
) -> tuple[float, float] | None:
    """Return by which factors the ends of the 95 % interval differ from Σ above / Σ below.

    Parameters
    ----------
    above, below
        What was counted, and the area, by block (n,), n at least 2.
    joined
        Pairs (P, 2) of blocks that are neighbours; None where none are.

    Returns
    -------
    tuple or None
        Factors below and above 1; None where leaving one block out leaves nothing, or so little
        that the interval would reach over more than tenfold to either side.
    """
    rest, area = above.sum() - above, below.sum() - below
    if (rest <= 0).any() or (area <= 0).any():
        return None
    logs = np.log(rest) - np.log(area)
    count = len(logs)
    off = logs - logs.mean()
    variance = (count - 1) / count * float((off**2).sum()) * _shared(off, joined)
    deviation = math.sqrt(variance)
    reach = float(stats.t.ppf(0.975, count - 1)) * deviation
    if reach > math.log(_WIDEST):
        return None
    return math.exp(-reach), math.exp(reach)


def _shared(off: npt.NDArray[np.float64], joined: Ints | None) -> float:
    """Return by which factor, at least 1, what neighbours share raises the variance.

    The variance of a sum is that of its parts and twice the covariance of each pair (Conley,
    Journal of Econometrics 92:1, 1999); only neighbours are near enough to share. Where nothing
    is shared, deviations `off` (n,) from a mean have a covariance of −Σ off²/n(n − 1), which is
    taken off.
    """
    own, count = float((off**2).sum()), len(off)
    if joined is None or not own:
        return 1.0
    products = float((off[joined[:, 0]] * off[joined[:, 1]]).sum())
    return max(1.0, 1 + 2 * (products / own + len(joined) / (count * (count - 1))))


def _scaled(
    value: float, above: npt.NDArray[Any], below: npt.NDArray[Any], joined: Ints
) -> tuple[float | None, float | None, str]:
    factors = jackknife(above, below, joined)
    if factors is None:
        return None, None, ONE_BLOCK
    return value * factors[0], value * factors[1], ""


def entry(
    region: str, interval: Interval, lower: float | None, higher: float | None
) -> dict[str, Any]:
    """Return the record's entry of one interval.

    `lower` and `higher` are the value at the calibrated threshold − 0.05 and + 0.05, None where
    no threshold made the mask. They show what segmentation leaves open, and are no part of the
    interval.
    """
    return {
        "region": region,
        "path": interval.path,
        "ci95_low": interval.low,
        "ci95_high": interval.high,
        "threshold_low": lower,
        "threshold_high": higher,
        "method": METHOD,
        "reason": interval.reason,
    }
