"""The skeleton's graph agrees with an independent library on what connects to what."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from analysis.graph import pixel_graph, trace
from analysis.profiles import components
from analysis.skeleton import skeletonise, without_pinholes
from analysis.thinning import thin
from analysis.vessels import VesselSettings, measure_vessels
from tests.phantoms import Bools, random_network

skan = pytest.importorskip("skan", reason="skan is the oracle")

# Steps of 1 and √2 along a digitised line add up to 4 % more than Vossepoel and Smeulders' length.
STEPS_READ_LONG = 0.96


def branches(line: Bools) -> tuple[int, int, int]:
    """Return free ends, paths between nodes, and closed rings, by this project's graph."""
    y, x = np.nonzero(line)
    graph = pixel_graph(y, x, line.shape[1])
    chains = trace(graph, graph.degree > 2)
    return (
        int(np.count_nonzero(graph.degree == 1)),
        int(np.count_nonzero(~chains.ring)),
        int(np.count_nonzero(chains.ring)),
    )


@pytest.mark.parametrize("seed", range(6))
def test_ends_and_rings_are_those_that_skan_finds(seed: int) -> None:
    """Free ends are the pixels of degree one in skan's graph too, and closed rings its cycles."""
    line = thin(without_pinholes(random_network(seed, side=300)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = skan.Skeleton(line)
        table = skan.summarize(theirs, separator="-")
    ends, _, rings = branches(line)
    assert ends == np.count_nonzero(np.asarray(theirs.degrees) == 1)
    parts = table.groupby("skeleton-id")["branch-type"].agg(["size", "first"])
    assert rings == int(((parts["size"] == 1) & (parts["first"] == 3)).sum())


@pytest.mark.parametrize("seed", range(6))
def test_branches_agree_with_skan_once_junction_clusters_are_left_out(seed: int) -> None:
    """Paths of three pixels or more between nodes are as many as skan's, within clusters' doubt."""
    line = thin(without_pinholes(random_network(seed, side=300)))
    y, x = np.nonzero(line)
    graph = pixel_graph(y, x, line.shape[1])
    chains = trace(graph, graph.degree > 2)
    ours = int(np.count_nonzero(chains.size >= 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = skan.Skeleton(line)
    pixels = np.diff(theirs.paths.indptr)
    # skan's paths hold the nodes at both ends, which chains leave out.
    assert ours == pytest.approx(int(np.count_nonzero(pixels >= 5)), rel=0.05, abs=1)


def contracted(mask: Bools) -> tuple[int, int, int]:
    """Return segments, ends and branchpoints by skan's branches, close junctions made one.

    The pruned skeleton is ours; what it consists of is told by skan alone.
    """
    line = skeletonise(mask)
    radius = ndimage.distance_transform_edt(without_pinholes(mask))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = skan.Skeleton(line)
        table = skan.summarize(theirs, separator="-")
    degree = np.asarray(theirs.degrees)
    ends = table[["node-id-src", "node-id-dst"]].to_numpy()
    length = table["branch-distance"].to_numpy()
    ring = (ends[:, 0] == ends[:, 1]) & (degree[ends[:, 0]] == 2)
    node = np.unique(ends)
    at = np.searchsorted(node, ends)
    reach = radius[tuple(np.asarray(theirs.coordinates)[node].T)]
    inner = (degree[ends] > 2).all(axis=1)
    # Junction pixels that touch are one junction, as wide as the widest of them.
    _, cluster = components(len(node), *at[inner & (length < 1.5)].T)
    widest = np.zeros(len(node))
    np.maximum.at(widest, cluster, reach)
    limit = 1.5 * 2 * widest[cluster[at]].max(axis=1) + 2
    short = inner & (STEPS_READ_LONG * length < limit)
    _, cluster = components(len(node), *at[short].T)
    kept = ~short & ~ring
    branches = np.bincount(cluster[at[kept]].reshape(-1), minlength=len(node))
    junction = np.zeros(len(node), np.bool_)
    junction[cluster[degree[node] > 2]] = True
    dissolved = int(np.count_nonzero(junction & (branches == 2)))
    return (
        int(np.count_nonzero(kept)) - dissolved + int(np.count_nonzero(ring)),
        int(np.count_nonzero(branches == 1)),
        int(np.count_nonzero(junction & (branches > 2))),
    )


@pytest.mark.parametrize("seed", range(8))
def test_segments_ends_and_branchpoints_are_those_of_skan_after_the_same_pruning(seed: int) -> None:
    """Clear of the frame, all three counts agree on skeletons of random networks."""
    mask = np.pad(random_network(seed, side=300), 60)
    vessels = measure_vessels(mask, None, VesselSettings(mpp_um=0.5)).vessels
    ours = vessels.segment_count, vessels.endpoint_count, vessels.branchpoint_count
    assert ours == contracted(mask)
