"""Reading at any µm per pixel: the same pixels however the grid is cut, centres in place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaging.open import SectionImage, open_image

scales = st.sampled_from([0.37, 0.5, 0.998, 1.0, 1.002, 1.7, 2.0, 3.0, 4.4, 9.3])
keep_files = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def cut(image: SectionImage, mpp_um: float, columns: list[int], rows: list[int]) -> np.ndarray:
    """Read the whole grid in pieces that end at the given columns and rows."""
    width, height = image.size_at(mpp_um)
    xs = sorted({0, width, *(c % width for c in columns)})
    ys = sorted({0, height, *(r % height for r in rows)})
    bands = [
        np.concatenate(
            [image.read_region(x, y, x_end - x, y_end - y, mpp_um) for x, x_end in pairwise(xs)],
            axis=1,
        )
        for y, y_end in pairwise(ys)
    ]
    return np.concatenate(bands)


@keep_files
@given(
    scale=scales,
    columns=st.lists(st.integers(1, 10_000), max_size=3),
    rows=st.lists(st.integers(1, 10_000), max_size=3),
)
def test_regions_equal_the_whole(write_png, stained, scale, columns, rows) -> None:
    """Cutting a grid into regions changes no pixel by more than one grey level."""
    with open_image(write_png(stained), 0.5) as image:
        mpp_um = 0.5 * scale
        whole = image.read_region(0, 0, *image.size_at(mpp_um), mpp_um)
        pieces = cut(image, mpp_um, columns, rows)
    assert np.abs(whole.astype(int) - pieces.astype(int)).max() <= 1


@keep_files
@given(scale=scales, column=st.integers(1, 999), row=st.integers(1, 999))
def test_regions_equal_the_whole_in_16_bit(write_tiff, noisy, scale, column, row) -> None:
    """The same holds for 16-bit fluorescence."""
    with open_image(write_tiff(noisy), 0.5) as image:
        mpp_um = 0.5 * scale
        whole = image.read_region(0, 0, *image.size_at(mpp_um), mpp_um)
        pieces = cut(image, mpp_um, [column], [row])
    assert whole.dtype == np.uint16
    assert np.abs(whole.astype(int) - pieces.astype(int)).max() <= 1


def test_pyramid_regions_equal_the_whole(shared_data) -> None:
    """It holds on a slide whose smaller level has a scale that is not whole."""
    path = shared_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    with open_image(path, 0.5) as image:
        mpp_um = 2.3
        width, height = image.size_at(mpp_um)
        whole = image.read_region(0, 0, width, height, mpp_um)
        pieces = cut(image, mpp_um, [301, 500], [111, 333])
    assert np.abs(whole.astype(int) - pieces.astype(int)).max() <= 1


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.9, 1.002, 1.5, 2.0, 3.7])
def test_a_disc_stays_where_it_is(write_png, scale) -> None:
    """The centre of a disc moves by less than a tenth of a pixel at any scale."""
    yy, xx = np.mgrid[:100, :120]
    centre_x, centre_y = 63.0, 41.5
    disc = np.hypot(xx + 0.5 - centre_x, yy + 0.5 - centre_y) < 20
    with open_image(write_png(disc.astype(np.uint8) * 200), 1.0) as image:
        pixels = image.read_region(0, 0, *image.size_at(scale), scale)[..., 0].astype(float)
    grid_y, grid_x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    found_x = ((grid_x + 0.5) * pixels).sum() / pixels.sum() * scale
    found_y = ((grid_y + 0.5) * pixels).sum() / pixels.sum() * scale
    assert abs(found_x - centre_x) < 0.1 * max(1.0, scale)
    assert abs(found_y - centre_y) < 0.1 * max(1.0, scale)


def test_shrinking_averages_and_does_not_alias(write_png) -> None:
    """A chequerboard of single pixels shrunk four times is even grey."""
    board = (np.indices((80, 80)).sum(axis=0) % 2 * 200).astype(np.uint8)
    with open_image(write_png(board), 0.5) as image:
        pixels = image.read_region(0, 0, 20, 20, 2.0)
    assert np.abs(pixels.astype(int) - 100).max() <= 2


def test_equal_pixel_sizes_are_not_resampled(write_png, stained) -> None:
    """Within a thousandth the grids coincide and the pixels are the file's own."""
    with open_image(write_png(stained), 0.5) as image:
        assert image.size_at(0.5004) == (80, 60)
        np.testing.assert_array_equal(image.read_region(0, 0, 80, 60, 0.5004), stained)


def test_the_grid_holds_what_has_its_centre_in_the_image(write_png) -> None:
    """11 px of 0.25 µm are 5 of 0.5: the sixth's centre lies on the border. At least one stays."""
    with open_image(write_png(np.zeros((3, 11), dtype=np.uint8)), 0.25) as image:
        assert image.size_at(0.5) == (5, 1)
        assert image.size_at(0.45) == (6, 2)
        assert image.size_at(15.0) == (1, 1)
        assert image.read_region(0, 0, 1, 1, 15.0).shape == (1, 1, 1)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (76, 0, 5, 5), (0, 0, 0, 5), (0, 58, 5, 5)])
def test_regions_outside_the_grid_are_refused(write_png, stained, box) -> None:
    """A region must lie inside the grid and hold a pixel."""
    with open_image(write_png(stained), 0.5) as image, pytest.raises(ValueError, match="region"):
        image.read_region(*box)


def test_a_pyramid_is_used_and_stays_aligned(tmp_path) -> None:
    """Shrinking reads the smaller level, and a mark lies where it lay on the large one."""
    large = np.full((512, 512, 3), 250, dtype=np.uint8)
    large[128:192, 256:320] = (120, 60, 30)
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib"}
        tiff.write(large, subifds=1, **options)
        tiff.write(large[::2, ::2], subfiletype=1, **options)
    with open_image(path, 0.5) as image:
        np.testing.assert_array_equal(image.read_region(250, 120, 80, 80), large[120:200, 250:330])
        small = image.read_region(0, 0, 128, 128, 2.0)
    dark = np.argwhere(small[..., 2] < 140)
    np.testing.assert_allclose(dark.min(axis=0), (32, 64), atol=1)
    np.testing.assert_allclose(dark.max(axis=0), (47, 79), atol=1)
