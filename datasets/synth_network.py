"""Grow a connected capillary network."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import QhullError, Voronoi

from datasets.synth_params import SectionParams
from datasets.synth_random import MARGIN_UM, STEP_UM, blended_radii, vessel_radius
from datasets.synth_shapes import FloatArray, Tube

_LAYER = 0


def grow_network(
    rng: np.random.Generator, params: SectionParams
) -> tuple[list[Tube], list[FloatArray]]:
    """Grow a network: warped Voronoi edges, whose nodes have three branches as capillaries have.

    The edges of a Poisson–Voronoi tessellation of intensity λ are 2·√λ long per area (Møller 1989),
    which gives λ from the length wanted and the share of edges kept.
    """
    length = params.vessel_length_density_mm_per_mm2 * params.network_fraction * 1e-3
    kept_share = float(rng.uniform(0.6, 0.95))
    if length == 0:
        return [], []
    per_um2 = (length / (2 * kept_share)) ** 2
    # Cells at the border of the seeds are open: the frame keeps two cells' distance from it, in
    # every direction that the network is turned to.
    margin = 2.0 / np.sqrt(per_um2) + 0.21 * params.size_um
    side = params.size_um + 2 * margin
    count = max(4, int(rng.poisson(per_um2 * side**2)))
    stretch = np.array([np.exp(rng.normal(0, 0.25)), 1.0])
    seeds = rng.uniform(0, side, (count, 2)) * stretch
    try:
        voronoi = Voronoi(seeds)
    except QhullError:
        return [], []
    places = voronoi.vertices / stretch - margin
    turn = _rotation(rng.uniform(0, 2 * np.pi))
    middle = params.size_um / 2
    places = (places - middle) @ turn.T + middle
    reach = middle + MARGIN_UM + 1.0 / np.sqrt(per_um2)
    near = np.all(np.abs(places - middle) < reach, axis=1)
    edges = [
        (a, b)
        for a, b in voronoi.ridge_vertices
        if a >= 0 and (near[a] or near[b]) and rng.random() < kept_share
    ]
    chains, junctions = _chains(edges)
    warp = _Warp(rng, amplitude_um=1.0 + 7.0 * params.tortuosity)
    node_radius = {
        node: vessel_radius(rng, params) for chain in chains for node in (chain[0], chain[-1])
    }
    tubes = []
    for chain in chains:
        path = warp(_bowed(rng, places[chain], params.tortuosity))
        own = vessel_radius(rng, params)
        radii = blended_radii(rng, len(path), node_radius[chain[0]], own, node_radius[chain[-1]])
        tubes.append(Tube(path, radii, _LAYER))
    return tubes, [warp(places[[node]])[0] for node in junctions]


def _chains(edges: list[tuple[int, int]]) -> tuple[list[list[int]], list[int]]:
    """Join edges at nodes with two branches; return the chains and the nodes with three or more."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        neighbours[a].append(b)
        neighbours[b].append(a)
    left = {tuple(sorted(edge)) for edge in edges}
    chains = []
    ends = [node for node in neighbours if len(neighbours[node]) != 2]
    # Pure loops have no such node: start them anywhere.
    for start in (*ends, *neighbours):
        for second in neighbours[start]:
            edge = tuple(sorted((start, second)))
            if edge not in left:
                continue
            left.discard(edge)
            chain = [start, second]
            while len(neighbours[chain[-1]]) == 2:
                onward = [
                    node
                    for node in neighbours[chain[-1]]
                    if tuple(sorted((chain[-1], node))) in left
                ]
                if not onward:
                    break
                left.discard(tuple(sorted((chain[-1], onward[0]))))
                chain.append(onward[0])
            chains.append(chain)
    return chains, [node for node in ends if len(neighbours[node]) > 2]


def _bowed(rng: np.random.Generator, corners: FloatArray, tortuosity: float) -> FloatArray:
    """Draw a smooth line through a chain of corners, its two ends held."""
    steps = np.hypot(*np.diff(corners, axis=0).T)
    place = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, int(np.ceil(place[-1] / STEP_UM)) + 1)
    t = np.linspace(0, place[-1], count)
    path = np.stack([np.interp(t, place, corners[:, k]) for k in (0, 1)], axis=1)
    share = t / max(place[-1], 1e-9)
    if len(corners) > 2:
        straight = corners[0] + share[:, None] * (corners[-1] - corners[0])
        off = gaussian_filter1d(path - straight, 3.0, axis=0, mode="nearest")
        path = straight + off * np.sin(np.pi * share)[:, None] ** 0.3
    chord = corners[-1] - corners[0]
    normal = np.array([-chord[1], chord[0]]) / max(float(np.hypot(*chord)), 1e-9)
    bow = place[-1] * tortuosity * rng.normal(0, (0.07, 0.05))
    swing = bow[0] * np.sin(np.pi * share) + bow[1] * np.sin(2 * np.pi * share)
    return np.asarray(path + swing[:, None] * normal)


def _rotation(angle: float) -> FloatArray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


class _Warp:
    """A smooth random displacement of the plane: a sum of plane waves, 25 to 120 µm long."""

    def __init__(self, rng: np.random.Generator, amplitude_um: float, count: int = 14) -> None:
        wavelength = rng.uniform(25.0, 120.0, count)
        angle = rng.uniform(0, 2 * np.pi, count)
        self._waves = 2 * np.pi / wavelength * np.stack([np.cos(angle), np.sin(angle)])
        self._phase = rng.uniform(0, 2 * np.pi, count)
        # Long waves swing further: equal slopes keep the map free of folds.
        self._push = rng.normal(0, 1, (count, 2)) * (amplitude_um * wavelength / 120)[:, None]
        self._push /= np.sqrt(count)

    def __call__(self, points: FloatArray) -> FloatArray:
        return np.asarray(points + np.sin(points @ self._waves + self._phase) @ self._push)
