"""Annotated images become tiles on the path that a served image takes."""

from __future__ import annotations

import csv
import dataclasses
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.build import build_tiles, manifest_hash
from datasets.cut import tile_corners
from datasets.errors import BuildError, SplitError
from datasets.manifest import Manifest
from datasets.rows import Row
from imaging.markers import fit_scaling, marker_channels
from imaging.open import open_image
from imaging.tissue import find_tissue

BROWN = (150, 95, 60)


def brightfield(folder: Path, name: str = "a.png", size: tuple[int, int] = (80, 48)) -> Row:
    """Write a pale section with a brown bar, 8 px wide, and its mask."""
    pixels = np.random.default_rng(0).normal(235, 3, (size[1], size[0], 3))
    mask = np.zeros(size[::-1], np.uint8)
    mask[20:28, 10:70] = 255
    pixels[mask > 0] = BROWN
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
    Image.fromarray(mask).save(folder / f"mask_{name}")
    return Row(
        image=name,
        animal="m1",
        section="s1",
        group="control",
        modality="brightfield",
        mpp_um=0.5,
        annotation={"vessel": f"mask_{name}"},
        targets=("vessel",),
        split="train",
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "tiles.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def pixels_of(folder: Path, kind: str, row: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(folder / kind / f"{row['tile']}.png"))


def test_tiles_put_together_are_the_served_image(tmp_path: Path) -> None:
    """Tiles laid side by side are the marker channels of the whole image, and its mask."""
    row = brightfield(tmp_path)
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", tile_px=16)
    with open_image(tmp_path / row.image, 0.5, modality="brightfield") as image:
        scaling = fit_scaling(image, "CD31", find_tissue(image, "auto"))
        served = marker_channels(image.read_region(0, 0, 80, 48, 0.5), scaling)
    channels = np.zeros((48, 80, 3), np.uint8)
    mask = np.zeros((48, 80), np.uint8)
    for tile in rows_of(tmp_path / "out"):
        x, y = int(tile["x_px"]), int(tile["y_px"])
        channels[y : y + 16, x : x + 16] = pixels_of(tmp_path / "out", "channels", tile)
        mask[y : y + 16, x : x + 16] = pixels_of(tmp_path / "out", "vessel", tile)
    assert np.array_equal(channels, np.rint(np.moveaxis(served, 0, -1) * 255))
    assert mask.sum() == 8 * 60
    assert mask[20:28, 10:70].all()


def test_table_says_where_each_tile_comes_from(tmp_path: Path) -> None:
    """Every tile has a row with its image, animal, group, split, target and place."""
    summary = build_tiles(
        Manifest(tmp_path, (brightfield(tmp_path),)), tmp_path / "out", tile_px=32
    )
    rows = rows_of(tmp_path / "out")
    assert [(row["x_px"], row["y_px"]) for row in rows] == [
        (x, y) for y in ("0", "16") for x in ("0", "32", "48")
    ]
    for row in rows:
        wanted = {
            "image": "a.png",
            "animal": "m1",
            "section": "s1",
            "group": "control",
            "modality": "brightfield",
            "source": "annotated",
            "split": "train",
            "targets": "vessel",
        }
        assert {key: row[key] for key in wanted} == wanted
    assert summary.tiles == 6
    assert summary.tiles_by_split == {"train": 6, "val": 0, "test": 0}
    described = json.loads((tmp_path / "out" / "tiles.json").read_text())
    assert described["mpp_um"] == 0.5
    assert described["manifest_hash"] == summary.manifest_hash == manifest_hash(tmp_path / "out")


def test_image_and_mask_stay_together_on_a_coarser_grid(tmp_path: Path) -> None:
    """At twice the pixel size the bar is 4 px wide in the mask and brown in the same pixels."""
    build_tiles(
        Manifest(tmp_path, (brightfield(tmp_path),)), tmp_path / "out", mpp_um=1.0, tile_px=64
    )
    (row,) = rows_of(tmp_path / "out")
    mask = pixels_of(tmp_path / "out", "vessel", row)
    marker = pixels_of(tmp_path / "out", "channels", row)[..., 0]
    assert mask.shape == (24, 40)
    assert mask.sum() == 4 * 30
    assert mask[10:14, 5:35].all()
    assert marker[11:13, 6:34].min() > 3 * marker[mask == 0].mean()


def test_image_smaller_than_a_tile_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing is padded in the files: a small image gives one small tile."""
    build_tiles(Manifest(tmp_path, (brightfield(tmp_path),)), tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert pixels_of(tmp_path / "out", "channels", row).shape == (48, 80, 3)
    assert (row["width_px"], row["height_px"]) == ("80", "48")


def two_markers(folder: Path) -> Row:
    """Write a two-channel fluorescence image: a vessel in channel 0, two cells in channel 1."""
    stack = np.random.default_rng(1).poisson(20, (2, 64, 64)).astype(np.uint16)
    stack[0, 10:18, :] += 2000
    stack[1, 30:40, 10:20] += 1500
    stack[1, 30:40, 20:30] += 1500
    tifffile.imwrite(folder / "two.tif", stack, metadata={"axes": "CYX"}, imagej=True)
    cells = np.zeros((64, 64), np.uint16)
    cells[30:40, 10:20] = 300
    cells[30:40, 20:30] = 7
    vessel = np.zeros((64, 64), np.uint8)
    vessel[10:18] = 255
    tifffile.imwrite(folder / "cells.tif", cells)
    Image.fromarray(vessel).save(folder / "vessel.png")
    return Row(
        image="two.tif",
        animal="m2",
        markers=("CD31", "VEGF"),
        modality="fluorescence",
        mpp_um=0.5,
        annotation={"vessel": "vessel.png", "vegf_cell": "cells.tif"},
        targets=("vessel", "vegf_cell"),
        split="val",
        channels="CD31=0,VEGF=1",
    )


def test_two_markers_are_two_passes(tmp_path: Path) -> None:
    """Each pass shows one marker's stain and is annotated for that marker's target only."""
    build_tiles(Manifest(tmp_path, (two_markers(tmp_path),)), tmp_path / "out")
    vessel, cell = rows_of(tmp_path / "out")
    assert (vessel["targets"], cell["targets"]) == ("vessel", "vegf_cell")
    for row, bright in (
        (vessel, (slice(10, 18), slice(None))),
        (cell, (slice(30, 40), slice(10, 30))),
    ):
        marker = pixels_of(tmp_path / "out", "channels", row)[..., 0]
        inside = np.zeros(marker.shape, bool)
        inside[bright] = True
        assert marker[inside].min() > marker[~inside].max()
    assert not (tmp_path / "out" / "vegf_cell" / f"{vessel['tile']}.png").exists()
    labels = pixels_of(tmp_path / "out", "vegf_cell", cell)
    assert labels.dtype == np.uint16
    assert [(labels == number).sum() for number in (1, 2)] == [100, 100]


def test_partial_annotation_is_kept_and_empty_tiles_left_out(tmp_path: Path) -> None:
    """Tiles outside of the annotated area are not cut, those across its edge say which part is."""
    row = brightfield(tmp_path)
    ring = [[0, 0], [40, 0], [40, 48], [0, 48], [0, 0]]
    area = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Annotated area"}},
    }
    (tmp_path / "a.geojson").write_text(json.dumps([area]))
    row = dataclasses.replace(row, annotation={"vessel": "a.geojson"})
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", tile_px=16)
    rows = rows_of(tmp_path / "out")
    assert {int(tile["x_px"]) for tile in rows} == {0, 16, 32}
    partial = sorted(path.stem for path in (tmp_path / "out" / "annotated").iterdir())
    assert partial == sorted(tile["tile"] for tile in rows if tile["x_px"] == "32")
    mask = np.asarray(Image.open(tmp_path / "out" / "annotated" / f"{partial[0]}.png"))
    assert (mask[:, :8] == 255).all()
    assert not mask[:, 8:].any()


def area_of(*corners: float) -> dict[str, object]:
    """Return a rectangle (left, top, right, bottom) in pixels as an annotated area."""
    left, top, right, bottom = corners
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Region*"}},
    }


@pytest.mark.parametrize(
    ("areas", "corners"),
    [
        # An area of a tile's size is one tile, wherever it lies, though it be drawn by hand.
        ([(21, 9, 37, 25)], {(21, 9)}),
        ([(21.4, 8.7, 37.2, 24.6)], {(21, 9)}),
        # A smaller one lies in its middle; one at the border has its tile inside of the image.
        ([(22, 10, 32, 20)], {(19, 7)}),
        ([(70, 0, 80, 10)], {(64, 0)}),
        # A larger one is parted evenly; two have tiles of their own.
        ([(10, 4, 34, 20)], {(6, 4), (22, 4)}),
        ([(0, 0, 16, 16), (30, 30, 46, 46)], {(0, 0), (30, 30)}),
    ],
)
def test_each_annotated_area_has_tiles_of_its_own(
    tmp_path: Path, areas: list[tuple[float, ...]], corners: set[tuple[int, int]]
) -> None:
    """They begin where the area does, not on a grid from the image's corner."""
    row = brightfield(tmp_path)
    (tmp_path / "a.geojson").write_text(json.dumps([area_of(*area) for area in areas]))
    row = dataclasses.replace(row, annotation={"vessel": "a.geojson"})
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", tile_px=16)
    found = {(int(tile["x_px"]), int(tile["y_px"])) for tile in rows_of(tmp_path / "out")}
    assert found == corners


def test_no_pixel_of_two_near_areas_is_learnt_twice(tmp_path: Path) -> None:
    """What lies on the tiles of both is annotated on the first alone; every pixel is on one."""
    row = brightfield(tmp_path)
    areas = [(4, 4, 14, 14), (12, 6, 24, 16)]
    (tmp_path / "a.geojson").write_text(json.dumps([area_of(*area) for area in areas]))
    row = dataclasses.replace(row, annotation={"vessel": "a.geojson"})
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", tile_px=16)
    times = np.zeros((48, 80), int)
    for tile in rows_of(tmp_path / "out"):
        x, y = int(tile["x_px"]), int(tile["y_px"])
        mask = np.asarray(Image.open(tmp_path / "out" / "annotated" / f"{tile['tile']}.png"))
        times[y : y + 16, x : x + 16] += mask > 0
    wanted = np.zeros(times.shape, int)
    for left, top, right, bottom in areas:
        wanted[top:bottom, left:right] = 1
    assert (times == wanted).all()


def test_one_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    """A copy under another animal's name would be learnt and scored."""
    row = brightfield(tmp_path)
    (tmp_path / "copy.png").write_bytes((tmp_path / row.image).read_bytes())
    rows = (
        dataclasses.replace(row, split="train"),
        dataclasses.replace(row, image="copy.png", animal="other", split="val"),
    )
    with pytest.raises(BuildError, match=r"copy\.png is the same file as"):
        build_tiles(Manifest(tmp_path, rows), tmp_path / "out", tile_px=16)


def test_drawn_sections_are_a_source_of_their_own(tmp_path: Path) -> None:
    """Scores of what `data synth` wrote are never told as those of annotated images."""
    row = dataclasses.replace(brightfield(tmp_path), group="synthetic")
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", tile_px=16)
    assert {tile["source"] for tile in rows_of(tmp_path / "out")} == {
        "synthetic_brightfield_vessel"
    }


def fluorescence(folder: Path) -> Row:
    rng = np.random.default_rng(2)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30] = 255
    pixels = rng.poisson(15, mask.shape) + (mask > 0) * rng.poisson(120, mask.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "f.png")
    Image.fromarray(mask).save(folder / "f_mask.png")
    return Row(
        image="f.png",
        animal="m3",
        modality="fluorescence",
        mpp_um=0.5,
        annotation={"vessel": "f_mask.png"},
        targets=("vessel",),
        split="val",
    )


