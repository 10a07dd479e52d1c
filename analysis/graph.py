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


@dataclass(frozen=True)
class PixelGraph:
    """Skeleton pixels in row-major order and the steps between them.

    Attributes
    ----------
    y, x
        Coordinates (N,).
    start, stop
        Pixel indices of each step (E,), start before stop in row-major order.
    half_step
        Half the length of each step (E,) in thousandths of a pixel.
    first, around
        Steps by pixel: the neighbours of pixel i are around[first[i]:first[i + 1]].
    around_half
        Half the length of the step to each neighbour in `around`.
    """

    y: Ints
    x: Ints
    start: Ints
    stop: Ints
    half_step: Ints
    first: Ints
    around: Ints
    around_half: Ints

    @property
    def degree(self) -> Ints:
        """Return the number of branches at each pixel (N,)."""
        return np.diff(self.first)

    @cached_property
    def length_by_pixel(self) -> Ints:
        """Return each pixel's part of the length (N,), in thousandths of a pixel.

        Half of each of its steps, less the corner if its two steps differ; steps between two
        junction pixels count nothing. Sums over any set of pixels give its length, a step across
        the set's border counting half.
        """
        degree = self.degree
        junction = degree > 2
        outer = ~(junction[self.start] & junction[self.stop])
        length = np.bincount(
            np.concatenate([self.start[outer], self.stop[outer]]),
            np.tile(self.half_step[outer], 2),
            minlength=len(self.y),
        ).astype(np.int64)
        pair = np.flatnonzero(degree == 2)
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
    line = y * stride + x
    index = np.arange(count)
    padded = np.append(line, np.iinfo(np.int64).max)
    east = padded[1:] == line + 1
    west = np.zeros(count, np.bool_)
    west[1:] = east[:-1]
    below = np.searchsorted(line, line + (stride - 1))
    padded = np.append(padded, [padded[-1]] * 3)
    south_west = padded[below] == line + (stride - 1)
    at = below + south_west
    south = padded[at] == line + stride
    at = at + south
    south_east = padded[at] == line + (stride + 1)
    south_west &= ~(west | south)
    diagonal_east = south_east & ~(east | south)
    sw, so, se, ea = (np.flatnonzero(v) for v in (south_west, south, diagonal_east, east))
    start = np.concatenate([ea, sw, so, se])
    stop = np.concatenate([index[ea] + 1, below[sw], at[so] - 1, at[se]])
    straight = np.repeat([True, False, True, False], [len(ea), len(sw), len(so), len(se)])
    half = np.where(straight, HALF_STRAIGHT, HALF_DIAGONAL)
    table = sparse.coo_array(
        (np.tile(half, 2), (np.concatenate([start, stop]), np.concatenate([stop, start]))),
        shape=(count, count),
    ).tocsr()
    return PixelGraph(y, x, start, stop, half, table.indptr, table.indices, table.data)


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
    node = np.flatnonzero(~branching)
    if not len(node):
        empty = np.empty(0, np.int64)
        return Chains(
            empty, np.zeros(1, np.int64), np.empty(0, np.bool_), np.empty((0, 2), np.int64)
        )
    number = np.full(count, -1)
    number[node] = np.arange(len(node))
    inner = ~(branching[graph.start] | branching[graph.stop])
    a, b = number[graph.start[inner]], number[graph.stop[inner]]
    links = np.bincount(np.concatenate([a, b]), minlength=len(node))
    chain_count, label = csgraph.connected_components(_symmetric(a, b, len(node)), directed=False)
    a, b, cut, links = _cut_rings(a, b, label, links, chain_count)
    head, tail = _ends(label, links, chain_count)
    # One long path through all chains, tail to head, makes a single walk order every pixel.
    path = _symmetric(np.concatenate([a, tail[:-1]]), np.concatenate([b, head[1:]]), len(node))
    order = csgraph.breadth_first_order(path, head[0], directed=True, return_predecessors=False)
    size = np.bincount(label, minlength=chain_count)
    offset = np.concatenate([[0], np.cumsum(size)])
    junction = np.stack(
        [_met(graph, branching, node[head]), _met(graph, branching, node[tail])], axis=1
    )
    single = np.flatnonzero((size == 1) & ~cut)
    junction[single] = _met_by_single(graph, branching, node[head[single]])
    return Chains(node[order], offset, cut, junction)


def _symmetric(a: Ints, b: Ints, count: int) -> sparse.csr_array:
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    return sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), (count, count)).tocsr()


def _cut_rings(
    a: Ints, b: Ints, label: Ints, links: Ints, chain_count: int
) -> tuple[Ints, Ints, Bools, Ints]:
    """Open each ring by dropping one of its steps; return what is left and which were rings."""
    loose = np.bincount(label, links < 2, minlength=chain_count) == 0
    if not loose.any():
        return a, b, loose, links
    of = label[a]
    on_ring = np.flatnonzero(loose[of])
    _, picked = np.unique(of[on_ring], return_index=True)
    dropped = on_ring[picked]
    links = links.copy()
    np.subtract.at(links, np.concatenate([a[dropped], b[dropped]]), 1)
    return np.delete(a, dropped), np.delete(b, dropped), loose, links


def _ends(label: Ints, links: Ints, chain_count: int) -> tuple[Ints, Ints]:
    """Return both end pixels of each chain; a single pixel is both."""
    ends = np.flatnonzero(links < 2)
    twice = np.concatenate([ends, ends[links[ends] == 0]])
    ordered = twice[np.argsort(label[twice], kind="stable")].reshape(chain_count, 2)
    return ordered[:, 0], ordered[:, 1]


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
