"""Objects are valid outlines in full-resolution pixels, as many as are counted."""

from __future__ import annotations

import csv
import dataclasses
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import Point, box, mapping, shape

from analysis.object_files import OBJECT_COLUMNS, object_rows, write_geojson, write_objects_csv
from analysis.objects import (
    CELL_CLASS,
    COLOUR_OF_CLASS,
    REGION_CLASS,
    TISSUE_CLASS,
    VESSEL_CLASS,
    SectionObject,
    find_objects,
)
from analysis.overlay import overlay
from analysis.regions import regions_document
from analysis.settings import MeasureSettings

FRAME = MeasureSettings(tissue="frame")
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


@pytest.mark.parametrize(("apart_px", "profiles"), [(3, 1), (4, 2)])
def test_features_bridge_the_gaps_that_profiles_bridge(
    measure: Any, draw: Any, tmp_path: Path, apart_px: int, profiles: int
) -> None:
    """Closer than 2 µm, 4 pixels here, two bars are one profile and one feature."""
    mask = np.zeros((120, 200))
    mask[40:60, 30:90] = 1
    mask[40:60, 90 + apart_px : 160] = 1
    measured = measure(draw.fluorescence([mask], tmp_path / "bars.png"))
    found = features(measured, tmp_path / "objects.geojson")
    assert len(found) == measured.result.record.regions[0].vessels.profile_count == profiles