def test_renderings_are_brightfield_tiles_of_the_same_animal(tmp_path: Path) -> None:
    """Each rendering is a brightfield tile with the same mask, animal and split, its own look."""
    manifest = Manifest(tmp_path, (fluorescence(tmp_path), brightfield(tmp_path)))
    build_tiles(manifest, tmp_path / "out", hdab_renderings=2)
    rows = [row for row in rows_of(tmp_path / "out") if row["animal"] == "m3"]
    assert [row["source"] for row in rows] == ["annotated", *["annotated_rerendered"] * 2]
    assert [row["modality"] for row in rows] == ["fluorescence", "brightfield", "brightfield"]
    assert {row["split"] for row in rows} == {"val"}
    masks = [pixels_of(tmp_path / "out", "vessel", row) for row in rows]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    first, second = (pixels_of(tmp_path / "out", "channels", row) for row in rows[1:])
    assert not np.array_equal(first, second)
    assert first[..., 1].any()


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("vessmap", ["rerendered", "vessmap"]),
        ("synthetic", ["synthetic_brightfield_vessel", "synthetic_fluorescence_vessel"]),
        ("stroke", ["annotated", "annotated_rerendered"]),
    ],
)
def test_renderings_are_told_by_whose_outlines_they_have(
    tmp_path: Path, group: str, expected: list[str]
) -> None:
    """Own, published and drawn images stay apart when rendered, and drawn ones stay drawn."""
    row = dataclasses.replace(fluorescence(tmp_path), group=group)
    build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out", hdab_renderings=1)
    assert sorted(tile["source"] for tile in rows_of(tmp_path / "out")) == expected


