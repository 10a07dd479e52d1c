"""Windows are spread evenly over the tissue, as many and as large as is asked."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.sampling import Lattice, spread_boxes
from imaging.tissue import Tissue


def _tissue(width: int, height: int, columns: slice) -> Tissue:
    """Return tissue of a section of 1 µm per pixel that fills some columns."""
    mask = np.zeros((height, width), bool)
    mask[:, columns] = True
    return Tissue(width, height, 1.0, "mask", mask, 1.0)


def test_a_lattice_reaches_from_border_to_border() -> None:
    """Of 100 × 60 px, windows of 20 px are 5 × 3; at most 4 across they are 4 × 3, wider apart."""
    boxes = spread_boxes((100, 60), None, 1.0, Lattice(20, 9, 99, (0.5,)))
    assert boxes == [(x, y, 20, 20) for y in (0, 20, 40) for x in (0, 20, 40, 60, 80)]
    boxes = spread_boxes((100, 60), None, 1.0, Lattice(20, 4, 99, (0.5,)))
    assert [box[0] for box in boxes[:4]] == [0, 27, 53, 80]


def test_a_section_smaller_than_a_window_is_one_window() -> None:
    """A strip of 15 px is as wide as it is."""
    assert spread_boxes((15, 40), None, 1.0, Lattice(20, 9, 9, (0.5,))) == [
        (0, 0, 15, 20),
        (0, 20, 15, 20),
    ]


@pytest.mark.parametrize(("most", "kept"), [(15, 15), (14, 8), (7, 5), (1, 1)])
def test_no_more_windows_than_asked(most: int, kept: int) -> None:
    """Of 15 windows every one, every second, every third and the first."""
    assert len(spread_boxes((100, 60), None, 1.0, Lattice(20, 9, most, (0.5,)))) == kept


@pytest.mark.parametrize(
    ("columns", "shares", "lefts"),
    [
        (slice(0, 50), (0.5,), {0, 20, 40}),  # the third window is half tissue
        (slice(0, 49), (0.5,), {0, 20}),
        (slice(0, 3), (0.5,), {0, 20, 40, 60, 80}),  # none reaches a half: all of them
        (slice(0, 3), (0.5, 1e-9), {0}),  # any tissue will do
        (slice(0, 0), (0.5, 1e-9), {0, 20, 40, 60, 80}),
    ],
)
def test_windows_lie_on_tissue(columns: slice, shares: tuple[float, ...], lefts: set[int]) -> None:
    """Windows with the least share of tissue are kept; without any, the next share counts."""
    tissue = _tissue(100, 60, columns)
    boxes = spread_boxes((100, 60), tissue, 1.0, Lattice(20, 9, 99, shares))
    assert {box[0] for box in boxes} == lefts
