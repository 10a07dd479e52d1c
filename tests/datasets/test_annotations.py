"""Label images and QuPath GeoJSON become label arrays on any grid."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from datasets.annotations import open_annotation, parse_classes
from datasets.errors import AnnotationError
from imaging.polygons import Grid

SIZE = (20, 16)  # width, height
FRAME = Grid(0, 0, *SIZE)


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(name: Any, coordinates: Any, kind: str = "Polygon") -> dict[str, Any]:
    classification = {"name": name, "color": [200, 0, 0]} if isinstance(name, str) else name
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", "classification": classification},
    }


def write(path: Path, *features: dict[str, Any], bare: bool = False) -> Path:
    collection = list(features)
    document = collection if bare else {"type": "FeatureCollection", "features": collection}
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("bare", [False, True])
def test_holes_and_multipolygons_have_their_areas(tmp_path: Path, bare: bool) -> None:
    """A 6 × 6 square with a 2 × 2 hole and a multipolygon of 2 × 3 and 3 × 3 cover 32 + 15 px."""
    path = write(
        tmp_path / "a.geojson",
        feature("Vessel", [box(1, 1, 7, 7), box(3, 3, 5, 5)]),
        feature("CD31", [[box(10, 1, 12, 4)], [box(14, 8, 17, 11)]], "MultiPolygon"),
        bare=bare,
    )
    found = open_annotation(path, "vessel", SIZE).read(FRAME)
    assert (found.labels == 1).sum() == 32
    assert (found.labels == 2).sum() == 15
    assert found.complete.all()


def test_an_outline_that_overlaps_itself_is_filled_as_qupath_fills_it(tmp_path: Path) -> None:
    """What a lasso winds about twice belongs to it, as it does in a region that is measured."""
    lasso = [[2, 4], [8, 4], [8, 8], [4, 8], [4, 2], [6, 2], [6, 10], [2, 10], [2, 4]]
    path = write(tmp_path / "a.geojson", feature("Vessel", [lasso]))
    labels = open_annotation(path, "vessel", SIZE).read(FRAME).labels
    assert np.count_nonzero(labels) == 6 * 4 + 2 * 2 + 4 * 2


def test_overlapping_cells_keep_separate_labels(tmp_path: Path) -> None:
    """A small cell drawn before a large one that covers it keeps its own label on top."""
    path = write(
        tmp_path / "a.geojson",
        feature("VEGF cell", [box(4, 4, 6, 6)]),
        feature("VEGF cell", [box(2, 2, 9, 9)]),
    )
    labels = open_annotation(path, "vegf_cell", SIZE).read(FRAME).labels
    assert (labels == 1).sum() == 4
    assert (labels == 2).sum() == 45


def test_only_the_asked_target_is_drawn(tmp_path: Path) -> None:
    """Vessels of a file with both classes leave the cells out, and the reverse."""
    path = write(
        tmp_path / "a.json",
        feature("Vessel", [box(0, 0, 4, 4)]),
        feature({"names": ["VEGF", "cell"]}, [box(10, 10, 12, 12)]),
    )
    classes = parse_classes(["VEGF: cell=vegf_cell"])
    assert open_annotation(path, "vessel", SIZE, classes).read(FRAME).labels.sum() == 16
    assert open_annotation(path, "vegf_cell", SIZE, classes).read(FRAME).labels.sum() == 4


def test_annotated_area_bounds_what_is_complete(tmp_path: Path) -> None:
    """Outside of an area classed as annotated, the annotation is not complete."""
    path = write(
        tmp_path / "a.geojson",
        feature("Annotated area", [box(0, 0, 10, 16)]),
        feature("vessel", [box(2, 2, 4, 4)]),
    )
    found = open_annotation(path, "vessel", SIZE).read(FRAME)
    assert found.complete[:, :10].all()
    assert not found.complete[:, 10:].any()
    assert found.labels.sum() == 4


def test_what_nobody_can_tell_is_not_complete(tmp_path: Path) -> None:
    """A fold drawn as Ignore* is unknown inside an annotated area, and without one."""
    drawn = [feature("Ignore*", [box(4, 0, 7, 16)]), feature("vessel", [box(2, 2, 6, 4)])]
    area = feature("Annotated area", [box(0, 0, 10, 16)])
    for number, (features, right) in enumerate([(drawn, FRAME.width), ([*drawn, area], 10)]):
        path = write(tmp_path / f"{number}.geojson", *features)
        complete = open_annotation(path, "vessel", SIZE).read(FRAME).complete
        expected = np.zeros_like(complete)
        expected[:, :4] = expected[:, 7:right] = True
        assert np.array_equal(complete, expected)


def test_window_on_a_coarser_grid(tmp_path: Path) -> None:
    """A window of the grid at twice the pixel size holds the outline at half its size."""
    path = write(tmp_path / "a.geojson", feature("Vessel", [box(4, 4, 12, 8)]))
    labels = open_annotation(path, "vessel", SIZE).read(Grid(1, 1, 6, 5, step=2.0)).labels
    expected = np.zeros((5, 6), int)
    expected[1:3, 1:5] = 1
    assert np.array_equal(labels, expected)


def test_any_window_of_many_overlapping_cells_is_part_of_the_whole(tmp_path: Path) -> None:
    """Windows hold the same numbers and the same order of overlaps as the whole image."""
    rng = np.random.default_rng(4)
    corners, sizes = rng.uniform(-2, 18, (40, 2)), rng.uniform(0.5, 6, (40, 2))
    boxes = [box(*start, *(start + size)) for start, size in zip(corners, sizes, strict=True)]
    path = write(tmp_path / "a.geojson", *(feature("VEGF", [ring]) for ring in boxes))
    cells = open_annotation(path, "vegf_cell", SIZE)
    whole = cells.read(FRAME).labels
    for x, y, width, height in ((0, 0, 7, 9), (5, 3, 10, 10), (13, 9, 7, 7)):
        part = cells.read(Grid(x, y, width, height)).labels
        assert np.array_equal(part, whole[y : y + height, x : x + width])


def test_unknown_classes_are_listed_and_can_be_ignored(tmp_path: Path) -> None:
    """Classes without a target are all named in one error, and left out if ignored."""
    path = write(
        tmp_path / "a.geojson",
        feature("Stroma", [box(0, 0, 4, 4)]),
        feature(None, [box(0, 0, 4, 4)]),
        feature("Vessel", [box(0, 0, 4, 4)]),
    )
    with pytest.raises(AnnotationError, match=r"Stroma, Unclassified.*NAME=TARGET") as caught:
        open_annotation(path, "vessel", SIZE)
    assert caught.value.field == "classes"
    ignoring = open_annotation(path, "vessel", SIZE, ignore=["stroma", "Unclassified"])
    assert ignoring.read(FRAME).labels.max() == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("no json", "no JSON text"),
        ('{"features": 5}', "no GeoJSON"),
        ('[{"type": "Feature", "geometry": null}]', "feature 1 has no geometry"),
        (json.dumps([feature("Vessel", [3, 4], "Point")]), r"feature 1 \(Vessel\) is a Point"),
        (json.dumps([feature("Vessel", [[[0, 0], [1, 1]]])]), "feature 1.*broken geometry"),
        (json.dumps([feature("Vessel", "abc")]), "feature 1.*broken geometry"),
        (
            json.dumps([feature("Vessel", [[[0, 0], [4, float("nan")], [4, 4], [0, 0]]])]),
            "feature 1.*no numbers",
        ),
        (json.dumps([feature("Vessel", [box(50, 50, 60, 60)])]), "outside of the image"),
    ],
)
def test_broken_geojson_is_refused(tmp_path: Path, document: str, message: str) -> None:
    """Whatever is wrong with a GeoJSON file is said by file and feature."""
    path = tmp_path / "broken.geojson"
    path.write_text(document)
    with pytest.raises(AnnotationError, match=message) as caught:
        open_annotation(path, "vessel", SIZE)
    assert "broken.geojson" in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_images_of_8_and_16_bit(tmp_path: Path, suffix: str, dtype: type) -> None:
    """A label image gives its numbers back, whatever its format and depth."""
    pixels = np.zeros(SIZE[::-1], dtype)
    pixels[2:5, 3:9] = np.iinfo(dtype).max
    pixels[2:5, 9:12] = 3
    path = tmp_path / f"labels{suffix}"
    if suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    found = open_annotation(path, "vegf_cell", SIZE).read(FRAME)
    assert np.array_equal(found.labels, pixels)
    assert found.complete.all()


def test_cells_of_a_binary_mask_are_numbered(tmp_path: Path) -> None:
    """In a 0/255 mask of cells each connected one is a cell; a vessel mask stays as it is."""
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[2:5, 3:9] = pixels[10:12, 10:12] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    cells = open_annotation(tmp_path / "mask.png", "vegf_cell", SIZE).read(FRAME).labels
    assert [(cells == number).sum() for number in (1, 2)] == [18, 4]
    vessels = open_annotation(tmp_path / "mask.png", "vessel", SIZE).read(FRAME).labels
    assert np.array_equal(vessels, pixels)


def test_label_image_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """A TIFF that is called .png is read as the TIFF that it is."""
    pixels = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE[::-1])
    tifffile.imwrite(tmp_path / "labels.tif", pixels)
    (tmp_path / "labels.tif").rename(tmp_path / "labels.png")
    found = open_annotation(tmp_path / "labels.png", "vegf_cell", SIZE).read(FRAME)
    assert np.array_equal(found.labels, pixels)


def test_label_image_of_another_size_is_refused(tmp_path: Path) -> None:
    """A mask of another size than its image is refused with both sizes."""
    path = tmp_path / "labels.png"
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(path)
    with pytest.raises(AnnotationError, match=r"10 × 10 px but its image is 20 × 16 px"):
        open_annotation(path, "vessel", SIZE)


def test_colour_or_damaged_label_images_are_refused(tmp_path: Path) -> None:
    """A colour picture, a truncated file and text are no label images."""
    colour = np.zeros((16, 20, 3), np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(tmp_path / "colour.png")
    with pytest.raises(AnnotationError, match="colour picture"):
        open_annotation(tmp_path / "colour.png", "vessel", SIZE)
    noise = np.random.default_rng(0).integers(0, 255, SIZE[::-1], dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnnotationError, match=r"cut\.png is damaged"):
        open_annotation(tmp_path / "cut.png", "vessel", SIZE)
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(AnnotationError, match=r"text\.tif is no readable label image"):
        open_annotation(tmp_path / "text.tif", "vessel", SIZE)


@pytest.mark.parametrize("pair", ["Vessel", "=vessel", "Vessel=tube"])
def test_bad_class_pairs_are_refused(pair: str) -> None:
    """A pair without a name, without a target, or with an unknown one is an error."""
    with pytest.raises(AnnotationError, match="NAME=TARGET"):
        parse_classes([pair])


def test_pairs_join_the_classes_that_are_known() -> None:
    """A name that a recipe gave another meaning keeps it; a pair wins over both."""
    known = {"CD31": "ignore", "Tube": "vessel"}
    found = parse_classes(["Tube=ignore", "Cell=vegf_cell"], known)
    assert found == {"CD31": "ignore", "Tube": "ignore", "Cell": "vegf_cell"}


def test_a_mask_that_stores_white_as_zero_is_refused(tmp_path: Path) -> None:
    """Whether black or white is vessel cannot be told of an inverted lookup table."""
    path = tmp_path / "inverted.tif"
    pixels = np.zeros((20, 30), np.uint8)
    tifffile.imwrite(path, pixels, photometric="miniswhite")
    with pytest.raises(AnnotationError, match=r"inverted\.tif stores white as 0"):
        open_annotation(path, "vessel", (30, 20))


def _lines() -> npt.NDArray[np.uint8]:
    """Draw capillaries of 5 px, white on black."""
    mask = np.zeros((120, 160), np.uint8)
    for number in range(6):
        cv2.line(mask, (4, 15 * number + 8), (155, 18 * number + 3), 255, 5)
    return mask


def _as_jpeg(mask: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize(
    "soft",
    [
        _as_jpeg(_lines(), 75),
        _as_jpeg(_lines(), 95),
        cv2.GaussianBlur(_lines(), (0, 0), 0.7),
        cv2.GaussianBlur(_lines(), (0, 0), 2.0).astype(np.uint16),
        cv2.resize(cv2.resize(_lines(), None, fx=2, fy=2), (160, 120), interpolation=cv2.INTER_AREA)
        // 2
        + cv2.GaussianBlur(_lines(), (3, 3), 0) // 2,
    ],
    ids=["jpeg 75", "jpeg 95", "blur", "blur in 16 bit", "resized"],
)
def test_soft_edges_are_refused(tmp_path: Path, soft: npt.NDArray[Any]) -> None:
    """Greys that smoothing or JPEG left would be annotated, too."""
    path = tmp_path / "soft.tif"
    tifffile.imwrite(path, soft)
    with pytest.raises(AnnotationError, match=r"soft\.tif has \d+ greys along soft edges"):
        open_annotation(path, "vessel", (160, 120))


def test_solid_objects_of_any_number_are_no_soft_edges(tmp_path: Path) -> None:
    """A mask of 0 and 255, and many numbered cells of which one is largest and 255, are read."""
    path = tmp_path / "solid.tif"
    tifffile.imwrite(path, _lines())
    labels = open_annotation(path, "vessel", (160, 120)).read(Grid(0, 0, 160, 120)).labels
    assert np.array_equal(labels > 0, _lines() > 0)
    numbered = np.zeros((120, 160), np.uint8)
    for number in range(40):
        cv2.circle(numbered, (12 + 15 * (number % 10), 20 + 25 * (number // 10)), 5, number + 1, -1)
    numbered[100:] = 255
    tifffile.imwrite(path, numbered)
    found = open_annotation(path, "vegf_cell", (160, 120)).read(Grid(0, 0, 160, 120)).labels
    assert len(np.unique(found)) == 42


def test_a_mask_of_bools_is_read(tmp_path: Path) -> None:
    """Python's arrays of True and False are written with 0 as white, and yet True is vessel."""
    pixels = np.zeros((20, 30), bool)
    pixels[5:9] = True
    tifffile.imwrite(tmp_path / "bools.tif", pixels)
    outlines = open_annotation(tmp_path / "bools.tif", "vessel", (30, 20))
    found = outlines.read(Grid(0, 0, 30, 20, 1.0)).labels
    assert ((found > 0) == pixels).all()
