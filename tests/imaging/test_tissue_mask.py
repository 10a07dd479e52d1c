"""A drawn Ω is black and one other value, of the image's own size; nothing else is guessed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import TissueMaskError
from imaging.open import open_image
from imaging.tissue import find_tissue
from imaging.tissue_mask import read_tissue_mask

SIZE_PX = 80, 60


def drawn(outside: Any, inside: Any) -> NDArray[np.uint8]:
    """Return a mask of 60 × 80 px, grey or RGB, with a block of `inside`."""
    mask = np.zeros((60, 80, *np.shape(outside)), np.uint8)
    mask[:] = outside
    mask[10:50, 20:70] = inside
    return mask


BLOCK = drawn(0, 1) > 0


@pytest.mark.parametrize("inside", [1, 128, 255, (255, 255, 255), (200, 0, 0)])
def test_one_value_beside_black_is_tissue(write_png: Any, stained: Any, inside: Any) -> None:
    """Whatever the one value or colour is, its pixels are tissue and black is not."""
    image = write_png(stained)
    mask = write_png(drawn(np.zeros_like(inside), inside), "mask.png")
    with open_image(image, 0.5) as opened:
        tissue = find_tissue(opened, mask)
        assert tissue.source == "mask"
        np.testing.assert_array_equal(tissue.read(0, 0, 80, 60), BLOCK)


def test_a_mask_may_be_of_one_value(write_png: Any) -> None:
    """All black is no tissue, all white is the whole frame."""
    for value in (0, 255):
        found = read_tissue_mask(write_png(drawn(value, value), "mask.png"), SIZE_PX)
        assert found.all() == found.any() == (value > 0)


def test_sixteen_bits_are_as_good(write_tiff: Any) -> None:
    """0 and 65535 are a mask."""
    mask = drawn(0, 1).astype(np.uint16) * 65535
    np.testing.assert_array_equal(read_tissue_mask(write_tiff(mask, "mask.tif"), SIZE_PX), BLOCK)


@pytest.mark.parametrize(
    ("outside", "inside", "shown"),
    [
        (1, 2, "1, 2"),
        (100, 255, "100, 255"),
        ((0, 255, 0), (255, 0, 0), "0, 255"),
        (0, np.arange(50, dtype=np.uint8), "0, 1, 2, 3, 4 …"),
    ],
)
def test_other_values_are_refused(write_png: Any, outside: Any, inside: Any, shown: str) -> None:
    """Labels, grey values and colours name what was found and how to save a mask."""
    path = write_png(drawn(outside, inside), "mask.png")
    with pytest.raises(TissueMaskError) as caught:
        read_tissue_mask(path, SIZE_PX)
    assert caught.value.field == "tissue"
    assert f"mask.png is not binary, it holds the values {shown}: save it as" in str(caught.value)


def test_compression_that_blurs_is_refused(write_png: Any) -> None:
    """JPEG puts other values beside every border."""
    with pytest.raises(TissueMaskError, match="save it as PNG or TIFF"):
        read_tissue_mask(write_png(drawn(0, 255), "mask.jpg"), SIZE_PX)


def test_a_mask_that_stores_white_as_zero_is_refused(write_tiff: Any) -> None:
    """An inverting lookup table leaves open whether black or white is tissue."""
    path = write_tiff(drawn(0, 255), "mask.tif", photometric="miniswhite")
    with pytest.raises(TissueMaskError, match=r"mask\.tif stores white as 0"):
        read_tissue_mask(path, SIZE_PX)


def test_masks_that_do_not_fit_are_refused(write_png: Any, tmp_path: Path) -> None:
    """A mask of another size names both sizes; a file that is no image says so."""
    path = tmp_path / "mask.png"
    Image.new("L", (81, 60)).save(path)
    with pytest.raises(TissueMaskError, match=r"81 × 60 px .* 80 × 60"):
        read_tissue_mask(path, SIZE_PX)
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(TissueMaskError, match=r"mask\.png"):
            read_tissue_mask(path, SIZE_PX)
    with pytest.raises(TissueMaskError):
        read_tissue_mask(Path("everything"), SIZE_PX)
