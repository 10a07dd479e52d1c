"""Regions: what was drawn, what follows from it, which pixels belong, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from analysis.comparisons import compare
from analysis.errors import RegionsError
from analysis.morphometry import measure_mask
from analysis.record import Record, Region, Vessels
from analysis.region_masks import OutlineMask, Within
from analysis.regions import RegionPlan, mirrored, plan_regions, regions_document
from analysis.settings import MeasureSettings
from tests import phantoms

SIZE = (1000, 800)


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[list[float]]]:
    return [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]


def circle(x: float, y: float, radius: float) -> list[list[list[float]]]:
    turn = np.linspace(0, 2 * math.pi, 721)
    ring = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
    ring[-1] = ring[0]
    return [ring.tolist()]


def feature(
    name: str, coordinates: Any, kind: str = "Polygon", **properties: Any
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"name": name, **properties} if name else properties,
        "geometry": {"type": kind, "coordinates": coordinates},
    }


def line(*points: tuple[float, float]) -> dict[str, Any]:
    return feature("midline", [list(point) for point in points], "LineString")


def plan(*features: dict[str, Any], band_um: float = 50.0, mpp_um: float = 0.5) -> RegionPlan:
    document = regions_document(json.dumps({"type": "FeatureCollection", "features": features}))
    return plan_regions(document, SIZE, mpp_um, band_um)


def test_names_come_from_the_object_its_class_or_its_number() -> None:
    """A name wins over a class; without either the outline is numbered."""
    made = plan(
        feature("cortex", box(0, 0, 100, 100), classification={"name": "Region*"}),
        feature("", box(100, 0, 200, 100), classification={"name": "striatum"}),
        feature("", box(200, 0, 300, 100)),
    )
    assert list(made.shapes) == ["cortex", "striatum", "region 3"]


def test_an_outline_without_name_joins_no_other() -> None:
    """Its number is a name only where no other outline has that name in any spelling."""
    made = plan(
        feature("Region-2", box(0, 0, 100, 100)),
        feature("", box(100, 0, 200, 100)),
        feature("", box(200, 0, 300, 100)),
        feature("", box(300, 0, 400, 100), classification={"name": "region 3"}),
        feature("region 3 (2)", box(400, 0, 500, 100)),
    )
    names = ["Region-2", "region 2 (2)", "region 3 (3)", "region 3", "region 3 (2)"]
    assert list(made.shapes) == names
    assert {shape.area for shape in made.shapes.values()} == {100.0 * 100}


def test_a_name_is_the_same_however_its_accents_are_written() -> None:
    """An "ö" of one character and one of two name one region, by the shorter spelling."""
    made = plan(
        feature("H\u00f6hle", box(0, 0, 50, 100)),
        feature("Ho\u0308hle", box(50, 0, 100, 100)),
        feature("", box(200, 0, 250, 100), classification="Ho\u0308hle"),
    )
    assert list(made.shapes) == ["H\u00f6hle"]
    assert made.shapes["H\u00f6hle"].area == pytest.approx(150 * 100)


def test_a_class_with_a_meaning_keeps_it_under_any_name() -> None:
    """What QuPath classes as exclude is excluded, also where the outline has a name."""
    made = plan(
        feature("fold 1", box(0, 0, 50, 50), classification={"name": "Exclude"}),
        feature("lesion", box(100, 100, 200, 200), classification={"name": "infarct core"}),
    )
    assert made.exclusions is not None
    assert {"infarct_core", "peri_infarct"} == set(made.shapes)


def test_outlines_of_one_name_are_one_region() -> None:
    """Two halves drawn apart, or overlapping, are united."""
    made = plan(feature("a", box(0, 0, 60, 100)), feature("a", box(40, 0, 100, 100)))
    assert made.shapes["a"].area == pytest.approx(100 * 100)


def test_holes_and_several_parts_are_honoured() -> None:
    """A polygon with a hole and a multipolygon have their own areas."""
    ring = [*box(0, 0, 100, 100), *box(20, 20, 60, 60)]
    made = plan(
        feature("ring", ring),
        feature("pair", [box(0, 0, 10, 10), box(20, 0, 30, 10)], "MultiPolygon"),
    )
    assert made.shapes["ring"].area == pytest.approx(100**2 - 40**2)
    assert made.shapes["pair"].area == pytest.approx(200)


def test_parts_that_overlap_are_their_union() -> None:
    """Two squares of 20 px that share 10 × 10 px are 700 px, an island in a part is no hole."""
    made = plan(
        feature("steps", [box(0, 0, 20, 20), box(10, 10, 30, 30)], "MultiPolygon"),
        feature("island", [box(0, 0, 20, 20), box(5, 5, 10, 10)], "MultiPolygon"),
        feature("ring", [[*box(0, 0, 9, 9), *box(3, 3, 6, 6)], box(9, 0, 12, 9)], "MultiPolygon"),
    )
    areas = {"steps": 700, "island": 400, "ring": 99}
    assert {name: shape.area for name, shape in made.shapes.items()} == pytest.approx(areas)
    for name, area in areas.items():
        assert OutlineMask(made.shapes[name], 40, 40)[:, :].sum() == area


def test_the_band_about_a_round_core_is_an_annulus() -> None:
    """π((r + b)² − r²), b in µm."""
    made = plan(feature("Infarct core", circle(500, 400, 120)), band_um=60, mpp_um=0.5)
    area = math.pi * (240**2 - 120**2)
    assert list(made.shapes) == ["infarct_core", "peri_infarct"]
    assert made.shapes["peri_infarct"].area == pytest.approx(area, rel=0.005)
    assert made.shapes["peri_infarct"].intersection(made.shapes["infarct_core"]).area < 1e-6
    assert made.pairs == ()


def test_a_midline_mirrors_core_and_band() -> None:
    """The mirror images have the areas of the originals and lie on the other side."""
    made = plan(
        feature("infarct_core", circle(300, 400, 80)), line((500, 0), (500, 790)), band_um=40
    )
    shapes = made.shapes
    assert shapes["contralateral_core"].centroid.x == pytest.approx(700)
    for one, other in made.pairs:
        assert shapes[other].area == pytest.approx(shapes[one].area, rel=1e-9)
    assert shapes["ipsilateral_remote"].bounds[2] == pytest.approx(500)
    parts = ("infarct_core", "peri_infarct", "ipsilateral_remote")
    assert sum(shapes[name].area for name in parts) == pytest.approx(500 * 800)


def test_a_slanting_midline_is_fitted_to_all_its_points() -> None:
    """Points to either side of a line at 45° give that line; mirrors swap x and y."""
    made = plan(
        feature("infarct_core", box(500, 100, 600, 180)),
        line((102, 98), (298, 302), (402, 398)),
        line((598, 602), (702, 698)),
        band_um=20,
    )
    x, y = (round(v) for v in made.shapes["contralateral_core"].centroid.coords[0])
    assert (x, y) == pytest.approx((140, 550), abs=2)


def test_the_band_does_not_cross_the_midline() -> None:
    """Beside the midline the band ends there: beyond lies the other hemisphere."""
    made = plan(
        feature("infarct_core", circle(430, 400, 60)), line((500, 0), (500, 800)), band_um=100
    )
    assert made.shapes["peri_infarct"].bounds[2] == pytest.approx(500)
    assert not made.shapes["contralateral_peri_infarct"].intersects(
        made.shapes["peri_infarct"].buffer(-1)
    )


def test_a_mirror_of_a_mirror_is_the_original() -> None:
    """Reflection undoes itself, whatever the line."""
    shape = shapely.Polygon([(10, 20), (90, 25), (60, 80)])
    along = np.array([math.cos(0.7), math.sin(0.7)])
    there = mirrored(shape, (np.array([31.0, -7.0]), along))
    assert there.area == pytest.approx(shape.area)
    back = mirrored(there, (np.array([31.0, -7.0]), along))
    assert back.equals_exact(shape, 1e-9)


@pytest.mark.parametrize("window", [(0, 0, 61, 97), (30, 17, 40, 40), (90, 60, 31, 41)])
def test_a_window_of_a_mask_is_that_part_of_the_whole(window: tuple[int, int, int, int]) -> None:
    """Drawn window by window, no pixel differs, on a grid finer and coarser than the image."""
    outline = shapely.Point(60, 50).buffer(41).difference(shapely.Point(55, 50).buffer(12))
    y, x, height, width = window
    for step in (1.0, 0.7, 1.9):
        mask = OutlineMask(outline, 121, 141, step)
        assert np.array_equal(
            mask[y : y + height, x : x + width], mask[:, :][y : y + height, x : x + width]
        )


def test_regions_that_share_an_edge_share_no_pixel() -> None:
    """Triangles that part the frame hold every pixel exactly once."""
    corners, middle = [(0, 0), (120, 0), (120, 90), (0, 90)], (47.3, 51.9)
    parts = [
        OutlineMask(shapely.Polygon([corners[k], corners[(k + 1) % 4], middle]), 90, 120)
        for k in range(4)
    ]
    held = sum(part[:, :].astype(int) for part in parts)
    assert (np.asarray(held) == 1).all()


def test_centres_that_lie_on_an_edge_have_one_owner_in_every_window() -> None:
    """Edges through many pixel centres, on grids of any step: no pixel twice, none left out."""
    corners = [(0, 0), (64, 0), (64, 64), (0, 64)]
    places = [(29.1, 9.7), (18.5, 38.5), (7.5, 27.5), (25, 35), (27, 7), (54.7, 33.3)]
    for middle, step in itertools.product(places, (1.0, 0.5, 0.7, 0.9, 1 / 3)):
        side = int(64 / step)
        parts = [
            OutlineMask(shapely.Polygon([corners[k], corners[k - 1], middle]), side, side, step)
            for k in range(4)
        ]
        whole = [part[:, :] for part in parts]
        assert (np.sum(whole, axis=0) == 1).all()
        for part, drawn in zip(parts, whole, strict=True):
            assert np.array_equal(part[13:, 21:], drawn[13:, 21:])


def test_names_and_boxes_that_no_file_can_hold_do_not_reach_the_record() -> None:
    """Half a surrogate pair becomes a question mark; a bounding box of NaN is left out."""
    given = feature("\ud800", box(0, 0, 5, 5))
    given["geometry"]["bbox"] = [math.nan]
    document = regions_document(json.dumps([given]))
    json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    assert list(plan_regions(document, SIZE, 0.5).shapes) == ["?"]


def test_masks_combine_and_can_be_sent_to_another_process() -> None:
    """Where two hold and a third does not; pickled and back they are the same."""
    left, right = (OutlineMask(shapely.box(x, 0, x + 60, 50), 50, 100) for x in (0, 40))
    hole = OutlineMask(shapely.box(45, 10, 50, 20), 50, 100)
    combined = pickle.loads(pickle.dumps(Within(left, right, hole)))
    assert combined[:, :].sum() == 20 * 50 - 50
    assert Within(None, left, None)[0:10, 0:10].all()


REFUSED = {
    "no JSON": ("{", "no JSON"),
    "too deep": ("[" * 100_000, "no JSON"),
    "unknown kind": (feature("a", [1, 2], "Circle"), "broken geometry"),
    "empty line": (line(), "no points"),
    "nothing": ('{"features": []}', "no region"),
    "no list": ('"abc"', "no GeoJSON"),
    "another object": ('{"a": 1}', "no GeoJSON FeatureCollection; export .* QuPath"),
    "another list": ("[1, 2]", "no GeoJSON FeatureCollection"),
    "a bare outline": ('{"type": "Polygon", "coordinates": []}', "no GeoJSON FeatureCollection"),
    "no geometry": ('[{"type": "Feature", "geometry": null}]', "no geometry"),
    "outside": (feature("a", box(2000, 0, 2100, 50)), "outside of the image"),
    "a point": (feature("a", [1, 2], "Point"), "closed outline"),
    "a line": (feature("a", [[1, 2], [3, 4]], "LineString"), "closed outline"),
    "no area": (feature("a", [[[1, 1], [9, 9], [1, 1], [1, 1]]]), "no area"),
    "no numbers": (feature("a", [[[0, 0], [5, math.nan], [5, 5], [0, 0]]]), "no numbers"),
    "two corners": (feature("a", [[[1, 1], [2, 2]]]), "broken geometry"),
    "taken": (feature("peri-infarct", box(0, 0, 5, 5)), "another name"),
    "tissue": (feature("Tissue", box(0, 0, 5, 5)), "another name"),
    "no core": (line((500, 0), (500, 800)), "no infarct_core"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused_with_the_mend(case: str) -> None:
    """One error, of the field regions."""
    given, words = REFUSED[case]
    text = given if isinstance(given, str) else json.dumps([given])
    with pytest.raises(RegionsError, match=words) as caught:
        plan_regions(regions_document(text), SIZE, 0.5)
    assert caught.value.field == "regions"


def test_a_midline_has_to_divide_the_image() -> None:
    """Along the border, or a point, it mirrors nothing."""
    core = feature("infarct_core", box(100, 100, 200, 200))
    for points, words in ((((-5, 0), (-5, 800)), "divide"), (((9, 9), (9, 9)), "point")):
        with pytest.raises(RegionsError, match=words):
            plan(core, line(*points))


def test_a_core_on_both_sides_of_the_midline_is_refused() -> None:
    """It would be compared with itself."""
    core = feature("infarct_core", circle(500, 400, 80))
    with pytest.raises(RegionsError, match="both sides"):
        plan(core, line((500, 0), (500, 800)))


def test_a_core_drawn_past_the_frame_keeps_its_band() -> None:
    """The band runs about what was drawn; only then is it clipped."""
    made = plan(feature("infarct_core", circle(0, 400, 100)), band_um=50, mpp_um=0.5)
    half = math.pi * (200**2 - 100**2) / 2
    assert made.shapes["peri_infarct"].area == pytest.approx(half, rel=0.005)
    assert made.shapes["infarct_core"].bounds[0] == 0


def test_an_outline_that_crosses_itself_is_what_it_encloses() -> None:
    """A figure of eight is its two loops."""
    made = plan(feature("eight", [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]]))
    assert made.shapes["eight"].area == pytest.approx(2 * 100 * 50 / 2)


def test_what_an_outline_winds_about_twice_belongs_to_it() -> None:
    """A lasso that overlaps itself is the union of its loops, in either direction.

    One loop is 60 × 40 px; the other adds 20 × 20 px beside it and 40 × 20 px on the far side, and
    winds about 20 × 40 px of the first once more.
    """
    lasso = [
        [100, 100], [160, 100], [160, 140], [120, 140], [120, 80],
        [140, 80], [140, 160], [100, 160], [100, 100],
    ]  # fmt: skip
    for ring in (lasso, lasso[::-1]):
        shape = plan(feature("lasso", [ring])).shapes["lasso"]
        assert shape.area == pytest.approx(60 * 40 + 20 * 20 + 40 * 20)
        assert OutlineMask(shape, 200, 200)[:, :].sum() == 3600
    turns = np.linspace(0, 4 * math.pi, 721)
    radius = 200 + 10 * np.sin(turns / 2)
    twice = np.stack([500 + radius * np.cos(turns), 400 + radius * np.sin(turns)], axis=1)
    twice[-1] = twice[0]
    shape = plan(feature("twice round", [twice.tolist()])).shapes["twice round"]
    assert shape.geom_type == "Polygon"
    assert math.pi * 200**2 < shape.area < math.pi * 210**2


def test_what_an_outline_goes_round_backwards_is_a_hole() -> None:
    """A ring drawn in one stroke, out, in by a slit, and back round its hole, keeps the hole."""
    ring = [
        [0, 0], [100, 0], [100, 100], [0, 100], [0, 0],
        [30, 30], [30, 60], [60, 60], [60, 30], [30, 30], [0, 0],
    ]  # fmt: skip
    assert plan(feature("ring", [ring])).shapes["ring"].area == pytest.approx(100**2 - 30**2)


def measured(tmp_path: Path, *features: dict[str, Any], **options: Any) -> Record:
    """Measure a network of 500 × 500 px with regions."""
    path = tmp_path / "mask.png"
    mask = phantoms.random_network(1, side=500, lines=60)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    document = regions_document(json.dumps(list(features)))
    return measure_mask(
        path, 1.0, settings=MeasureSettings(tissue="frame", regions=document, **options)
    )


def test_regions_that_part_the_image_add_up(tmp_path: Path) -> None:
    """Areas, counts and lengths of two halves are those of the tissue."""
    record = measured(
        tmp_path, feature("left", box(0, 0, 213, 500)), feature("right", box(213, 0, 500, 500))
    )
    tissue, *halves = (region.vessels for region in record.regions)
    assert [region.name for region in record.regions] == ["tissue", "left", "right"]
    assert tissue is not None
    for name in ("area_mm2", "profile_count", "branchpoint_count", "segment_count", "length_mm"):
        total = sum(getattr(half, name) for half in halves)
        assert total == pytest.approx(getattr(tissue, name), rel=0.005), name
    assert sum(r.area_mm2 for r in record.regions[1:]) == pytest.approx(0.25)


def test_excluded_parts_leave_the_tissue_and_every_region(tmp_path: Path) -> None:
    """Area and vessels there are gone, from the tissue as from the region drawn over it."""
    drawn = feature("top", box(0, 0, 500, 200)), feature("exclude", box(100, 100, 300, 300))
    record = measured(tmp_path, *drawn)
    tissue, top = record.regions
    assert tissue.area_mm2 == pytest.approx((500 * 500 - 200 * 200) * 1e-6)
    assert top.area_mm2 == pytest.approx((500 * 200 - 200 * 100) * 1e-6)
    whole = measured(tmp_path, feature("top", box(0, 0, 500, 200)))
    assert tissue.vessels is not None
    assert whole.regions[0].vessels is not None
    assert tissue.vessels.area_mm2 < whole.regions[0].vessels.area_mm2  # type: ignore[operator]


def test_regions_without_a_pixel_of_tissue_are_warned_of(tmp_path: Path) -> None:
    """Smaller than a pixel, or excluded wholly: each by its name; one warning where all is gone."""
    speck, hidden = feature("speck", box(9.6, 9.6, 9.9, 9.9)), feature("hidden", box(0, 0, 9, 9))
    gone = feature("exclude", box(0, 0, 9, 9))
    record = measured(tmp_path, feature("seen", box(0, 0, 99, 99)), speck, hidden, gone)
    empty = [text for text in record.warnings if "no pixel of tissue" in text]
    assert [text.split(":")[0] for text in empty] == ["speck", "hidden"]
    record = measured(tmp_path, speck, feature("exclude", box(0, 0, 500, 500)))
    assert record.warnings == ("there is no tissue to be measured",)


def test_infarct_and_mirror_are_compared(tmp_path: Path) -> None:
    """Each density has a ratio to the other side, or a reason."""
    record = measured(
        tmp_path, feature("infarct_core", box(60, 150, 180, 350)), line((250, 0), (250, 500)),
        band_um=60.0,
    )  # fmt: skip
    names = [region.name for region in record.regions]
    assert names == [
        "tissue", "infarct_core", "peri_infarct", "contralateral_core",
        "contralateral_peri_infarct", "ipsilateral_remote",
    ]  # fmt: skip
    by_name = {region.name: region.vessels for region in record.regions}
    assert len(record.comparisons) == 8
    for entry in record.comparisons:
        assert (entry["ratio"] is None) == bool(entry["reason"])
        if entry["path"] == "vessels.length_density_mm_per_mm2" and entry["ratio"]:
            one, other = by_name[entry["region"]], by_name[entry["reference"]]
            assert one is not None
            assert other is not None
            expected = one.length_density_mm_per_mm2 / other.length_density_mm_per_mm2  # type: ignore[operator]
            assert entry["ratio"] == pytest.approx(expected)
            assert entry["log_ratio"] == pytest.approx(math.log(expected))


def test_a_network_is_compared_by_its_segments() -> None:
    """Ten segments carry a ratio of areas or lengths, but no ratio of profiles; nine carry none."""
    core = Region("core", 1.0, Vessels(area_fraction=0.2, profile_density_per_mm2=4.0), None, None)
    for segments, path, compared in (
        (10, "vessels.area_fraction", True),
        (9, "vessels.area_fraction", False),
        (10, "vessels.profile_density_per_mm2", False),
    ):
        network = Vessels(
            area_fraction=0.4, profile_density_per_mm2=1.0, profile_count=1, segment_count=segments
        )
        mirror = Region("mirror", 1.0, network, None, None)
        found = {e["path"]: e for e in compare([core, mirror], [("core", "mirror")], {})}[path]
        assert found["ratio"] == (0.5 if compared else None)
        assert compared or "holds 1 vessel profiles" in found["reason"]


def test_a_reference_with_few_profiles_gives_no_ratio(tmp_path: Path) -> None:
    """Under ten profiles the ratio is null, and the reason says how many there are."""
    record = measured(
        tmp_path, feature("infarct_core", box(60, 220, 90, 250)), line((250, 0), (250, 500)),
        band_um=20.0,
    )  # fmt: skip
    core = [entry for entry in record.comparisons if entry["region"] == "infarct_core"]
    assert all(entry["ratio"] is None and "at least 10" in entry["reason"] for entry in core)
