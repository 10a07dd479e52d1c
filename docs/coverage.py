"""Count how often the 95 % interval of a density holds the truth, on sections drawn by chance.

    python -m docs.coverage

draws docs/images/measure-coverage.png and prints the table of docs/measurements.md, in two to three
minutes on two cores; seeds are fixed.

Vessels are a Thomas process: parents anywhere in the plane, about each of them a Poisson number of
offspring, normally distributed. A square of `SQUARE_PX` that holds one or more gets one vessel, in
its middle, from a set of discs and capsules that never touch its edge. Vessels therefore never
touch one another, and what a mm² holds on average follows from how likely a square is empty, in
closed form, and from the area and length of each vessel drawn. The tissue is an ellipse of whole
squares in a frame that its blocks fit badly, as real tissue does.
"""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from loky import cpu_count
from matplotlib import pyplot as plt
from scipy.special import ndtr

from analysis.quadrats import QuadratGrid
from analysis.tally import VesselTally
from analysis.uncertainty import BLOCK_MM2, Blocks
from analysis.vessels import VesselSettings, finish, fold_vessels, measure_vessels
from docs.pictures import OKABE, save
from tests.phantoms import Bools, polyline

Floats = npt.NDArray[np.float64]

MPP_UM = 5.0
SETTINGS = VesselSettings(mpp_um=MPP_UM)
SQUARE_PX = 9
SQUARE_UM = SQUARE_PX * MPP_UM
SQUARE_MM2 = SQUARE_UM**2 * 1e-6
# Length and width in pixels of the vessels, that is 16 to 38 µm, each at four angles.
SHAPES = ((0.0, 3.2), (0.0, 4.5), (3.0, 3.6), (4.4, 3.0), (4.4, 3.0))
ANGLES = 4
ELONGATION = 1.3
SECTIONS = 800
RESAMPLES = 999
# Where the promise of docs/measurements.md lies.
LEAST, MOST = 0.92, 0.97
PATHS = {
    "area_fraction": "area fraction",
    "profile_density_per_mm2": "profile density",
    "length_density_mm_per_mm2": "length density",
}


@dataclass(frozen=True)
class Groups:
    """How vessels lie in groups.

    Attributes
    ----------
    spread_um
        Standard deviation of a vessel's distance from its group's middle, along each axis.
    per_mm2, members
        Mean number of groups in a mm², and of vessels in a group.
    """

    spread_um: float
    per_mm2: float = 48.0
    members: float = 5.0

    @property
    def taken(self) -> float:
        """Return the chance that a square holds a vessel.

        One minus the void probability of a Thomas process, exp(−κ ∫ 1 − exp(−μ p(x)) dx): κ
        parents in a unit of area, μ offspring each, of which a share p(x) falls into the square
        if the parent lies at x.
        """
        step = min(self.spread_um, SQUARE_UM) / 20
        at = np.arange(-7 * self.spread_um, 7 * self.spread_um + SQUARE_UM, step)
        along = ndtr((SQUARE_UM - at) / self.spread_um) - ndtr(-at / self.spread_um)
        reached = 1 - np.exp(-self.members * along[:, None] * along)
        return 1 - math.exp(-self.per_mm2 * 1e-6 * step**2 * float(reached.sum()))

    def expected(self) -> dict[str, float]:
        """Return what the densities are on average over the whole plane."""
        pixels = float(vessels_drawn().mean())  # of a square that holds one
        return {
            "area_fraction": self.taken * pixels,
            "profile_density_per_mm2": self.taken / SQUARE_MM2,
            "length_density_mm_per_mm2": self.taken * float(lengths_mm().mean()) / SQUARE_MM2,
        }

    def scatter(self, height: int, width: int, rng: np.random.Generator) -> Bools:
        """Return which squares (height, width) hold a vessel."""
        size = np.array([height, width]) * SQUARE_UM
        margin = 5 * self.spread_um
        count = rng.poisson(self.per_mm2 * 1e-6 * float(np.prod(size + 2 * margin)))
        parents = rng.uniform(-margin, size + margin, (count, 2))
        places = np.repeat(parents, rng.poisson(self.members, count), axis=0)
        places = places + rng.normal(0, self.spread_um, places.shape)
        square = np.floor(places / SQUARE_UM).astype(np.int64)
        square = square[((square >= 0) & (square < (height, width))).all(axis=1)]
        taken = np.zeros((height, width), np.bool_)
        taken[square[:, 0], square[:, 1]] = True
        return taken


@cache
def vessels_drawn() -> Bools:
    """Return the vessels (K, side, side) that squares may hold."""
    middle, drawn = (SQUARE_PX - 1) / 2, []
    for length, width in SHAPES:
        for angle in range(ANGLES):
            turn = math.pi * angle / ANGLES + 0.2
            dx, dy = length / 2 * math.cos(turn), length / 2 * math.sin(turn)
            ends = [(middle - dx, middle - dy), (middle + dx, middle + dy)]
            drawn.append(polyline(ends, width, (SQUARE_PX, SQUARE_PX)))
    return np.array(drawn)


