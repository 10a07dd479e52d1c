"""Distances at chosen pixels are those of an exact distance transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from analysis.radii import Radii
from tests.phantoms import Bools


def everywhere(mask: Bools, furthest_px: float) -> np.ndarray:
    y, x = np.indices(mask.shape).reshape(2, -1)
    return Radii.of(mask, furthest_px).at(y, x).reshape(mask.shape)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.5, 0.99), st.integers(0, 10_000))
def test_is_the_distance_to_the_nearest_background(
    height: int, width: int, filled: float, seed: int
) -> None:
    """Of random masks, the distance of every pixel is that of SciPy's transform."""
    mask = np.random.default_rng(seed).random((height, width)) < filled
    mask[height // 2, width // 2] = False
    expected = ndimage.distance_transform_edt(mask)
    np.testing.assert_allclose(everywhere(mask, 100.0), expected, rtol=1e-6)


@pytest.mark.parametrize("radius", [5, 40, 150])
def test_of_a_disc(radius: int) -> None:
    """A disc's middle lies next to the pixel one beside its rim, beyond 127 px as well."""
    y, x = np.indices((2 * radius + 5, 2 * radius + 5)) - (radius + 2)
    found = everywhere(y * y + x * x <= radius * radius, 200.0)
    assert found.argmax() == np.ravel_multi_index((radius + 2, radius + 2), found.shape)
    assert found.max() == pytest.approx(np.hypot(radius, 1))


@pytest.mark.parametrize("furthest", [20.0, 300.0])
def test_goes_no_further_than_asked(furthest: float) -> None:
    """What lies further off, or nowhere, is said to lie as far as was looked."""
    mask = np.ones((1000, 30), np.bool_)
    assert everywhere(mask, furthest).max() == furthest
    mask[0] = False
    assert everywhere(mask, furthest)[:, 7].tolist() == [min(k, furthest) for k in range(1000)]
