"""A mask may be saved with numbers of any type, as long as they are two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from analysis.errors import MaskError
from analysis.morphometry import measure_mask
from imaging.errors import TissueMaskError, UnreadableImageError
from imaging.formats import open_source
from imaging.open import open_image
from imaging.tissue_mask import read_tissue_mask

TYPES = ("?", "u1", "u2", "u4", "i1", "i4", "i8", "f2", "f4", "f8")


def block(inside: float = 1, dtype: str = "f4") -> NDArray[Any]:
    """Return 60 × 60 px of 0 with a block of 20 × 20 px."""
    mask = np.zeros((60, 60), dtype)
    mask[20:40, 20:40] = inside
    return mask


def area_fraction(path: Path) -> float | None:
    """Return the area fraction that morphometry finds."""
    vessels = measure_mask(path, 1.0).regions[0].vessels
    assert vessels is not None
    return vessels.area_fraction


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("inside", [1, 7, 100])
@pytest.mark.parametrize(
    "layout", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 7}]
)
def test_two_values_of_any_type_are_a_mask(
    tmp_path: Path, dtype: str, inside: int, layout: dict[str, Any]
) -> None:
    """As vessels and as tissue: 400 of 3600 px, whatever the number and however it is stored."""
    path, mask = tmp_path / "mask.tif", block(inside, dtype)
    tifffile.imwrite(path, mask, **layout)
    assert area_fraction(path) == pytest.approx(400 / 3600)
    assert np.array_equal(read_tissue_mask(path, (60, 60)), mask > 0)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_a_mask_of_one_value_is_nothing_or_all(tmp_path: Path, dtype: str) -> None:
    """All 0 is no vessel, all 1 the whole frame."""
    for value in (0, 1):
        path = tmp_path / f"{value}.tif"
        tifffile.imwrite(path, np.full((60, 60), value, dtype))
        assert area_fraction(path) == value
        assert read_tissue_mask(path, (60, 60)).all() == bool(value)


def test_a_mask_in_colours_is_told_what_a_mask_is(tmp_path: Path) -> None:
    """One channel of 0 and any one other value, not of 0 and 255 alone."""
    colours = np.zeros((60, 60, 3), np.uint8)
    colours[:30, :, 0] = colours[30:, :, 1] = 255
    tifffile.imwrite(tmp_path / "mask.tif", colours, photometric="rgb")
    with pytest.raises(MaskError, match="one channel, 0 outside vessels and one other value"):
        measure_mask(tmp_path / "mask.tif", 1.0)


NO_MASKS = {
    "not a number": (np.where(block() > 0, 1, np.nan).astype("f4"), "0, 1, nan"),
    "infinite": (block(np.inf), "0, inf"),
    "negative": (block(-1), "0, -1"),
    "three": (block() + np.eye(60, dtype="f4"), "0, 1, 2"),
    "probabilities": (np.linspace(0, 1, 3600, dtype="f4").reshape(60, 60), "…"),
    "labels": (np.arange(3600, dtype="i4").reshape(60, 60), "0, 1, 2, 3, 4 …"),
}


@pytest.mark.parametrize("case", NO_MASKS)
def test_other_values_are_refused_by_name(tmp_path: Path, case: str) -> None:
    """The error shows values and belongs to the mask, or to the tissue."""
    pixels, shown = NO_MASKS[case]
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, pixels)
    for error, field, read in (
        (MaskError, "mask", lambda: measure_mask(path, 1.0)),
        (TissueMaskError, "tissue", lambda: read_tissue_mask(path, (60, 60))),
    ):
        with pytest.raises(error, match=r"mask\.tif is no binary mask: it holds") as caught:
            read()
        assert getattr(caught.value, "field", "") == field
        assert shown in str(caught.value)


def test_two_numbers_in_two_windows_are_no_mask(tmp_path: Path) -> None:
    """1 in one half and 2 in the other: each window alone is a mask, the file is none."""
    pixels = np.zeros((64, 64), "f4")
    pixels[:20], pixels[40:] = 1, 2
    tifffile.imwrite(tmp_path / "mask.tif", pixels, tile=(32, 32))
    source = open_source(tmp_path / "mask.tif", mask=True)
    assert source.read(0, 0, 0, 64, 20).max() == 255
    with pytest.raises(UnreadableImageError, match="0, 1, 2"):
        source.read(0, 0, 40, 64, 20)
    source.close()


def test_a_grey_that_fills_the_frame_is_no_mask(tmp_path: Path) -> None:
    """All of it 100 is an empty photograph rather than a vessel."""
    tifffile.imwrite(tmp_path / "mask.tif", np.full((60, 60), 100, np.uint8))
    with pytest.raises(MaskError, match="all of it is 100"):
        measure_mask(tmp_path / "mask.tif", 1.0)


@pytest.mark.parametrize(
    ("value", "dtype"), [(0.3, "f4"), (128, "u1"), (128, "u2"), (7, "i4"), (2, "f8")]
)
def test_a_grey_that_fills_the_frame_is_no_mask_of_any_type(
    tmp_path: Path, value: float, dtype: str
) -> None:
    """As vessels and as tissue, the error tells the value as the file holds it."""
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.full((60, 60), value, dtype))
    with pytest.raises(MaskError, match=f"all of it is {value:g}"):
        measure_mask(path, 1.0)
    with pytest.raises(TissueMaskError, match=f"all of it is {value:g}"):
        read_tissue_mask(path, (60, 60))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1.0, "f4"), (255, "f4"), (255, "u1"), (65535, "u2"), (127, "i1"), (2**31 - 1, "i4")],
)
def test_white_that_fills_the_frame_is_a_mask(tmp_path: Path, value: float, dtype: str) -> None:
    """1, 255 and the greatest number of the type are all of the frame."""
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.full((60, 60), value, dtype))
    assert area_fraction(path) == 1
    assert read_tissue_mask(path, (60, 60)).all()


def test_sections_stay_bytes_or_16_bit(tmp_path: Path) -> None:
    """Floats are masks only: a section of them is refused as ever."""
    tifffile.imwrite(tmp_path / "section.tif", block())
    with pytest.raises(UnreadableImageError, match="float32"):
        open_image(tmp_path / "section.tif", 0.5)
