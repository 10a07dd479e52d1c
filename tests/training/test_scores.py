"""Promises about scores: countable masks, tiles that add up, ratios of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from training.scores import MaskTally, tally_masks


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((20, 40), bool)
    mask[rows, columns] = True
    return mask


def test_scores_of_two_shifted_squares():
    """Squares of 16 px that share 8: Dice 1/2, IoU 1/3, precision and recall 1/2."""
    scores = tally_masks(block(slice(0, 4), slice(0, 4)), block(slice(0, 4), slice(2, 6))).scores()
    assert scores["dice"] == pytest.approx(1 / 2)
    assert scores["iou"] == pytest.approx(1 / 3)
    assert scores["precision"] == scores["recall"] == pytest.approx(1 / 2)


def test_centre_line_dice_forgives_width_but_not_gaps():
    """A vessel drawn too thin keeps a centre-line Dice of 1; half a vessel has 2/3."""
    true = block(slice(8, 13), slice(0, 40))
    thin = tally_masks(block(slice(9, 12), slice(0, 40)), true).scores()
    half = tally_masks(block(slice(8, 13), slice(0, 20)), true).scores()
    assert thin["cl_dice"] == 1.0
    assert half["cl_dice"] == pytest.approx(2 / 3, abs=0.05)


def test_tiles_of_an_image_add_up_to_the_image():
    """Dice of an image is that of the sums over its tiles, not the mean of theirs."""
    generator = np.random.default_rng(0)
    predicted, true = generator.random((2, 20, 40)) > 0.7
    whole = tally_masks(predicted, true, centre_line=False)
    parts = [
        tally_masks(predicted[:, x : x + 10], true[:, x : x + 10], centre_line=False)
        for x in range(0, 40, 10)
    ]
    assert sum(parts, MaskTally()) == whole


def test_ratios_of_nothing_are_none():
    """Two empty masks have no score; a mask against nothing has Dice 0 and no recall."""
    empty = np.zeros((20, 40), bool)
    assert set(tally_masks(empty, empty).scores().values()) == {None}
    wrong = tally_masks(block(slice(0, 4), slice(0, 4)), empty).scores()
    assert wrong["dice"] == wrong["precision"] == 0
    assert wrong["recall"] is None
    assert wrong["cl_dice"] is None


def test_masks_of_different_sizes_are_refused():
    """Masks that do not match cannot be compared."""
    with pytest.raises(ValueError, match="cannot be compared"):
        tally_masks(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
