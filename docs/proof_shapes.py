"""Rows of docs/proof.md about single shapes: capsules, forks, crossings, rings, bends, ellipses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import product

import numpy as np
from scipy.special import ellipe

from analysis.record import Vessels
from analysis.vessels import measure_vessels
from docs.proof_rows import ALL, EXACT, PIXEL, Bound, Case, Row, length_px, measured, right, value
from tests import phantoms
from tests.phantoms import Point

ANGLES = tuple(7.5 * k for k in range(13))
OFFSETS = tuple(phantoms.offsets())
SPINE_PX = 240.0
# What is promised of lengths: 1 % in the mean, 2.5 % and two pixels at any angle and offset.
LENGTH_MEAN, LENGTH_EACH = Bound(0.01), Bound(0.025, 2.0)
TORTUOSITY = Bound(0.02)  # as the test of a semicircle promises
TAPERED = (
    "where a profile narrows over its whole length, its ends are trimmed as those of a tube are, "
    "wherever the inscribed circle shrinks by more than 3/4 of a pixel a pixel, and what is nearly "
    "round has no length: the wider an ellipse for its length, the more of its medial axis is lost."
)
THIN_OVER_WIDE = (
    "the two halves of a tube a fourth as wide meet the wide one's axis at two places, at times "
    "further apart than what is joined: about one in 70 of such crossings; none at 50° and 60°."
)


def length_row(phantom: str, formula: str, cases: Callable[[], Iterator[Case]]) -> Row:
    """Return a row whose lengths keep what is promised of capsules."""
    return Row("length", phantom, formula, "px", cases, LENGTH_MEAN, LENGTH_EACH)


def tortuosity_of(vessels: Vessels) -> float:
    """Return path over chord."""
    return value(vessels, "tortuosity_mean")


# Capsules


@cache
def capsules(width_px: float) -> dict[float, list[Vessels]]:
    """Return what is measured of capsules at each angle, by offset."""
    return {
        angle: [measured(phantoms.capsule(SPINE_PX, width_px, angle, at)) for at in OFFSETS]
        for angle in ANGLES
    }


def _capsules(width_px: float, read: Callable[[Vessels], float], expected: float) -> Iterator[Case]:
    for angle, vessels in capsules(width_px).items():
        for at, one in zip(OFFSETS, vessels, strict=True):
            yield Case(_place(angle, at), read(one), expected)


def _place(angle: float, at: Point) -> str:
    return f"{angle:g}°, offset ({at[0]:.2f}, {at[1]:.2f})"


def _diameters(width_px: float) -> Iterator[Case]:
    for angle, vessels in capsules(width_px).items():
        mean = np.mean([value(one, "diameter_um.mean") for one in vessels])
        yield Case(f"{angle:g}°", float(mean), width_px)


def _no_diameters(width_px: float) -> Iterator[Case]:
    for angle, at in product(ANGLES, OFFSETS):
        outcome = measure_vessels(phantoms.capsule(SPINE_PX, width_px, angle, at), None, PIXEL)
        reason = outcome.reasons.get("vessels.diameter_um", "")
        yield right(_place(angle, at), outcome.vessels.diameter_um.mean is None and reason != "")


def _diagonals() -> Iterator[Case]:
    for x, y in product(np.arange(0, 1, 0.125), repeat=2):
        bar = phantoms.capsule(120.0, 3.0, 45.0, (float(x), float(y)))
        yield Case(f"offset ({x:.3f}, {y:.3f})", length_px(measured(bar)), 120.0)


def capsule_rows() -> Iterator[Row]:
    """Yield lengths, diameters and tortuosity of capsules, and bars at 45°."""
    drawn = "capsules of 240 × {:g} px, 13 angles of 0–90° × 8 offsets"
    for width in (3.0, 4.0, 6.0, 8.0, 13.0, 20.0):
        cases = partial(_capsules, width, length_px, SPINE_PX)
        yield length_row(drawn.format(width), "L", cases)
    for width in (6.0, 8.0, 13.0, 20.0):
        each = Bound(0.05) if width > 10 else Bound(plus=0.5)
        phantom = drawn.format(width) + ", mean of offsets"
        cases = partial(_diameters, width)
        yield Row("diameter", phantom, "w", "px", cases, mean=Bound(0.02), each=each)
    for width in (3.0, 4.0):
        cases = partial(_no_diameters, width)
        name = "diameter is null with a reason"
        yield Row(name, drawn.format(width), ALL, "", cases, each=EXACT)
    cases = partial(_capsules, 8.0, tortuosity_of, 1.0)
    yield Row("tortuosity", drawn.format(8), "path/chord", "", cases, each=TORTUOSITY)
    phantom = "capsules of 120 × 3 px at 45°, 64 offsets"
    yield length_row(phantom, "L", _diagonals)


# Forks and crossings


def _forks(between: float) -> Iterator[Case]:
    for width, turn in product((3.0, 4.0, 7.0, 11.0), np.arange(0, 360, 7.5)):
        arms = [turn, turn + between, turn + 180 + between / 2]
        one = measured(phantoms.star(arms, 70.0, width))
        counts = (one.branchpoint_count, one.segment_count, one.endpoint_count)
        yield right(f"{width:g} px wide, turned by {turn:g}°", counts == (1, 3, 3))


def _crossings(width_px: float) -> Iterator[Case]:
    for meet, turn in product(np.arange(45, 91, 7.5), (*range(0, 72, 6), 45, 71)):
        grid = phantoms.crossing_grid(
            4, 3, spacing_px=45.0, width_px=width_px, degrees=turn, meet_degrees=meet
        )
        where = f"meeting at {meet:g}°, turned by {turn}°"
        yield Case(where, value(measured(grid), "branchpoint_count"), 12.0)


def _unequal(widths_px: Point, meets: tuple[float, ...], step_degrees: float) -> Iterator[Case]:
    for meet, turn, at in product(meets, np.arange(0, 180, step_degrees), OFFSETS):
        one = measured(phantoms.crossing(widths_px, 80.0, turn, meet, at))
        counts = (one.branchpoint_count, one.segment_count, one.endpoint_count)
        yield right(f"meeting at {meet:g}°, {_place(turn, at)}", counts == (1, 4, 4))


def branch_rows() -> Iterator[Row]:
    """Yield forks, crossing grids, and crossings of tubes of unequal width."""
    for between in (45, 60, 90, 120):
        phantom = f"Y, arms {between}° apart, 48 turns × 4 widths of 3–11 px"
        name = "1 branchpoint, 3 segments, 3 ends"
        yield Row(name, phantom, ALL, "", partial(_forks, between), each=EXACT)
    for width in (3, 4, 6, 11):
        phantom = f"4 × 3 tubes {width} px wide, meeting at 45–90°, turned by 0–71°"
        yield Row("branchpoints", phantom, "n·m", "", partial(_crossings, width), each=EXACT)
    name = "1 branchpoint, 4 segments, 4 ends"
    for widths in ((5.0, 8.0), (8.0, 13.0), (6.0, 20.0)):
        thin, wide = widths
        phantom = f"tubes {thin:g} and {wide:g} px wide meeting at 60, 90°, 12 turns × 8 offsets"
        cases = partial(_unequal, widths, (60.0, 90.0), 15.0)
        yield Row(name, phantom, ALL, "", cases, each=EXACT)
    phantom = "tubes 5 and 20 px wide meeting at 45°, 36 turns × 8 offsets"
    cases = partial(_unequal, (5.0, 20.0), (45.0,), 5.0)
    yield Row(name, phantom, ALL, "", cases, each=EXACT, miss=THIN_OVER_WIDE)


# Rings and bends


@cache
def rings(radius_px: int) -> dict[str, Vessels]:
    """Return what is measured of rings about a circle, by width and offset."""
    found = {}
    for width, (x, y) in product((6, 8, 12, 20), OFFSETS):
        side = 2 * (radius_px + width) + 9
        centre = (side / 2 + x, side / 2 + y)
        outer, inner = (
            phantoms.disc(radius_px + half, (side, side), *centre)
            for half in (width / 2, -width / 2)
        )
        found[f"{width} px wide, offset ({x:.2f}, {y:.2f})"] = measured(outer & ~inner)
    return found


def _ring_lengths(radius_px: int) -> Iterator[Case]:
    for where, one in rings(radius_px).items():
        yield Case(where, length_px(one), 2 * math.pi * radius_px)


def _loops(radius_px: int) -> Iterator[Case]:
    for where, one in rings(radius_px).items():
        counts = (one.segment_count, one.branchpoint_count, one.endpoint_count)
        yield right(where, counts == (1, 0, 0) and one.tortuosity_mean is None)


@cache
def bends(curve: tuple[Point, ...], step_degrees: float) -> dict[str, Vessels]:
    """Return what is measured of tubes along a curve, by width and turn."""
    reach = math.ceil(max(math.hypot(x, y) for x, y in curve)) + 20
    return {
        f"{width} px wide, turned by {turn:g}°": measured(
            phantoms.polyline(turned(curve, turn, reach), width, (2 * reach, 2 * reach))
        )
        for width, turn in product((4, 6, 8, 13), np.arange(0, 91, step_degrees))
    }


def _bends(
    curve: tuple[Point, ...], step: float, read: Callable[[Vessels], float], expected: float
) -> Iterator[Case]:
    for where, one in bends(curve, step).items():
        yield Case(where, read(one), expected)


def turned(points: Iterable[Point], degrees: float, middle: float) -> list[Point]:
    """Turn points about the origin, which is then moved to (middle, middle)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(middle + c * x - s * y, middle + s * x + c * y) for x, y in points]


