"""Pictures are bounded, show what was found, and masks have the image's own size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from PIL import Image, ImageDraw

from analysis.lettering import draw_text, text_width
from analysis.objects import (
    CELL_CLASS,
    COLOUR_OF_CLASS,
    REGION_CLASS,
    TISSUE_CLASS,
    VESSEL_CLASS,
    SectionObject,
    find_objects,
)
from analysis.overlay import (
    REGION_COLOURS,
    bar_label,
    bar_um,
    overlay,
    region_colours,
    write_overlay,
)
from analysis.panel import UNCOUNTED_COLOUR, headlines
from analysis.raster import cell_mask_path, nearest, write_masks
from analysis.regions import regions_document
from analysis.settings import MeasureSettings

WHITE = (255, 255, 255)
VESSEL = COLOUR_OF_CLASS[VESSEL_CLASS]


def pixels_of(picture: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Return where a picture has exactly this colour."""
    return np.asarray((picture == np.array(colour)).all(axis=-1))


def test_overlay_outlines_what_was_found(two: Any) -> None:
    """Vessel and cell colours lie on the borders of the masks and not inside them."""
    picture = overlay(two.result, two.image, find_objects(two.result, two.image))
    assert picture.shape[1] == 800  # a small section is enlarged twice
    vessel, cell = (
        pixels_of(picture, COLOUR_OF_CLASS[name])[:600] for name in (VESSEL_CLASS, CELL_CLASS)
    )
    assert vessel[76:104, 36:764].any()
    assert cell[260:340, 260:340].any()
    assert not cell[90:92].any()
    assert not vessel[290:310, 290:310].any()


