"""Vessel profiles as runs of pixels: exact connection, gaps bridged, countable across blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from analysis.ownership import Ownership
from analysis.quadrats import Places

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Horizontal runs of vessel pixels, row by row: row, first column, column after the last."""

    row: Ints
    start: Ints
    stop: Ints

    def take(self, which: Ints | Bools) -> Runs:
        """Return some of the runs."""
        return Runs(self.row[which], self.start[which], self.stop[which])


def find_runs(mask: Bools) -> Runs:
    """Return the runs of `mask` (H, W)."""
    height, width = mask.shape
    padded = np.zeros((height, width + 1), np.bool_)
    padded[:, :width] = mask
    flat = padded.reshape(-1)
    change = np.flatnonzero(np.concatenate([flat[:1], flat[1:] != flat[:-1]]))
    row, start = np.divmod(change[::2], width + 1)
    return Runs(row, start, change[1::2] - row * (width + 1))


def connect(runs: Runs, reach_px: float) -> tuple[Ints, Ints]:
    """Return pairs of runs that touch (8 neighbours) or hold pixels closer than `reach_px`.

    Runs are in row-major order; distances are between pixel centres.
    """
    rows = max(1, math.ceil(reach_px - 1e-9) - 1)
    margin = math.ceil(reach_px) + 2
    stride = (int(runs.stop.max()) if len(runs.stop) else 0) + 2 * margin
    begin, end = runs.row * stride + runs.start, runs.row * stride + runs.stop
    firsts, seconds = [], []
    for dy in range(rows + 1):
        room = math.sqrt(max(reach_px * reach_px - dy * dy, 0.0))
        dx = max(math.ceil(room - 1e-9) - 1, 1 if dy < 2 else -1)
        if dx < 0:
            continue
        shift = dy * stride
        low = np.searchsorted(end, begin + (shift - dx), side="right")
        high = np.searchsorted(begin, end + (shift + dx - 1), side="right")
        if dy == 0:
            low = np.arange(len(begin)) + 1
        number = np.maximum(high - low, 0)
        first = np.repeat(np.arange(len(begin)), number)
        within = np.arange(len(first)) - np.repeat(np.cumsum(number) - number, number)
        firsts.append(first)
        seconds.append(low[first] + within)
    return np.concatenate(firsts), np.concatenate(seconds)


def components(count: int, first: Ints, second: Ints) -> tuple[int, Ints]:
    """Return the number of connected sets of `count` things joined by pairs, and each one's set."""
    if not count:
        return 0, np.empty(0, np.int64)
    graph = sparse.coo_array((np.ones(len(first), np.bool_), (first, second)), (count, count))
    number, label = csgraph.connected_components(graph.tocsr(), directed=False)
    return int(number), label.astype(np.int64)


@dataclass(frozen=True)
class ProfileParts:
    """Objects that come near a block border, with the runs there.

    Attributes
    ----------
    runs, owner
        Runs near the border, in image coordinates, and the object of each.
    area_px, last, framed, member
        Area of each object (P,), its last pixel in row-major order, whether it meets the image's
        bottom or right border, and which regions (P, R) hold that last pixel.
    """

    runs: Runs
    owner: Ints
    area_px: Ints
    last: Ints
    framed: Bools
    member: Bools

    @staticmethod
    def concatenate(parts: list[ProfileParts]) -> ProfileParts:
        """Put the objects of several blocks beside each other."""
        shift = np.cumsum([0] + [len(part.area_px) for part in parts[:-1]])
        return ProfileParts(
            Runs(
                *(
                    np.concatenate([getattr(p.runs, f) for p in parts])
                    for f in ("row", "start", "stop")
                )
            ),
            np.concatenate([part.owner + s for part, s in zip(parts, shift, strict=True)]),
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("area_px", "last", "framed", "member")
            ),
        )


