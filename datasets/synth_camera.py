"""Photograph stained tissue: light, optics, sensor and file compression."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from datasets.synth_paint import blurred, smooth_noise, stamp
from datasets.synth_shapes import Field, angles_of
from datasets.synth_style import BrightfieldStyle
from imaging.stains import compose

RgbImage = npt.NDArray[np.uint8]


def photograph(
    rng: np.random.Generator,
    stain_od: Field,
    style: BrightfieldStyle,
    extra_od: Field | None = None,
) -> RgbImage:
    """Turn stain densities (H, W, 3) into an 8-bit picture (H, W, 3).

    Parameters
    ----------
    stain_od
        Optical density of DAB, hematoxylin and residual.
    extra_od
        Optical density (H, W, 3) of red, green and blue that no stain explains.
    """
    shape = (stain_od.shape[0], stain_od.shape[1])
    fold = _folds(rng, shape, style.fold_count)
    if fold is not None:
        stain_od = stain_od * fold[..., None]
    light = compose(stain_od, style.vectors, style.background_rgb).astype(np.float32)
    if extra_od is not None:
        light *= np.power(np.float32(10), -extra_od)
    light *= _dust(rng, shape, style.dust_count)[..., None]
    light *= _illumination(rng, shape, style.unevenness)[..., None]
    if style.blur_px > 0:
        light = blurred(light, style.blur_px)
    if style.noise_sd > 0:
        light = light + _sensor_noise(rng, light, style.noise_sd)
    if style.sharpening > 0:
        soft = blurred(light, 1.2)
        light = light + style.sharpening * (light - soft)
    pixels = np.clip(np.round(light), 0, 255).astype(np.uint8)
    return pixels if style.jpeg_quality is None else through_jpeg(pixels, style.jpeg_quality)


def through_jpeg(pixels: RgbImage, quality: int) -> RgbImage:
    """Return the picture as it comes back from a JPEG file."""
    # OpenCV's order is blue, green, red.
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    unpacked = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(unpacked[..., ::-1])


def _sensor_noise(rng: np.random.Generator, light: Field, noise_sd: float) -> Field:
    """Return shot-like noise: part common to the colours, part of each colour's own."""
    own = rng.standard_normal(light.shape, dtype=np.float32)
    common = rng.standard_normal(light.shape[:2], dtype=np.float32)[..., None]
    level = np.sqrt(np.clip(light, 0, 255) / 255 * 0.8 + 0.2)
    return np.asarray(noise_sd * level * (0.6 * own + 0.8 * common), np.float32)


def _illumination(rng: np.random.Generator, shape: tuple[int, int], unevenness: float) -> Field:
    """Return a slow fall of light (H, W): a tilt and a bowl."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    tilt = rng.normal(0, 0.5, 2)
    centre = rng.uniform(-0.4, 0.4, 2)
    bowl = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    return np.asarray(
        1 - unevenness * (0.35 * bowl + 0.5 * (tilt[0] * x + tilt[1] * y)), np.float32
    )


def _dust(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Field:
    """Return the transmission (H, W) of dust: dark specks, sharp or far out of focus."""
    light = np.ones(shape, np.float32)
    for _ in range(count):
        radius = float(np.exp(rng.uniform(np.log(0.8), np.log(7.0))))
        centre = rng.uniform(0, (shape[1], shape[0]))
        angles = angles_of(14)
        reach = radius * rng.uniform(0.5, 1.3, 14)
        canvas = np.zeros(shape, np.float32)
        rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        stamp(canvas, centre + reach[:, None] * rim, 1.0)
        blur = float(rng.choice([0.6, rng.uniform(2.0, 6.0)]))
        light *= 1 - rng.uniform(0.15, 0.75) * blurred(canvas, blur)
    return light


def _folds(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Field | None:
    """Return how often tissue lies upon itself (H, W): bands with one sharp side; None without."""
    if count == 0:
        return None
    layers = np.ones(shape, np.float32)
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)
    for _ in range(count):
        angle = rng.uniform(0, np.pi)
        offset = rng.uniform(0.2, 0.8) * (shape[1] * np.cos(angle) + shape[0] * np.sin(angle))
        across = x * np.cos(angle) + y * np.sin(angle) - offset
        across = across + 9 * smooth_noise(rng, shape, 90.0)
        width = rng.uniform(8, 50)
        band = np.clip(across / 2, 0, 1) * np.clip((width - across) / (0.4 * width), 0, 1)
        layers += rng.uniform(0.3, 0.9) * band
    return layers