@cache
def lengths_mm() -> Floats:
    """Return what each vessel (K,) measures by itself: sampling is tested, not the ruler."""
    alone = (np.pad(vessel, SQUARE_PX) for vessel in vessels_drawn())
    lengths = [measure_vessels(mask, None, SETTINGS).vessels.length_mm for mask in alone]
    return np.array(lengths, np.float64)


@cache
def ellipse(area_mm2: float) -> Bools:
    """Return the squares (h, w) of an ellipse of at least this area, just that many."""
    squares = math.ceil(area_mm2 / SQUARE_MM2)
    short = math.sqrt(squares / math.pi / ELONGATION)
    height, width = 2 * math.ceil(short), 2 * math.ceil(short * ELONGATION)
    y, x = np.mgrid[:height, :width] + 0.5
    away = np.hypot(y - height / 2, (x - width / 2) / ELONGATION)
    nearest = np.argsort(away, axis=None, kind="stable")[:squares]
    inside = np.zeros(height * width, np.bool_)
    inside[nearest] = True
    return inside.reshape(height, width)


def draw(groups: Groups, area_mm2: float, seed: int) -> tuple[Bools, Bools]:
    """Return the vessels and the tissue (H, W) of one section."""
    rng = np.random.default_rng([seed, round(100 * area_mm2), round(groups.spread_um)])
    tissue = ellipse(area_mm2)
    taken = groups.scatter(tissue.shape[0], tissue.shape[1], rng)
    squares = np.zeros((*tissue.shape, SQUARE_PX, SQUARE_PX), np.bool_)
    drawn = vessels_drawn()
    squares[taken] = drawn[rng.integers(0, len(drawn), np.count_nonzero(taken))]
    height, width = (side * SQUARE_PX for side in tissue.shape)
    mask = squares.transpose(0, 2, 1, 3).reshape(height, width)
    return mask, np.kron(tissue, np.ones((SQUARE_PX, SQUARE_PX), np.bool_))


@dataclass(frozen=True)
class Case:
    """Sections of one size, and how their vessels lie.

    Attributes
    ----------
    blocks, block_mm2
        Blocks that a section is cut into, and their area.
    groups
        How vessels lie.
    """

    blocks: int
    groups: Groups
    block_mm2: float = BLOCK_MM2

    @property
    def area_mm2(self) -> float:
        """Return the section's area."""
        return self.blocks * self.block_mm2 + 0.01


WITHIN, ACROSS = Groups(60.0), Groups(250.0)
SMALL_MM2 = 0.05
CASES = tuple(
    case
    for groups in (WITHIN, ACROSS)
    for case in (Case(6, groups, SMALL_MM2), *(Case(n, groups) for n in (6, 8, 16, 40)))
)


@dataclass(frozen=True)
class Coverage:
    """What the sections of a case gave, by measurement (3,) in the order of `PATHS`.

    Attributes
    ----------
    case, sections
        What was drawn, and how often.
    interval, bootstrap
        Shares of the intervals that hold the truth; percentile bootstrap of the same blocks.
    again
        Share of the intervals that hold the density of the next section drawn.
    error
        Mean density over the truth, less 1, in standard errors.
    """

    case: Case
    sections: int
    interval: Floats
    bootstrap: Floats
    again: Floats
    error: Floats

    def line(self) -> str:
        """Return the row of the table in docs/measurements.md."""
        case = self.case
        shares = " | ".join(f"{100 * share:.1f} %" for share in self.interval)
        ends = [f"{100 * end:.0f}" for end in (self.bootstrap.min(), self.bootstrap.max())]
        bootstrap = "–".join(dict.fromkeys(ends))
        blocks = f"{case.blocks} of {case.block_mm2:g} mm²"
        return f"| {case.groups.spread_um:g} µm | {blocks} | {shares} | {bootstrap} % |"


def standard_error(share: float, sections: int = SECTIONS) -> float:
    """Return the standard error of a share of so many sections."""
    return math.sqrt(share * (1 - share) / sections)


def one_section(case: Case, seed: int) -> Floats:
    """Return value, both ends of the interval and of the bootstrap's (3, 5) of one section."""
    mask, tissue = draw(case.groups, case.area_mm2, seed)
    # The rest of what is measured takes half of the time and alters no density.
    tally = fold_vessels(mask, [tissue], SETTINGS, densities_only=True)
    outcome = finish(tally, SETTINGS, (mask.shape[0], mask.shape[1]))[0]
    found = {interval.path.removeprefix("vessels."): interval for interval in outcome.intervals}
    values = [getattr(outcome.vessels, path) for path in PATHS]
    ends = [(found[path].low, found[path].high) for path in PATHS]
    return np.column_stack(
        [values, np.array(ends, np.float64), bootstrap(tally, mask.shape[1], values, seed)]
    )


