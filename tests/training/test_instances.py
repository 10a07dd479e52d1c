"""Promises about scores of single cells, countable by eye."""

from __future__ import annotations

import numpy as np
import pytest

from training.instances import InstanceTally, tally_instances


def _row(*numbers: int) -> np.ndarray:
    return np.array([numbers], np.int32)


def test_equal_cells_score_one_whatever_their_numbers():
    """The same cells under other numbers: every score is perfect."""
    scores = tally_instances(_row(7, 7, 0, 2, 2), _row(1, 1, 0, 9, 9)).scores()
    assert scores == {"f1": 1.0, "aji": 1.0, "count_error": 0.0}


def test_two_cells_seen_as_one_are_one_miss():
    """Cells of 3 and 1 px merged into one of 4: one match (3/4), 3 of 4 px, and 1 px missed.

    The second cell's best partner is the same merged one: intersection 1, union 4.
    """
    tally = tally_instances(_row(1, 1, 1, 1), _row(1, 1, 1, 2))
    assert tally == InstanceTally(
        matched=1, predicted=1, annotated=2, intersection_px=4, union_px=8
    )
    assert tally.scores()["count_error"] == -0.5


def test_half_is_no_match():
    """An intersection over union of exactly one half does not count: two cells could share it."""
    assert tally_instances(_row(1, 1), _row(1, 2)).matched == 0


def test_what_nobody_chose_widens_the_union():
    """A cell of 2 px found, one of 3 px invented, one of 1 px missed: aji = 2 / (2 + 3 + 1)."""
    tally = tally_instances(_row(1, 1, 0, 2, 2, 2, 0, 0), _row(5, 5, 0, 0, 0, 0, 0, 6))
    assert tally.scores() == {"f1": 0.5, "aji": 2 / 6, "count_error": 0.0}


def test_nothing_is_no_score():
    """Two empty images agree on nothing that could be counted; a false cell is one all the same."""
    empty = np.zeros((2, 2), np.int32)
    assert set(tally_instances(empty, empty).scores().values()) == {None}
    assert tally_instances(empty + 1, empty).scores() == {
        "f1": 0.0,
        "aji": 0.0,
        "count_error": None,
    }


def test_tallies_add_up():
    """The tally of two images is that of both side by side."""
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 4, (2, 6, 6)) for _ in range(2)]
    apart = tally_instances(*images[0]) + tally_instances(*images[1])
    beside = [
        np.hstack([images[0][side], np.where(images[1][side] > 0, images[1][side] + 10, 0)])
        for side in (0, 1)
    ]
    assert tally_instances(*beside) == apart


def test_images_of_two_sizes_are_refused():
    """Labels of different size cannot be compared."""
    with pytest.raises(ValueError, match="cannot be compared"):
        tally_instances(np.zeros((2, 2)), np.zeros((2, 3)))
