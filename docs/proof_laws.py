"""Rows of docs/proof.md about laws: counting frame, turned, parted, tiled, scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from analysis.profiles import block_profiles
from analysis.record import Vessels, significant
from analysis.vessels import VesselSettings, measure_vessels
from docs.proof_rows import ALL, EXACT, Bound, Case, Row, measured, right, value
from tests import phantoms
from tests.phantoms import Bools

HALF_MICRON = VesselSettings(mpp_um=0.5)
SEEDS = (1, 2, 3)
LOST = (
    "a profile that ends on the frame's last row or column is counted neither in this frame nor in "
    "the next, so that a frame of n px counts as one of n − 1: about 2/n too few, 0.1 % at 2000 px."
)
JOINED = (
    "where several tubes run together, two junctions may be counted as one or as two, as the "
    "direction of thinning has it: at most 2 of about 30 branchpoints."
)

TURNS: dict[str, Callable[[Bools], Bools]] = {
    "flip left to right": np.fliplr, "flip top to bottom": np.flipud, "quarter turn": np.rot90,
    "half turn": partial(np.rot90, k=2), "three quarter turns": partial(np.rot90, k=3),
    "transposition": np.transpose, "transposition and half turn": lambda m: np.rot90(m, 2).T,
}  # fmt: skip
# What a flip or a quarter turn leaves exactly as it was.
UNTURNED = (
    "area_fraction", "extravascular_distance_um.mean", "extravascular_distance_um.p95",
    "extravascular_distance_um.max", "lacunarity.mean", "lacunarity.slope",
)  # fmt: skip
COUNTS = ("profile_count", "branchpoint_count", "segment_count", "endpoint_count")
# The power of length by which each measurement scales.
POWERS = {
    "area_mm2": 2, "area_fraction": 0, "profile_density_per_mm2": -2, "length_mm": 1,
    "length_density_mm_per_mm2": -1, "branchpoint_density_per_mm2": -2,
    "mean_segment_length_um": 1, "diameter_um.mean": 1, "tortuosity_mean": 0,
    "extravascular_distance_um.mean": 1, **dict.fromkeys(COUNTS, 0),
}  # fmt: skip


# The counting frame


def _frames(side_px: int, step_px: int) -> Iterator[Case]:
    """Count in frames at every shift over a torus of discs: what is counted, and nothing else."""
    rng = np.random.default_rng(3)
    torus = np.zeros((2 * side_px, 2 * side_px), np.bool_)
    places = np.mgrid[24 : 2 * side_px : 48, 24 : 2 * side_px : 48].reshape(2, -1).T
    for x, y in places + rng.uniform(-6, 6, places.shape):
        torus |= phantoms.disc(float(rng.uniform(4, 9)), torus.shape, float(x), float(y))
    for y, x in product(range(0, 2 * side_px, step_px), repeat=2):
        frame = np.ascontiguousarray(np.roll(torus, (-y, -x), (0, 1))[:side_px, :side_px])
        counted, *_ = block_profiles(frame, None, (0, 0), frame.shape, 1.0, 0.0)
        yield Case(f"shift ({x}, {y})", float(counted.total[0]), len(places) / 4)


def frame_rows() -> Iterator[Row]:
    """Yield the counting frame at all shifts; a single frame may hold more or fewer."""
    for side, step in ((96, 1), (384, 12)):
        phantom = f"frame of {side} px shifted by {step} px at a time over discs on a torus"
        cases = partial(_frames, side, step)
        yield Row("profiles", phantom, "discs per frame", "", cases, EXACT, miss=LOST)


# Laws: turned, parted, tiled, scaled


class Pair(NamedTuple):
    """A network measured in another way, in one part or several, beside the measurements of it."""

    where: str
    parts: tuple[Vessels, ...]
    whole: Vessels


@cache
def network(seed: int) -> tuple[Bools, Vessels]:
    """Return a random network, and what is measured of it."""
    mask = phantoms.random_network(seed, lines=48)
    return mask, measured(mask, HALF_MICRON)


@cache
def turns(clear: bool = False) -> list[Pair]:
    """Return networks turned, with or without the profiles that meet the border."""
    found = []
    for seed in SEEDS:
        mask, whole = network(seed)
        if clear:
            labels, _ = ndimage.label(np.pad(mask, 1, constant_values=True), np.ones((3, 3)))
            mask = mask & (labels != labels[0, 0])[1:-1, 1:-1]
            whole = measured(mask, HALF_MICRON)
        for name, turn in TURNS.items():
            found.append(
                Pair(f"network {seed}, {name}", (measured(turn(mask), HALF_MICRON),), whole)
            )
    return found


@cache
def doublings() -> list[Pair]:
    """Return networks of twice as many pixels at half their size."""
    fine = dataclasses.replace(HALF_MICRON, mpp_um=HALF_MICRON.mpp_um / 2)
    doubled = np.ones((2, 2), np.bool_)
    return [
        Pair(f"network {seed}", (measured(np.kron(mask, doubled), fine),), whole)
        for seed, (mask, whole) in ((seed, network(seed)) for seed in SEEDS)
    ]


@cache
def partitions() -> list[Pair]:
    """Return networks measured in three regions that cover them."""
    found = []
    for seed, cut in product(SEEDS, range(3)):
        mask, whole = network(seed)
        parts = (
            measure_vessels(mask, part, HALF_MICRON).vessels
            for part in phantoms.partitions(mask.shape, cut)
        )
        found.append(Pair(f"network {seed}, partition {cut}", tuple(parts), whole))
    return found


@cache
def tiles() -> list[Pair]:
    """Return networks measured block by block."""
    found = []
    for seed, block in product(SEEDS, (48, 80, 112, 160, 256)):
        mask, whole = network(seed)
        tiled = measure_vessels(mask, None, HALF_MICRON, block_px=block).vessels
        found.append(Pair(f"network {seed}, blocks of {block} px", (tiled,), whole))
    return found


def _sums(pairs: Callable[[], list[Pair]], path: str) -> Iterator[Case]:
    for where, parts, whole in pairs():
        total = significant(sum(value(part, path) for part in parts))
        yield Case(where, total, value(whole, path))


def _same(pairs: Callable[[], list[Pair]], paths: tuple[str, ...]) -> Iterator[Case]:
    for path in paths:
        for where, got, expected in _sums(pairs, path):
            yield right(f"{path}, {where}", got == expected)


def _scaled() -> Iterator[Case]:
    for factor in (0.5, 2.0, 3.0):
        settings = VesselSettings(
            HALF_MICRON.mpp_um * factor,
            HALF_MICRON.min_profile_area_um2 * factor**2,
            HALF_MICRON.gap_um * factor,
            HALF_MICRON.max_vessel_radius_um * factor,
        )
        for seed in SEEDS:
            mask, whole = network(seed)
            scaled = measured(mask, settings)
            for path, power in POWERS.items():
                ratio = value(scaled, path) / value(whole, path) / factor**power
                yield Case(f"{path}, network {seed}, k = {factor:g}", round(ratio, 9), 1.0)


def law_rows() -> Iterator[Row]:
    """Yield what turning, parting, tiling and scaling leave as it was."""
    drawn = "3 random networks"
    turned, parted = f"{drawn}, 7 flips and turns", f"{drawn} cut into 3 regions in 3 ways"
    tiled, doubled = f"{drawn} in 5 sizes of block", f"{drawn}, each pixel made 2 × 2 of half"
    cases: Callable[[], Iterator[Case]] = partial(_same, turns, UNTURNED)
    yield Row("area, distances, lacunarity alike", turned, ALL, "", cases, each=EXACT)
    cases = partial(_sums, partial(turns, clear=True), "profile_count")
    phantom = turned + ", profiles at the border taken away"
    yield Row("profiles", phantom, "unturned", "", cases, each=EXACT)
    cases = partial(_sums, turns, "length_mm")
    yield Row("length", turned, "unturned", "mm", cases, each=Bound(0.01))
    cases = partial(_sums, turns, "branchpoint_count")
    yield Row("branchpoints", turned, "unturned", "", cases, each=Bound(0.02), miss=JOINED)
    for phantom, pairs, share in ((parted, partitions, 0.005), (tiled, tiles, 0.002)):
        cases = partial(_same, pairs, ("area_mm2", *COUNTS))
        yield Row("area and 4 counts alike", phantom, ALL, "", cases, each=EXACT)
        cases = partial(_sums, pairs, "length_mm")
        yield Row("length", phantom, "whole", "mm", cases, each=Bound(share))
    phantom = f"{drawn}, pixels and all sizes × k = 0.5, 2, 3"
    name = f"{len(POWERS)} measurements by their powers of k"
    yield Row(name, phantom, "ratio", "", _scaled, each=EXACT)
    for name, path, unit, share in (
        ("length", "length_mm", "mm", 0.02), ("diameter", "diameter_um.mean", "µm", 0.04)
    ):  # fmt: skip
        cases = partial(_sums, doublings, path)
        yield Row(name, doubled, "undoubled", unit, cases, each=Bound(share))
