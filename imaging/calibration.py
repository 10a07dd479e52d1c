"""Which statements about pixel size are calibration, and what to do where they disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal
from xml.etree import ElementTree as ET

from imaging.errors import PixelSizeError
from imaging.sources import FileCalibration

# Above this a "resolution" is that of a print (72 dpi is 353 µm), not of a microscope.
MAX_MPP_UM = 20.0
# Below this no light microscope samples: 0.05 µm is already fine for an oil objective.
MIN_MPP_UM = 0.02
# File and request may differ, and a pixel's sides too, by this share.
TOLERANCE = 0.01

_UM_PER_UNIT = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "nm": 1e-3,
    "pm": 1e-6,
    "Å": 1e-4,
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1.0),
    "\\u00B5m": 1.0,  # as ImageJ writes it
}
_CENTIMETRE = 3


def resolve_pixel_size(
    calibration: FileCalibration | None, requested_um: float | None
) -> tuple[float, Literal["file", "request"]]:
    """Return the pixel size in µm and where it comes from.

    Parameters
    ----------
    calibration : FileCalibration, optional
        What the file states; None where it states nothing that counts.
    requested_um : float, optional
        What the user states.

    Raises
    ------
    PixelSizeError
        When there is none, the two differ by more than 1 %, the pixels are not square, or the
        request is not a number from 0.02 up to 20.
    """
    if requested_um is not None:
        _check_request(requested_um)
    if calibration is None:
        if requested_um is None:
            raise PixelSizeError(
                "The file does not say how large a pixel is (print resolutions such as 72 or 300 "
                "dpi do not count): give the pixel size in µm with --mpp, or with mpp_um over "
                "HTTP, in Python and in a manifest."
            )
        return float(requested_um), "request"
    if not agree(calibration.x_um, calibration.y_um):
        raise PixelSizeError(
            f"Pixels are not square: {calibration.x_um:g} × {calibration.y_um:g} µm according to "
            f"{calibration.origin}. Resample the image to square pixels and open that."
        )
    file_um = math.sqrt(calibration.x_um * calibration.y_um)
    if requested_um is not None and not agree(file_um, requested_um):
        raise PixelSizeError(
            f"The file says {file_um:g} µm per pixel ({calibration.origin}) and the request "
            f"{requested_um:g}: leave mpp_um out, or correct the file if it is wrong."
        )
    return file_um, "file"


def plausible(x_um: float, y_um: float, origin: str) -> FileCalibration | None:
    """Return a file's statement if it is that of a microscope: 0.02 to 20 µm."""
    if all(math.isfinite(value) and MIN_MPP_UM <= value < MAX_MPP_UM for value in (x_um, y_um)):
        return FileCalibration(x_um, y_um, origin)
    return None


def openslide_calibration(properties: Mapping[str, str]) -> FileCalibration | None:
    """Return the pixel size of a slide that OpenSlide opened."""
    x_um, y_um = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if x_um is None or y_um is None:
        return None
    return plausible(x_um, y_um, "the slide's microns per pixel")


def ome_calibration(xml: str) -> FileCalibration | None:
    """Return PhysicalSizeX and PhysicalSizeY of the first image of an OME-XML document."""
    try:
        root = ET.fromstring(xml)
    except (ET.ParseError, ValueError):
        return None
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        size = _number(pixels.get(f"PhysicalSize{axis}"))
        factor = _UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if size is None or factor is None:
            return None
        sizes.append(size * factor)
    return plausible(sizes[0], sizes[1], "OME PhysicalSize")


def imagej_calibration(
    metadata: Mapping[str, object], x_per_unit: float | None, y_per_unit: float | None
) -> FileCalibration | None:
    """Return the pixel size of an ImageJ TIFF whose unit is a length of microscopy."""
    factor = _UM_PER_UNIT.get(str(metadata.get("unit", "")).strip())
    if factor is None or not x_per_unit or not y_per_unit:
        return None
    y_unit = str(metadata.get("yunit", metadata.get("unit", ""))).strip()
    y_factor = _UM_PER_UNIT.get(y_unit, factor)
    return plausible(factor / x_per_unit, y_factor / y_per_unit, "ImageJ's calibration")


def tiff_calibration(
    unit: int | None, x_per_unit: float | None, y_per_unit: float | None
) -> FileCalibration | None:
    """Return the pixel size of a TIFF whose resolution is per centimetre; inches are print."""
    if unit != _CENTIMETRE or not x_per_unit or not y_per_unit:
        return None
    return plausible(1e4 / x_per_unit, 1e4 / y_per_unit, "TIFF resolution per centimetre")


def _check_request(requested_um: float) -> None:
    """Refuse a requested pixel size that no microscope has."""
    if not math.isfinite(requested_um) or requested_um <= 0:
        raise PixelSizeError(
            f"The pixel size must be a number of µm above 0, got {requested_um}: "
            "look it up in the microscope's software (typically 0.2 to 2)."
        )
    if requested_um < MIN_MPP_UM:
        raise PixelSizeError(
            f"A pixel size of {requested_um:g} µm is finer than any light microscope samples: "
            f"give µm per pixel, {MIN_MPP_UM:g} or more (typically 0.2 to 2)."
        )
    if requested_um >= MAX_MPP_UM:
        raise PixelSizeError(
            f"A pixel size of {requested_um:g} µm is that of a print, not of a microscope: "
            f"give µm per pixel, below {MAX_MPP_UM:g}."
        )


def agree(a: float, b: float) -> bool:
    """Return whether two pixel sizes differ by at most 1 %."""
    return abs(a - b) <= TOLERANCE * min(a, b) * (1 + 1e-9)


def _number(text: str | None) -> float | None:
    """Return a number written as text, or None."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