def test_same_manifest_same_bytes_with_or_without_workers(tmp_path: Path) -> None:
    """Two builds, one of them spread over processes, write the same files."""
    manifest = Manifest(tmp_path, (fluorescence(tmp_path), brightfield(tmp_path)))
    alone = build_tiles(manifest, tmp_path / "one", tile_px=32, hdab_renderings=1)
    with ProcessPoolExecutor(2) as pool:
        spread = build_tiles(
            manifest, tmp_path / "two", tile_px=32, hdab_renderings=1, executor=pool
        )
    assert alone.manifest_hash == spread.manifest_hash
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        for name in files
    )


def test_hash_changes_with_a_single_label(tmp_path: Path) -> None:
    """One label pixel more gives another hash of the training data."""
    manifest = Manifest(tmp_path, (brightfield(tmp_path),))
    before = build_tiles(manifest, tmp_path / "before").manifest_hash
    mask = np.array(Image.open(tmp_path / "mask_a.png"))
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "mask_a.png")
    assert build_tiles(manifest, tmp_path / "after").manifest_hash != before


def test_unusable_images_are_named(tmp_path: Path) -> None:
    """A mask of another size, or no pixel size, is an error with the image's name and field."""
    row = brightfield(tmp_path)
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "mask_a.png")
    with pytest.raises(BuildError, match=r"a\.png: .*10 × 10 px") as caught:
        build_tiles(Manifest(tmp_path, (row,)), tmp_path / "out")
    assert caught.value.field == "annotation"
    with pytest.raises(BuildError, match=r"a\.png: ") as caught:
        build_tiles(Manifest(tmp_path, (dataclasses.replace(row, mpp_um=None),)), tmp_path / "out")
    assert caught.value.field == "mpp_um"
    assert not (tmp_path / "out").exists()


