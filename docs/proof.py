"""Measure phantoms whose numbers are known in closed form, and write docs/proof.md.

    python -m docs.proof

takes about three minutes; seeds are fixed, so that the page changes only where the measuring does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.cell_tally import measure_cells
from analysis.cells import CellSettings
from analysis.record import Cells, Vessels, significant
from docs.proof_laws import frame_rows, law_rows
from docs.proof_rows import EXACT, Bound, Case, Row, length_px, measured, page, value
from docs.proof_shapes import bend_rows, branch_rows, capsule_rows, ellipse_rows
from imaging.stains import StainVectors, compose, optical_density, separate
from imaging.tiles import Window
from tests import phantoms
from tests.phantoms import Bools

PAGE = Path(__file__).with_suffix(".md")
# The number of pixel centres in a disc of radius r, thrown at random, deviates by 0.676 √r
# (Kendall, Quarterly Journal of Mathematics 19:1, 1948).
KENDALL = 0.676
# What the tests of distance and lacunarity promise.
DISTANCE, LACUNARITY = Bound(0.02), Bound(0.01)
POINTS_PER_PX2 = 0.0008


# Discs


class Pattern(NamedTuple):
    """Sixteen discs of one radius at random offsets, and what is measured of them."""

    seed: int
    mask: Bools
    vessels: Vessels


@cache
def patterns(radius_px: float) -> list[Pattern]:
    """Return twenty patterns in frames of 200 px."""
    found = []
    for seed in range(20):
        mask = np.zeros((200, 200), np.bool_)
        places = np.mgrid[25:200:50, 25:200:50].reshape(2, -1).T
        for x, y in places + np.random.default_rng(seed).random(places.shape):
            mask |= phantoms.disc(radius_px, mask.shape, float(x), float(y))
        found.append(Pattern(seed, mask, measured(mask)))
    return found


def _patterns(radius_px: float, path: str, expected: float) -> Iterator[Case]:
    for seed, _, vessels in patterns(radius_px):
        yield Case(f"pattern {seed}", value(vessels, path), expected)


def _pixels(radius_px: float) -> Iterator[Case]:
    for seed, mask, vessels in patterns(radius_px):
        counted = significant(np.count_nonzero(mask) / mask.size)
        yield Case(f"pattern {seed}", value(vessels, "area_fraction"), counted)


def _disc_lengths(radius_px: float) -> Iterator[Case]:
    side = math.ceil(2 * radius_px) + 12
    for x, y in phantoms.offsets(64):
        disc = phantoms.disc(radius_px, (side, side), side / 2 + x, side / 2 + y)
        yield Case(f"offset ({x:.2f}, {y:.2f})", length_px(measured(disc)), 0.0)


def disc_rows() -> Iterator[Row]:
    """Yield count, area and length of discs."""
    for radius in (3.0, 6.0, 12.0):
        phantom = f"16 discs of radius {radius:g} px in 200 × 200 px, 20 patterns"
        cases = partial(_patterns, radius, "profile_count", 16.0)
        yield Row("profiles", phantom, "N", "", cases, each=EXACT)
        cases = partial(_pixels, radius)
        yield Row("area fraction", phantom, "pixels/pixels", "", cases, each=EXACT)
        expected = 16 * math.pi * radius**2 / 200**2
        deviation = KENDALL * math.sqrt(radius) / (math.pi * radius**2) / math.sqrt(16 * 20)
        cases = partial(_patterns, radius, "area_fraction", expected)
        yield Row("area fraction", phantom, "Nπr²/Ω", "", cases, mean=Bound(3 * deviation))
        phantom = f"a disc of radius {radius:g} px × 64 offsets"
        cases = partial(_disc_lengths, radius)
        yield Row("length", phantom, "L", "px", cases, each=EXACT)


# Distance to the nearest vessel, and lacunarity


def _lines(spacing_px: int, path: str, expected: float) -> Iterator[Case]:
    for first in range(0, spacing_px, spacing_px // 4):
        mask = np.zeros((400, 640), np.bool_)
        mask[:, first::spacing_px] = True
        for way, drawn in (("upright", mask), ("flat", mask.T)):
            found = value(measured(drawn), f"extravascular_distance_um.{path}")
            yield Case(f"{way}, first line at {first} px", found, expected)


def _mesh(spacing_px: int, path: str, expected: float) -> Iterator[Case]:
    for row, column in product(range(0, spacing_px, spacing_px // 4), repeat=2):
        mask = np.zeros((16 * spacing_px, 16 * spacing_px), np.bool_)
        mask[row::spacing_px] = True
        mask[:, column::spacing_px] = True
        found = value(measured(mask), f"extravascular_distance_um.{path}")
        yield Case(f"first lines at {row} and {column} px", found, expected)


def _points(side_px: int, sections: int) -> Iterator[Case]:
    for section in range(sections):
        rng = np.random.default_rng([side_px, section])
        count = rng.poisson(POINTS_PER_PX2 * side_px**2)
        mask = np.zeros((side_px, side_px), np.bool_)
        mask[rng.integers(0, side_px, count), rng.integers(0, side_px, count)] = True
        mean = value(measured(mask), "extravascular_distance_um.mean")
        yield Case(f"window {section}", mean, 1 / (2 * math.sqrt(POINTS_PER_PX2)))


def _boxes(share: float, box: int, expected: float) -> Iterator[Case]:
    for seed in range(5):
        mask = np.random.default_rng(seed).random((700, 700)) < share
        found = measured(mask).lacunarity
        values = dict(zip(found.box_um, found.value, strict=True))
        yield Case(f"mask {seed}", values[box] or math.nan, expected)


def field_rows() -> Iterator[Row]:
    """Yield distances and lacunarity; lines 1 px thick leave s − 1 px of tissue between them."""
    distance = "extravascular distance, "
    for s in (20, 40, 64):
        phantom = f"lines 1 px thick every s = {s} px in 400 × 640 px"
        cases = partial(_lines, s, "mean", s * s / (4 * (s - 1)))
        yield Row(distance + "mean", phantom, "s²/4(s − 1) ≈ s/4", "px", cases, DISTANCE)
        cases = partial(_lines, s, "max", s / 2)
        yield Row(distance + "greatest", phantom, "s/2", "px", cases, each=EXACT)
    for s in (32, 64):
        phantom = f"square grid of lines 1 px thick every s = {s} px"
        cases = partial(_mesh, s, "mean", s * (s + 1) / (6 * (s - 1)))
        yield Row(distance + "mean", phantom, "s(s + 1)/6(s − 1) ≈ s/6", "px", cases, DISTANCE)
        cases = partial(_mesh, s, "max", s / 2)
        yield Row(distance + "greatest", phantom, "s/2", "px", cases, each=EXACT)
    for side, sections in ((256, 48), (512, 24), (1000, 12)):
        phantom = f"Poisson points, λ = {POINTS_PER_PX2} per px², windows of {side} px"
        cases = partial(_points, side, sections)
        yield Row(distance + "mean", phantom, "1/(2√λ)", "px", cases, DISTANCE)
    for share, box in product((0.1, 0.4), (2, 4, 8, 16)):
        phantom = f"700 × 700 px set with chance q = {share}, boxes of r = {box} px"
        cases = partial(_boxes, share, box, 1 + (1 - share) / (share * box**2))
        yield Row("lacunarity", phantom, "1 + (1 − q)/(q r²)", "", cases, each=LACUNARITY)


# Optical density


def _read(density: npt.NDArray[np.float32], window: Window) -> npt.NDArray[np.float32]:
    return density[window.slices()]


def _cells(read: Callable[[Cells], float], expected: Callable[[Cells], float]) -> Iterator[Case]:
    """Measure a cell that lets half of the light through, by many strengths of light."""
    cell = phantoms.disc(12.0, (60, 60), 30.0, 30.0)
    probability = np.where(cell, 255, 0).astype(np.uint8)
    for light in range(64, 256, 10):
        grey = np.where(cell, light // 2, light).astype(np.uint8)
        density = optical_density(grey[..., None].repeat(3, -1), (light, light, light))[..., 0]
        (outcome,) = measure_cells(
            probability, np.zeros_like(probability), CellSettings(mpp_um=0.5, level=128),
            intensity=partial(_read, density),
        )  # fmt: skip
        yield Case(f"light {light}", read(outcome.cells), expected(outcome.cells))


def _stains() -> Iterator[Case]:
    """Separate DAB that lets half of the light through from hematoxylin of each strength."""
    for hematoxylin in np.arange(0.0, 1.01, 0.1):
        amounts = np.array([[[math.log10(2), hematoxylin, 0.0]]])
        colour = compose(amounts, StainVectors.default())
        dab = separate(optical_density(colour), StainVectors.default())[0, 0, 0]
        yield Case(f"hematoxylin {hematoxylin:.1f}", float(dab), math.log10(2))


def light_rows() -> Iterator[Row]:
    """Yield optical densities of half the light."""
    near, phantom = Bound(plus=1e-6), "a cell at half the light, 20 strengths of light"
    half = math.log10(2)
    cases = partial(_cells, lambda c: value(c, "optical_density.mean"), lambda _: half)
    yield Row("optical density, mean", phantom, "log₁₀ 2", "OD", cases, each=near)
    cases = partial(
        _cells, lambda c: value(c, "integrated_optical_density"),
        lambda c: half * value(c, "cell_area_um2.mean"),
    )  # fmt: skip
    name, formula = "integrated optical density", "log₁₀ 2 · area"
    yield Row(name, phantom, formula, "OD·µm²", cases, each=Bound(1e-5))
    phantom = "DAB at half the light under hematoxylin of OD 0–1"
    yield Row("DAB after separation", phantom, "log₁₀ 2", "OD", _stains, each=near)


def rows() -> list[Row]:
    """Return every row of the page; nothing is measured yet."""
    parts = (
        capsule_rows, branch_rows, bend_rows, ellipse_rows, disc_rows, field_rows, frame_rows,
        law_rows, light_rows,
    )  # fmt: skip
    return [row for part in parts for row in part()]


def main() -> None:
    """Measure every row and write the page."""
    PAGE.write_text(page(row.find() for row in rows()), encoding="utf-8")


if __name__ == "__main__":
    main()
