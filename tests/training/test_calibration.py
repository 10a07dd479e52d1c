"""Promises about calibration: closed forms, and a temperature that is found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from training.calibration import (
    RELIABILITY_BINS,
    LogitTally,
    best_temperature,
    calibration_error,
    cross_entropy,
    reliability,
    tally_logits,
    tally_probabilities,
)

LOGITS = np.random.default_rng(5).normal(0, 2, 200_000)
HONEST = np.random.default_rng(6).random(LOGITS.size) < expit(LOGITS)


def error(tally: LogitTally, temperature: float = 1.0) -> float:
    return float(calibration_error(tally.pixels, tally.target, temperature))


def test_honest_probabilities_have_no_error():
    """Drawn with the probability that is said, targets are as frequent as said."""
    assert error(tally_logits(LOGITS, HONEST)) < 0.005


def test_an_error_is_a_gap_weighted_by_pixels():
    """Three pixels of 0.8 without target and one of 0.1 without: (3·0.8 + 0.1) / 4."""
    probabilities = np.array([0.8, 0.8, 0.8, 0.1], np.float32)
    tally = tally_probabilities(probabilities, np.zeros(4), 1.0)
    assert error(tally) == pytest.approx(2.5 / 4, abs=0.005)


def test_too_sure_by_a_factor_is_mended_by_that_factor():
    """Logits three times too large have temperature 3, and no error at it."""
    tally = tally_logits(3 * LOGITS, HONEST)
    assert best_temperature(tally) == pytest.approx(3, rel=0.02)
    assert error(tally, 3.0) < 0.005 < error(tally)
    assert cross_entropy(tally, 3.0) < cross_entropy(tally, 1.0)


def test_cross_entropy_is_that_of_the_pixels():
    """Counting logits in fine bins changes the mean cross-entropy by less than 0.001."""
    said = expit(LOGITS)
    exact = -np.mean(np.where(HONEST, np.log(said), np.log(1 - said)))
    assert cross_entropy(tally_logits(LOGITS, HONEST), 1.0) == pytest.approx(exact, abs=1e-3)


def test_what_a_temperature_did_to_probabilities_is_undone():
    """From calibrated probabilities the tally knows the logits that were there before."""
    calibrated = expit(LOGITS / 2.5).astype(np.float32)
    found = tally_probabilities(calibrated, HONEST, 2.5)
    before = tally_logits(logit(expit(LOGITS)), HONEST)
    assert np.abs(found.pixels - before.pixels).sum() < 0.001 * LOGITS.size


def test_certain_probabilities_are_counted():
    """0 and 1, which no logit has, fall into the outermost bins, never to NaN."""
    tally = tally_probabilities(np.array([0.0, 1.0], np.float32), np.array([0, 1]), 4.0)
    assert tally.pixels.sum() == 2
    assert error(tally) == pytest.approx(0, abs=1e-6)


def test_tallies_add_up():
    """Two halves together are the whole."""
    half = LOGITS.size // 2
    parts = tally_logits(LOGITS[:half], HONEST[:half]) + tally_logits(LOGITS[half:], HONEST[half:])
    whole = tally_logits(LOGITS, HONEST)
    assert np.array_equal(parts.pixels, whole.pixels)
    assert np.array_equal(parts.target, whole.target)


def test_the_curve_holds_every_pixel():
    """Bins of the curve partition 0 to 1 and the pixels; their gaps are the error."""
    tally = tally_logits(LOGITS, HONEST)
    bins = reliability(tally, 1.0)
    assert len(bins) == RELIABILITY_BINS
    assert sum(entry["pixels"] for entry in bins) == LOGITS.size
    gaps = [
        entry["pixels"] * abs(entry["mean_probability"] - entry["annotated_fraction"])
        for entry in bins
    ]
    assert sum(gaps) / LOGITS.size == pytest.approx(error(tally))
