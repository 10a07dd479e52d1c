"""Skeleton ends are moved to where the medial axis ends.

The medial axis is the set of centres of maximal balls, so it ends in the middle of a capsule's cap:
there the distance to the background, constant along a tube, begins to fall by a pixel a pixel.
Thinning stops short of that at some angles (a capsule 20 px wide at 45° lost up to 5 px at either
end) and runs on into the tip where the cap has a flat (up to a radius on a mask enlarged twofold).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.graph import Chains, PixelGraph
from analysis.radii import Radii

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Over pixels, the distance along a straight tube wavers by up to half a pixel.
_WAVER_PX = 0.5
# A ball lies in one further in if that is larger by their distance. Over four pixels three are
# enough: the cap of a digitised tube is no exact half circle. A tip that narrows over a longer way
# than it is wide has no such ball, and keeps its whole axis.
_HOP = 4
_STEEP = 0.75
# A tip may begin with a nub of this length, as wide as long.
_NUB_PX = 2
# No end was seen to lack more than this part of the local radius.
_MOST_RADII = 0.75
_LEAST_CHAIN_PX = 4


@dataclass(frozen=True)
class EndChanges:
    """What the ends have too much, as pixel indices, and too little, as coordinates (y, x)."""

    gone: Ints
    y: Ints
    x: Ints


def end_changes(
    graph: PixelGraph, chains: Chains, radius: Floats, radii: Radii, stays: Bools
) -> EndChanges:
    """Return by which pixels the free ends differ from those of the medial axis.

    Parameters
    ----------
    graph, chains
        The skeleton of one window.
    radius, radii
        How far the graph's pixels (N,), and any pixels of the window, lie from the background.
    stays
        Chains (K,) whose ends count; the others are about to be pruned.
    """
    place, inwards, size = _free_ends(chains, stays)
    along = radius[chains.pixel].astype(np.float64)
    surplus = _surplus(graph, chains.pixel, along, place, inwards, size)
    gone = np.repeat(place - inwards, surplus) + np.repeat(inwards, surplus) * _count_up(surplus)
    short = surplus == 0
    y, x = _missing(graph, chains.pixel, radii, place[short], inwards[short], size[short])
    return EndChanges(chains.pixel[gone], y, x)


def _count_up(counts: Ints) -> Ints:
    """Return 1 … n for each n of `counts`, one after another."""
    begin = np.cumsum(counts) - counts
    return np.arange(1, int(counts.sum()) + 1) - np.repeat(begin, counts)


def _free_ends(chains: Chains, stays: Bools) -> tuple[Ints, Ints, Ints]:
    """Return where the free ends (E,) stand in the chains' pixels, the way inwards, chain sizes."""
    chosen = stays & ~chains.ring & (chains.size >= _LEAST_CHAIN_PX)
    start, stop = (chosen & (chains.junction[:, side] < 0) for side in (0, 1))
    return (
        np.concatenate([chains.offset[:-1][start], chains.offset[1:][stop] - 1]),
        np.repeat([1, -1], [np.count_nonzero(start), np.count_nonzero(stop)]),
        np.concatenate([chains.size[start], chains.size[stop]]),
    )


def _surplus(
    graph: PixelGraph, pixel: Ints, radius: npt.NDArray[np.float64], place: Ints, inwards: Ints,
    size: Ints,
) -> Ints:  # fmt: skip
    """Return how many pixels of each end (E,) are centres of balls inside another."""
    most = (size - 1) // 2 - _HOP - _NUB_PX
    surplus = np.zeros(len(place), np.int64)
    left = np.flatnonzero(most > 0)
    while len(left):
        contained = np.zeros(len(left), np.bool_)
        for nub in (0, _NUB_PX):
            here = place[left] + inwards[left] * (surplus[left] + nub)
            further = here + inwards[left] * _HOP
            a, b = pixel[here], pixel[further]
            apart = np.hypot(graph.y[a] - graph.y[b], graph.x[a] - graph.x[b])
            contained |= radius[further] - radius[here] >= _STEEP * apart
        left = left[contained]
        surplus[left] += 1
        left = left[surplus[left] < most[left]]
    # The last ball found lies less than a hop before the cap's middle.
    cut = np.flatnonzero(surplus)
    full = radius[place[cut] + inwards[cut] * (surplus[cut] + _HOP)]
    for _ in range(_HOP):
        here = radius[place[cut] + inwards[cut] * surplus[cut]]
        surplus[cut] += here < full - _WAVER_PX
    return surplus


def _missing(
    graph: PixelGraph, pixel: Ints, radii: Radii, place: Ints, inwards: Ints, size: Ints
) -> tuple[Ints, Ints]:
    """Return the pixels (y, x) beyond the ends (E,) along which the distance does not fall yet."""
    tip = pixel[place]
    y, x = graph.y[tip], graph.x[tip]
    radius = radii.at(y, x).astype(np.float64)
    # The direction is taken over about a diameter: the last pixels may turn aside.
    back = pixel[place + inwards * np.minimum(np.ceil(2 * radius).astype(np.int64), size - 1)]
    dy, dx = (y - graph.y[back]).astype(np.float64), (x - graph.x[back]).astype(np.float64)
    longer = np.maximum(np.maximum(np.abs(dy), np.abs(dx)), 1)
    dy, dx = dy / longer, dx / longer
    pace = np.hypot(dy, dx)
    rows, columns = [y[:0]], [x[:0]]
    left = np.arange(len(tip))
    for step in range(1, int(_MOST_RADII * radius.max(initial=0)) + 1):
        left = left[step * pace[left] <= _MOST_RADII * radius[left]]
        to_y = y[left] + np.rint(step * dy[left]).astype(np.int64)
        to_x = x[left] + np.rint(step * dx[left]).astype(np.int64)
        inside = (to_y >= 0) & (to_x >= 0)
        inside &= (to_y < radii.shape[0]) & (to_x < radii.shape[1])
        left, to_y, to_x = left[inside], to_y[inside], to_x[inside]
        level = radii.at(to_y, to_x) >= radius[left] - _WAVER_PX
        left = left[level]
        rows.append(to_y[level])
        columns.append(to_x[level])
    return np.concatenate(rows), np.concatenate(columns)
