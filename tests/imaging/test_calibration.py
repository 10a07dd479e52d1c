"""Which pixel sizes count, and what happens where they disagree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile

from imaging.calibration import resolve_pixel_size
from imaging.errors import PixelSizeError
from imaging.open import open_image
from imaging.sources import FileCalibration

GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


def mpp(path, requested=None):
    with open_image(path, requested, modality="fluorescence") as image:
        return image.mpp_um, image.mpp_source


def test_ome_physical_size_with_its_unit(write_tiff) -> None:
    """OME's PhysicalSize counts in whatever unit it is written."""
    for unit, size in (("µm", 0.5), ("nm", 500.0), ("mm", 0.0005)):
        metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        path = write_tiff(GREY, f"{ord(unit[0])}.ome.tif", metadata=metadata, ome=True)
        found, source = mpp(path)
        assert source == "file"
        assert math.isclose(found, 0.5, rel_tol=1e-6)


def test_imagej_micron_counts_and_pixel_does_not(write_tiff) -> None:
    """ImageJ's resolution counts when its unit is a micron, not when it is a pixel or an inch."""
    for unit in ("micron", "um", "\\u00B5m"):
        path = write_tiff(
            GREY, "a.tif", imagej=True, resolution=(2.0, 2.0), metadata={"unit": unit}
        )
        assert mpp(path) == (0.5, "file")
    for unit in ("pixel", "inch", ""):
        path = write_tiff(
            GREY, "b.tif", imagej=True, resolution=(2.0, 2.0), metadata={"unit": unit}
        )
        with pytest.raises(PixelSizeError):
            mpp(path)


def test_centimetre_counts_below_20_um_and_inch_never(write_tiff) -> None:
    """20,000 per cm is 0.5 µm; 28 per cm is a print, and so is anything per inch."""
    assert mpp(write_tiff(GREY, resolution=(20_000, 20_000), resolutionunit="CENTIMETER")) == (
        0.5,
        "file",
    )
    for resolution, unit in (((28, 28), "CENTIMETER"), ((50_800, 50_800), "INCH")):
        with pytest.raises(PixelSizeError, match="--mpp"):
            mpp(write_tiff(GREY, resolution=resolution, resolutionunit=unit))


def test_print_resolution_of_png_and_jpeg_is_ignored(write_png) -> None:
    """PNG pHYs and JFIF density are prints, however fine."""
    for name in ("a.png", "a.jpg"):
        path = write_png(GREY, name, dpi=(50_800, 50_800))
        with pytest.raises(PixelSizeError, match="mpp_um"):
            mpp(path)
        assert mpp(path, 0.5) == (0.5, "request")


@pytest.mark.parametrize("requested", [0.0, -0.5, math.nan, math.inf, 25.0])
def test_impossible_requests_are_refused(requested: float) -> None:
    """Zero, negative, undefined, infinite and print-sized pixels are errors, file or not."""
    for calibration in (None, FileCalibration(0.5, 0.5, "a test")):
        with pytest.raises(PixelSizeError):
            resolve_pixel_size(calibration, requested)


def test_file_and_request_may_differ_by_one_percent() -> None:
    """Within 1 % the file's value stands; beyond it is an error that names both."""
    calibration = FileCalibration(0.5, 0.5, "a test")
    assert resolve_pixel_size(calibration, 0.505) == (0.5, "file")
    with pytest.raises(PixelSizeError, match=r"0\.5 .*0\.51"):
        resolve_pixel_size(calibration, 0.51)


def test_pixels_that_are_not_square_are_refused() -> None:
    """Sides that differ by more than 1 % are an error, even beside a request."""
    for requested in (None, 0.5):
        with pytest.raises(PixelSizeError, match="square"):
            resolve_pixel_size(FileCalibration(0.5, 0.52, "a test"), requested)
    assert resolve_pixel_size(FileCalibration(0.5, 0.502, "a test"), None)[1] == "file"


def test_resolution_tags_of_zero_are_no_calibration(tmp_path) -> None:
    """A resolution of 0/0 or 1/0 is nothing, not a division by zero."""
    path = tmp_path / "zero.tif"
    tifffile.imwrite(path, GREY, resolution=((0, 1), (0, 1)), resolutionunit="CENTIMETER")
    with pytest.raises(PixelSizeError):
        mpp(path)
