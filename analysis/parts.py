"""The skeleton graph of one block, cut so that neighbours' parts fit together exactly.

A block owns the skeleton pixels of its core. Its chains become fragments; where a chain leaves the
core, the step that crosses the border is the key by which the neighbour's fragment is found. A
junction cluster across a border is found by the pixels that both parts list.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from analysis.ownership import Ownership
from analysis.profiles import components
from analysis.skeleton import Skeleton, end_half_steps

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class End(IntEnum):
    """What a fragment ends in."""

    FREE = 0  # nothing: a vessel's end
    CUT = 1  # the image's border, or a part too wide to have a skeleton
    NODE = 2  # a junction, named by its pixel
    OPEN = 3  # another fragment, named by the step between them
    SETTLED = 4  # a junction that its block has counted already


@dataclass(frozen=True)
class GraphParts:
    """Junction pixels and chain fragments of one or more blocks; R regions.

    Attributes
    ----------
    node_key, node_part
        Junction pixels (n,) as y·W + x, and the cluster part that lists each.
    node_radius
        Distance to the background at each, in pixels.
    node_owned, node_crossing
        Whether the block owns the pixel, and whether it touches skeleton beyond the core.
    node_member
        Regions (n, R) that hold the pixel.
    size, length, radius
        Pixels of each fragment (F,), its length, and the sum over its pixels of the distance to
        the background, both in thousandths of a pixel.
    kind, key, place
        What each end (F, 2) is, the name of what it meets, the pixel where the path ends.
    pixel_key, pixel_member
        Pixels (M,) of all fragments in walking order, and their regions (M, R).
    """

    node_key: Ints
    node_part: Ints
    node_radius: npt.NDArray[np.float32]
    node_owned: Bools
    node_crossing: Bools
    node_member: Bools
    size: Ints
    length: Ints
    radius: Ints
    kind: Ints
    key: Ints
    place: Ints
    pixel_key: Ints
    pixel_member: Bools

    @property
    def offset(self) -> Ints:
        """Return where each fragment's pixels begin (F + 1,)."""
        return np.concatenate([[0], np.cumsum(self.size)])

    @staticmethod
    def concatenate(parts: list[GraphParts]) -> GraphParts:
        """Put the parts of several blocks beside each other."""
        shift, columns = 0, {}
        numbers = []
        for part in parts:
            numbers.append(part.node_part + shift)
            shift += int(part.node_part.max()) + 1 if len(part.node_part) else 0
        for field in fields(GraphParts):
            columns[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
        return GraphParts(**{**columns, "node_part": np.concatenate(numbers)})


@dataclass(frozen=True)
class Place:
    """Where a window lies: (y, x) of its first pixel and the core's rows and columns, in an image.

    `top`, `bottom`, `left`, `right` bound the core in image pixels; `height`, `width` are the
    image's size.
    """

    y: int
    x: int
    top: int
    bottom: int
    left: int
    right: int
    height: int
    width: int

    def in_core(self, y: Ints, x: Ints) -> Bools:
        """Say which image pixels the block owns."""
        return (y >= self.top) & (y < self.bottom) & (x >= self.left) & (x < self.right)

    def in_frame(self, y: Ints, x: Ints) -> Bools:
        """Say which pixels lie in the image (others are mirrored)."""
        return (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)

    def on_border(self, y: Ints, x: Ints) -> Bools:
        """Say which pixels are the image's first or last of a row or column."""
        found = (y == 0) | (y == self.height - 1) | (x == 0) | (x == self.width - 1)
        return np.asarray(found)


def held_by(skeleton: Skeleton, place: Place, regions: Ownership | None) -> Bools:
    """Say which regions over the core (n, R) hold each skeleton pixel; none does beyond the core.

    None is one region that holds everything.
    """
    y, x = skeleton.graph.y + place.y, skeleton.graph.x + place.x
    if regions is None:
        return np.ones((len(y), 1), np.bool_)
    held = np.zeros((len(y), len(regions)), np.bool_)
    core = place.in_core(y, x)
    held[core] = regions.at(y[core] - place.top, x[core] - place.left)
    return held


def cut(skeleton: Skeleton, place: Place, held: Bools) -> GraphParts:
    """Cut the graph of a window to the block's core; `held` (n, R) is `held_by`'s answer."""
    y, x = skeleton.graph.y + place.y, skeleton.graph.x + place.x
    frame, core = place.in_frame(y, x), place.in_core(y, x)
    name = y * place.width + x
    nodes = _nodes(skeleton, core, frame)
    node_pixel, node_part, crossing = nodes
    start, stop, chain = _fragments(skeleton, core)
    pixel = skeleton.chains.pixel
    size = stop - start
    take = np.repeat(start - (np.cumsum(size) - size), size) + np.arange(int(size.sum()))
    own = pixel[take]
    kind, key, spot = _fragment_ends(skeleton, start, stop, chain, name, frame, place)
    part_length = np.append(skeleton.graph.length_by_pixel[own], 0)
    length = np.add.reduceat(part_length, np.cumsum(size) - size) if len(size) else size
    half = end_half_steps(skeleton)[chain]
    length = length + (half * (kind == End.NODE)).sum(axis=1)
    part_radius = np.append(np.rint(1000.0 * skeleton.radius[own]).astype(np.int64), 0)
    radius = np.add.reduceat(part_radius, np.cumsum(size) - size) if len(size) else size
    return GraphParts(
        name[node_pixel], node_part, skeleton.radius[node_pixel], core[node_pixel], crossing,
        held[node_pixel], size, length, radius, kind, key, spot, name[own], held[own],
    )  # fmt: skip


def _nodes(skeleton: Skeleton, core: Bools, frame: Bools) -> tuple[Ints, Ints, Bools]:
    """Return the junction pixels that the core touches, their cluster part, and who cross."""
    graph, junction = skeleton.graph, skeleton.junction
    a, b = graph.start, graph.stop
    across = frame[a] & frame[b] & (core[a] != core[b])
    crossing = np.zeros(len(core), np.bool_)
    crossing[a[across]] = True
    crossing[b[across]] = True
    both = junction[a] & junction[b]
    listed = junction & core
    outer = across & both
    listed[a[outer]] = True
    listed[b[outer]] = True
    inner = both & listed[a] & listed[b] & (core[a] | core[b])
    pixel = np.flatnonzero(listed)
    number = np.full(len(core), -1)
    number[pixel] = np.arange(len(pixel))
    _, part = components(len(pixel), number[a[inner]], number[b[inner]])
    return pixel, part, crossing[pixel]


def _fragments(skeleton: Skeleton, core: Bools) -> tuple[Ints, Ints, Ints]:
    """Return where in the chains' pixels each fragment starts and stops, and its chain."""
    chains = skeleton.chains
    owned = core[chains.pixel]
    breaks = np.zeros(len(owned) + 1, np.bool_)
    breaks[chains.offset] = True
    before = np.concatenate([[False], owned])
    after = np.concatenate([owned, [False]])
    start = np.flatnonzero((after & (~before | breaks))[:-1])
    stop = np.flatnonzero((before & (~after | breaks))[1:]) + 1
    chain = np.searchsorted(chains.offset, start, side="right") - 1
    return start, stop, chain


def _fragment_ends(
    skeleton: Skeleton, start: Ints, stop: Ints, chain: Ints, name: Ints, frame: Bools, place: Place
) -> tuple[Ints, Ints, Ints]:
    """Return kind, key and place (F, 2) of the fragments' ends."""
    chains = skeleton.chains
    # Mirrored, a vessel that leaves at a grazing angle is a Y, whose stem ends on the border.
    border = place.on_border(skeleton.graph.y + place.y, skeleton.graph.x + place.x)
    first, last = chains.offset[:-1][chain], chains.offset[1:][chain]
    kinds, keys, places = [], [], []
    for side in (0, 1):
        own = chains.pixel[start if side == 0 else stop - 1]
        terminal = (start == first) if side == 0 else (stop == last)
        beyond = np.where(side == 0, start - 1, stop)
        wrapped = np.where(side == 0, last - 1, first)
        beyond = np.where(terminal, wrapped, beyond)
        other = chains.pixel[np.clip(beyond, 0, len(chains.pixel) - 1)]
        linked = ~terminal | chains.ring[chain]
        met = chains.junction[chain, side]
        kind = np.where(border[own], int(End.CUT), int(End.FREE))
        at_node = ~linked & (met >= 0)
        real = at_node & frame[met] & ~skeleton.rim[met]
        kind[at_node] = End.CUT
        kind[real] = End.NODE
        kind[linked] = np.where(frame[other[linked]], int(End.OPEN), int(End.CUT))
        key = name[own].copy()
        spot = name[own].copy()
        key[real] = spot[real] = name[met[real]]
        opened = kind == End.OPEN
        # A step is named by its earlier pixel and direction: east, south-west, south, south-east.
        low, high = np.minimum(name[own], name[other]), np.maximum(name[own], name[other])
        gap = high - low
        key[opened] = (low * 4 + _direction(gap, skeleton, own, other))[opened]
        kinds.append(kind)
        keys.append(key)
        places.append(spot)
    return np.stack(kinds, 1), np.stack(keys, 1), np.stack(places, 1)


def _direction(gap: Ints, skeleton: Skeleton, own: Ints, other: Ints) -> Ints:
    """Return a number for a step's direction, the same whichever end it is seen from."""
    dy = skeleton.graph.y[other] - skeleton.graph.y[own]
    dx = (skeleton.graph.x[other] - skeleton.graph.x[own]) * np.sign(dy)
    return np.where(dy == 0, 0, 2 + dx) + 0 * gap
