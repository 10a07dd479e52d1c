"""Pixel statistics that tell whether an image is fit to be measured.

They describe the image and judge nothing: limits and verdict are `analysis.quality`'s. All of them
come from the sample windows that the scaling comes from, so that memory and time do not grow with
the section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.focus import Focus, measure_focus
from imaging.light import (
    Levels,
    clipped_brightfield,
    clipped_fluorescence,
    correlation,
    levels,
    uneven_background,
    vignetting_od,
)
from imaging.markers import MarkerScaling
from imaging.sampling import tissue_samples
from imaging.staining import counterstain_od, fold_share, unexplained_share
from imaging.stains import optical_density

if TYPE_CHECKING:
    from imaging.open import SectionImage
    from imaging.tissue import Tissue

Tiles = Sequence[NDArray[Any]]
Masks = Sequence[NDArray[np.bool_]]

# Stains are looked at where camera noise is averaged away and a nucleus is still 3 pixels wide.
_STAIN_GRID_UM = 2.0
# Of a window of tissue; the lightest part is what glass shows of itself through gaps.
_LIGHTEST_PERCENTILE = 1.0
# Noise, compression and rounding on empty glass slope by 0.2 grey levels of 255 per pixel at most;
# pale tissue by 1.9 and more.
_FAINTEST_SLOPE = 0.4

_MEASURES = (
    "blur_um",
    "clipped_fraction",
    "background_od",
    "unevenness",
    "stain_residual",
    "counterstain_od",
    "fold_fraction",
    "nuclei_correlation",
    "vignetting",
)

_NOTHING_SEEN = "too little stands out from the noise"
_BRIGHTFIELD_ONLY = "only brightfield stains are unmixed"
_TOO_SMALL = "the field is too small"
# Most images this large are stitched: the corners of their frames lie everywhere.
_NO_FRAME = "so large an image is looked at in samples; measure a single frame of the camera"


@dataclass(frozen=True, slots=True)
class PixelQuality:
    """What the pixels of one section say about its quality; None where a measure has no meaning.

    Attributes
    ----------
    modality : str
        "brightfield" or "fluorescence".
    mpp_um : float
        Pixel size of the grid looked at: the network's, or the image's own where that is coarser.
    tissue_fraction : float
        Share of the frame in which tissue can be seen, 0 where nothing stands out from noise.
    blur_um : float, optional
        Standard deviation of the blur of edges; 8 pixels stand for that or more.
    clipped_fraction : float, optional
        Share of tissue pixels beyond the camera's scale.
    background_od : float, optional
        Optical density of the slide's own background against white, in brightfield.
    unevenness : float, optional
        How much the background changes over the frame: optical density in brightfield, a share of
        its median in fluorescence.
    stain_residual : float, optional
        Share of optical density that is neither hematoxylin nor DAB.
    counterstain_od : float, optional
        How far nuclei stand out in hematoxylin.
    fold_fraction : float, optional
        Share of tissue under folds.
    nuclei_correlation : float, optional
        Greatest correlation of a marker's channel with the nuclei's, in fluorescence.
    vignetting : float, optional
        Share of the light that the corners lack against the middle, of one frame of a camera.
    reasons : Mapping
        Why a measure is None, by the name of its attribute.
    """

    modality: Literal["brightfield", "fluorescence"]
    mpp_um: float
    tissue_fraction: float
    blur_um: float | None = None
    clipped_fraction: float | None = None
    background_od: float | None = None
    unevenness: float | None = None
    stain_residual: float | None = None
    counterstain_od: float | None = None
    fold_fraction: float | None = None
    nuclei_correlation: float | None = None
    vignetting: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


def pixel_quality(
    image: SectionImage,
    tissue: Tissue | None,
    markers: Sequence[str],
    scalings: Mapping[str, MarkerScaling],
    mpp_um: float,
) -> PixelQuality:
    """Look at the sample windows of a section.

    Parameters
    ----------
    image : SectionImage
        The section.
    tissue : Tissue, optional
        Ω, exclusions taken from it, and the glass; the whole frame if absent.
    markers : sequence of str
        The markers that the image shows, at least one.
    scalings : Mapping
        The section's scaling for each of them.
    mpp_um : float
        Pixel size of the grid on which the network looks.

    Returns
    -------
    PixelQuality
        Deterministic; no value is ever NaN.

    Raises
    ------
    ValueError
        When there is no marker, or one without a scaling.
    """
    missing = [marker for marker in markers if marker not in scalings]
    if missing or not markers:
        raise ValueError(f"markers {list(markers)} need a scaling each, missing: {missing}")
    fraction = 1.0 if tissue is None else tissue.fraction
    grid_um = image.mpp_um * image.scale_at(max(image.mpp_um, mpp_um))
    if fraction == 0.0:
        reasons = dict.fromkeys(_MEASURES, "there is no tissue")
        return PixelQuality(image.modality, grid_um, 0.0, reasons=reasons)
    tiles, masks = tissue_samples(image, tissue, mpp_um)
    chosen = [scalings[marker] for marker in markers]
    if image.modality == "brightfield":
        background = None if tissue is None else tissue.background_rgb
        values, reasons, focus = _brightfield(tiles, masks, chosen[0], grid_um)
        if background is not None:
            values["background_od"] = float(optical_density(np.array([background])).mean())
    else:
        values, reasons, focus = _fluorescence(tiles, masks, chosen)
    values["blur_um"] = None if focus.blur_px is None else focus.blur_px * grid_um
    reasons["blur_um"] = _TOO_SMALL if focus.contrast is None else _NOTHING_SEEN
    return PixelQuality(
        image.modality,
        grid_um,
        0.0 if focus.blank else fraction,
        **values,
        reasons={
            name: reasons.get(name, _TOO_SMALL) for name in _MEASURES if not _has(values, name)
        },
    )


_Values = dict[str, float | None]


def _has(values: _Values, name: str) -> bool:
    return values.get(name) is not None


def _brightfield(
    tiles: Tiles, masks: Masks, scaling: MarkerScaling, mpp_um: float
) -> tuple[_Values, dict[str, str], Focus]:
    """Return the measures of a brightfield section, why some are missing, and its focus."""
    assert scaling.background_rgb is not None
    assert scaling.vectors is not None
    to_255 = np.float32(255.0 / scaling.full_scale)
    grey = [_mean_of_colours(tile) * to_255 for tile in tiles]
    focus = measure_focus(grey, masks, _FAINTEST_SLOPE)
    light = _background_od(grey).spread()
    small, small_masks, grid_um = _stain_grid(tiles, masks, mpp_um)
    od = [optical_density(tile * to_255, scaling.background_rgb) for tile in small]
    stained = np.concatenate([d[m] for d, m in zip(od, small_masks, strict=True)])
    values: _Values = {
        "clipped_fraction": clipped_brightfield(tiles, masks, scaling.full_scale),
        "background_od": None if light is None else light[0],
        "unevenness": None if light is None else light[1],
        "vignetting": _lost(vignetting_od(_background_od(grey, fine=True), envelope=True)),
        "stain_residual": unexplained_share(stained, scaling.vectors),
        "counterstain_od": None if focus.blank else counterstain_od(stained, scaling.vectors),
        "fold_fraction": fold_share(od, small_masks, grid_um),
    }
    reasons = {
        "stain_residual": "hardly anything is stained",
        "counterstain_od": _NOTHING_SEEN if focus.blank else "too few pixels without DAB",
        "nuclei_correlation": "a brightfield image has no channels",
        "vignetting": _TOO_SMALL if light is None else _NO_FRAME,
    }
    return values, reasons, focus


def _background_od(grey: Tiles, *, fine: bool = False) -> Levels:
    """Return the optical density against white of the lightest part of each window."""
    lightest = levels([-plane for plane in grey], None, _LIGHTEST_PERCENTILE, fine=fine)
    return replace(lightest, values=np.log10(255.0 / np.maximum(-lightest.values, 1.0)))


def _lost(fall_od: float | None) -> float | None:
    """Return the share of light that a fall in optical density takes."""
    return None if fall_od is None else 1.0 - 10.0**-fall_od


def _mean_of_colours(tile: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean (H, W) of three colours: plane by plane, which is ten times as fast."""
    total = tile[..., 0].astype(np.float32)
    for plane in (1, 2):
        total += tile[..., plane]
    return np.asarray(total / np.float32(3.0))


