"""Promises about widths along the normal."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.widths import widths


def test_a_width_is_that_of_the_vessel_or_none():
    """Across a bar of 8 px the width is 8; along it no wall is in reach, and there is none."""
    mask = np.zeros((60, 200), np.bool_)
    mask[26:34] = True
    y, x = np.array([29, 29]), np.array([100, 100])
    ny, nx = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    across, along = widths(mask, y, x, ny, nx, np.full(2, 4, np.float32))
    assert across == pytest.approx(8, abs=0.1)
    assert np.isnan(along)


def test_a_wall_is_found_up_to_two_radii_away():
    """With 4 px to the background, a wall 11 px away is a wall, and one 15 px away is none."""
    mask = np.zeros((80, 80), np.bool_)
    mask[36:52] = True
    at = (np.array([40]), np.array([40]), np.ones(1, np.float32), np.zeros(1, np.float32))
    assert np.isfinite(widths(mask, *at, np.full(1, 4, np.float32))).all()
    mask[36:56] = True
    assert np.isnan(widths(mask, *at, np.full(1, 4, np.float32))).all()
