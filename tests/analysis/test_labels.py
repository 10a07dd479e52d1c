"""The labelled picture holds each object of the table, pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile

from analysis.labels import LabelRuns, write_labels
from analysis.object_files import object_rows
from analysis.objects import VESSEL_CLASS, SectionObject, find_objects, numbered
from analysis.outlines import mask_edges, outlines
from tests.phantoms import random_network


def read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Return labels (C, H, W) and the OME pixel attributes."""
    with tifffile.TiffFile(path) as tiff:
        described = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        return tiff.asarray().reshape(-1, *tiff.asarray().shape[-2:]), described


@pytest.mark.parametrize("seed", range(3))
def test_outlines_are_painted_as_the_pixels_they_came_from(seed: int) -> None:
    """Holes, corners that touch and speckles included: every pixel gets its object's number."""
    mask = random_network(seed, side=200) ^ (np.random.default_rng(seed).random((200, 200)) < 0.05)
    found = outlines(mask_edges(mask))
    objects = [(k, SectionObject(VESSEL_CLASS, one.geometry, {})) for k, one in enumerate(found, 1)]
    painted = LabelRuns.of(objects).paint(0, 200, 200)
    assert np.array_equal(painted > 0, mask)
    assert np.array_equal(np.bincount(painted[mask])[1:], [one.area_px for one in found])
    strip = LabelRuns.of(objects).paint(50, 30, 200)
    assert np.array_equal(strip, painted[50:80])


def test_no_object_paints_nothing() -> None:
    """Without objects every pixel is 0."""
    assert not LabelRuns.of([]).paint(0, 5, 7).any()


def test_labels_are_the_numbers_of_the_table(two: Any, tmp_path: Path) -> None:
    """Two markers give two channels; centroid and area of each label are those of its row."""
    objects = find_objects(two.result, two.image)
    write_labels(two.result, two.image, tmp_path / "labels.ome.tif", objects)
    labels, pixels = read(tmp_path / "labels.ome.tif")
    assert labels.dtype == np.uint16
    assert labels.shape == (2, two.image.height_px, two.image.width_px)
    assert [c["Name"] for c in pixels["Channel"]] == ["Vessel", "VEGF-positive cell"]
    assert pixels["PhysicalSizeX"] == pytest.approx(two.image.mpp_um)
    assert pixels["PhysicalSizeXUnit"] == "µm"
    rows = list(object_rows(objects, two.result.mpp_um))
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    for (number, item), row in zip(numbered(objects), rows, strict=True):
        channel = 0 if item.name == VESSEL_CLASS else 1
        y, x = np.nonzero(labels[channel] == number)
        assert len(y) * two.image.mpp_um**2 == pytest.approx(row[5])
        centre = (np.array([x.mean(), y.mean()]) + 0.5) * two.image.mpp_um
        assert centre == pytest.approx(row[3:5], abs=1e-3)


def test_the_picture_has_the_images_own_size(measure: Any, draw: Any, tmp_path: Path) -> None:
    """An image finer than the grid gets labels of its own pixels."""
    mask = np.zeros((400, 480))
    mask[80:120, 200:320] = 1
    measured = measure(draw.fluorescence([mask], tmp_path / "bar.png"), mpp_um=0.25)
    objects = find_objects(measured.result, measured.image)
    write_labels(measured.result, measured.image, tmp_path / "labels.ome.tif", objects)
    labels, pixels = read(tmp_path / "labels.ome.tif")
    assert labels.shape == (1, 400, 480)
    assert pixels["PhysicalSizeX"] == pytest.approx(0.25)
    assert set(np.unique(labels)) == {0, 1}
    area = shapely.area(objects[0].geometry) * 4
    assert np.count_nonzero(labels) == pytest.approx(area)
