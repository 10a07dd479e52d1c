"""Grow synthetic vessels: capillary networks, free branching tubes, large vessels, profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from datasets.synth_network import grow_network
from datasets.synth_params import SectionParams
from datasets.synth_random import (
    MARGIN_UM,
    STEP_UM,
    blended_radii,
    unit_noise,
    vessel_radius,
    wobbly_radii,
)
from datasets.synth_shapes import FloatArray, Outline, Tube

_FREE, _LARGE = 1, 2
_GAP_UM = 1.5  # between vessels that are cut across and all others
_TRIES = 8


@dataclass(frozen=True, eq=False)
class VesselTree:
    """All vessels of a section, with the places where three or more segments meet (J, 2)."""

    tubes: tuple[Tube, ...]
    profiles: tuple[Outline, ...]
    branch_nodes_um: FloatArray


def grow_vessels(rng: np.random.Generator, params: SectionParams) -> VesselTree:
    """Grow the vessels that ``params`` asks for, beyond the frame on all sides."""
    network_rng, free_rng, large_rng, profile_rng = rng.spawn(4)
    network, nodes = grow_network(network_rng, params)
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


def _free_tubes(
    rng: np.random.Generator, params: SectionParams
) -> tuple[list[Tube], list[FloatArray]]:
    """Grow branching tubes that wind on their own, and end where the section cut them."""
    density = params.vessel_length_density_mm_per_mm2 * (1 - params.network_fraction) * 1e-3
    side = params.size_um + 2 * MARGIN_UM
    left_um = density * side**2
    tubes: list[Tube] = []
    nodes: list[FloatArray] = []
    while left_um > 0:
        length = min(float(rng.gamma(1.6, 70.0)) + 12.0, max(left_um, 12.0))
        start = rng.uniform(-MARGIN_UM, side - MARGIN_UM, 2)
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
    radius = min(vessel_radius(rng, params), 0.95 * float(stem.radii_um[at]))
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
    radius = vessel_radius(rng, params) if radius_um is None else radius_um
    count = max(3, int(length_um / STEP_UM) + 1)
    swing = (0.1 + 0.6 * params.tortuosity) * min(1.0, 3.5 / radius)
    # The heading swings about a slowly turning course, so that a tube winds but does not coil.
    short = unit_noise(rng, count, float(rng.uniform(2.5, 6.0)))
    course = unit_noise(rng, count, 20.0)
    angle = heading + swing * (short - short[0] + 1.2 * (course - course[0]))
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * STEP_UM
    path = np.concatenate([start[None], start + np.cumsum(step, axis=0)])
    radii = blended_radii(rng, len(path), radius, radius, radius * float(rng.uniform(0.6, 1.1)))
    # Where a tube leaves the section it narrows to a tip, more or less.
    tip = np.minimum(1.0, rng.uniform(0.3, 1.0) + np.arange(len(path))[::-1] / 6.0)
    radii = np.maximum(radii * tip, 1.0)
    return Tube(path, radii, layer)


def _profiles(
    rng: np.random.Generator, params: SectionParams, tubes: tuple[Tube, ...]
) -> list[Outline]:
    """Place round and oval cross-sections clear of the tubes and of each other, wide ones first."""
    found = centre_line_tree(tubes)
    wanted = int(rng.poisson(params.profile_density_per_mm2 * params.area_mm2))
    placed: list[Outline] = []
    for radius in sorted((_profile_radius(rng, params) for _ in range(wanted)), reverse=True):
        elongation = float(np.exp(abs(rng.normal(0, 0.45))))
        radii = wobbly_radii(rng, radius, elongation=elongation, wobble=0.05)
        for _ in range(_TRIES):
            # Some are cut by the frame.
            x, y = rng.uniform(-0.7 * radii.max(), params.size_um + 0.7 * radii.max(), 2)
            outline = Outline((float(x), float(y)), radii)
            if outline.reaches(params.size_um) and _is_clear(outline, placed, found):
                placed.append(outline)
                break
    return placed


def _profile_radius(rng: np.random.Generator, params: SectionParams) -> float:
    if rng.random() < params.wide_fraction:
        return float(np.exp(rng.uniform(np.log(5.0), np.log(25.0))))
    return 1.15 * vessel_radius(rng, params)


def _is_clear(
    outline: Outline, placed: list[Outline], tubes: tuple[cKDTree, FloatArray] | None
) -> bool:
    """Return whether an outline keeps its distance from all that is there."""
    reach = float(outline.radii_um.max()) + _GAP_UM
    if tubes is not None:
        tree, radii = tubes
        for at in tree.query_ball_point(outline.centre_um, reach + radii.max()):
            apart = float(np.hypot(*(tree.data[at] - outline.centre_um)))
            if apart < reach + radii[at]:
                return False
    return all(
        np.hypot(*np.subtract(outline.centre_um, other.centre_um)) > reach + other.radii_um.max()
        for other in placed
    )
