"""What a row of docs/proof.md holds, and how the page shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from analysis.record import Cells, Vessels, significant
from analysis.vessels import VesselSettings, measure_vessels
from tests.phantoms import Bools

PIXEL = VesselSettings(mpp_um=1.0, min_profile_area_um2=0.0, gap_um=0.0)


class Case(NamedTuple):
    """One phantom measured: what was varied, what came out, what the closed form says."""

    where: str
    got: float
    expected: float


@dataclass(frozen=True)
class Bound:
    """How far a number may lie from what is expected: a share of it, and something on top."""

    share: float = 0.0
    plus: float = 0.0

    def reach(self, expected: float) -> float:
        """Return the greatest error allowed, in the unit of `expected`."""
        return self.share * abs(expected) + self.plus

    def text(self, unit: str) -> str:
        """Return the bound as the page shows it."""
        parts = [f"{100 * self.share:.2g} %"] if self.share else []
        plus = np.format_float_positional(self.plus, trim="-")
        parts += [f"{plus} {unit}".rstrip()] if self.plus else []
        return " + ".join(parts) or "exact"


EXACT = Bound()


def measured(mask: Bools, settings: VesselSettings = PIXEL) -> Vessels:
    """Measure a mask: with pixels of 1 µm, lengths in µm are lengths in pixels."""
    return measure_vessels(np.ascontiguousarray(mask), None, settings).vessels


def value(measurements: Vessels | Cells, path: str) -> float:
    """Return one measurement by its path, rounded as the record rounds it."""
    return significant(float(attrgetter(path)(measurements)))


def length_px(vessels: Vessels) -> float:
    """Return the length of vessels measured with pixels of 1 µm."""
    return 1000.0 * value(vessels, "length_mm")


def right(where: str, is_right: bool) -> Case:
    """Return a case that is either right or not."""
    return Case(where, float(is_right), 1.0)


ALL = "all"


@dataclass(frozen=True)
class Row:
    """One measurement on one kind of phantom.

    Attributes
    ----------
    measurement, phantom
        What is measured on what.
    formula, unit
        The closed form, or `ALL` where every phantom has to be right; the unit of its value.
    cases
        Draws and measures the phantoms.
    mean, each
        Bounds on the mean error and on that of every single case; None where none is promised.
    miss
        Why the row is known to miss its bounds; empty where it keeps them.
    """

    measurement: str
    phantom: str
    formula: str
    unit: str
    cases: Callable[[], Iterable[Case]]
    mean: Bound | None = None
    each: Bound | None = None
    miss: str = ""

    @property
    def name(self) -> str:
        """Return the row's first cells as they stand on the page; no two rows share them."""
        return f"| {self.measurement} | {self.phantom} | {self.formula} "

    @property
    def limit(self) -> str:
        """Return the bounds in words."""
        if self.mean is None and self.each == EXACT:
            return "exact"
        bounds = {"mean": self.mean, "any": self.each}
        return "; ".join(f"{k} {b.text(self.unit)}" for k, b in bounds.items() if b is not None)

    def find(self) -> Found:
        """Measure the phantoms."""
        return Found(self, tuple(self.cases()))


@dataclass(frozen=True)
class Found:
    """What a row's phantoms measured."""

    row: Row
    cases: tuple[Case, ...]

    @property
    def expected(self) -> float:
        """Return the mean of what the closed form says."""
        return float(np.mean([case.expected for case in self.cases]))

    @property
    def got(self) -> float:
        """Return the mean of what was measured."""
        return float(np.mean([case.got for case in self.cases]))

    @property
    def worst(self) -> Case:
        """Return the case furthest from its closed form: the first of several."""
        return max(self.cases, key=lambda case: abs(case.got - case.expected))

    @property
    def holds(self) -> bool:
        """Say whether the mean and every case lie within the row's bounds."""
        mean, each = self.row.mean, self.row.each
        mean_holds = mean is None or abs(self.got - self.expected) <= mean.reach(self.expected)
        return mean_holds and all(
            each is None or abs(case.got - case.expected) <= each.reach(case.expected)
            for case in self.cases
        )

    def line(self) -> str:
        """Return the row of the page."""
        row, unit, worst, number = self.row, self.row.unit, self.worst, len(self.cases)
        expected = f"= {_number(self.expected, unit)} "
        got = f"{_number(self.got, unit)} (n = {number:,})"
        if row.formula == ALL:
            is_right = sum(case.got == case.expected for case in self.cases)
            expected, got = "", f"{is_right:,} of {number:,}"
        furthest = "all exact"
        if worst.got != worst.expected:
            furthest = f"{_error(worst.got, worst.expected, unit)}: {worst.where}"
        cells = (
            got, _error(self.got, self.expected, unit), furthest,
            row.limit, "yes" if self.holds else "**no**",
        )  # fmt: skip
        return f"{row.name}{expected}| {' | '.join(cells)} |"


def _number(number: float, unit: str) -> str:
    return f"{number:.5g} {unit}".rstrip()


def _error(got: float, expected: float, unit: str) -> str:
    """Return the error as a percentage, or in the unit itself where nothing is expected."""
    if got == expected:
        return "0"
    if not expected:
        return f"{got:+.2f} {unit}".replace("-", "−")
    percent = 100 * (got / expected - 1)
    return f"{percent:+.2f} %".replace("-", "−") if abs(percent) >= 0.005 else "< 0.01 %"


HEAD = """# Proof

A phantom is a mask drawn from a formula, such as a tube of known length and width: geometry says
what has to be measured of it. Here the code that measures sections measures phantoms. `make docs`
draws and measures them all anew and writes this page.

*Expected* is the closed form and its value, the mean where it varies. *Got* is the mean over all n
that were varied, or how many of them are exactly right. *Worst* is the single phantom furthest
off. A *limit* binds the mean, any single phantom, or both; where it binds the mean alone, single
phantoms scatter with where they happen to lie. Pixels are 1 µm wide, so that px and µm are alike;
in random networks they are 0.5 µm wide. A capsule is a straight tube with round ends; an offset
shifts a phantom by parts of a pixel; E is the complete elliptic integral of the second kind.

| measurement | phantom | expected | got | error of the mean | worst | limit | holds |
|---|---|---|---|---|---|---|---|
"""

MISSES = """
## What does not hold

"""

FOOT = """
How often the 95 % intervals hold the truth stands under
[Intervals](measurements.md#intervals-uncertainty), and what each measurement means on
[the same page](measurements.md).
"""


def page(found: Iterable[Found]) -> str:
    """Return the whole page."""
    found = list(found)
    lines = "".join(one.line() + "\n" for one in found)
    missed: dict[str, list[str]] = {}
    for row in (one.row for one in found if not one.holds):
        missed.setdefault(row.miss or "why is not known.", []).append(
            f"{row.measurement}, {row.phantom}"
        )
    reasons = "".join(f"- {'; '.join(where)}: {reason}\n" for reason, where in missed.items())
    return HEAD + lines + (MISSES + reasons if missed else "") + FOOT
