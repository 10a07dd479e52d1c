"""Skeleton pixels as a graph: which touch, which are junctions, and the ordered chains between.

Two pixels are joined if they are neighbours along a row or column, or diagonal neighbours without
a common row-or-column neighbour in the skeleton. With this mixed adjacency a staircase corner has
two branches and a T has one pixel with three, so that a pixel's number of branches needs no
repair. Pixels with three or more branches are junction pixels; all others form chains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Vossepoel and Smeulders, Computer Graphics and Image Processing 20, 1982: the length of a chain
# is 0.980 Ne + 1.406 No − 0.091 Nc. In thousandths, per half step: sums are exact integers.
HALF_STRAIGHT = 490
HALF_DIAGONAL = 703
CORNER = 91


# The eight neighbours in row-major order, as (dy, dx): opposite ones are 7 - k and k.
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_STRAIGHT = (1, 3, 4, 6)
# The neighbours that each diagonal one shares with the pixel itself.
_BESIDE = {0: (1, 3), 2: (1, 4), 5: (3, 6), 7: (4, 6)}
_LATER = (4, 5, 6, 7)


@dataclass(frozen=True)
class PixelGraph:
    """Skeleton pixels in row-major order and the steps between them.

    Attributes
    ----------
    y, x
        Coordinates (N,).
    start, stop
        Pixel indices of each step (E,), start before stop in row-major order.
    first, around
        Steps by pixel: the neighbours of pixel i are around[first[i]:first[i + 1]].
    around_half
        Half the length of the step to each neighbour in `around`, in thousandths of a pixel.
    """

    y: Ints
    x: Ints
    start: Ints
    stop: Ints
    first: Ints
    around: Ints
    around_half: Ints

    @cached_property
    def degree(self) -> Ints:
        """Return the number of branches at each pixel (N,)."""
        return np.diff(self.first)

    def by_pixel(self, value: Ints) -> Ints:
        """Sum `value`, given for each neighbour in `around`, over the neighbours of each pixel."""
        total = np.concatenate([[0], np.cumsum(value)])
        summed: Ints = total[self.first[1:]] - total[self.first[:-1]]
        return summed

    @cached_property
    def length_by_pixel(self) -> Ints:
        """Return each pixel's part of the length (N,), in thousandths of a pixel.

        Half of each of its steps, less the corner if its two steps differ; steps between two
        junction pixels count nothing. Sums over any set of pixels give its length, a step across
        the set's border counting half.
        """
        junction = self.degree > 2
        within = np.repeat(junction, self.degree)
        within &= junction[self.around]
        length = self.by_pixel(np.where(within, 0, self.around_half))
        pair = np.flatnonzero(self.degree == 2)
        before, after = self.around[self.first[pair]], self.around[self.first[pair] + 1]
        turned = (self.y[before] + self.y[after] != 2 * self.y[pair]) | (
            self.x[before] + self.x[after] != 2 * self.x[pair]
        )
        length[pair[turned]] -= CORNER
        return length


def pixel_graph(y: Ints, x: Ints, width: int) -> PixelGraph:
    """Join the skeleton pixels (y, x), given in row-major order inside rows of `width` pixels."""
    count = len(y)
    stride = width + 2
    top = int(y[0]) if count else 0
    line = (y - (top - 1)) * stride + (x + 1)
    number = np.zeros((int(line[-1]) if count else 0) + stride + 2, np.int32)
    number[line] = np.arange(1, count + 1, dtype=np.int32)
    near = [number[line + (dy * stride + dx)] for dy, dx in _AROUND]
    joined = [neighbour > 0 for neighbour in near]
    for diagonal, beside in _BESIDE.items():
        joined[diagonal] &= (near[beside[0]] == 0) & (near[beside[1]] == 0)
    degree = np.add.reduce(joined, axis=0, dtype=np.int8)
    first = np.concatenate([[0], np.cumsum(degree)])
    around, half = np.empty(first[-1], np.int32), np.empty(first[-1], np.int16)
    start, stop, place = [], [], first[:-1].copy()
    for k, met in enumerate(joined):
        pixel = np.flatnonzero(met)
        other = near[k][pixel] - 1
        around[place[pixel]] = other
        half[place[pixel]] = HALF_STRAIGHT if k in _STRAIGHT else HALF_DIAGONAL
        place += met
        if k in _LATER:
            start.append(pixel)
            stop.append(other)
    return PixelGraph(y, x, np.concatenate(start), np.concatenate(stop), first, around, half)


@dataclass(frozen=True)
class Chains:
    """Runs of pixels with at most two branches, each in walking order, one after another.

    Attributes
    ----------
    pixel
        Pixel indices (M,), chain by chain.
    offset
        Chain k is pixel[offset[k]:offset[k + 1]]; (K + 1,).
    ring
        Chains (K,) that close upon themselves without a junction.
    junction
        Junction pixel that each end (K, 2) meets, or -1: a true end (or a ring's cut).
    """

    pixel: Ints
    offset: Ints
    ring: Bools
    junction: Ints

    @property
    def size(self) -> Ints:
        """Return the number of pixels of each chain (K,)."""
        return np.diff(self.offset)


def trace(graph: PixelGraph, branching: Bools) -> Chains:
    """Order the pixels that are not `branching` (N,) into chains."""
    count = len(graph.y)
    kept = ~(np.repeat(branching, graph.degree) | branching[graph.around])
    around = graph.around[kept]
    first = np.concatenate([[0], np.cumsum(kept)])[graph.first]
    ends = np.flatnonzero((np.diff(first) < 2) & ~branching)
    order, offset = _walk(first, around, ends)
    left = ~branching
    left[order] = False
    on_ring = np.flatnonzero(left)
    rings = _rings(first, around, on_ring, count)
    pixel = np.concatenate([order, *rings])
    ring = np.repeat([False, True], [len(offset) - 1, len(rings)])
    size = np.array([len(one) for one in rings], np.int64)
    offset = np.concatenate([offset, offset[-1] + np.cumsum(size)])
    head, tail = pixel[offset[:-1]], pixel[offset[1:] - 1]
    junction = np.stack([_met(graph, branching, head), _met(graph, branching, tail)], axis=1)
    single = np.flatnonzero((head == tail) & ~ring)
    junction[single] = _met_by_single(graph, branching, head[single])
    return Chains(pixel, offset, ring, junction)


def _walk(first: Ints, around: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Walk from `ends` as far as it goes; return the pixels passed and where each walk begins.

    A row of posts is added to the pixels, each leading to one end and to the next post: a search
    in depth from the first post then runs through one chain after another, from end to end.
    """
    pixels, posts = len(first) - 1, len(ends)
    if not posts:
        return np.empty(0, np.int64), np.zeros(1, np.int64)
    # Searched in depth, what a row names last is met only when all before it is done.
    post = np.stack([ends, np.arange(pixels + 1, pixels + posts + 1)], axis=1).reshape(-1)[:-1]
    leads = np.concatenate([around, post])
    rows = np.minimum(2 * np.arange(1, posts + 1), 2 * posts - 1) + len(around)
    table = sparse.csr_array(
        (
            np.ones(len(leads)),
            leads.astype(np.int32),
            np.concatenate([first, rows]).astype(np.int32),
        ),
        (pixels + posts, pixels + posts),
    )
    order, before = csgraph.depth_first_order(table, pixels, directed=True)
    order = order[order < pixels]
    begin = np.flatnonzero(before[order] >= pixels)
    return order.astype(np.int64), np.append(begin, len(order))


def _rings(first: Ints, around: Ints, pixel: Ints, count: int) -> list[Ints]:
    """Walk once around each ring that the pixels (n,) form, from its first pixel on."""
    if not len(pixel):
        return []
    number = np.full(count, -1)
    number[pixel] = np.arange(len(pixel))
    begin = first[pixel]
    table = sparse.csr_array(
        (
            np.ones(2 * len(pixel)),
            number[np.stack([around[begin], around[begin + 1]], axis=1)].reshape(-1),
            np.arange(0, 2 * len(pixel) + 1, 2),
        ),
        (len(pixel), len(pixel)),
    )
    _, label = csgraph.connected_components(table, directed=False)
    _, start = np.unique(label, return_index=True)
    walks = (
        csgraph.depth_first_order(table, k, directed=True, return_predecessors=False) for k in start
    )
    return [pixel[walk] for walk in walks]


def _met(graph: PixelGraph, branching: Bools, pixel: Ints) -> Ints:
    """Return the junction pixel next to each chain-end `pixel`, or -1."""
    met = np.full(len(pixel), -1)
    for place in (0, 1):
        has = np.flatnonzero(graph.degree[pixel] > place)
        other = graph.around[graph.first[pixel[has]] + place]
        hit = branching[other]
        met[has[hit]] = other[hit]
    return met


def _met_by_single(graph: PixelGraph, branching: Bools, pixel: Ints) -> Ints:
    """Return the junction pixels (n, 2) on the two sides of chains of one pixel."""
    met = np.full((len(pixel), 2), -1)
    for place in (0, 1):
        has = np.flatnonzero(graph.degree[pixel] > place)
        other = graph.around[graph.first[pixel[has]] + place]
        hit = branching[other]
        met[has[hit], place] = other[hit]
    return met
