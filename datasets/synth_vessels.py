"""Grow synthetic vessels: capillary networks, free branching tubes, large vessels, profiles."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import QhullError, Voronoi, cKDTree

from datasets.synth_params import SectionParams
from datasets.synth_shapes import FloatArray, Outline, Tube, angles_of

_MARGIN_UM = 90.0
_STEP_UM = 2.5
_NETWORK, _FREE, _LARGE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class VesselTree:
    """All vessels of a section, with the places where three or more segments meet (J, 2)."""

    tubes: tuple[Tube, ...]
    profiles: tuple[Outline, ...]
    branch_nodes_um: FloatArray


def grow_vessels(rng: np.random.Generator, params: SectionParams) -> VesselTree:
    """Grow the vessels that ``params`` asks for, beyond the frame on all sides."""
    network_rng, free_rng, large_rng, profile_rng = rng.spawn(4)
    network, nodes = _network(network_rng, params)
    free, free_nodes = _free_tubes(free_rng, params)
    large, large_nodes = _large_vessels(large_rng, params)
    tubes = (*network, *free, *large)
    profiles = _profiles(profile_rng, params, tubes)
    found = np.array([*nodes, *free_nodes, *large_nodes], float).reshape(-1, 2)
    inside = np.all((found >= 0) & (found < params.size_um), axis=1)
    return VesselTree(tubes, tuple(profiles), found[inside])


def centre_line_tree(tubes: tuple[Tube, ...]) -> tuple[cKDTree, FloatArray] | None:
    """Return a search tree over all centre-line points and the radius at each; None without any."""
    if not tubes:
        return None
    return (
        cKDTree(np.concatenate([tube.points_um for tube in tubes])),
        np.concatenate([tube.radii_um for tube in tubes]),
    )


def _network(
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
    reach = middle + _MARGIN_UM + 1.0 / np.sqrt(per_um2)
    near = np.all(np.abs(places - middle) < reach, axis=1)
    edges = [
        (a, b)
        for a, b in voronoi.ridge_vertices
        if a >= 0 and (near[a] or near[b]) and rng.random() < kept_share
    ]
    chains, junctions = _chains(edges)
    warp = _Warp(rng, amplitude_um=1.0 + 7.0 * params.tortuosity)
    node_radius = {node: _radius(rng, params) for chain in chains for node in (chain[0], chain[-1])}
    tubes = []
    for chain in chains:
        path = warp(_bowed(rng, places[chain], params.tortuosity))
        own = _radius(rng, params)
        radii = _blend(rng, len(path), node_radius[chain[0]], own, node_radius[chain[-1]])
        tubes.append(Tube(path, radii, _NETWORK))
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
    count = max(2, int(np.ceil(place[-1] / _STEP_UM)) + 1)
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


def _free_tubes(
    rng: np.random.Generator, params: SectionParams
) -> tuple[list[Tube], list[FloatArray]]:
    """Grow branching tubes that wind on their own, and end where the section cut them."""
    density = params.vessel_length_density_mm_per_mm2 * (1 - params.network_fraction) * 1e-3
    side = params.size_um + 2 * _MARGIN_UM
    left_um = density * side**2
    tubes: list[Tube] = []
    nodes: list[FloatArray] = []
    while left_um > 0:
        length = min(float(rng.gamma(1.6, 70.0)) + 12.0, max(left_um, 12.0))
        start = rng.uniform(-_MARGIN_UM, side - _MARGIN_UM, 2)
        stem = _winding_tube(rng, start, rng.uniform(0, 2 * np.pi), length, params)
        tubes.append(stem)
        left_um -= length
        for _ in range(int(rng.poisson(length / 110.0))):
            branch, node = _branch(rng, stem, params)
            tubes.append(branch)
            nodes.append(node)
            left_um -= 60.0
    return tubes, nodes


def _large_vessels(
    rng: np.random.Generator, params: SectionParams
) -> tuple[list[Tube], list[FloatArray]]:
    tubes: list[Tube] = []
    nodes: list[FloatArray] = []
    for _ in range(int(rng.poisson(params.large_vessel_density_per_mm2 * params.area_mm2))):
        radius = float(np.exp(rng.uniform(np.log(6.0), np.log(16.0))))
        start = rng.uniform(0, params.size_um, 2)
        length = float(rng.uniform(30.0, 260.0))
        stem = _winding_tube(
            rng, start, rng.uniform(0, 2 * np.pi), length, params, radius_um=radius, layer=_LARGE
        )
        tubes.append(stem)
        for _ in range(int(rng.integers(0, 3))):
            branch, node = _branch(rng, stem, params)
            tubes.append(branch)
            nodes.append(node)
    return tubes, nodes


def _branch(rng: np.random.Generator, stem: Tube, params: SectionParams) -> tuple[Tube, FloatArray]:
    """Let a thinner tube leave a stem at 35 to 80 degrees."""
    at = int(rng.integers(1, max(2, len(stem.points_um) - 1)))
    node = stem.points_um[at]
    ahead = node - stem.points_um[at - 1]
    angle = np.arctan2(ahead[1], ahead[0]) + rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
    radius = min(_radius(rng, params), 0.95 * float(stem.radii_um[at]))
    length = float(rng.gamma(2.0, 30.0)) + 3 * float(stem.radii_um[at])
    branch = _winding_tube(rng, node, angle, length, params, radius_um=radius, layer=stem.layer)
    return branch, node


def _winding_tube(
    rng: np.random.Generator,
    start: FloatArray,
    heading: float,
    length_um: float,
    params: SectionParams,
    *,
    radius_um: float | None = None,
    layer: int = _FREE,
) -> Tube:
    """Walk with a smoothly changing curvature; wide vessels wind less."""
    radius = _radius(rng, params) if radius_um is None else radius_um
    count = max(3, int(length_um / _STEP_UM) + 1)
    swing = (0.1 + 0.6 * params.tortuosity) * min(1.0, 3.5 / radius)
    # The heading swings about a slowly turning course, so that a tube winds but does not coil.
    short = _unit_noise(rng, count, float(rng.uniform(2.5, 6.0)))
    course = _unit_noise(rng, count, 20.0)
    angle = heading + swing * (short - short[0] + 1.2 * (course - course[0]))
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * _STEP_UM
    path = np.concatenate([start[None], start + np.cumsum(step, axis=0)])
    radii = _blend(rng, len(path), radius, radius, radius * float(rng.uniform(0.6, 1.1)))
    # Where a tube leaves the section it narrows to a tip, more or less.
    tip = np.minimum(1.0, rng.uniform(0.3, 1.0) + np.arange(len(path))[::-1] / 6.0)
    radii = np.maximum(radii * tip, 1.0)
    return Tube(path, radii, layer)


def _profiles(
    rng: np.random.Generator, params: SectionParams, tubes: tuple[Tube, ...]
) -> list[Outline]:
    """Place round and oval cross-sections clear of the tubes and of each other."""
    found = centre_line_tree(tubes)
    placed: list[Outline] = []
    for _ in range(int(rng.poisson(params.profile_density_per_mm2 * params.area_mm2))):
        wide = rng.random() < 0.15
        radius = float(rng.uniform(5.0, 14.0)) if wide else 1.15 * _radius(rng, params)
        outline = Outline(
            (float(rng.uniform(0, params.size_um)), float(rng.uniform(0, params.size_um))),
            wobbly_radii(
                rng, radius, elongation=float(np.exp(abs(rng.normal(0, 0.45)))), wobble=0.05
            ),
        )
        reach = float(outline.radii_um.max())
        if found is not None:
            distance, at = found[0].query(outline.centre_um)
            if distance < reach + found[1][at] + 1.5:
                continue
        if all(
            np.hypot(*np.subtract(outline.centre_um, other.centre_um))
            > reach + other.radii_um.max() + 1.5
            for other in placed
        ):
            placed.append(outline)
    return placed


def wobbly_radii(
    rng: np.random.Generator, radius_um: float, *, elongation: float, wobble: float, count: int = 72
) -> FloatArray:
    """Return the polar radii (``count``,) of an ellipse of equal area, roughened by harmonics."""
    angles = angles_of(count)
    turned = angles - rng.uniform(0, np.pi)
    a, b = radius_um * np.sqrt(elongation), radius_um / np.sqrt(elongation)
    radii = a * b / np.hypot(b * np.cos(turned), a * np.sin(turned))
    for order in range(2, 7):
        size = rng.normal(0, wobble / (order - 1))
        radii = radii * (
            1 + np.clip(size, -0.25, 0.25) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
        )
    return np.asarray(radii)


def _radius(rng: np.random.Generator, params: SectionParams) -> float:
    radius = params.radius_median_um * np.exp(rng.normal(0, params.radius_spread))
    return float(np.clip(radius, 1.4, 8.0))


def _unit_noise(rng: np.random.Generator, count: int, scale: float) -> FloatArray:
    """Return noise (count,) of deviation 1 that is smooth over ``scale`` steps."""
    white = rng.normal(0, 1, count + int(8 * scale))
    smooth = gaussian_filter1d(white, scale) * np.sqrt(2 * np.sqrt(np.pi) * scale)
    return np.asarray(smooth[int(4 * scale) : int(4 * scale) + count])


def _blend(
    rng: np.random.Generator, count: int, first: float, own: float, last: float
) -> FloatArray:
    """Return radii (count,) from the first node's over the segment's own to the last's."""
    share = np.linspace(0, 1, count)
    radii = np.interp(
        share, [0, 0.25, 0.75, 1], [0.5 * (first + own), own, own, 0.5 * (own + last)]
    )
    wobble = gaussian_filter1d(rng.normal(0, 1, count), 2.0, mode="nearest")
    return np.asarray(np.maximum(radii * (1 + 0.15 * wobble), 1.2))


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