def _fluorescence(
    tiles: Tiles, masks: Masks, scalings: Sequence[MarkerScaling]
) -> tuple[_Values, dict[str, str], Focus]:
    """Return the measures of a fluorescence section, why some are missing, and its focus."""
    markers = [scaling.marker_plane for scaling in scalings if scaling.marker_plane is not None]
    stained = [marker.channel for marker in markers]
    nuclei = scalings[0].nuclei_plane
    channels = stained if nuclei is None else [*stained, nuclei.channel]
    planes = {channel: [tile[..., channel] for tile in tiles] for channel in channels}
    # The plane with most contrast carries the focus: a marker may be absent from a section.
    seen = [measure_focus(planes[channel], masks) for channel in channels]
    focus = max(seen, key=lambda f: (not f.blank, f.blur_px is not None, f.contrast or 0.0))
    changes = [uneven_background(planes[m.channel], masks, m.noise_sd) for m in markers]
    known = [change for change in changes if change is not None]
    values: _Values = {
        "clipped_fraction": max(
            clipped_fluorescence(planes[c], masks, scalings[0].full_scale) for c in stained
        ),
        "unevenness": max((share for share, _ in known), default=None),
        "vignetting": _lost(max((fall for _, fall in known if fall is not None), default=None)),
        "nuclei_correlation": None
        if nuclei is None
        else max(correlation(planes[c], planes[nuclei.channel], masks) for c in stained),
    }
    reasons = dict.fromkeys(("stain_residual", "counterstain_od"), _BRIGHTFIELD_ONLY)
    reasons["background_od"] = "fluorescence has no optical density"
    reasons["unevenness"] = "the field is too small or its background too dark"
    reasons["vignetting"] = _NO_FRAME if known else reasons["unevenness"]
    reasons["fold_fraction"] = "folds are looked for in brightfield only"
    reasons["nuclei_correlation"] = "there is no nuclear channel"
    return values, reasons, focus


def _stain_grid(tiles: Tiles, masks: Masks, mpp_um: float) -> tuple[Tiles, Masks, float]:
    """Return samples averaged to about 2 µm per pixel, and their exact pixel size."""
    step = max(1, round(_STAIN_GRID_UM / mpp_um))
    small, small_masks = [], []
    for tile, mask in zip(tiles, masks, strict=True):
        size = max(1, mask.shape[1] // step), max(1, mask.shape[0] // step)
        small.append(cv2.resize(tile, size, interpolation=cv2.INTER_AREA))
        shrunk = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        small_masks.append(shrunk > 0)
    return small, small_masks, mpp_um * step
