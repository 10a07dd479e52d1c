"""One section from file to record: right numbers, whatever tile and block; nulls with reasons."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely.geometry
from PIL import Image

from analysis.errors import MarkerImageError, SettingsError
from analysis.morphometry import measure_mask
from analysis.pipeline import measure_section
from analysis.record import flatten, to_dict, to_json
from analysis.regions import regions_document
from analysis.settings import MeasureSettings, load_settings, settings_from_record
from imaging.open import open_image
from model.bundle import load_bundle
from model.predictor import Predictor

FRAME = MeasureSettings(tissue="frame")
VEGF = MeasureSettings(markers=("VEGF",), tissue="frame")
BOTH = MeasureSettings(markers=("CD31", "VEGF"), tissue="frame")


def numbers(record: Any) -> dict[str, Any]:
    """Return every measured number of a record by its path."""
    return dict(flatten(record.regions[0]))


def test_vessels_of_known_area(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Bars of 160 × 10 and 120 × 8 px cover that share of 200 × 200 px, and are two profiles."""
    path = draw.fluorescence([draw.bars(200, 200)], tmp_path / "bars.png")
    record = measure(path).result.record
    vessels = record.regions[0].vessels
    assert vessels.area_fraction == pytest.approx((160 * 10 + 120 * 8) / 200**2)
    assert vessels.area_mm2 == pytest.approx((1600 + 960) * 0.25e-6)
    assert vessels.profile_count == 2
    # Vossepoel and Smeulders count a straight step as 0.980.
    assert vessels.length_mm == pytest.approx(0.980 * (150 + 112) * 0.5e-3, rel=0.01)
    assert record.regions[0].area_mm2 == pytest.approx(0.01)