@dataclass(frozen=True)
class FrameShare:
    """Area of profiles by the region (R,) that holds their last pixel.

    Attributes
    ----------
    whole_px, framed_px
        Of all that are large enough to be counted, and of those among them that are not, because
        they meet the image's bottom or right border.
    """

    whole_px: Ints
    framed_px: Ints

    @classmethod
    def of(cls, area_px: Ints, framed: Bools, member: Bools) -> FrameShare:
        """Add up the areas (P,) of profiles that lie in regions (P, R)."""
        return cls(area_px @ member, (area_px * framed) @ member)

    def __add__(self, other: FrameShare) -> FrameShare:
        """Return the areas of two disjoint sets of profiles."""
        return FrameShare(self.whole_px + other.whole_px, self.framed_px + other.framed_px)


def block_profiles(
    mask: Bools, regions: Ownership | None, origin: tuple[int, int], shape: tuple[int, int],
    reach_px: float, min_area_px: float,
) -> tuple[Places, FrameShare, ProfileParts]:  # fmt: skip
    """Find the objects of one block that no other block can reach; keep the rest as parts.

    Parameters
    ----------
    mask
        Vessel mask of the block's core (h, w).
    regions
        Regions over the core, or None for one that holds everything.
    origin, shape
        (y, x) of the core's first pixel, and (H, W) of the whole image.
    reach_px, min_area_px
        Pixels closer than this belong together; smaller objects are not counted.

    Returns
    -------
    tuple
        The objects counted, each at its last pixel; the area of all of these and of those that the
        frame leaves out; and the objects that come near a border of the core.
    """
    runs = find_runs(mask)
    count, owner = components(len(runs.row), *connect(runs, reach_px))
    area = np.bincount(owner, runs.stop - runs.start, minlength=count).astype(np.int64)
    last = np.zeros(count, np.int64)
    last[owner] = np.arange(len(owner))  # runs are in row-major order: the last one stays
    member = np.ones((count, 1), np.bool_)
    if regions is not None:
        member = regions.at(runs.row[last], runs.stop[last] - 1)
    y0, x0 = origin
    runs = Runs(runs.row + y0, runs.start + x0, runs.stop + x0)
    near = _near_border(runs, mask.shape, origin, shape, math.ceil(reach_px))
    open_ = np.zeros(count, np.bool_)
    open_[owner[near]] = True
    framed = np.zeros(count, np.bool_)
    framed[owner[(runs.row == shape[0] - 1) | (runs.stop == shape[1])]] = True
    large = ~open_ & (area >= min_area_px - 1e-9)
    counted = large & ~framed
    number = np.cumsum(open_) - 1
    key = runs.row[last] * shape[1] + runs.stop[last] - 1
    parts = ProfileParts(
        runs.take(near), number[owner[near]], area[open_], key[open_], framed[open_], member[open_]
    )
    share = FrameShare.of(area[large], framed[large], member[large])
    return Places(key[counted], member[counted]), share, parts


def join_profiles(
    parts: ProfileParts, reach_px: float, min_area_px: float
) -> tuple[Places, FrameShare]:
    """Find the objects that lie across block borders; see `block_profiles`."""
    order = np.lexsort((parts.runs.start, parts.runs.row))
    owner = parts.owner[order]
    first, second = connect(parts.runs.take(order), reach_px)
    count, whole = components(len(parts.area_px), owner[first], owner[second])
    area = np.zeros(count, np.int64)
    np.add.at(area, whole, parts.area_px)
    framed = np.zeros(count, np.bool_)
    framed[whole[parts.framed]] = True
    by_last = np.argsort(parts.last)
    final = np.zeros(count, np.int64)
    final[whole[by_last]] = by_last
    large = area >= min_area_px - 1e-9
    counted = large & ~framed
    share = FrameShare.of(area[large], framed[large], parts.member[final[large]])
    return Places(parts.last[final[counted]], parts.member[final[counted]]), share


def _near_border(
    runs: Runs, size: tuple[int, int], origin: tuple[int, int], shape: tuple[int, int], reach: int
) -> Bools:
    """Say which runs come within `reach` pixels of a border of the core inside the image."""
    (y0, x0), (height, width) = origin, shape
    y1, x1 = y0 + size[0], x0 + size[1]
    return (
        ((runs.row < y0 + reach) & (y0 > 0))
        | ((runs.row >= y1 - reach) & (y1 < height))
        | ((runs.start < x0 + reach) & (x0 > 0))
        | ((runs.stop > x1 - reach) & (x1 < width))
    )
