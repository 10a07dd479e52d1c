"""Junctions and segments become counts by region; what is open is handed on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.joining import Joined, join, terminals
from analysis.parts import End, GraphParts
from analysis.quadrats import Places

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GraphCounts:
    """Junctions, and sums over segments by region (R,); lengths in thousandths of a pixel.

    `bent_length` sums length × tortuosity over the segments that are no loops, and `path_length`
    their lengths. `mean_radius` sums each segment's mean distance to the background, and
    `swept_area` its product with the length, in thousandths of a square pixel.
    """

    branchpoints: Places
    endpoints: Ints
    segments: Ints
    segment_length: Ints
    bent_length: Ints
    path_length: Ints
    mean_radius: Ints
    swept_area: Ints

    def __add__(self, other: GraphCounts) -> GraphCounts:
        """Return the sums of two disjoint sets of junctions and segments."""
        names = self.__dataclass_fields__
        return GraphCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


def settle(parts: GraphParts, width: int, *, complete: bool) -> tuple[GraphCounts, GraphParts]:
    """Count what the parts decide; return the counts and the parts that are left open.

    Parameters
    ----------
    parts
        Parts of one block, or of all blocks together.
    width
        Width of the image: a pixel's key is y·width + x.
    complete
        The parts are all that there are.
    """
    joined = join(parts, complete=complete)
    segments = segments_of(parts, joined, width)
    closed = ~joined.segment_open[segments.number]
    junction = branchpoint_pixels(parts, joined, width)
    junction = junction[~joined.cluster_open[joined.cluster[junction]]]
    ends = segments.free_ends
    ends = ends[~joined.segment_open[joined.segment[ends >> 1]]]
    middle = parts.pixel_member[segments.middle[closed]]
    length, tortuosity = segments.length[closed], segments.tortuosity[closed]
    path = np.where(np.isnan(tortuosity), 0, length)
    counts = GraphCounts(
        Places(parts.node_key[junction], parts.node_member[junction]),
        parts.pixel_member[end_pixel(parts, ends)].sum(axis=0, dtype=np.int64),
        middle.sum(axis=0, dtype=np.int64),
        _total(middle, length),
        _total(middle, np.rint(path * np.nan_to_num(tortuosity)).astype(np.int64)),
        _total(middle, path),
        _total(middle, np.rint(segments.radius[closed]).astype(np.int64)),
        _total(middle, np.rint(length * segments.radius[closed] / 1000.0).astype(np.int64)),
    )
    return counts, _left_open(parts, joined)


def _total(member: Bools, value: Ints) -> Ints:
    """Sum `value` (n,) by region (R,)."""
    total: Ints = (member * value[:, None]).sum(axis=0, dtype=np.int64)
    return total


@dataclass(frozen=True)
class Segments:
    """Whole segments (S,); those of a single skeleton pixel are left out.

    Attributes
    ----------
    number
        Each segment's number in `Joined`.
    length
        Path length in thousandths of a pixel.
    radius
        Mean distance of its pixels to the background, in thousandths of a pixel.
    tortuosity
        Path over chord, at least 1; NaN for loops.
    middle
        Where in the parts' pixels the segment's middle pixel stands.
    kind
        0 end–end, 1 end–branch, 2 branch–branch, 3 loop; an end cut off counts as an end here.
    free_ends
        Fragment ends (E,) that are true ends of vessels.
    """

    number: Ints
    length: Ints
    radius: npt.NDArray[np.float64]
    tortuosity: npt.NDArray[np.float64]
    middle: Ints
    kind: Ints
    free_ends: Ints


def segments_of(parts: GraphParts, joined: Joined, width: int) -> Segments:
    """Measure every segment of `joined`."""
    member = np.flatnonzero(joined.segment >= 0)
    count = len(joined.segment_open)
    pixels, length, radius = np.zeros((3, count), np.int64)
    np.add.at(pixels, joined.segment[member], parts.size[member])
    np.add.at(length, joined.segment[member], parts.length[member])
    np.add.at(radius, joined.segment[member], parts.radius[member])
    _bridge(parts, joined, width, length)
    number, ends = terminals(joined.partner, joined.segment)
    kind, key, place = (v.reshape(-1)[ends] for v in (parts.kind, parts.key, parts.place))
    cluster = joined.half_cluster[ends]
    branching = np.append(joined.degree, 0)[cluster] > 2
    branching |= kind == End.SETTLED
    meets = np.where(kind == End.SETTLED, -2 - key, cluster)
    loop = branching.all(axis=1) & (meets[:, 0] == meets[:, 1])
    free = (kind == End.FREE) | ((cluster >= 0) & ~branching)
    point = (pixels[number] == 1) & (kind == End.FREE).all(axis=1)
    rings = np.setdiff1d(np.unique(joined.segment[member]), number)
    middle = _middles(parts, joined, ends, pixels[number])
    ring_middle = _ring_pixels(parts, joined, rings)
    chord = _distance(place[:, 0], place[:, 1], width)
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.maximum(length[number] / (1000.0 * chord), 1.0)
    bent[loop | (chord == 0)] = np.nan
    shape = np.where(loop, 3, branching.sum(axis=1))
    whole = np.concatenate([number[~point], rings])
    return Segments(
        whole,
        length[whole],
        radius[whole] / np.maximum(pixels[whole], 1),
        np.concatenate([bent[~point], np.full(len(rings), np.nan)]),
        np.concatenate([middle[~point], ring_middle]),
        np.concatenate([shape[~point], np.full(len(rings), 3)]),
        ends[free & ~point[:, None]],
    )


def _distance(a: Ints, b: Ints, width: int) -> npt.NDArray[np.float64]:
    """Return the distance in pixels between pixels named y·width + x."""
    (ay, ax), (by, bx) = np.divmod(a, width), np.divmod(b, width)
    distance: npt.NDArray[np.float64] = np.hypot(ay - by, ax - bx)
    return distance


def _bridge(parts: GraphParts, joined: Joined, width: int, length: Ints) -> None:
    """Add to `length` the way across each dissolved junction, straight from end to end."""
    half = np.flatnonzero(joined.dissolved)
    half = half[half < joined.partner[half]]
    place = parts.place.reshape(-1)
    way = _distance(place[half], place[joined.partner[half]], width)
    np.add.at(length, joined.segment[half >> 1], np.rint(1000 * way).astype(np.int64))


def end_pixel(parts: GraphParts, half: Ints) -> Ints:
    """Return where in the parts' pixels the fragment ends `half` stand."""
    fragment = half >> 1
    offset = parts.offset
    return np.asarray(np.where(half & 1, offset[fragment + 1] - 1, offset[fragment]))