def test_leaking_animals_and_filled_folders_are_refused(tmp_path: Path) -> None:
    """An animal in two splits stops the build; so does a folder that holds something."""
    row = brightfield(tmp_path)
    other = dataclasses.replace(brightfield(tmp_path, "b.png"), split="val")
    with pytest.raises(SplitError, match="m1 in train and val"):
        build_tiles(Manifest(tmp_path, (row, other)), tmp_path / "out")
    with pytest.raises(BuildError, match="not empty"):
        build_tiles(Manifest(tmp_path, (row,)), tmp_path)
    bare = dataclasses.replace(row, targets=(), annotation={})
    with pytest.raises(BuildError, match="no image of the manifest is annotated"):
        build_tiles(Manifest(tmp_path, (bare,)), tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"mpp_um": 0.0}, "mpp_um"),
        ({"mpp_um": float("nan")}, "mpp_um"),
        ({"tile_px": 8}, "tile_px"),
        ({"stride_px": 0}, "stride_px"),
        ({"stride_px": 300}, "stride_px"),
        ({"hdab_renderings": -1}, "hdab_renderings"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, settings: dict[str, float], field: str
) -> None:
    """Settings that cannot give tiles are errors that name the setting."""
    with pytest.raises(BuildError) as caught:
        build_tiles(Manifest(tmp_path, (brightfield(tmp_path),)), tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(("size", "stride"), [(10, 16), (16, 16), (17, 16), (100, 16), (100, 7)])
def test_tile_corners_cover_every_pixel_inside(size: int, stride: int) -> None:
    """Tiles of 16 px reach every pixel, start at 0 and end at the border."""
    corners = tile_corners(size, 16, stride)
    covered = {pixel for corner in corners for pixel in range(corner, corner + 16)}
    assert covered >= set(range(size))
    assert corners[0] == 0
    assert corners[-1] + 16 == max(size, 16)
    assert len(set(corners)) == len(corners)
