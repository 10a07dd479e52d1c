"""Marker channels: one input for IHC and fluorescence, in which noise stays noise."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from imaging.errors import ChannelsError
from imaging.markers import (
    MarkerScaling,
    brightfield_scaling,
    fit_scaling,
    fluorescence_scaling,
    marker_channels,
    marker_intensity,
)
from imaging.open import open_image
from imaging.planes import estimate_noise
from imaging.stains import StainVectors, compose
from imaging.tissue import Tissue, find_tissue


def test_brightfield_density_of_one_and_a_half_is_one() -> None:
    """OD 0.75 of DAB becomes 0.5, OD 1.5 becomes 1, more is clipped, hematoxylin stays apart."""
    amounts = np.array([[[0.75, 0, 0], [1.5, 0, 0], [2.0, 0, 0], [0, 0.6, 0], [0, 0, 0]]])
    rgb = compose(amounts, StainVectors.default())
    channels = marker_channels(rgb, brightfield_scaling("CD31"))
    assert channels.shape == (3, 1, 5)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels[0, 0], [0.5, 1, 1, 0, 0], atol=0.01)
    np.testing.assert_allclose(channels[1, 0], [0, 0, 0, 0.4, 0], atol=0.02)


def test_16_bit_brightfield_is_the_same_as_8_bit() -> None:
    """The number type of a scan changes nothing."""
    amounts = np.random.default_rng(0).uniform(0, 0.6, (5, 6, 3)) * (1, 1, 0)
    rgb = compose(amounts, StainVectors.default())
    deep = np.rint(rgb * 257.0).astype(np.uint16)
    np.testing.assert_allclose(
        marker_channels(deep, brightfield_scaling("CD31", full_scale=65535)),
        marker_channels(rgb, brightfield_scaling("CD31")),
        atol=1e-3,
    )


def test_marker_intensity_is_raw() -> None:
    """Reported densities are neither scaled nor clipped; grey values lose the section's median."""
    rgb = compose(np.array([[[2.0, 0, 0], [0.3, 0, 0]]]), StainVectors.default())
    od = marker_intensity(rgb, brightfield_scaling("VEGF"))
    np.testing.assert_allclose(od[0, 1], 0.3, atol=1e-3)
    grey = np.full((20, 20), 50, dtype=np.uint8)
    grey[0, :3] = 90
    scaling = fluorescence_scaling("VEGF", grey)
    np.testing.assert_array_equal(
        marker_intensity(grey[..., None], scaling)[0, :4], [40, 40, 40, 0]
    )


def test_fluorescence_percentiles_become_0_and_1(write_tiff, noisy) -> None:
    """On an image with signal, percentiles 1 and 99.5 of the section are 0 and 1."""
    with open_image(write_tiff(noisy), 0.5) as image:
        scaling = fit_scaling(image, "CD31")
        channels = marker_channels(image.read_region(0, 0, 90, 70), scaling)
    low, high = np.percentile(noisy, (1, 99.5))
    expected = np.clip((noisy - low) / (high - low), 0, 1)
    np.testing.assert_allclose(channels[0], expected, atol=0.005)
    assert (channels[1:] == 0).all()


