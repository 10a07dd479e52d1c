"""Promises about describing a block and measuring how strange it is."""

from __future__ import annotations

import numpy as np
import pytest

from model.familiarity import describe, distance, products


def test_any_block_can_be_described():
    """Empty, saturated and small blocks give finite numbers, the same each time."""
    for value in (0.0, 1.0):
        described = describe(np.full((3, 64, 64), value, np.float32))
        assert np.isfinite(described).all()
        assert (described == describe(np.full((3, 64, 64), value, np.float32))).all()


def test_blur_empties_the_finest_sizes():
    """Of white noise, a blur of 2 px leaves less at the finest size than at the one of 4 px."""
    noise = np.random.default_rng(1).random((3, 256, 256), dtype=np.float32)
    marker = slice(4, 9)
    sharp, blurred = describe(noise)[marker], describe(_smoothed(noise))[marker]
    assert np.argmax(sharp) == 0
    assert np.argmax(blurred) > 0


def test_products_are_a_one_the_values_and_every_pair():
    """Of 2 and 3: 1, 2, 3, 4, 6, 9."""
    assert products(np.array([[2.0, 3.0]])).tolist() == [[1, 2, 3, 4, 6, 9]]


_ROUND = {
    "centre": [0.0, 0.0],
    "scale": [1.0, 1.0],
    "weights": [-100.0, 0, 0, 0, 0, 0],
    "weights_limit": 0.0,
    "precision": [[1.0, 0.0], [0.0, 1.0]],
    "distance_limit": 2.0,
}


def test_the_limit_lies_at_one():
    """A block as far from the centre as the reference's limit has the distance 1."""
    assert distance(np.array([[2.0, 0.0]]), _ROUND) == pytest.approx(1)
    assert distance(np.array([[0.0, 4.0], [0.0, 0.0], [0.0, 4.0]]), _ROUND) == pytest.approx(2)


def test_what_the_weights_before_knew_is_known():
    """Each block counts by the nearest of all references, however many runs they come from."""
    before = _ROUND | {"centre": [6.0, 0.0]}
    reference = _ROUND | {"before": before | {"before": _ROUND | {"centre": [0.0, 6.0]}}}
    for block, expected in (([0.0, 0.0], 0), ([6.0, 1.0], 0.5), ([0.0, 4.0], 1), ([5.0, 0.0], 0.5)):
        assert distance(np.array([block]), reference) == pytest.approx(expected, abs=1e-9)


def _smoothed(channels: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        channels = sum(np.roll(channels, shift, axis) for shift in range(-3, 4)) / 7
    return channels.astype(np.float32)
