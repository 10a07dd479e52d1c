"""Marker channels: what the network sees of a section, whatever the microscope was.

Channel 0 is the marker (DAB or the marker's fluorescence), channel 1 the counterstain (hematoxylin
or nuclei), channel 2 the residual that neither explains (zero in fluorescence), each from 0 to 1.
The scaling is computed once per section and recorded: percentiles of a tile would turn the noise
of an empty tile into vessels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.stains import (
    DEFAULT_BACKGROUND_RGB,
    RGB,
    BackgroundSource,
    StainVectors,
    estimate_vectors,
    optical_density,
    separate,
)

if TYPE_CHECKING:
    from imaging.open import SectionImage
    from imaging.tissue import Tissue

OD_SPAN = 1.5
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.5
# A section without vessels spans about 5 noise SD between these percentiles; at 8 its noise
# stays in the lower half of the scale.
NOISE_FLOOR_SD = 8.0
# Rounding to whole grey levels is noise too: 1/√12 of a level.
QUANTISATION_SD = 1.0 / math.sqrt(12.0)

# Percentiles and noise come from the grid on which the network looks, or coarser.
SCALING_MPP_UM = 0.5
_SAMPLE_PX = 256
_SAMPLE_COUNT = 64
_RIM_UM = 20.0


@dataclass(frozen=True, slots=True)
class PlaneScaling:
    """How the grey values of one fluorescence channel become 0–1.

    Attributes
    ----------
    channel : int
        Index in the image, from 0.
    low, high : float
        Grey values that become 0 and 1.
    noise_sd : float
        Robust estimate of the noise, in grey values.
    background : float
        Median grey value of the section, subtracted from reported intensities.
    """

    channel: int
    low: float
    high: float
    noise_sd: float
    background: float

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"high must exceed low, got {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class MarkerScaling:
    """All that turns the pixels of one section into marker channels, computed once.

    Brightfield sections carry `background_rgb` and `vectors`, fluorescence sections
    `marker_plane` and perhaps `nuclei_plane`.
    """

    modality: Literal["brightfield", "fluorescence"]
    marker: str
    full_scale: int = 255
    background_rgb: RGB | None = None
    background_source: BackgroundSource | None = None
    vectors: StainVectors | None = None
    marker_plane: PlaneScaling | None = None
    nuclei_plane: PlaneScaling | None = None

    def __post_init__(self) -> None:
        if self.modality == "brightfield" and (self.background_rgb is None or self.vectors is None):
            raise ValueError("a brightfield scaling needs background_rgb and vectors")
        if self.modality == "fluorescence" and self.marker_plane is None:
            raise ValueError("a fluorescence scaling needs marker_plane")


def brightfield_scaling(
    marker: str,
    *,
    background_rgb: RGB = DEFAULT_BACKGROUND_RGB,
    background_source: BackgroundSource = "default",
    vectors: StainVectors | None = None,
    full_scale: int = 255,
) -> MarkerScaling:
    """Return the scaling of a brightfield section whose background and vectors are known."""
    return MarkerScaling(
        modality="brightfield",
        marker=marker,
        full_scale=full_scale,
        background_rgb=background_rgb,
        background_source=background_source,
        vectors=vectors or StainVectors.default(),
    )


def fluorescence_scaling(
    marker: str,
    pixels: NDArray[Any],
    *,
    marker_channel: int = 0,
    nuclei_channel: int | None = None,
    full_scale: int = 255,
) -> MarkerScaling:
    """Return the scaling of a fluorescence section that is an array in memory.

    Parameters
    ----------
    marker : str
        Name of the marker.
    pixels : ndarray, shape (H, W) or (H, W, C)
        The whole section.
    marker_channel, nuclei_channel : int
        Index of the marker's and, if there is one, the nuclear channel.
    full_scale : int
        Greatest grey value of the image's number type.
    """
    stack = pixels[..., None] if pixels.ndim == 2 else pixels
    nuclei = None if nuclei_channel is None else plane_scaling(nuclei_channel, [stack])
    return MarkerScaling(
        modality="fluorescence",
        marker=marker,
        full_scale=full_scale,
        marker_plane=plane_scaling(marker_channel, [stack]),
        nuclei_plane=nuclei,
    )


def fit_scaling(
    image: SectionImage,
    marker: str,
    tissue: Tissue | None = None,
    *,
    vectors: StainVectors | Literal["estimate"] | None = None,
    mpp_um: float = SCALING_MPP_UM,
) -> MarkerScaling:
    """Compute the scaling of one marker on one section.

    Memory stays bounded: at most 64 windows of 256² px, spread evenly over the tissue, are read.

    Parameters
    ----------
    image : SectionImage
        The section.
    marker : str
        Name of the marker whose stain goes to channel 0.
    tissue : Tissue, optional
        Ω and the glass; without it the whole frame counts and I0 is 255.
    vectors : StainVectors or "estimate", optional
        Stain vectors of a brightfield section; the fixed H-DAB vectors if absent.
    mpp_um : float
        Pixel size of the grid on which the network looks; percentiles and noise are taken there,
        or on the image's own grid where that is coarser.

    Returns
    -------
    MarkerScaling

    Raises
    ------
    ChannelsError
        When the image's channels do not say where the marker is.
    """
    if image.modality == "brightfield":
        background, source = DEFAULT_BACKGROUND_RGB, "default"
        if tissue is not None and tissue.background_rgb is not None:
            background, source = tissue.background_rgb, "glass"
        if vectors == "estimate":
            tiles, masks = _samples(image, tissue, mpp_um)
            kept = [tile[mask] for tile, mask in zip(tiles, masks, strict=True)]
            rgb = _to_255(np.concatenate(kept), image.full_scale)
            vectors = estimate_vectors(rgb, background)
        return brightfield_scaling(
            marker,
            background_rgb=background,
            background_source=source,  # type: ignore[arg-type]
            vectors=vectors,
            full_scale=image.full_scale,
        )
    channel = image.channel_of(marker)
    tiles, masks = _samples(image, tissue, mpp_um)
    nuclei = image.channels.get("nuclei")
    return MarkerScaling(
        modality="fluorescence",
        marker=marker,
        full_scale=image.full_scale,
        marker_plane=plane_scaling(channel, tiles, masks),
        nuclei_plane=None if nuclei is None else plane_scaling(nuclei, tiles, masks),
    )


def plane_scaling(
    channel: int,
    tiles: Sequence[NDArray[Any]],
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> PlaneScaling:
    """Compute how one fluorescence channel is scaled.

    Percentiles 1 and 99.5 of the tissue become 0 and 1, but the span is at least 8 SD of the
    noise.

    Parameters
    ----------
    channel : int
        Index of the channel.
    tiles : sequence of ndarray, shape (H, W, C)
        Samples of the section.
    masks : sequence of ndarray of bool, shape (H, W), optional
        Where each sample is tissue; everywhere if absent.
    """
    planes = [np.ascontiguousarray(tile[..., channel]) for tile in tiles]
    if masks is None:
        values = np.concatenate([plane.ravel() for plane in planes])
    else:
        values = np.concatenate([p[m] for p, m in zip(planes, masks, strict=True)])
    low, middle, high = _percentiles(values, (LOW_PERCENTILE, 50.0, HIGH_PERCENTILE))
    noise_sd = max(estimate_noise(planes, masks), QUANTISATION_SD)
    high = max(high, low + NOISE_FLOOR_SD * noise_sd)
    return PlaneScaling(channel, low, high, noise_sd, background=middle)


def estimate_noise(
    planes: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]] | None = None
) -> float:
    """Return the SD of the noise, in grey values.

    The median absolute response to the Laplacian difference kernel of Immerkær (Comput Vis Image
    Underst 64:300, 1996), which neither a ramp nor a gentle slope excites; where more than half
    of the responses are 0, as in a dark frame clipped at 0, their mean.

    Parameters
    ----------
    planes : sequence of ndarray, shape (H, W)
        Samples of one channel.
    masks : sequence of ndarray of bool, shape (H, W), optional
        Where each sample counts; everywhere if absent.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    responses = []
    for index, plane in enumerate(planes):
        if min(plane.shape) < 3:
            continue
        response = np.abs(cv2.filter2D(plane.astype(np.float32), -1, kernel))[1:-1, 1:-1]
        responses.append(response.ravel() if masks is None else response[masks[index][1:-1, 1:-1]])
    response = np.concatenate(responses) if responses else np.zeros(0, dtype=np.float32)
    if not response.size:
        return 0.0
    median = float(np.median(response))
    if median > 0:
        return 1.4826 * median / 6.0
    return math.sqrt(math.pi / 2.0) * float(response.mean()) / 6.0


