"""Parts of a skeleton graph become junctions and segments.

The same code runs over one block's parts and over all that the blocks left open. In a block, what
depends on pixels beyond its core is open and is handed on; all else is settled there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.parts import End, GraphParts
from analysis.profiles import components

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# Junctions joined by a segment shorter than so many local diameters are one: the two branching
# points of a crossing at 45° lie about that far apart.
CONTRACTION_DIAMETERS = 1.5
# Each of the two lies up to a pixel from where it would lie without a grid: matters for thin tubes.
CONTRACTION_MARGIN_PX = 2.0


@dataclass(frozen=True)
class Joined:
    """What parts amount to: n junction pixels, C clusters, F fragments, S segments.

    Attributes
    ----------
    cluster
        Cluster of each listed junction pixel (n,).
    degree
        Branches of each cluster (C,).
    half_cluster
        Cluster that each fragment end (2F,) meets, or -1; end e of fragment f is 2f + e.
    partner
        The fragment end that each fragment end (2F,) continues in, or -1.
    dissolved
        Whether it continues through a two-branch junction (2F,).
    segment
        Segment of each fragment (F,), or -1 for one that lies inside a cluster.
    cluster_open, segment_open
        What depends on pixels beyond the parts: (C,), (S,).
    """

    cluster: Ints
    degree: Ints
    half_cluster: Ints
    partner: Ints
    dissolved: Bools
    segment: Ints
    cluster_open: Bools
    segment_open: Bools


def join(parts: GraphParts, *, complete: bool) -> Joined:
    """Join fragments to segments and junction pixels to clusters.

    With `complete`, the parts are all that there are and nothing stays open.
    """
    fragments = len(parts.size)
    kind, key = parts.kind.reshape(-1), parts.key.reshape(-1)
    nodes = _Nodes.of(parts, complete)
    half_node = nodes.find(key, kind == End.NODE)
    partner = _partners(key, kind == End.OPEN)
    lost = ((kind == End.OPEN) & (partner < 0)) | ((kind == End.NODE) & (half_node < 0))
    raw_count, raw = _chain_up(partner, fragments)
    raw_open = _flag(raw_count, raw, np.flatnonzero(lost) >> 1) & (not complete)
    inside, cluster_count, cluster_of = _contract(parts, nodes, half_node, partner, raw, raw_open)
    half_cluster = np.append(cluster_of, -1)[half_node]
    branch = (half_cluster >= 0) & ~np.repeat(inside, 2)
    degree = np.bincount(half_cluster[branch], minlength=cluster_count)
    cluster_open = _flag(cluster_count, cluster_of, np.flatnonzero(nodes.open))
    awaiting = (half_cluster >= 0) & np.repeat(raw_open[raw], 2)
    cluster_open[half_cluster[awaiting]] = True
    through = branch & (np.append(degree, 0)[half_cluster] == 2)
    through &= ~np.append(cluster_open, False)[half_cluster]
    partner = _pair_up(partner, half_cluster, np.flatnonzero(through))
    count, segment = _chain_up(np.where(np.repeat(inside, 2), -1, partner), fragments)
    segment_open = _flag(count, segment, np.flatnonzero(raw_open[raw]))
    segment_open |= _flag(
        count, segment, np.flatnonzero(branch & np.append(cluster_open, False)[half_cluster]) >> 1
    )
    # A junction that dissolves, or ends a vessel, goes with the segment that it lies on.
    along = branch & (np.append(degree, 9)[half_cluster] < 3) & np.repeat(segment_open[segment], 2)
    cluster_open[half_cluster[along]] = True
    return Joined(
        cluster_of[nodes.of_pixel], degree, half_cluster, partner, through,
        np.where(inside, -1, segment), cluster_open, segment_open,
    )  # fmt: skip


@dataclass(frozen=True)
class _Nodes:
    """Junctions before contraction (J): pixels that touch, over all parts."""

    names: Ints
    of_name: Ints
    of_pixel: Ints
    radius: npt.NDArray[np.float64]
    open: Bools

    @staticmethod
    def of(parts: GraphParts, complete: bool) -> _Nodes:
        names, inverse = np.unique(parts.node_key, return_inverse=True)
        part_count = int(parts.node_part.max()) + 1 if len(parts.node_part) else 0
        _, label = components(len(names) + part_count, inverse, parts.node_part + len(names))
        _, of_name = np.unique(label[: len(names)], return_inverse=True)
        count = int(of_name.max()) + 1 if len(of_name) else 0
        of_pixel = of_name[inverse]
        radius = np.zeros(count)
        np.maximum.at(radius, of_pixel, parts.node_radius)
        open_ = _flag(count, of_pixel, np.flatnonzero(parts.node_crossing)) & (not complete)
        return _Nodes(names, of_name, of_pixel, radius, open_)

    def find(self, key: Ints, which: Bools) -> Ints:
        """Return the junction that holds the pixel `key`, or -1 (also where not `which`)."""
        found = np.full(len(key), -1)
        if len(self.names):
            at = np.minimum(np.searchsorted(self.names, key), len(self.names) - 1)
            hit = which & (self.names[at] == key)
            found[hit] = self.of_name[at[hit]]
        return found


def _contract(
    parts: GraphParts, nodes: _Nodes, half_node: Ints, partner: Ints, raw: Ints, raw_open: Bools
) -> tuple[Bools, int, Ints]:
    """Return which fragments (F,) lie inside a cluster, and the cluster of each junction (J,).

    Marks in `raw_open` the chains of which this cannot be told yet.
    """
    length = np.zeros(len(raw_open), np.int64)
    np.add.at(length, raw, parts.length)
    chain, ends = terminals(partner, raw)
    node = half_node[ends]
    radius = np.append(nodes.radius, 0.0)[node].max(axis=1)
    limit = 1000 * (CONTRACTION_DIAMETERS * 2 * radius + CONTRACTION_MARGIN_PX)
    short = (node >= 0).all(axis=1) & ~raw_open[chain] & (length[chain] < limit)
    count, cluster_of = components(len(nodes.radius), node[short, 0], node[short, 1])
    inside = np.zeros(len(raw_open), np.bool_)
    inside[chain[short]] = True
    # A junction that goes on beyond the core may have a larger radius there.
    raw_open[chain[~short & np.append(nodes.open, False)[node].any(axis=1)]] = True
    return inside[raw], count, cluster_of


def terminals(partner: Ints, chain: Ints) -> tuple[Ints, Ints]:
    """Return the chains that are no rings, and the two fragment ends (n, 2) of each."""
    loose = np.flatnonzero(partner < 0)
    loose = loose[chain[loose >> 1] >= 0]
    order = np.argsort(chain[loose >> 1], kind="stable")
    ends = loose[order].reshape(-1, 2)
    return chain[ends[:, 0] >> 1], ends


def _partners(key: Ints, opened: Bools) -> Ints:
    """Return, for each fragment end, the one that crosses by the same step, or -1."""
    partner = np.full(len(key), -1)
    half = np.flatnonzero(opened)
    half = half[np.argsort(key[half], kind="stable")]
    same = np.flatnonzero(key[half[1:]] == key[half[:-1]])
    partner[half[same]] = half[same + 1]
    partner[half[same + 1]] = half[same]
    return partner


def _pair_up(partner: Ints, group: Ints, half: Ints) -> Ints:
    """Make the two ends in each group partners."""
    pair = half[np.argsort(group[half], kind="stable")].reshape(-1, 2)
    partner = partner.copy()
    partner[pair[:, 0]], partner[pair[:, 1]] = pair[:, 1], pair[:, 0]
    return partner


def _chain_up(partner: Ints, fragments: int) -> tuple[int, Ints]:
    """Return the number of chains of partnered fragments, and the chain of each."""
    linked = np.flatnonzero(partner >= 0)
    return components(fragments, linked >> 1, partner[linked] >> 1)


def _flag(count: int, group: Ints, members: Ints) -> Bools:
    """Say which of `count` groups hold one of `members`."""
    flag = np.zeros(count, np.bool_)
    flag[group[members]] = True
    return flag
