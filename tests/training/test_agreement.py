"""Promises about agreement: a published table, closed forms, differences counted by eye."""

from __future__ import annotations

import numpy as np
import pytest

from training.agreement import agreement, icc_agreement
from training.bootstrap import Resampling
from training.score_table import number

# Shrout & Fleiss 1979 (Psychological Bulletin 86:420), table 2: six targets, four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def test_a_published_table_gives_its_published_correlation():
    """Their ICC(2,1), which is ICC(A,1), is .29; the same from mean squares of their table 4."""
    assert icc_agreement(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)
    between_targets, between_judges, rest = 11.24, 32.49, 1.02
    expected = (between_targets - rest) / (
        between_targets + 3 * rest + 4 * (between_judges - rest) / 6
    )
    assert icc_agreement(SHROUT_FLEISS) == pytest.approx(expected, abs=1e-3)


def test_a_shift_lowers_agreement_as_its_closed_form_says():
    """Values of variance v and the same plus c agree by v / (v + c²/2); order alone would be 1."""
    values = np.array([1.0, 2.0, 4.0, 7.0, 11.0])
    variance, shift = values.var(ddof=1), 3.0
    pairs = np.stack([values, values + shift], axis=1)
    assert icc_agreement(pairs) == pytest.approx(variance / (variance + shift**2 / 2))


def test_equal_measurements_agree_fully():
    """The same values twice have correlation 1, whatever their unit."""
    values = np.array([1.0, 2.0, 4.0])
    assert icc_agreement(np.stack([values, values], axis=1)) == pytest.approx(1)
    assert icc_agreement(1e6 * np.stack([values, values], axis=1) + 1e6) == pytest.approx(1)


def test_a_weight_is_a_repetition():
    """An image of weight 2 counts as if it were there twice."""
    weights = np.array([[1.0, 1, 2, 1, 0, 1]])
    repeated = SHROUT_FLEISS[[0, 1, 2, 2, 3, 5]]
    assert icc_agreement(SHROUT_FLEISS, weights)[0] == pytest.approx(icc_agreement(repeated))


def test_too_little_has_no_correlation():
    """Two images, or images that are all alike, give none."""
    assert np.isnan(icc_agreement(SHROUT_FLEISS[:2]))
    assert np.isnan(icc_agreement(np.ones((5, 2))))


def test_differences_are_counted_by_eye():
    """Differences 1, 3, −1, 1: bias 1, limits 1 ± 1.96·√(8/3); errors 1/2, 3/4, 1/5 of three."""
    annotated, predicted = np.array([2.0, 4.0, 5.0, 0.0]), np.array([3.0, 7.0, 4.0, 1.0])
    found = agreement(annotated, predicted, Resampling.of(list("abcd")))
    assert found["bias"]["value"] == 1
    assert found["bias"]["ci95"][0] < 1 < found["bias"]["ci95"][1]
    reach = 1.96 * np.sqrt(8 / 3)
    assert found["limits_of_agreement"] == pytest.approx([1 - reach, 1 + reach])
    assert found["relative_images"] == 3
    error = found["mean_absolute_relative_error"]["value"]
    assert error == pytest.approx((1 / 2 + 3 / 4 + 1 / 5) / 3)


def test_too_few_images_give_null_never_nan():
    """One image has a difference, but neither limits nor correlation nor interval."""
    found = agreement(np.array([0.0]), np.array([1.0]), Resampling.of(["a"]))
    assert found["bias"] == {"value": 1.0, "ci95": None}
    assert found["limits_of_agreement"] is None
    assert found["mean_absolute_relative_error"] is None
    assert found["icc_a1"] is None


def test_rounding_is_no_difference():
    """A perfect network has a bias of 0 and not of 1e-17, which would fill an axis."""
    annotated = np.array([0.1, 0.2, 0.3, 0.4])
    predicted = np.nextafter(annotated, 1)
    found = agreement(annotated, predicted, Resampling.of(list("abcd")))
    assert found["bias"]["value"] == 0
    assert found["limits_of_agreement"] == [0, 0]


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.0004, "0.000"), (-0.0006, "−0.001"), (0.0, "0.000"), (None, "–")]
)
def test_nothing_has_no_sign(value: float | None, shown: str):
    """What rounds to 0 is written without a minus."""
    assert number(value) == shown