def _percentiles(values: NDArray[Any], ranks: Sequence[float]) -> list[float]:
    """Return percentiles; of whole grey levels by their counts, which is ten times faster."""
    if not np.issubdtype(values.dtype, np.unsignedinteger):
        return [float(value) for value in np.percentile(values, ranks)]
    share = np.cumsum(np.bincount(values)) * (100.0 / len(values))
    return [float(np.searchsorted(share, rank)) for rank in ranks]


def marker_channels(pixels: NDArray[Any], scaling: MarkerScaling) -> NDArray[np.float32]:
    """Return the network's input.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, C)
        A region as `SectionImage.read_region` returns it.
    scaling : MarkerScaling
        The section's scaling.

    Returns
    -------
    ndarray of float32, shape (3, H, W)
        Marker, counterstain and residual from 0 to 1. Brightfield: optical density 0–1.5 becomes
        0–1. Fluorescence: `low` to `high` of the plane becomes 0–1; without a nuclear channel the
        counterstain is zero, and the residual always is.
    """
    if scaling.modality == "brightfield":
        stains = _stain_od(pixels, scaling) * np.float32(1.0 / OD_SPAN)
        return np.ascontiguousarray(np.clip(stains, 0.0, 1.0).transpose(2, 0, 1))
    channels = np.zeros((3, *pixels.shape[:2]), dtype=np.float32)
    for target, plane in enumerate((scaling.marker_plane, scaling.nuclei_plane)):
        if plane is not None:
            values = _plane(pixels, plane.channel)
            scaled = (values - np.float32(plane.low)) * np.float32(1.0 / (plane.high - plane.low))
            np.clip(scaled, 0.0, 1.0, out=channels[target])
    return channels