def _middles(parts: GraphParts, joined: Joined, ends: Ints, pixels: Ints) -> Ints:
    """Return the middle pixel of each segment, counted from its end earlier in row-major order."""
    key = parts.pixel_key[end_pixel(parts, ends)] if len(ends) else ends
    half = np.where(key[:, 0] <= key[:, 1], ends[:, 0], ends[:, 1])
    left = (pixels - 1) // 2
    middle = np.zeros(len(ends), np.int64)
    offset = parts.offset
    at = np.arange(len(ends))
    while len(at):
        fragment = half >> 1
        size = parts.size[fragment]
        here = left < size
        place = np.where(half & 1, offset[fragment + 1] - 1 - left, offset[fragment] + left)
        middle[at[here]] = place[here]
        at, left = at[~here], (left - size)[~here]
        half = joined.partner[half[~here] ^ 1]
    return middle


def _ring_pixels(parts: GraphParts, joined: Joined, rings: Ints) -> Ints:
    """Return the first pixel in row-major order of each ring."""
    fragment = np.flatnonzero(np.isin(joined.segment, rings) & (joined.segment >= 0))
    size = parts.size[fragment]
    begin = np.cumsum(size) - size
    pixel = np.repeat(parts.offset[fragment] - begin, size) + np.arange(int(size.sum()))
    of = np.repeat(joined.segment[fragment], size)
    order = np.lexsort((parts.pixel_key[pixel], of))
    _, first = np.unique(of[order], return_index=True)
    return pixel[order[first]]


def branchpoint_pixels(parts: GraphParts, joined: Joined, width: int) -> Ints:
    """Return the listed junction pixel nearest the centroid of each cluster with 3 branches."""
    listed = np.flatnonzero(parts.node_owned & (np.append(joined.degree, 0)[joined.cluster] > 2))
    cluster, key = joined.cluster[listed], parts.node_key[listed]
    y, x = np.divmod(key, width)
    count = np.bincount(cluster)[cluster] if len(cluster) else cluster
    sums = [np.zeros(len(joined.degree), np.int64) for _ in range(2)]
    for total, value in zip(sums, (y, x), strict=True):
        np.add.at(total, cluster, value)
    off = (y * count - sums[0][cluster]) ** 2 + (x * count - sums[1][cluster]) ** 2
    order = np.lexsort((key, off, cluster))
    _, first = np.unique(cluster[order], return_index=True)
    return listed[order[first]]


def _left_open(parts: GraphParts, joined: Joined) -> GraphParts:
    """Return the parts that open clusters and segments need; junctions counted are named only."""
    node = np.append(joined.cluster_open, False)[joined.cluster]
    half_open = np.append(joined.cluster_open, False)[joined.half_cluster]
    fragment = np.where(
        joined.segment >= 0,
        np.append(joined.segment_open, False)[joined.segment],
        half_open.reshape(-1, 2).any(axis=1),
    )
    pixel = np.repeat(fragment, parts.size)
    kind, key = parts.kind.reshape(-1).copy(), parts.key.reshape(-1).copy()
    settled = (joined.half_cluster >= 0) & ~half_open
    kind[settled] = End.SETTLED
    name = np.full(len(joined.degree), np.iinfo(np.int64).max)
    np.minimum.at(name, joined.cluster, parts.node_key)
    key[settled] = name[joined.half_cluster[settled]]
    _, part = np.unique(parts.node_part[node], return_inverse=True)
    return GraphParts(
        parts.node_key[node], part, parts.node_radius[node], parts.node_owned[node],
        parts.node_crossing[node], parts.node_member[node],
        parts.size[fragment], parts.length[fragment], parts.radius[fragment],
        kind.reshape(-1, 2)[fragment], key.reshape(-1, 2)[fragment], parts.place[fragment],
        parts.pixel_key[pixel], parts.pixel_member[pixel],
    )  # fmt: skip
