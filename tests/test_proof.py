"""The page of proof says what the code measures, and what it measures keeps the limits."""

from __future__ import annotations

from functools import cache

import pytest

from docs.proof import PAGE, rows
from docs.proof_rows import EXACT, Bound, Case, Found, Row

ROWS = rows()


@cache
def found(row: Row) -> Found:
    """Return what the row's phantoms measure, once for all tests."""
    return row.find()


def row_of(cases: list[tuple[float, float]], mean: Bound | None, each: Bound | None) -> Found:
    """Return a row of cases (got, expected)."""
    return Row(
        "length", "x", "L", "px", lambda: [Case("x", *case) for case in cases], mean, each
    ).find()


def test_the_page_holds_every_row_once_in_order() -> None:
    """Whoever adds, renames or removes a row writes the page anew: `make docs`."""
    names = [row.name for row in ROWS]
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert len(set(names)) == len(names)
    assert len(lines) == len(names) + 1  # the head of the table
    assert [line[: len(name)] for line, name in zip(lines[1:], names, strict=True)] == names


def test_the_page_says_no_where_a_row_is_known_to_miss_and_only_there() -> None:
    """A miss stands in the table and has its reason below."""
    text = PAGE.read_text(encoding="utf-8")
    for row in ROWS:
        (line,) = (line for line in text.splitlines() if line.startswith(row.name))
        assert line.endswith(f"| {row.limit} | **no** |" if row.miss else f"| {row.limit} | yes |")
        assert row.miss in text


@pytest.mark.parametrize(
    ("cases", "mean", "each", "holds"),
    [
        ([(101.0, 100.0), (99.0, 100.0)], EXACT, Bound(0.01), True),
        ([(101.0, 100.0), (99.5, 100.0)], EXACT, None, False),
        ([(102.1, 100.0), (97.9, 100.0)], EXACT, Bound(0.02), False),
        ([(104.0, 100.0)], None, Bound(0.02, 2.0), True),
        ([(2.1, 0.0)], None, Bound(0.02, 2.0), False),
    ],
)
def test_a_row_holds_within_its_bounds(
    cases: list[tuple[float, float]], mean: Bound | None, each: Bound | None, holds: bool
) -> None:
    """The mean and every single case are bound apart, by a share and something on top."""
    assert row_of(cases, mean, each).holds is holds


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=f"{row.measurement}, {row.phantom}, {row.formula}",
            marks=[pytest.mark.xfail(reason=row.miss, strict=True)] if row.miss else [],
        )
        for row in ROWS
    ],
)
def test_every_measurement_keeps_its_limit(row: Row) -> None:
    """In the mean over all that is varied and at the worst of it; known misses stay known."""
    assert found(row).holds, found(row).line()


@pytest.mark.slow
def test_the_page_shows_what_is_measured() -> None:
    """Every line of the table is what the code measures now."""
    text = PAGE.read_text(encoding="utf-8").splitlines()
    assert [found(row).line() for row in ROWS if found(row).line() not in text] == []
