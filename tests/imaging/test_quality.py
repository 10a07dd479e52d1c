"""Pixel statistics of quality, on images whose every number is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from imaging.focus import measure_focus
from imaging.light import clipped_fluorescence, levels, vignetting_od
from imaging.markers import fit_scaling
from imaging.open import open_image
from imaging.quality import PixelQuality, pixel_quality
from imaging.staining import counterstain_od, fold_share, unexplained_share
from imaging.stains import StainVectors, compose
from imaging.tissue import find_tissue

_RULES = StainVectors.default()


def _discs(seed: int = 0, side: int = 512) -> NDArray[np.float32]:
    """Return bright discs of 3 to 12 px on a dark ground, drawn eightfold and averaged."""
    random = np.random.default_rng(seed)
    canvas = np.full((8 * side // 4, 8 * side // 4), 40.0, dtype=np.float32)
    for _ in range(120):
        centre = random.integers(0, canvas.shape[0], 2)
        radius = int(random.integers(3, 13)) * 2
        cv2.circle(canvas, (int(centre[0]), int(centre[1])), radius, 140.0, -1)
    return np.asarray(cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _blur(plane: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), np.float32)


def _measured(plane: NDArray[Any]) -> float:
    blur = measure_focus([plane], [np.ones(plane.shape, bool)]).blur_px
    assert blur is not None
    return blur


def _look(
    pixels: NDArray[Any],
    folder: Path,
    channels: Mapping[str, int] | None = None,
    mode: str = "auto",
    **options: Any,
) -> PixelQuality:
    """Return the statistics of an array saved as a file of 0.5 µm per pixel."""
    path = folder / ("section.ome.tif" if channels else "section.tif")
    if channels:
        planes = np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(path, planes, metadata={"axes": "CYX"}, photometric="minisblack")
    else:
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    with open_image(path, 0.5, channels=channels, **options) as image:
        tissue = find_tissue(image, mode)
        scaling = fit_scaling(image, "CD31", tissue)
        return pixel_quality(image, tissue, ["CD31"], {"CD31": scaling}, 0.5)


@pytest.mark.parametrize("sigma_px", [1.5, 2.0, 3.0, 4.0])
def test_blur_put_in_is_blur_measured(sigma_px: float) -> None:
    """Edges of discs tell the blur laid over them within a fifth and half a pixel."""
    for seed in range(3):
        assert _measured(_blur(_discs(seed), sigma_px)) == pytest.approx(sigma_px, rel=0.2, abs=0.5)


def test_blur_depends_on_neither_contrast_nor_orientation_nor_empty_parts() -> None:
    """Half the stain, a mirror image, a quarter turn or an empty margin leave the blur as it is."""
    plane = _blur(_discs(), 2.0)
    blur = _measured(plane)
    assert _measured(40 + 0.5 * (plane - 40)) == pytest.approx(blur, rel=1e-3)
    assert _measured(plane[:, ::-1]) == pytest.approx(blur, abs=0.15)
    assert _measured(np.rot90(plane)) == pytest.approx(blur, abs=0.15)
    wide = np.full((512, 1024), 40.0, np.float32)
    wide[:, :512] = plane
    assert _measured(wide) == pytest.approx(blur, abs=0.3)


def test_noise_neither_sharpens_nor_softens() -> None:
    """Noise of 6 % of the contrast moves the blur by less than 0.3 px."""
    noise = np.random.default_rng(1).normal(0, 6.0, (512, 512)).astype(np.float32)
    for sigma_px in (1.0, 2.0, 3.0):
        plane = _blur(_discs(), sigma_px)
        assert _measured(plane + noise) == pytest.approx(_measured(plane), abs=0.3)


def test_uneven_light_is_no_edge() -> None:
    """A ramp with noise is blank, however steep."""
    ramp = np.linspace(40, 240, 512, dtype=np.float32) * np.ones((512, 1), np.float32)
    noisy = ramp + np.random.default_rng(2).normal(0, 2.0, ramp.shape).astype(np.float32)
    focus = measure_focus([noisy], [np.ones(ramp.shape, bool)])
    assert focus.blank
    assert focus.blur_px is None


def test_clipped_pixels_are_counted(tmp_path: Path) -> None:
    """Of 10,000 pixels, 300 white ones and 200 with one colour at 0 are a share of 0.05."""
    pixels = np.full((100, 100, 3), (200, 180, 190), np.uint8)
    pixels[:3] = 255
    pixels[3:5, :, 2] = 0
    pixels[5:9, :, 0] = 255
    seen = _look(pixels, tmp_path, mode="frame", modality="brightfield")
    assert seen.clipped_fraction == pytest.approx(0.05)


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_a_pile_up_is_clipping_at_any_bit_depth(top: int) -> None:
    """A camera that ends at 4095 in a 16-bit file clips as one that fills the file."""
    random = np.random.default_rng(3)
    light = random.gamma(2.0, 0.12 * top, (512, 512))
    dtype, full = (np.uint8, 255) if top == 255 else (np.uint16, 65535)
    mask = np.ones((512, 512), bool)
    clipped = np.minimum(light, top).astype(dtype)
    share = float((light >= top).mean())
    assert share > 0.001
    assert clipped_fluorescence([clipped], [mask], full) == pytest.approx(share, abs=1e-3)
    dim = (0.3 * np.minimum(light, 2.2 * top) ** 0.5).astype(dtype)
    assert clipped_fluorescence([dim], [mask], full) < 1e-3


def test_unevenness_of_a_known_fall_of_light(tmp_path: Path) -> None:
    """Light that falls by 0.2 OD over the frame is uneven by 90 % of what window centres span."""
    fall = np.linspace(0.0, 0.2, 1024) * np.ones((1024, 1))
    random = np.random.default_rng(4)
    plane = (fall + np.abs(random.normal(0, 0.02, fall.shape))).astype(np.float32)
    spread = levels([plane], None, 1.0).spread()
    assert spread is not None
    # Eight windows across: centres span 7/8 of the frame.
    assert spread[1] == pytest.approx(0.2 * 7 / 8, rel=0.05)
    assert spread[0] == pytest.approx(0.1, abs=0.01)


def _distance(height: int, width: int) -> NDArray[np.float64]:
    """Return the distance from the middle, 1 in the corners."""
    y, x = np.mgrid[0:height, 0:width]
    reach = np.hypot((2 * x + 1) / width - 1, (2 * y + 1) / height - 1)
    return np.asarray(reach / np.sqrt(2))


@pytest.mark.parametrize("power", [2, 4])
@pytest.mark.parametrize("shape", [(512, 512), (1024, 1376), (300, 700)])
def test_vignetting_of_a_known_fall_of_light(power: int, shape: tuple[int, int]) -> None:
    """Corners that lack 0.2 OD are seen to lack over half of it, a tilt nothing."""
    noise = np.abs(np.random.default_rng(4).normal(0, 0.02, shape))
    falls = (0.2 * _distance(*shape) ** power + noise).astype(np.float32)
    seen = vignetting_od(levels([falls], None, 1.0, fine=True), envelope=True)
    assert seen is not None
    assert 0.11 < seen < 0.21
    tilt = (0.2 * np.linspace(0, 1, shape[1]) + noise).astype(np.float32)
    seen = vignetting_od(levels([tilt], None, 1.0, fine=True), envelope=True)
    assert seen == pytest.approx(0.0, abs=0.01)
    bright_corners = (0.2 - falls).astype(np.float32)
    assert vignetting_od(levels([bright_corners], None, 1.0, fine=True), envelope=True) == 0.0


def test_vignetting_needs_one_frame(tmp_path: Path) -> None:
    """Scattered samples and small fields have none; the reason says which."""
    planes = [np.zeros((256, 256), np.float32)] * 12
    assert vignetting_od(levels(planes, None, 1.0), envelope=True) is None
    field = np.full((2100, 2100, 3), 200, np.uint8)
    field[::40] = (150, 120, 90)
    seen = _look(field, tmp_path, mode="frame", modality="brightfield")
    assert seen.vignetting is None
    assert "samples; measure a single frame" in seen.reasons["vignetting"]
    seen = _look(field[:150, :150], tmp_path, mode="frame", modality="brightfield")
    assert seen.vignetting is None
    assert "small" in seen.reasons["vignetting"]


def test_glow_that_changes_otherwise_is_no_vignetting() -> None:
    """In fluorescence a fall counts where it explains the change, and patches hide it."""
    light = 1000 * 10 ** (-0.4 * _distance(1024, 1024) ** 2)
    values = -np.log10(light.astype(np.float32))
    seen = vignetting_od(levels([values], None, 50.0), envelope=False)
    assert seen == pytest.approx(0.4, abs=0.03)
    patches = np.random.default_rng(1).normal(0, 0.15, (8, 8)).repeat(128, 0).repeat(128, 1)
    seen = vignetting_od(
        levels([(values + patches).astype(np.float32)], None, 50.0), envelope=False
    )
    assert seen == 0.0


def test_dense_tissue_is_not_uneven_light() -> None:
    """A patch of 0.5 OD over a seventh of the field moves the background by less than 0.08."""
    plane = np.random.default_rng(5).uniform(0.0, 0.02, (1024, 1024)).astype(np.float32)
    plane[384:768, 256:640] += 0.5
    spread = levels([plane], None, 1.0).spread()
    assert spread is not None
    assert spread[1] < 0.08


def test_hematoxylin_and_dab_explain_themselves_and_eosin_not() -> None:
    """Mixtures of H and DAB leave nothing; pure eosin leaves its distance to their plane."""
    amounts = np.random.default_rng(6).uniform(0.1, 0.5, (2000, 3)).astype(np.float32)
    amounts[:, 2] = 0
    assert unexplained_share(amounts @ _RULES.matrix.astype(np.float32), _RULES) == pytest.approx(
        0.0, abs=1e-4
    )
    eosin = np.array([0.07, 0.99, 0.11])
    eosin /= np.linalg.norm(eosin)
    distance = abs(float(eosin @ np.array(_RULES.residual)))
    pure = np.repeat((0.6 * eosin)[None], 2000, axis=0).astype(np.float32)
    assert unexplained_share(pure, _RULES) == pytest.approx(distance, abs=1e-3)
    assert unexplained_share(pure[:10], _RULES) is None


def test_nuclei_are_counterstain_and_a_veil_is_none() -> None:
    """Nuclei of 0.5 OD on a veil of 0.2 stand out by 0.3; the veil alone by nothing."""
    amounts = np.zeros((5000, 3), np.float32)
    amounts[:, 1] = 0.2
    veil = counterstain_od(amounts @ _RULES.matrix.astype(np.float32), _RULES)
    assert veil == pytest.approx(0.0, abs=1e-3)
    amounts[::20, 1] = 0.5
    nuclei = counterstain_od(amounts @ _RULES.matrix.astype(np.float32), _RULES)
    assert nuclei == pytest.approx(0.3, abs=1e-3)


def test_a_double_layer_is_a_fold_of_its_area() -> None:
    """A band of 60 µm in a frame of 512 µm that absorbs twice as much is 60/512 of the tissue."""
    layer = np.full((256, 256, 3), (0.10, 0.16, 0.14), np.float32)
    mask = np.ones((256, 256), bool)
    assert fold_share([layer], [mask], 2.0) == 0.0
    folded = layer.copy()
    folded[:, 100:130] *= 2
    assert fold_share([folded], [mask], 2.0) == pytest.approx(30 / 256, rel=0.1)
    brown = layer.copy()
    brown[:, 100:130] += 0.6 * np.array(_RULES.dab, np.float32)
    assert fold_share([brown], [mask], 2.0) == 0.0
    spot = layer.copy()
    spot[100:130, 100:130] *= 2
    assert fold_share([spot], [mask], 2.0) == 0.0


def test_channels_that_are_one_picture_correlate(tmp_path: Path) -> None:
    """A marker's channel that repeats the nuclei's correlates by 1, a foreign one by little."""
    nuclei, marker = (np.rint(_blur(_discs(seed), 1.0)).astype(np.uint8) for seed in (0, 1))
    channels = {"nuclei": 0, "CD31": 1}
    same = _look(np.stack([nuclei, nuclei], axis=-1), tmp_path, channels)
    assert same.nuclei_correlation == pytest.approx(1.0)
    other = _look(np.stack([nuclei, marker], axis=-1), tmp_path, channels)
    assert other.nuclei_correlation is not None
    assert abs(other.nuclei_correlation) < 0.2
    assert other.stain_residual is None
    assert "brightfield" in other.reasons["stain_residual"]


@pytest.mark.parametrize("mode", ["auto", "frame"])
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("side", [1, 40, 300])
@pytest.mark.parametrize("modality", ["brightfield", "fluorescence"])
def test_every_image_has_numbers_or_reasons(
    tmp_path: Path, mode: str, value: int, side: int, modality: str
) -> None:
    """Black and white frames of any size give no NaN, and say why a number is missing."""
    shape = (side, side, 3) if modality == "brightfield" else (side, side)
    seen = _look(np.full(shape, value, np.uint8), tmp_path, mode=mode, modality=modality)
    for name in PixelQuality.__dataclass_fields__:
        number = getattr(seen, name)
        if isinstance(number, float):
            assert np.isfinite(number)
        if number is None:
            assert seen.reasons[name]
    assert seen.blur_um is None
    if side == 300:
        assert seen.tissue_fraction == 0.0


def test_sixteen_bit_brightfield_is_the_same_as_eight(tmp_path: Path) -> None:
    """The number type of a scan changes no statistic."""
    amounts = np.zeros((256, 256, 3), np.float32)
    amounts[..., 1] = (_blur(_discs(0, 256), 1.0) - 40) / 200
    amounts[..., 0] = (_blur(_discs(1, 256), 1.0) - 40) / 100
    rgb = np.rint(compose(amounts, _RULES)).astype(np.uint8)
    eight = _look(rgb, tmp_path)
    sixteen = _look(rgb.astype(np.uint16) * 257, tmp_path)
    for name in ("blur_um", "clipped_fraction", "background_od", "unevenness", "stain_residual"):
        assert getattr(sixteen, name) == pytest.approx(getattr(eight, name), abs=1e-3)
    assert _look(rgb, tmp_path) == eight


def test_a_marker_without_scaling_is_refused(tmp_path: Path) -> None:
    """Markers without a scaling, or none at all, are an error that names them."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((50, 50), np.uint8))
    with open_image(path, 0.5) as image, pytest.raises(ValueError, match="VEGF"):
        pixel_quality(image, None, ["VEGF"], {}, 0.5)