def test_brightfield_and_fluorescence_of_one_mask_agree(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """The same vessels, stained brown or glowing, give the same area fraction."""
    mask = draw.bars(200, 200)
    brown = measure(draw.brightfield(0.1 + 1.2 * mask, tmp_path / "brown.png"))
    glow = measure(draw.fluorescence([mask], tmp_path / "glow.png"))
    assert brown.image.modality == "brightfield"
    assert glow.image.modality == "fluorescence"
    assert numbers(brown.result.record) == numbers(glow.result.record)


def test_cells_and_their_raw_optical_density(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Three discs of OD 1.4 are three cells whose mean OD is that of their raw pixels."""
    flat = draw.discs(200, 200, [(50, 50, 15), (120, 60, 15), (90, 140, 20)]) > 0
    path = draw.brightfield(np.where(flat, 1.4, 0.02), tmp_path / "cells.png")
    region = measure(path, VEGF).result.record.regions[0]
    assert region.vessels is None
    assert region.reasons["vessels"]
    assert region.cells.positive_count == 3
    assert region.cells.positive_area_fraction == np.count_nonzero(flat) / 200**2
    # The blue of such a pixel is 22 of 255: rounding it moves the OD by up to 1 %.
    assert region.cells.optical_density.mean == pytest.approx(1.4, rel=0.01)
    assert region.cells.integrated_optical_density == pytest.approx(
        region.cells.average_optical_density * np.count_nonzero(flat) * 0.25
    )


def test_strong_stain_is_not_clipped_in_reports(measure: Any, draw: Any, tmp_path: Path) -> None:
    """The network sees OD 1.5 at most; what is reported is the raw OD above it."""
    flat = draw.discs(120, 120, [(60, 60, 20)]) > 0
    path = draw.brightfield(np.where(flat, 2.0, 0.02), tmp_path / "strong.png")
    cells = measure(path, VEGF).result.record.regions[0].cells
    assert cells.optical_density.median > 1.9


def test_two_markers_are_two_passes(measure: Any, draw: Any, tmp_path: Path) -> None:
    """CD31 and VEGF on two channels measure as each does alone."""
    vessels, cells = draw.bars(200, 200), draw.discs(200, 200, [(150, 150, 15), (110, 110, 12)])
    path = draw.fluorescence([vessels, cells], tmp_path / "two.tif")
    channels = {"CD31": 0, "VEGF": 1}
    both = measure(path, BOTH, channels=channels).result
    alone = measure(path, FRAME, channels=channels).result.record.regions[0]
    other = measure(path, VEGF, channels=channels).result.record.regions[0]
    region = both.record.regions[0]
    assert both.store.targets == ("vessel", "vegf_cell", "vegf_cell_centre")
    assert region.vessels == alone.vessels
    assert region.cells == other.cells
    assert region.cells.positive_count == 2
    assert set(both.record.settings["scaling"]) == {"CD31", "VEGF"}


def test_two_markers_need_two_colours(measure: Any, draw: Any, tmp_path: Path) -> None:
    """One chromogen cannot show two markers, nor can one channel; the error names the input."""
    brown = draw.brightfield(0.1 + draw.bars(120, 120), tmp_path / "brown.png")
    with pytest.raises(MarkerImageError, match="one chromogen") as caught:
        measure(brown, BOTH)
    assert caught.value.field == "marker"
    glow = draw.fluorescence([draw.bars(120, 120)], tmp_path / "glow.png")
    with pytest.raises(MarkerImageError) as caught:
        measure(glow, BOTH)
    assert caught.value.field == "channels"


@pytest.mark.parametrize("tile_px", [64, 128])
def test_tiles_and_blocks_change_nothing(
    draw: Any, tmp_path: Path, write_oracle: Callable[..., Path], tile_px: int
) -> None:
    """The record is the same for any prediction tile and any measuring block."""
    cells = draw.discs(300, 260, [(x, y, 12) for x in (40, 64, 130) for y in (64, 128, 200)])
    path = draw.fluorescence([draw.bars(300, 260), cells], tmp_path / "two.tif")
    found = []
    for tile, block in ((256, 2048), (tile_px, 100)):
        bundle = load_bundle(write_oracle(tmp_path / f"{tile}.onnx", tile_px=tile))
        settings = dataclasses.replace(BOTH, block_px=block)
        work = tmp_path / f"work{tile}"
        work.mkdir()
        with open_image(path, 0.5, channels={"CD31": 0, "VEGF": 1}) as image:
            result = measure_section(image, Predictor(bundle, 1), settings, workdir=work)
        found.append(result)
    whole, parts = found
    assert np.array_equal(whole.probabilities, parts.probabilities)
    tiled = numbers(parts.record)
    for name, value in numbers(whole.record).items():
        assert tiled[name] == (None if value is None else pytest.approx(value, rel=2e-3)), name
    assert parts.record.regions[0].cells == whole.record.regions[0].cells
    assert parts.record.regions[0].cells.positive_count == 9


def test_other_pixel_sizes_measure_the_same_tissue(measure: Any, draw: Any, tmp_path: Path) -> None:
    """An image of half the pixel size, twice enlarged, has the same areas in µm."""
    mask = draw.bars(200, 200)
    coarse = measure(draw.fluorescence([mask], tmp_path / "a.png")).result.record
    large = np.kron(mask, np.ones((2, 2)))
    fine = measure(draw.fluorescence([large], tmp_path / "b.png"), mpp_um=0.25).result.record
    assert fine.regions[0].area_mm2 == pytest.approx(coarse.regions[0].area_mm2)
    assert fine.regions[0].vessels.area_fraction == pytest.approx(
        coarse.regions[0].vessels.area_fraction, rel=0.02
    )


def test_tissue_mask_is_the_denominator(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Half of the frame as tissue halves the area, and only vessels inside count."""
    mask = np.zeros((200, 200))
    mask[40:50, 20:180] = 1
    mask[140:150, 20:180] = 1
    half = np.zeros((200, 200), np.uint8)
    half[:100] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    path = draw.fluorescence([mask], tmp_path / "bars.png")
    settings = MeasureSettings(tissue=str(tmp_path / "half.png"))
    region = measure(path, settings).result.record.regions[0]
    assert region.area_mm2 == pytest.approx(0.005)
    assert region.vessels.area_fraction == pytest.approx(1600 / 20000)
    assert region.vessels.profile_count == 1
    record = measure(path, settings).result.record
    assert record.settings["tissue"] == str(tmp_path / "half.png")
    assert len(record.settings["tissue_sha256"]) == 64
    assert settings_from_record(to_dict(record)["settings"]).settings.tissue == settings.tissue


def _excluding(*box: int) -> dict[str, Any]:
    geometry = shapely.geometry.mapping(shapely.box(*box))
    outline = {"type": "Feature", "properties": {"name": "exclude"}, "geometry": geometry}
    return regions_document(json.dumps(outline))


@pytest.mark.parametrize(
    ("box", "left", "verdict"),
    [((-1, -1, 241, 201), 0.0, "reject"), ((0, 0, 234, 200), 0.025, "reject"),
     ((0, 0, 120, 200), 0.5, "ok")],
)  # fmt: skip
@pytest.mark.parametrize("mpp_um", [0.25, 0.5])
def test_quality_judges_what_exclusions_leave(
    measure: Any, draw: Any, tmp_path: Path, box: Any, left: float, verdict: str, mpp_um: float
) -> None:
    """A section that is excluded wholly is rejected, and the advice names the exclusions."""
    path = draw.fluorescence([draw.bars(200, 240)], tmp_path / "bars.png")
    settings = dataclasses.replace(FRAME, regions=_excluding(*box))
    quality = measure(path, settings, mpp_um=mpp_um).result.record.quality
    # The overview has 2 µm per pixel, and a border of what is excluded is as exact.
    assert quality["tissue_fraction"]["value"] == pytest.approx(left, abs=0.026)
    assert (quality["tissue_fraction"]["value"] == 0) == (left == 0)
    assert quality["verdict"] == verdict, quality["reasons"]
    if verdict == "reject":
        assert any("the exclusions leave" in reason for reason in quality["reasons"])
        assert not any("expose for longer" in reason for reason in quality["reasons"])


def test_quality_names_the_tissue_mask_that_leaves_nothing(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """A mask of zeros is rejected with the mask as the reason, exclusions beside it or none."""
    Image.fromarray(np.zeros((200, 240), np.uint8)).save(tmp_path / "none.png")
    path = draw.fluorescence([draw.bars(200, 240)], tmp_path / "bars.png")
    for regions in (None, _excluding(0, 0, 50, 50)):
        settings = MeasureSettings(tissue=str(tmp_path / "none.png"), regions=regions)
        quality = measure(path, settings).result.record.quality
        assert quality["verdict"] == "reject"
        assert quality["reasons"] == [
            "Tissue: the tissue mask leaves nothing of the frame: draw it with 0 outside of the "
            "tissue and 255 inside."
        ]


def test_threshold_compares_bytes(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A pixel is vessel from round(255·t) on; the stored bytes repeat the record's area."""
    path = draw.fluorescence([draw.bars(120, 120)], tmp_path / "bars.png")
    settings = dataclasses.replace(FRAME, thresholds={"vessel": 0.9})
    result = measure(path, settings).result
    seen = result.store.layer("vessel")[:, :]
    assert result.settings.level("vessel") == round(0.9 * 255)
    vessels = result.record.regions[0].vessels
    share = np.count_nonzero(seen >= round(0.9 * 255)) / seen.size
    assert vessels.area_fraction == pytest.approx(share)
    assert result.record.model is not None
    assert result.record.model.thresholds == {"vessel": 0.9}


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (90, 80)])
@pytest.mark.parametrize("settings", [MeasureSettings(), MeasureSettings(markers=("VEGF",))])
def test_blank_images_are_zero_or_null_with_reasons(
    measure: Any, tmp_path: Path, size: tuple[int, int], value: int, settings: MeasureSettings
) -> None:
    """All black, all white and one pixel: every null has its reason, and JSON holds no NaN."""
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(tmp_path / "blank.png")
    record = measure(tmp_path / "blank.png", settings).result.record
    region = record.regions[0]
    for path, number in flatten(region):
        if number is None:
            parts = path.split(".")
            wholes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            assert any(whole in region.reasons for whole in wholes), path
    assert "NaN" not in to_json(record)


def test_record_says_how_it_was_made(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Bundle, settings, scaling, timings and pixel size stand in the record."""
    path = draw.brightfield(0.1 + draw.bars(120, 120), tmp_path / "brown.png")
    settings = dataclasses.replace(FRAME, section_thickness_um=20.0)
    record = measure(path, settings).result.record
    assert record.model is not None
    assert record.model.name == "oracle"
    assert len(record.model.sha256) == len(record.image.sha256) == 64
    assert record.image.section_thickness_um == 20.0
    assert record.settings["mpp_um"] == 0.5
    assert record.settings["thresholds"] == {"vessel": 0.5}
    assert record.settings["scaling"]["CD31"]["background_rgb"] == (255.0, 255.0, 255.0)
    assert {"scale", "predict", "vessels", "cells", "total"} <= set(record.timings_s)
    assert any("assumed to be 255" in warning for warning in record.warnings)
    (interval, *_) = record.uncertainty
    assert interval["path"] == "vessels.area_fraction"
    assert interval["threshold_low"] >= record.regions[0].vessels.area_fraction  # type: ignore
    assert "6 blocks" in interval["reason"]


def test_an_empty_tissue_mask_is_called_so(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Of images and of vessel masks alike: the warning is of zeros, not of lacking glass."""
    path, mask = draw.brightfield(0.1 + draw.bars(120, 120), tmp_path / "a.png"), tmp_path / "m.png"
    Image.fromarray(np.zeros((120, 120), np.uint8)).save(mask)
    record = measure(path, MeasureSettings(tissue=str(mask))).result.record
    of_mask = measure_mask(mask, 0.5, tissue=mask)
    for warnings in (record.warnings, of_mask.warnings):
        assert len(warnings) == 1
        assert warnings[0].startswith("the tissue mask is empty, all of it is 0")


def test_coarse_pixels_are_warned_of(measure: Any, draw: Any, tmp_path: Path) -> None:
    """An image four times coarser than the model's grid is measured, with a warning."""
    path = draw.fluorescence([draw.bars(120, 120)], tmp_path / "bars.png")
    record = measure(path, mpp_um=2.0).result.record
    assert any("2 µm/px" in warning for warning in record.warnings)


def test_settings_of_a_record_repeat_it(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A record read back from its file gives the same numbers again."""
    path = draw.fluorescence([draw.bars(150, 150)], tmp_path / "bars.png")
    changed = dataclasses.replace(FRAME, thresholds={"vessel": 0.7}, gap_um=5.0, tta=True)
    first = measure(path, changed).result.record
    (tmp_path / "record.json").write_text(to_json(first), encoding="utf-8")
    earlier = load_settings(tmp_path / "record.json")
    assert first.model is not None
    assert (earlier.mpp_um, earlier.model_sha256) == (0.5, first.model.sha256)
    again = measure(path, earlier.settings).result.record
    assert to_dict(again)["regions"] == to_dict(first)["regions"]
    (tmp_path / "settings.json").write_text(json.dumps(to_dict(first)["settings"]))
    assert load_settings(tmp_path / "settings.json").settings == earlier.settings


def test_settings_of_a_run_are_those_of_its_records(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """An array is read as one record is, if its records agree; else nobody knows which is meant."""
    path = draw.fluorescence([draw.bars(150, 150)], tmp_path / "bars.png")
    one = to_dict(measure(path, dataclasses.replace(FRAME, gap_um=5.0)).result.record)
    other = to_dict(measure(path, FRAME).result.record)
    run = tmp_path / "run.json"
    run.write_text(json.dumps([one, one]))
    assert load_settings(run).settings.gap_um == 5.0
    for records, reason in (
        ([one, other], "records of different settings; give a file of one of them"),
        ([], "holds no record"),
        ([1], "something else than records"),
    ):
        run.write_text(json.dumps(records))
        with pytest.raises(SettingsError, match=reason):
            load_settings(run)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"markers": ["CD32"]}, "marker"),
        ({"markers": []}, "marker"),
        ({"markers": "CD31"}, "marker"),
        ({"thresholds": {"vessel": 0}}, "threshold_vessel"),
        ({"thresholds": {"vegf_cell": math.nan}}, "threshold_vegf_cell"),
        ({"thresholds": {"lumen": 0.5}}, "settings"),
        ({"gap_um": -1}, "gap_um"),
        ({"section_thickness_um": 0}, "section_thickness_um"),
        ({"max_vessel_radius_um": "wide"}, "max_vessel_radius_um"),
        ({"tta": 1}, "tta"),
        ({"colour": "red"}, "settings"),
    ],
)
def test_impossible_settings_name_their_field(values: dict[str, Any], field: str) -> None:
    """A setting that cannot be is refused, and the error says which."""
    with pytest.raises(SettingsError) as caught:
        settings_from_record(values)
    assert caught.value.field == field


def test_progress_tells_every_stage(predictor: Predictor, draw: Any, tmp_path: Path) -> None:
    """Each stage ends with as many steps done as there are."""
    path = draw.fluorescence([draw.bars(300, 300)], tmp_path / "bars.png")
    last: dict[str, tuple[int, int]] = {}
    with open_image(path, 0.5) as image:
        measure_section(
            image,
            predictor,
            FRAME,
            workdir=tmp_path,
            progress=lambda stage, done, total: last.update({stage: (done, total)}),
        )
    assert last == {"scale": (1, 1), "predict": (4, 4), "vessels": (1, 1), "thresholds": (1, 1)}