@pytest.mark.parametrize("white", [False, True])
def test_outlines_are_cased(measure: Any, draw: Any, tmp_path: Path, white: bool) -> None:
    """On a bright and on a dark section each coloured line has black beside it."""
    mask = draw.bars(800, 800)
    path = tmp_path / "section.png"
    draw.brightfield(0.01 + mask, path) if white else draw.fluorescence([mask], path)
    measured = measure(path)
    picture = overlay(
        measured.result, measured.image, find_objects(measured.result, measured.image)
    )
    column = picture[80:90, 160].astype(int)
    beside = picture[34:57, 300]
    assert pixels_of(beside, COLOUR_OF_CLASS[VESSEL_CLASS]).any()
    assert (beside.max(axis=-1) < 40).any()
    assert (column.mean() > 150) == white


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (40, 60), (300, 5000)])
def test_pictures_are_bounded_whatever_the_section(
    measure: Any, draw: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    """A pixel, a strip or a wide section: the picture stays readable in size."""
    path = draw.fluorescence([np.zeros(size)], tmp_path / "blank.png")
    measured = measure(path)
    write_overlay(measured.result, measured.image, tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.mode == "RGB"
        assert 400 <= picture.width <= 2048
        assert picture.height <= 2600


@pytest.mark.parametrize(
    ("extent_um", "bar", "label"),
    [(500, 100, "100 µm"), (499, 50, "50 µm"), (60, 10, "10 µm"), (12000, 2000, "2 mm")],
)
def test_scale_bar_is_round(extent_um: float, bar: float, label: str) -> None:
    """The bar is 1, 2 or 5 × 10ⁿ µm and at most a fifth of the picture."""
    assert bar_um(extent_um) == pytest.approx(bar)
    assert bar_label(bar) == label


def test_scale_bar_has_its_length(measure: Any, draw: Any, tmp_path: Path) -> None:
    """On 1000 px of 0.5 µm the bar of 100 µm is 200 px of white, give or take its ends."""
    path = draw.fluorescence([np.zeros((800, 1000))], tmp_path / "dark.png")
    measured = measure(path)
    picture = overlay(measured.result, measured.image, [])
    row = pixels_of(picture[800 - 14 - 3], WHITE)
    assert abs(int(row.sum()) - 200) <= 2


def square(name: str, left: float, side: float = 100.0) -> SectionObject:
    """Return a region in pixels of the grid."""
    shape = shapely.box(left, 100, left + side, 100 + side)
    return SectionObject(REGION_CLASS, shape, {}, name)


def test_each_region_has_its_own_colour(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Border, name and legend of two regions are of two colours, on a casing of black."""
    path = draw.fluorescence([np.zeros((300, 400))], tmp_path / "dark.png")
    measured = measure(path)
    regions = [square("core", 40), square("band", 220)]
    picture = overlay(measured.result, measured.image, regions)  # enlarged twice
    first, second = (pixels_of(picture, colour) for colour in REGION_COLOURS[:2])
    left, right = np.s_[:600, :400], np.s_[:600, 400:]
    assert first[left].any() and second[right].any()
    assert not first[right].any() and not second[left].any()
    for region, colour in ((left, first), (right, second)):
        inside = colour[region][220:380, 100:260]
        assert inside.any()  # the name
    rows = np.flatnonzero(first[600:, :60].any(axis=1) & second[600:, :60].any(axis=1))
    assert len(rows)  # one swatch of both


def test_what_was_drawn_lies_over_what_follows_from_it(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """A band shares its inner border with the core, which keeps its colour."""
    measured = measure(draw.fluorescence([np.zeros((300, 400))], tmp_path / "dark.png"))
    core = square("core", 100)
    around = shapely.box(60, 60, 240, 240).difference(core.geometry)
    band = SectionObject(REGION_CLASS, around, {}, "band")
    picture = overlay(measured.result, measured.image, [core, band])
    border = pixels_of(picture[250:350, 198:202], REGION_COLOURS[0])
    assert border.any(axis=1).all()


def test_eight_outlines_lie_in_their_order_in_their_names_colours(
    measure: Any, draw: Any, tmp_path: Path
) -> None:
    """The seventh's colour is the first's again, the exclusion's its own; the first lies on top.

    Border and name of each are of one colour, and a border that two share is the earlier one's.
    """
    measured = measure(draw.fluorescence([np.zeros((300, 1000))], tmp_path / "dark.png"))
    regions = [square(f"number {number}", 20 + 120 * number) for number in range(7)]
    core = regions[0].geometry
    ring = core.buffer(10, join_style="mitre").difference(core)
    regions[2] = SectionObject(REGION_CLASS, ring, {}, "ring")
    regions.append(square("exclude", 20 + 120 * 7))
    colours = region_colours(regions)
    picture = overlay(measured.result, measured.image, regions)
    for item in regions:
        left = int(item.geometry.bounds[0])
        seen = pixels_of(picture, colours[item.title])
        top = 90 if item.title == "ring" else 100
        assert seen[top - 2 : top + 3, left + 5 : left + 95].any(axis=0).all()
        assert item.title == "ring" or seen[130:170, left + 5 : left + 95].any()
    assert colours["number 6"] == colours["number 0"]
    others = [*REGION_COLOURS, *COLOUR_OF_CLASS.values()]
    assert colours["exclude"] not in others


def test_what_does_not_count_is_thin_and_grey(measure: Any, draw: Any, tmp_path: Path) -> None:
    """The excluded half of a bar has no colour; the legend says so, and only where there is any."""
    path = draw.fluorescence([draw.bars(300, 400)], tmp_path / "bars.png")
    corners = [[200, 0], [400, 0], [400, 300], [200, 300], [200, 0]]
    drawn = {
        "type": "Feature",
        "properties": {"name": "exclude"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    whole, half = (
        measure(path, MeasureSettings(tissue="frame", regions=regions))
        for regions in (None, regions_document(json.dumps(drawn)))
    )
    pictures = [overlay(m.result, m.image, find_objects(m.result, m.image)) for m in (whole, half)]
    vessel, grey = (pixels_of(pictures[1], c) for c in (VESSEL, UNCOUNTED_COLOUR))
    bar = np.s_[70:110]  # enlarged twice
    assert vessel[bar, :396].any() and not vessel[bar, 404:].any()
    assert grey[bar, 404:].any() and not grey[bar, :396].any()
    in_legend = [pixels_of(p, UNCOUNTED_COLOUR)[600:, 16:49].all(axis=1).sum() for p in pictures]
    assert in_legend == [0, 1]


def test_names_of_regions_stand_out(measure: Any, draw: Any, tmp_path: Path) -> None:
    """A dark name, the fifth's blue, has white about it; the white fourth is white itself."""
    measured = measure(draw.fluorescence([np.zeros((300, 800))], tmp_path / "dark.png"))
    middles = [60 + 130 * number for number in range(6)]
    regions = [square(f"number {number}", x - 50) for number, x in enumerate(middles)]
    white = pixels_of(overlay(measured.result, measured.image, regions), WHITE)
    assert [bool(white[130:170, x - 40 : x + 40].any()) for x in middles] == [
        False, False, False, True, True, False,
    ]  # fmt: skip


def test_colours_of_regions_are_those_of_nothing_else() -> None:
    """Six regions differ from one another, vessels, cells and tissue; the seventh begins anew."""
    others = {COLOUR_OF_CLASS[name] for name in (VESSEL_CLASS, CELL_CLASS, TISSUE_CLASS)}
    found = list(region_colours([square(str(number), 0) for number in range(7)]).values())
    assert len(set(found[:6]) | others) == 9
    assert found[6] == found[0]


def test_panel_carries_the_headline_numbers(two: Any) -> None:
    """The numbers beside the picture are those of the record, with units."""
    lines = dict(headlines(two.result.record))
    vessels = two.result.record.regions[0].vessels
    assert lines["vessel area fraction"] == f"{100 * vessels.area_fraction:.4g} %"
    assert lines["VEGF-positive cells"] == "2"
    assert lines["vessel length density"].endswith("mm/mm²")


def test_letters_that_the_font_lacks_are_drawn() -> None:
    """µ is a u with a tail below the line, ² a raised 2 narrower than the digit."""
    canvas = [Image.new("RGB", (80, 60)) for _ in range(2)]
    for image, text in zip(canvas, ("um", "µm"), strict=True):
        draw_text(ImageDraw.Draw(image), (10, 10), text, 30, (255, 255, 255))
    plain, tailed = (np.asarray(image) for image in canvas)
    assert np.nonzero(tailed)[0].max() > np.nonzero(plain)[0].max()
    assert text_width("mm²", 30) < text_width("mm2", 30)


def test_masks_have_the_images_own_size(measure: Any, draw: Any, tmp_path: Path) -> None:
    """One channel, 0 and 255, each pixel what its centre shows; finer images too."""
    mask = draw.bars(200, 200)
    same = measure(draw.fluorescence([mask], tmp_path / "a.png"))
    (path,) = write_masks(same.result, same.image, tmp_path / "mask.png")
    with Image.open(path) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), 255 * mask)
    large = np.kron(mask, np.ones((2, 2)))
    fine = measure(draw.fluorescence([large], tmp_path / "b.png"), mpp_um=0.25)
    write_masks(fine.result, fine.image, path)
    with Image.open(path) as picture:
        seen = np.asarray(picture)
    assert seen.shape == large.shape
    assert set(np.unique(seen)) == {0, 255}
    assert np.count_nonzero((seen > 0) != (large > 0)) < 0.01 * large.size


def test_two_markers_write_two_masks(two: Any, tmp_path: Path) -> None:
    """Vessels go to the file named, cells beside it."""
    written = write_masks(two.result, two.image, tmp_path / "out.png")
    assert [path.name for path in written] == ["out.png", "out_vegf_cell.png"]
    areas = []
    for path in written:
        with Image.open(path) as picture:
            areas.append(np.count_nonzero(np.asarray(picture)) / (300 * 400))
    region = two.result.record.regions[0]
    assert areas == pytest.approx(
        [region.vessels.area_fraction, region.cells.positive_area_fraction]
    )
    assert cell_mask_path(Path("a/b.ome.tif")) == Path("a/b_vegf_cell.ome.tif")


def test_tiff_masks_carry_their_pixel_size(two: Any, tmp_path: Path) -> None:
    """A mask named .ome.tif is a tiled OME-TIFF with µm per pixel and the same pixels."""
    png, _ = write_masks(two.result, two.image, tmp_path / "mask.png")
    tiff, _ = write_masks(two.result, two.image, tmp_path / "mask.ome.tif")
    with tifffile.TiffFile(tiff) as file, Image.open(png) as picture:
        assert file.is_ome
        assert 'PhysicalSizeX="0.5"' in str(file.ome_metadata)
        assert file.pages[0].is_tiled
        assert np.array_equal(file.asarray(), np.asarray(picture))


def test_nearest_takes_the_pixel_under_each_centre() -> None:
    """Two fine pixels for each coarse one, in order; the last never runs over."""
    assert nearest(6, 2.0, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest(3, 0.5, 6).tolist() == [1, 3, 5]
    assert nearest(7, 2.0, 3).tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_vegf_alone_writes_the_cells(measure: Any, draw: Any, tmp_path: Path) -> None:
    """Where only VEGF was measured, the mask is that of the cells."""
    depth = draw.discs(120, 120, [(60, 60, 20)])
    path = draw.brightfield(np.maximum(1.4 * depth, 0.02), tmp_path / "cells.png")
    measured = measure(path, MeasureSettings(markers=("VEGF",), tissue="frame"))
    (written,) = write_masks(measured.result, measured.image, tmp_path / "out.png")
    with Image.open(written) as picture:
        assert np.count_nonzero(np.asarray(picture)) == np.count_nonzero(depth)
