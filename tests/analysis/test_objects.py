"""Objects are valid outlines in full-resolution pixels, as many as are counted."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import shape

from analysis.objects import CELL_CLASS, TISSUE_CLASS, VESSEL_CLASS, write_geojson
from analysis.settings import MeasureSettings

VEGF = MeasureSettings(markers=("VEGF",), tissue="frame")


def features(measured: Any, path: Path) -> list[dict[str, Any]]:
    """Write the objects and return them as read back."""
    write_geojson(measured.result, measured.image, path)
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert tree["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = tree["features"]
    return found


def test_profiles_are_outlined_where_they_are(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Two bars are two features with the bars' corners and areas."""
    path = draw.fluorescence([draw.bars(200, 200)], tmp_path / "bars.png")
    found = features(measure(path), tmp_path / "objects.geojson")
    bounds = [shape(f["geometry"]).bounds for f in found]
    assert bounds == [(20, 40, 180, 50), (60, 70, 68, 190)]
    assert [f["properties"]["measurements"]["Area µm^2"] for f in found] == [400.0, 240.0]
    assert {f["properties"]["classification"]["name"] for f in found} == {VESSEL_CLASS}


def test_features_are_as_qupath_reads_them(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Each has a UUID, an object type, a class with three colour bytes and numeric measurements."""
    path = draw.fluorescence([draw.bars(200, 200)], tmp_path / "bars.png")
    measured = measure(path)
    for feature in features(measured, tmp_path / "a.geojson"):
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(isinstance(value, int) and 0 <= value <= 255 for value in colour)
        assert all(isinstance(v, float) for v in properties["measurements"].values())
    again = features(measured, tmp_path / "b.geojson")
    assert [f["id"] for f in again] == [f["id"] for f in features(measured, tmp_path / "a.geojson")]


def test_coordinates_are_full_resolution(measure: Any, draw: Any, tmp_path: Path) -> None:
    """On an image of 0.25 µm/px the outline lies on the image's own pixels."""
    large = np.kron(draw.bars(200, 200), np.ones((2, 2)))
    path = draw.fluorescence([large], tmp_path / "bars.png")
    found = features(measure(path, mpp_um=0.25), tmp_path / "objects.geojson")
    bounds = np.array([shape(f["geometry"]).bounds for f in found])
    wanted = 2 * np.array([(20, 40, 180, 50), (60, 70, 68, 190)])
    assert np.abs(bounds - wanted).max() <= 2


def test_a_lumen_is_a_hole(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A ring of vessel is one polygon with one hole, and its area leaves the hole out."""
    ring = np.zeros((120, 120))
    ring[20:80, 20:80] = 1
    ring[40:60, 40:60] = 0
    path = draw.fluorescence([ring], tmp_path / "ring.png")
    (feature,) = features(measure(path), tmp_path / "objects.geojson")
    geometry = shape(feature["geometry"])
    assert len(geometry.interiors) == 1
    assert geometry.area == 3600 - 400


@pytest.mark.parametrize("gap_um", [0.0, 2.0, 8.0])
def test_as_many_profiles_as_are_counted(
    measure: Any, draw: Any, tmp_path: Path, gap_um: float
) -> None:
    """Fragments within the gap are one feature; those counted are the record's profile count."""
    rng = np.random.default_rng(5)
    mask = np.zeros((300, 300))
    for x, y in rng.integers(0, 290, (90, 2)):
        mask[y : y + rng.integers(3, 14), x : x + rng.integers(3, 14)] = 1
    path = draw.fluorescence([mask], tmp_path / "crowd.png")
    settings = MeasureSettings(tissue="frame", gap_um=gap_um)
    measured = measure(path, settings)
    found = features(measured, tmp_path / "objects.geojson")
    assert all(shape(f["geometry"]).is_valid for f in found)
    counted = sum(f["properties"]["measurements"]["Counted"] for f in found)
    assert counted == measured.result.record.regions[0].vessels.profile_count > 10


def test_cells_carry_area_and_stain(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Touching cells are outlined apart, each with its area and mean optical density."""
    places = [(50, 50, 15), (75, 50, 15), (120, 130, 12), (195, 60, 12)]
    depth = draw.discs(200, 200, places)
    path = draw.brightfield(np.maximum(1.4 * depth, 0.02), tmp_path / "cells.png")
    measured = measure(path, VEGF)
    found = features(measured, tmp_path / "objects.geojson")
    cells = measured.result.record.regions[0].cells
    counted = [f for f in found if f["properties"]["measurements"]["Counted"]]
    assert {f["properties"]["classification"]["name"] for f in found} == {CELL_CLASS}
    assert len(found) == 4
    assert len(counted) == cells.positive_count == 3
    areas = [f["properties"]["measurements"]["Area µm^2"] for f in counted]
    assert np.mean(areas) == pytest.approx(cells.cell_area_um2.mean)
    for feature in found:
        assert 0.75 < feature["properties"]["measurements"]["DAB OD mean"] < 1.4
        assert shape(feature["geometry"]).is_valid


def test_tissue_is_an_annotation_where_it_is_not_the_frame(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """Ω comes first, as an annotation with its area."""
    half = np.zeros((200, 200), np.uint8)
    half[:100] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    path = draw.fluorescence([draw.bars(200, 200)], tmp_path / "bars.png")
    settings = dataclasses.replace(VEGF, markers=("CD31",), tissue=str(tmp_path / "half.png"))
    first = features(measure(path, settings), tmp_path / "objects.geojson")[0]["properties"]
    assert first["objectType"] == "annotation"
    assert first["classification"]["name"] == TISSUE_CLASS
    assert first["measurements"] == {"Area mm^2": pytest.approx(0.005)}


def test_no_object_is_an_empty_collection(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A section without vessels writes a valid file without features."""
    path = draw.fluorescence([np.zeros((80, 80))], tmp_path / "none.png")
    assert features(measure(path), tmp_path / "objects.geojson") == []
