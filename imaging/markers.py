"""Marker channels: what the network sees of a section, whatever the microscope was.

Channel 0 is the marker (DAB or the marker's fluorescence), channel 1 the counterstain (hematoxylin
or nuclei), channel 2 the residual that neither explains (zero in fluorescence), each from 0 to 1.
The scaling is computed once per section and recorded: percentiles of a tile would turn the noise
of an empty tile into vessels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imaging.planes import PlaneScaling, plane_scaling
from imaging.sampling import tissue_samples
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
# Percentiles and noise come from the grid on which the network looks, or coarser.
SCALING_MPP_UM = 0.5


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
            tiles, masks = tissue_samples(image, tissue, mpp_um)
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
    tiles, masks = tissue_samples(image, tissue, mpp_um)
    nuclei = image.channels.get("nuclei")
    return MarkerScaling(
        modality="fluorescence",
        marker=marker,
        full_scale=image.full_scale,
        marker_plane=plane_scaling(channel, tiles, masks),
        nuclei_plane=None if nuclei is None else plane_scaling(nuclei, tiles, masks),
    )


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