def sine(amplitude_px: float, period_px: float) -> tuple[tuple[Point, ...], float]:
    """Return two periods of a sine, and their length by the complete elliptic integral."""
    steps = np.linspace(-period_px, period_px, 161)
    height = amplitude_px * np.sin(2 * np.pi * steps / period_px)
    steepest = (2 * math.pi * amplitude_px / period_px) ** 2
    quarter = period_px / (2 * math.pi) * math.sqrt(1 + steepest)
    length = 8 * quarter * float(ellipe(steepest / (1 + steepest)))
    return tuple(zip(steps.tolist(), height.tolist(), strict=True)), length


def bend_rows() -> Iterator[Row]:
    """Yield rings, a semicircle and sines."""
    for radius in (20, 38, 80):
        phantom = f"rings of radius {radius} px, 4 widths of 6–20 px × 8 offsets"
        yield length_row(phantom, "2πr", partial(_ring_lengths, radius))
        name = "1 loop, no branchpoint, no end"
        yield Row(name, phantom, ALL, "", partial(_loops, radius), each=EXACT)
    arc = tuple((80 * math.cos(t), 80 * math.sin(t)) for t in np.linspace(0, math.pi, 161))
    phantom = "semicircles of radius 80 px, 4 widths × 13 turns"
    curves = [(phantom, "πr", "π/2", 7.5, arc, 80 * math.pi, math.pi / 2)]
    for amplitude in (5, 10, 20, 40):
        phantom = f"A sin(2πx/λ), A = {amplitude} px, λ = 160 px, two periods, 4 widths × 7 turns"
        curve, length = sine(amplitude, 160.0)
        curves.append((phantom, "arc by E", "arc by E/2λ", 15.0, curve, length, length / 320))
    for phantom, path, ratio, step, curve, length, tortuosity in curves:
        yield length_row(phantom, path, partial(_bends, curve, step, length_px, length))
        cases = partial(_bends, curve, step, tortuosity_of, tortuosity)
        yield Row("tortuosity", phantom, ratio, "", cases, each=TORTUOSITY)


# Ellipses


def _ellipses(half_px: Point) -> Iterator[Case]:
    a, b = half_px
    for angle, at in product(np.arange(0, 91, 15.0), OFFSETS):
        length = length_px(measured(phantoms.ellipse(half_px, angle, at)))
        yield Case(_place(angle, at), length, 2 * (a - b * b / a))


def ellipse_rows() -> Iterator[Row]:
    """Yield filled ellipses, which keep less than their medial axis."""
    for a, b in ((40, 10), (40, 20), (30, 15), (20, 16)):
        phantom = f"filled ellipses of semi-axes a = {a}, b = {b} px, 7 angles × 8 offsets"
        row = length_row(phantom, "2(a − b²/a)", partial(_ellipses, (float(a), float(b))))
        yield dataclasses.replace(row, miss=TAPERED)
