"""Outlines are exact, valid and the same whatever the window."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from analysis.outlines import edges_of, mask_edges, outlines
from imaging.tiles import Window


def test_one_pixel_is_a_unit_square() -> None:
    """The pixel (row 2, column 1) spans x 1–2 and y 2–3."""
    mask = np.zeros((4, 4), np.bool_)
    mask[2, 1] = True
    (outline,) = outlines(mask_edges(mask))
    assert outline.geometry.bounds == (1, 2, 2, 3)
    assert outline.area_px == 1
    assert outline.pixel == (2, 1)


def test_a_ring_has_a_hole() -> None:
    """A frame of pixels around an empty one is a polygon with one hole."""
    mask = np.ones((3, 3), np.bool_)
    mask[1, 1] = False
    (outline,) = outlines(mask_edges(mask))
    assert outline.area_px == 8
    assert [len(polygon.interiors) for polygon in outline.polygons] == [1]


def test_pixels_that_touch_at_a_corner_are_one_object_of_two_polygons() -> None:
    """Diagonal neighbours belong together, as profiles count them, and stay valid."""
    (outline,) = outlines(mask_edges(np.eye(2, dtype=np.bool_)))
    assert len(outline.polygons) == 2
    assert outline.geometry.is_valid


def test_an_empty_mask_has_no_outline() -> None:
    """Nothing gives nothing."""
    assert outlines(mask_edges(np.zeros((5, 5), np.bool_))) == []


@pytest.mark.parametrize("fill", [0.2, 0.5, 0.8])
def test_random_masks_keep_count_area_and_validity_in_any_window(fill: float) -> None:
    """Objects are the 8-connected ones, areas the pixels, polygons valid; blocks leave no seam."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        mask = rng.random(rng.integers(1, 16, 2)) < fill
        whole = outlines(mask_edges(mask))
        assert len(whole) == label(mask, connectivity=2).max()
        assert sum(outline.area_px for outline in whole) == mask.sum()
        assert all(outline.geometry.is_valid for outline in whole)
        assert all(mask[outline.pixel] for outline in whole)
        parts = outlines(mask_edges(mask, block_px=4))
        assert [o.geometry for o in parts] == [o.geometry for o in whole]


def test_labels_that_touch_are_outlined_apart() -> None:
    """Each number of a label image has its own objects, though they share borders."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, (12, 15))
    found = outlines(edges_of(np.pad(labels, 1), Window(0, 0, 15, 12), (0, 0)))
    for number in range(1, 4):
        own = [outline for outline in found if outline.label == number]
        assert len(own) == label(labels == number, connectivity=2).max()
        assert sum(outline.area_px for outline in own) == (labels == number).sum()
