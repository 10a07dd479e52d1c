"""Polygons become pixels by one rule: the pixel's centre decides."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.polygons import Grid, even_odd, nearest_indices

SQUARE = np.array([[2, 2], [8, 2], [8, 8], [2, 8]], float)
HOLE = np.array([[4, 4], [6, 4], [6, 6], [4, 6]], float)


def test_square_with_hole_has_its_area() -> None:
    """A 6 × 6 square with a 2 × 2 hole covers 36 − 4 pixels."""
    covered = even_odd([SQUARE, HOLE], Grid(0, 0, 10, 10))
    assert covered.sum() == 32
    assert not covered[4:6, 4:6].any()


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_direction_and_first_vertex_do_not_matter(start: int, step: int) -> None:
    """A ring covers the same pixels wherever it starts and whichever way it runs."""
    ring = np.roll(SQUARE, start, axis=0)[::step]
    assert np.array_equal(
        even_odd([ring], Grid(0, 0, 10, 10)), even_odd([SQUARE], Grid(0, 0, 10, 10))
    )


def test_edge_through_pixel_centres_is_owned_once() -> None:
    """Of two rectangles that meet on a line of pixel centres, exactly one has each pixel."""
    left = np.array([[0, 0], [3.5, 0], [3.5, 6], [0, 6]], float)
    right = np.array([[3.5, 0], [8, 0], [8, 6], [3.5, 6]], float)
    grid = Grid(0, 0, 8, 6)
    assert (even_odd([left], grid).astype(int) + even_odd([right], grid) == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_fan_of_triangles_partitions_its_polygon(seed: int) -> None:
    """Triangles that share edges cover a convex polygon without overlap and without gap."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    ring = 20 + 18 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    grid = Grid(0, 0, 40, 40)
    fan = sum(even_odd([ring[[0, i, i + 1]]], grid).astype(int) for i in range(1, len(ring) - 1))
    assert np.array_equal(fan, even_odd([ring], grid).astype(int))


def test_triangle_covers_half_of_its_square() -> None:
    """A right triangle of legs n covers the n(n − 1)/2 pixels whose centres lie inside."""
    triangle = np.array([[0, 0], [0, 10], [10, 10]], float)
    covered = even_odd([triangle], Grid(0, 0, 10, 10))
    assert np.tril(covered, -1).sum() == 45
    assert not np.triu(covered, 1).any()


def test_windows_agree_with_the_whole() -> None:
    """Any window of the grid holds what the whole grid holds there."""
    ring = np.array([[1.3, 2.2], [27.9, 5.1], [22.4, 29.6], [9.8, 18.3]])
    whole = even_odd([ring], Grid(0, 0, 32, 32))
    part = even_odd([ring], Grid(7, 11, 13, 9))
    assert np.array_equal(part, whole[11:20, 7:20])


def test_coarser_grid_samples_at_its_pixel_centres() -> None:
    """At step 2 the centre of pixel (i, j) lies at image pixel (2i + 1, 2j + 1)."""
    covered = even_odd([SQUARE, HOLE], Grid(0, 0, 5, 5, step=2.0))
    expected = np.zeros((5, 5), bool)
    expected[1:4, 1:4] = True
    expected[2, 2] = False
    assert np.array_equal(covered, expected)


def test_polygon_outside_or_flat_covers_nothing() -> None:
    """A polygon beyond the window, or without area, covers no pixel."""
    grid = Grid(0, 0, 5, 5)
    flat = np.array([[1, 1], [4, 1], [4, 1]], float)
    assert not even_odd([SQUARE + 20], grid).any()
    assert not even_odd([SQUARE - 20], grid).any()
    assert not even_odd([flat], grid).any()


def test_nearest_indices_are_consistent_with_pixel_centres() -> None:
    """Halving takes pixels 1, 3, 5 …, doubling takes each twice, and the border is not crossed."""
    assert nearest_indices(0, 3, 2.0, 6).tolist() == [1, 3, 5]
    assert nearest_indices(0, 6, 0.5, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_indices(2, 2, 2.0, 6).tolist() == [5, 5]
