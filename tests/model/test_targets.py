"""Promises about targets and markers."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import MarkerError
from model.targets import CHANNELS, centre_distance, parse_markers, target_arrays


def test_markers_come_in_their_fixed_order():
    """The order in which markers are given does not matter."""
    assert parse_markers("VEGF+CD31") == parse_markers("CD31 + VEGF") == ("CD31", "VEGF")


@pytest.mark.parametrize("text", ["", "cd31", "CD34", "CD31+", "CD31+CD31", "CD31,VEGF"])
def test_an_unknown_marker_is_refused_with_the_known_ones(text: str):
    """A marker that is not known is an error that lists those that are."""
    with pytest.raises(MarkerError, match="CD31, VEGF") as caught:
        parse_markers(text)
    assert caught.value.field == "marker"


def test_a_tile_is_annotated_only_for_what_was_drawn():
    """Channels of a target that nobody annotated are marked as unknown, not as empty."""
    targets, annotated = target_arrays({"vessel": np.eye(8, dtype=np.uint8)})
    assert dict(zip(CHANNELS, annotated, strict=True)) == {
        "vessel": True,
        "vegf_cell": False,
        "vegf_cell_centre": False,
    }
    assert targets.sum() == 8


def test_depth_is_one_at_the_centre_of_every_cell():
    """Two touching cells have two peaks of exactly 1, with a valley between."""
    labels = np.zeros((11, 20), np.uint16)
    labels[3:8, 2:9] = 7
    labels[3:8, 9:16] = 300
    depth = centre_distance(labels)
    # A 5-pixel-high bar: its middle row lies 3 px from the nearest outside pixel.
    assert depth[5, 4:7].tolist() == [1.0, 1.0, 1.0]
    assert depth[5, 11:14].tolist() == [1.0, 1.0, 1.0]
    assert depth[5, 8] == depth[5, 9] == pytest.approx(1 / 3)
    assert np.all((depth > 0) == (labels > 0))


def test_a_cell_of_one_pixel_is_its_own_centre():
    """A cell of one pixel has depth 1 there, also in the image's corner."""
    labels = np.zeros((4, 4), np.uint16)
    labels[0, 0] = 1
    assert centre_distance(labels)[0, 0] == 1.0


def test_no_annotation_at_all_is_an_error():
    """A tile without any label image cannot be trained on."""
    with pytest.raises(ValueError, match="annotate at least one target"):
        target_arrays({})