def test_features_outside_the_tissue_are_not_counted(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """Neither where the tissue mask ends nor where a part was struck out."""
    mask = np.zeros((200, 300))
    for x in (40, 120, 220):
        mask[80:100, x : x + 40] = 1
    path = draw.fluorescence([mask], tmp_path / "bars.png")
    left = np.zeros((200, 300), np.uint8)
    left[:, :200] = 255
    Image.fromarray(left).save(tmp_path / "tissue.png")
    corners = [[30, 70], [90, 70], [90, 110], [30, 110], [30, 70]]
    struck = {
        "type": "Feature",
        "properties": {"name": "exclude"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    settings = MeasureSettings(
        tissue=str(tmp_path / "tissue.png"), regions=regions_document(json.dumps(struck))
    )
    measured = measure(path, settings)
    found = features(measured, tmp_path / "objects.geojson")
    counted = [
        f["properties"]["measurements"]["Counted"]
        for f in found
        if f["properties"]["objectType"] == "detection"
    ]
    assert counted == [0.0, 1.0, 0.0]
    assert "exclude" in [f["properties"].get("name") for f in found]
    assert measured.result.record.regions[0].vessels.profile_count == 1


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


def test_areas_of_annotations_have_six_digits(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A round exclusion of radius 100/3 px of 0.5 µm has π/4·(100/3)² µm², told to a millionth."""
    drawn = {
        "type": "Feature",
        "properties": {"name": "exclude"},
        "geometry": mapping(Point(100, 100).buffer(100 / 3, quad_segs=400)),
    }
    settings = dataclasses.replace(FRAME, regions=regions_document(json.dumps(drawn)))
    path = draw.fluorescence([draw.bars(200, 200)], tmp_path / "bars.png")
    first = features(measure(path, settings), tmp_path / "objects.geojson")[0]["properties"]
    assert first["measurements"] == {"Area mm^2": pytest.approx(0.000872665, rel=1e-5)}
    assert all(repr(area) == f"{area:.6g}" for area in first["measurements"].values())


def test_no_object_is_an_empty_collection(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A section without vessels writes a valid file without features."""
    path = draw.fluorescence([np.zeros((80, 80))], tmp_path / "none.png")
    assert features(measure(path), tmp_path / "objects.geojson") == []


def test_the_table_of_objects_has_places_in_micrometres(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """One row for each profile and cell: class, centroid, area, whether it is counted."""
    mask = np.zeros((200, 240))
    mask[40:60, 100:160] = 1
    measured = measure(draw.fluorescence([mask], tmp_path / "bar.png"))
    found = find_objects(measured.result, measured.image)
    write_objects_csv(found, measured.result.mpp_um, tmp_path / "objects.csv")
    with (tmp_path / "objects.csv").open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["class"] == "Vessel"
    assert row["regions"] == "tissue"
    assert (float(row["x_um"]), float(row["y_um"])) == pytest.approx((65, 25), abs=0.3)
    assert float(row["area_um2"]) == pytest.approx(20 * 60 / 4, rel=0.05)
    assert row["counted"] == "1"


def outlined(name: str, left: int, right: int) -> dict[str, Any]:
    """Return columns of a section of 300 px as a region."""
    corners = [[left, 0], [right, 0], [right, 300], [left, 300], [left, 0]]
    geometry = {"type": "Polygon", "coordinates": [corners]}
    return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}


def test_objects_tell_the_regions_that_they_count_in(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """Table and features name as many objects of each region as the record counts in it."""
    rng = np.random.default_rng(5)
    vessels = np.zeros((300, 300))
    for x, y in rng.integers(0, 290, (90, 2)):
        vessels[y : y + rng.integers(3, 14), x : x + rng.integers(3, 14)] = 1
    places = [(int(x), int(y), 9) for x, y in rng.integers(9, 300, (40, 2))]
    cells = draw.discs(300, 300, places)
    drawn = [outlined("=left", 0, 150), outlined("middle", 100, 200), outlined("exclude", 230, 260)]
    document = json.dumps({"type": "FeatureCollection", "features": drawn})
    settings = MeasureSettings(
        markers=("CD31", "VEGF"), tissue="frame", regions=regions_document(document)
    )
    path = draw.fluorescence([vessels, cells], tmp_path / "two.tif")
    measured = measure(path, settings, channels={"CD31": 0, "VEGF": 1})
    found = find_objects(measured.result, measured.image)
    write_objects_csv(found, measured.result.mpp_um, tmp_path / "objects.csv")
    with (tmp_path / "objects.csv").open(encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    for region in measured.result.record.regions:
        counts = {
            VESSEL_CLASS: region.vessels.profile_count,
            CELL_CLASS: region.cells.positive_count,
        }
        for kind, count in counts.items():
            told = [r for r in table if r["class"] == kind and region.name in r["regions"]]
            assert len(told) == count > 3
    assert {row["regions"] for row in table} == {
        "", "tissue", "tissue; =left", "tissue; middle", "tissue; =left; middle",
    }  # fmt: skip
    assert all((row["counted"] == "1") == bool(row["regions"]) for row in table)
    detected = [
        f["properties"]["metadata"]
        for f in features(measured, tmp_path / "objects.geojson")
        if f["properties"]["objectType"] == "detection"
    ]
    assert detected == [{"label": r["label"], "regions": r["regions"]} for r in table]


def test_the_table_of_objects_runs_no_formula() -> None:
    """A region named like a formula is text, wherever its name stands."""
    item = SectionObject(
        VESSEL_CLASS,
        box(0, 0, 1, 1),
        {"Area µm^2": 1.0, "Perimeter µm": 4.0, "Counted": 1.0},
        regions=("=1+1",),
    )
    (row,) = object_rows([item], 1.0)
    assert row[OBJECT_COLUMNS.index("regions")] == "'=1+1"


def test_regions_are_annotations_with_their_names(measure: Any, draw: Any, tmp_path: Path) -> None:
    """QuPath gets the regions back, derived ones included, and the overlay shows their border."""
    outline = [[[20, 20], [120, 20], [120, 120], [20, 120], [20, 20]]]
    drawn = {
        "type": "Feature",
        "properties": {"name": "infarct_core"},
        "geometry": {"type": "Polygon", "coordinates": outline},
    }
    settings = dataclasses.replace(FRAME, regions=regions_document(json.dumps(drawn)), band_um=10.0)
    measured = measure(
        draw.fluorescence([draw.bars(200, 240)], tmp_path / "bars.png"), settings, mpp_um=0.5
    )
    found = features(measured, tmp_path / "objects.geojson")
    named = {f["properties"].get("name"): f for f in found}
    assert {"infarct_core", "peri_infarct"} <= set(named)
    assert named["infarct_core"]["properties"]["objectType"] == "annotation"
    area = named["infarct_core"]["properties"]["measurements"]["Area mm^2"]
    assert area == pytest.approx(2500e-6)
    picture = overlay(
        measured.result, measured.image, find_objects(measured.result, measured.image)
    )
    assert (picture == np.array(COLOUR_OF_CLASS[REGION_CLASS])).all(axis=-1).any()