def bootstrap(tally: VesselTally, width: int, values: list[float], seed: int) -> Floats:
    """Return the ends (3, 2) of the percentile bootstrap: blocks drawn again with replacement."""
    grid = QuadratGrid.over(width, MPP_UM)
    cut = Blocks.of(tally.region_px, 0, grid, MPP_UM)
    assert cut is not None
    profiles, *_ = tally.join(SETTINGS, width)
    counted = (tally.vessel_px, profiles.by_quadrat(grid, width), tally.length)
    above = np.stack([cut.sums(sums) for sums in counted], axis=1)
    below = cut.sums(tally.region_px)
    rng = np.random.default_rng([seed, cut.count])
    often = rng.multinomial(cut.count, np.full(cut.count, 1 / cut.count), RESAMPLES)
    ratio = (often @ above) / (often @ below)[:, None] * (below.sum() / above.sum(axis=0))
    ends: Floats = np.quantile(ratio, (0.025, 0.975), axis=0).T * np.array(values)[:, None]
    return ends


def find(case: Case, sections: int, executor: ProcessPoolExecutor | None = None) -> Coverage:
    """Draw and measure the sections of a case."""
    cases, seeds = [case] * sections, range(sections)
    if executor is None:
        rows = np.array(list(map(one_section, cases, seeds)))
    else:
        rows = np.array(list(executor.map(one_section, cases, seeds, chunksize=25)))
    expected = case.groups.expected()
    truth = np.array([expected[path] for path in PATHS])
    value, low, high, lowest, highest = np.moveaxis(rows, 2, 0)
    # A section of which nothing, or one block, was counted has no interval, and NaN holds nothing.
    again = np.roll(value, -1, axis=0)
    return Coverage(
        case,
        sections,
        ((low <= truth) & (truth <= high)).mean(axis=0),
        ((lowest <= truth) & (truth <= highest)).mean(axis=0),
        ((low <= again) & (again <= high)).mean(axis=0),
        (value.mean(axis=0) - truth) / (value.std(axis=0) / math.sqrt(sections)),
    )


@cache
def coverages() -> tuple[Coverage, ...]:
    """Return every case, measured on all cores."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cpu_count(), spawn) as executor:
        return tuple(find(case, SECTIONS, executor) for case in CASES)


def picture(found: tuple[Coverage, ...]) -> None:
    """Draw coverage against the number of blocks, for narrow and for wide groups."""
    figure, both = plt.subplots(1, 2, figsize=(7.6, 3.4), dpi=120, sharey=True)
    for axes, groups in zip(both, (WITHIN, ACROSS), strict=True):
        axes.axhspan(100 * LEAST, 100 * MOST, color=OKABE[2], alpha=0.15, lw=0, label="promised")
        axes.axhline(95, color="black", lw=0.8, ls="--", label="nominal, 95 %")
        mine = [one for one in found if one.case.groups == groups]
        for number, name in enumerate(PATHS.values()):
            _points(axes, mine, number, name)
        axes.set_xticks(range(len(mine)), [_label(one.case) for one in mine], fontsize=7)
        axes.set_xlabel("blocks of a section")
        axes.set_title(f"groups of vessels, spread {groups.spread_um:g} µm", size=8)
    both[0].set_ylabel("intervals that hold the truth (%)")
    both[0].legend(fontsize=6, loc="lower right")
    figure.tight_layout()
    save(figure, "coverage")


def _label(case: Case) -> str:
    return f"{case.blocks} small" if case.block_mm2 < BLOCK_MM2 else str(case.blocks)


def _points(axes: Any, mine: list[Coverage], number: int, name: str) -> None:
    """Draw one measurement's shares with twice their standard errors, and the bootstrap's."""
    at = np.arange(len(mine)) + 0.16 * (number - 1)
    for kind, style, colour in (
        ("interval", "o", OKABE[(4, 5, 6)[number]]), ("bootstrap", "x", OKABE[7]),
    ):  # fmt: skip
        share = np.array([getattr(one, kind)[number] for one in mine])
        twice = [2 * standard_error(s, one.sections) for s, one in zip(share, mine, strict=True)]
        label = name if kind == "interval" else "percentile bootstrap" if number == 2 else None
        axes.errorbar(
            at, 100 * share, 100 * np.array(twice), fmt=style, ms=4, lw=1, color=colour, label=label
        )


def main() -> None:
    """Draw the picture, print the table and how often intervals hold the next section's value."""
    found = coverages()
    picture(found)
    for one in found:
        print(one.line())
    print("the next section's value:", *(np.round(one.again, 3) for one in found))


if __name__ == "__main__":
    main()