def test_8_and_16_bit_scale_alike(write_tiff, noisy) -> None:
    """The same section in 8 and in 16 bit gives the same marker channel."""
    eight = (noisy // 5).astype(np.uint8)
    deep = eight.astype(np.uint16) * 257
    channels = []
    for pixels in (eight, deep):
        with open_image(write_tiff(pixels), 0.5) as image:
            scaling = fit_scaling(image, "CD31")
            channels.append(marker_channels(image.read_region(0, 0, 90, 70), scaling)[0])
    np.testing.assert_allclose(channels[0], channels[1], atol=0.002)


@pytest.mark.parametrize("level", [0.0, 100.0, 3000.0])
def test_noise_is_not_stretched_to_vessels(level) -> None:
    """Pure noise keeps to the lower part of the scale: the span is at least 8 SD."""
    noise = np.random.default_rng(1).normal(level, 12.0, (300, 300))
    pixels = np.clip(np.rint(noise), 0, 65535).astype(np.uint16)
    scaling = fluorescence_scaling("CD31", pixels, full_scale=65535)
    plane = scaling.marker_plane
    assert plane.high - plane.low >= 7.5 * plane.noise_sd
    assert (marker_channels(pixels[..., None], scaling)[0] > 0.8).mean() < 1e-3


def test_noise_is_estimated_within_five_percent() -> None:
    """The estimate ignores ramps and bars, and sees rounding."""
    random = np.random.default_rng(2)
    yy, xx = np.mgrid[:200, :200]
    signal = 0.5 * xx + 2.0 * yy + 300.0 * (xx // 20 % 5 == 0)
    for sd in (3.0, 20.0):
        assert abs(estimate_noise([signal + random.normal(0, sd, xx.shape)]) / sd - 1) < 0.08
    assert estimate_noise([np.zeros((50, 50))]) == 0.0
    assert estimate_noise([np.zeros((1, 1))]) == 0.0


@pytest.mark.parametrize("value", [0, 7, 255])
def test_even_images_give_zero(value) -> None:
    """A constant image has no marker, and nothing is divided by zero."""
    pixels = np.full((9, 9, 1), value, dtype=np.uint8)
    scaling = fluorescence_scaling("CD31", pixels)
    assert (marker_channels(pixels, scaling) == 0).all()


def test_nuclei_fill_the_counterstain(write_tiff, noisy) -> None:
    """With a nuclear channel the second channel is filled, and each has its own percentiles."""
    stack = np.stack([noisy[::-1] * 2, noisy])
    path = write_tiff(stack, "a.ome.tif", metadata={"axes": "CYX"})
    with open_image(path, 0.5, channels={"CD31": 1, "nuclei": 0}) as image:
        scaling = fit_scaling(image, "CD31")
        channels = marker_channels(image.read_region(0, 0, 90, 70), scaling)
        with pytest.raises(ChannelsError):
            fit_scaling(image, "VEGF")
    np.testing.assert_allclose(channels[1], channels[0][::-1], atol=0.01)
    assert (channels[2] == 0).all()


def test_percentiles_are_those_of_the_tissue(write_tiff, noisy) -> None:
    """Glass does not shift the scale."""
    pixels = np.zeros((70, 900), dtype=np.uint16)
    pixels[:, :90] = noisy
    mask = np.zeros((70, 900), dtype=bool)
    mask[:, :90] = True
    tissue = Tissue(900, 70, 0.5, source="mask", mask=mask, mask_mpp_um=0.5)
    with open_image(write_tiff(pixels), 0.5) as image:
        inside = fit_scaling(image, "CD31", tissue).marker_plane
    assert inside.low > 150


def test_a_large_section_is_sampled_evenly(write_tiff) -> None:
    """Beyond four million pixels windows are read, and the percentiles stay those of the whole."""
    random = np.random.default_rng(4)
    pixels = random.normal(100, 4, (2300, 2300)).astype(np.uint8)
    pixels[:, ::23] = 220
    with open_image(write_tiff(pixels), 0.5) as image:
        plane = fit_scaling(image, "CD31").marker_plane
    assert abs(plane.low - np.percentile(pixels, 1)) <= 1
    assert plane.high == 220


def test_scaling_is_recorded_as_json() -> None:
    """A scaling becomes JSON by way of `dataclasses.asdict`."""
    for scaling in (
        brightfield_scaling("CD31"),
        fluorescence_scaling("VEGF", np.eye(9, dtype=np.uint8)),
    ):
        record = json.loads(json.dumps(dataclasses.asdict(scaling)))
        assert record["modality"] == scaling.modality


def test_incomplete_scalings_are_refused() -> None:
    """A scaling without what its modality needs is an error where it is built."""
    with pytest.raises(ValueError, match="background"):
        MarkerScaling("brightfield", "CD31")
    with pytest.raises(ValueError, match="marker_plane"):
        MarkerScaling("fluorescence", "CD31")


def test_vessmap_crops_scale_by_their_percentiles(shared_data) -> None:
    """On real vessels the noise floor never acts: the network sees plain percentiles."""
    for path in sorted((shared_data / "vessmap" / "images").glob("*.tif*"))[::5]:
        with open_image(path, 0.5) as image:
            plane = fit_scaling(image, "CD31", find_tissue(image)).marker_plane
            low, high = np.percentile(image.read_region(0, 0, 256, 256), (1, 99.5))
        assert abs(plane.low - low) <= 1
        assert abs(plane.high - high) <= 1
