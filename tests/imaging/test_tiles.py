"""Tile geometry, checked by laws over random sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.tiles import Window, blend_weights, grid, grid_shape, owner

sizes = st.integers(1, 40)
cores = st.integers(3, 40)
halos = st.integers(0, 30)


def test_grid_counts_by_eye() -> None:
    """A 5 × 3 image with cores of 2 and a halo of 1 has six tiles, the last of one pixel."""
    tiles = list(grid(5, 3, 2, 1))
    assert len(tiles) == 6
    assert grid_shape(5, 3, 2) == (3, 2)
    assert tiles[1].core == Window(2, 0, 2, 2)
    assert tiles[1].outer == Window(1, 0, 4, 3)
    assert tiles[-1].core == Window(4, 2, 1, 1)
    assert tiles[-1].outer == Window(3, 1, 2, 2)
    assert tiles[-1].core_in_outer == (slice(1, 2), slice(1, 2))


@settings(deadline=None, max_examples=50)
@given(sizes, sizes, cores, halos)
def test_cores_partition_the_image(width: int, height: int, core: int, halo: int) -> None:
    """Every pixel lies in exactly one core, that of the tile that `owner` names."""
    owners = np.full((height, width), -1)
    count = np.zeros((height, width), dtype=int)
    for index, tile in enumerate(grid(width, height, core, halo)):
        owners[tile.core.slices()] = index
        count[tile.core.slices()] += 1
    assert (count == 1).all()
    x, y = width - 1, height // 2
    assert owners[y, x] == owner(x, y, width, height, core)


@settings(deadline=None, max_examples=50)
@given(sizes, sizes, cores, halos)
def test_outer_windows_hold_halo_and_image(width: int, height: int, core: int, halo: int) -> None:
    """An outer window reaches one halo beyond its core, and never outside the image."""
    for tile in grid(width, height, core, halo):
        assert tile.outer.x == max(0, tile.core.x - halo)
        assert tile.outer.y == max(0, tile.core.y - halo)
        assert tile.outer.right == min(width, tile.core.right + halo)
        assert tile.outer.bottom == min(height, tile.core.bottom + halo)


@settings(deadline=None, max_examples=50)
@given(sizes, sizes, cores, halos)
def test_blend_weights_sum_to_one(width: int, height: int, core: int, halo: int) -> None:
    """Over all tiles of a grid the weights of a pixel sum to 1."""
    total = np.zeros((height, width))
    for tile in grid(width, height, core, halo):
        weights = blend_weights(tile, width, height, core, halo)
        assert weights.min() >= 0.0
        total[tile.outer.slices()] += weights
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


@pytest.mark.parametrize("arguments", [(0, 5, 2, 1), (5, 5, 0, 1), (5, 5, 2, -1)])
def test_impossible_grids_are_refused(arguments: tuple[int, int, int, int]) -> None:
    """Sizes below 1 and negative halos are errors."""
    with pytest.raises(ValueError, match="at least"):
        list(grid(*arguments))


def test_owner_outside_the_image_is_refused() -> None:
    """A pixel outside the image has no owner."""
    with pytest.raises(ValueError, match="outside"):
        owner(5, 0, 5, 5, 2)
