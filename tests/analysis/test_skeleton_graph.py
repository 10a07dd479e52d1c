"""The skeleton's graph agrees with an independent library on what connects to what."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from analysis.graph import pixel_graph, trace
from analysis.skeleton import without_pinholes
from analysis.thinning import thin
from tests.phantoms import Bools, random_network

skan = pytest.importorskip("skan", reason="skan is the oracle")


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