def marker_intensity(pixels: NDArray[Any], scaling: MarkerScaling) -> NDArray[np.float32]:
    """Return how strongly each raw pixel is stained, for reporting.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, C)
        A region as `SectionImage.read_region` returns it.
    scaling : MarkerScaling
        The section's scaling.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Optical density of DAB (brightfield) or grey value less the section's median
        (fluorescence); not clipped, so means stay unbiased.
    """
    if scaling.modality == "brightfield":
        return np.ascontiguousarray(_stain_od(pixels, scaling)[..., 0])
    plane = scaling.marker_plane
    assert plane is not None
    return _plane(pixels, plane.channel) - np.float32(plane.background)


def _stain_od(pixels: NDArray[Any], scaling: MarkerScaling) -> NDArray[np.float32]:
    """Return the optical density of DAB, hematoxylin and residual, (H, W, 3)."""
    assert scaling.background_rgb is not None
    assert scaling.vectors is not None
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"brightfield pixels have the shape (H, W, 3), got {pixels.shape}")
    rgb = _to_255(pixels, scaling.full_scale)
    return separate(optical_density(rgb, scaling.background_rgb), scaling.vectors)


def _plane(pixels: NDArray[Any], channel: int) -> NDArray[np.float32]:
    """Return one channel of a fluorescence region as float32 (H, W)."""
    plane = pixels if pixels.ndim == 2 else pixels[..., channel]
    return np.asarray(plane, dtype=np.float32)


def _to_255(rgb: NDArray[Any], full_scale: int) -> NDArray[Any]:
    """Return intensities on the scale 0–255."""
    return rgb if full_scale == 255 else rgb.astype(np.float32) * np.float32(255.0 / full_scale)


def _samples(
    image: SectionImage, tissue: Tissue | None, mpp_um: float
) -> tuple[list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Return windows spread evenly over the tissue, and where they are tissue."""
    grid_um = max(image.mpp_um, mpp_um)
    width, height = image.size_at(grid_um)
    boxes = _sample_boxes(width, height)
    tiles, masks = [], []
    if tissue is not None:
        kept = [box for box in boxes if tissue.read(*box, grid_um).mean() >= 0.25]
        kept = kept or [box for box in boxes if tissue.read(*box, grid_um).any()]
        boxes = kept or boxes
    step = max(1, math.ceil(len(boxes) / _SAMPLE_COUNT))
    for box in boxes[::step]:
        tiles.append(image.read_region(*box, grid_um))
        masks.append(
            np.ones((box[3], box[2]), dtype=bool)
            if tissue is None
            else _inner(tissue.read(*box, grid_um), grid_um)
        )
    if not any(mask.any() for mask in masks):
        masks = [np.ones_like(mask) for mask in masks]
    return tiles, masks


def _inner(mask: NDArray[np.bool_], mpp_um: float) -> NDArray[np.bool_]:
    """Return tissue without its rim, where the glass's darkness would set the low percentile."""
    side = 2 * max(1, round(_RIM_UM / mpp_um)) + 1
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side, side), dtype=np.uint8)) > 0
    return np.asarray(inner) if inner.any() else mask


def _sample_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return boxes (x, y, width, height): the whole of a small section, else an even lattice."""
    if width * height <= _SAMPLE_COUNT * _SAMPLE_PX**2:
        return [(0, 0, width, height)]
    columns, rows = (min(size // _SAMPLE_PX or 1, 24) for size in (width, height))
    box_width, box_height = min(_SAMPLE_PX, width), min(_SAMPLE_PX, height)
    xs = np.linspace(0, width - box_width, columns).round().astype(int)
    ys = np.linspace(0, height - box_height, rows).round().astype(int)
    return [(int(x), int(y), box_width, box_height) for y in ys for x in xs]
