"""Each of the development slides: read, or refused with its own clear error."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.errors import (
    ChannelsError,
    PixelSizeError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from imaging.open import open_image

CALIBRATED = {
    "CMU-1-Small-Region.svs": (2220, 2967),
    "highdicom_sm_image.dcm": (50, 50),
    "highdicom_sm_image_control.dcm": (50, 50),
    "highdicom_sm_image_numbers.dcm": (50, 50),
    "openslide-python_boxes_0.dcm": (16, 16),
    "openslide-python_boxes_1.dcm": (16, 16),
    "openslide-python_small.svs": (16, 16),
}
UNCALIBRATED = {
    "TCGA-CR-7395-01A-01-TS1.svs": (4443, 3567, "brightfield"),
    "kidney-48-5.tif": (1493, 901, "brightfield"),
    "openslide-python_boxes.tiff": (300, 250, "brightfield"),
    "pathml_small_HE_levels.tiff": (300, 250, "brightfield"),
    "pathml_smalltif.tif": (640, 480, "fluorescence"),
}
REFUSED = {
    "broken.svs": UnsupportedFormatError,
    "highdicom_sm_image_grayscale.dcm": UnreadableImageError,
    "highdicom_sm_image_jpegls.dcm": UnreadableImageError,
    "openslide-python_unopenable.tiff": UnreadableImageError,
    "openslide-python_unreadable.svs": UnreadableImageError,
    "pathml_small_dicom.dcm": UnreadableImageError,
}


@pytest.mark.parametrize("name", CALIBRATED)
def test_slides_with_a_pixel_size_are_read(shared_data, name) -> None:
    """The slide's own microns per pixel count."""
    with open_image(shared_data / "slides" / name) as image:
        assert (image.width_px, image.height_px) == CALIBRATED[name]
        assert (image.mpp_um, image.mpp_source) == (0.499, "file")
        assert image.modality == "brightfield"
        width, height = (min(size, 300) for size in image.size_at(0.5))
        pixels = image.read_region(0, 0, width, height, 0.5)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", UNCALIBRATED)
def test_slides_without_a_pixel_size_ask_for_it(shared_data, name) -> None:
    """A missing pixel size, and a print's 353 µm, are errors until one is given."""
    path = shared_data / "slides" / name
    with pytest.raises(PixelSizeError, match="--mpp"):
        open_image(path)
    with open_image(path, 0.5) as image:
        assert (image.width_px, image.height_px, image.modality) == UNCALIBRATED[name]
        assert image.read_region(3, 5, 10, 10).shape[:2] == (10, 10)


@pytest.mark.parametrize("name", REFUSED)
def test_slides_that_cannot_be_measured_are_refused(shared_data, name) -> None:
    """The error names the file and no folder, and says what to do."""
    path = shared_data / "slides" / name
    with pytest.raises(REFUSED[name], match=name) as caught:
        open_image(path, 0.5 if "tiff" in name else None)
    assert str(path.parent) not in str(caught.value)


def test_a_multichannel_qptiff_asks_for_its_channels(shared_data) -> None:
    """PerkinElmer's channels are named, and read once one is chosen."""
    path = shared_data / "slides" / "pathml_small_vectra.qptiff"
    with pytest.raises(ChannelsError, match=r"DAPI.*FITC.*Cy3"):
        open_image(path)
    with open_image(path, channels={"CD31": 2, "nuclei": 0}) as image:
        assert image.mpp_source == "file"
        assert abs(image.mpp_um - 0.4965) < 1e-3
        assert image.read_region(100, 100, 50, 40).shape == (40, 50, 3)


def test_every_slide_is_covered(shared_data) -> None:
    """A file that is added to the folder has to be named here."""
    known = {*CALIBRATED, *UNCALIBRATED, *REFUSED, "pathml_small_vectra.qptiff"}
    assert {path.name for path in (shared_data / "slides").iterdir()} == known
