"""Render a real vessel mask and its fluorescence image as a brightfield H-DAB picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datasets.synth import look_streams
from datasets.synth_brightfield import blue_haze, brown_haze, erythrocytes
from datasets.synth_camera import RgbImage, photograph
from datasets.synth_paint import blurred, gain_noise, stamp
from datasets.synth_random import wobbly_radii
from datasets.synth_shapes import Field
from datasets.synth_style import BrightfieldStyle

_STREAM = 3


def rerender_as_hdab(
    mask: npt.NDArray[np.bool_],
    fluorescence: npt.NDArray[Any],
    seed: int,
    *,
    mpp_um: float = 0.5,
    style: BrightfieldStyle | None = None,
) -> RgbImage:
    """Render a real vessel mask as H-DAB; its fluorescence gives the stain's strength and texture.

    Parameters
    ----------
    mask
        True inside vessels (H, W).
    fluorescence
        Grey values (H, W) of the marker, of any type and scale.
    seed
        Seed of stain, counterstain, light, noise and compression.
    mpp_um
        Pixel size in µm.
    style
        Stain and camera; drawn from the seed by default.

    Returns
    -------
    ndarray of uint8, (H, W, 3), RGB.

    Raises
    ------
    ValueError
        If the two differ in size or are no single planes.
    """
    if mask.ndim != 2 or mask.shape != fluorescence.shape:
        raise ValueError(
            f"the mask is {mask.shape} and the fluorescence image {fluorescence.shape}; "
            "give two planes (H, W) of one size"
        )
    streams = look_streams(seed, _STREAM, 5)
    style = BrightfieldStyle.draw(streams[0]) if style is None else style
    shape = (mask.shape[0], mask.shape[1])
    vessel = np.ascontiguousarray(mask, np.bool_)
    strength, outside = _local_strength(vessel, fluorescence.astype(np.float32))
    wall, lumen = _hollow(streams[1], vessel, strength, mpp_um, style)
    grain = gain_noise(streams[1], shape, 1.2 / mpp_um, 0.7 * style.granularity)
    haze = brown_haze(streams[2], shape, mpp_um, style)
    haze *= 1 + streams[2].uniform(0.0, 0.6) * outside
    dab = style.dab_od * wall * grain + (1 - 0.9 * lumen) * haze
    hematoxylin = style.hematoxylin_od * _nuclei(streams[3], vessel, mpp_um)
    hematoxylin += (1 - 0.9 * lumen) * blue_haze(streams[3], shape, mpp_um, style)
    spots = _lumen_spots(streams[3], lumen, mpp_um, style.erythrocyte_share)
    rims, blood = erythrocytes(streams[3], shape, spots, mpp_um)
    stain = np.stack([dab + rims, hematoxylin, np.zeros(shape, np.float32)], axis=-1)
    return photograph(streams[4], stain.astype(np.float32), style, blood)


def _local_strength(mask: npt.NDArray[np.bool_], light: Field) -> tuple[Field, Field]:
    """Return the vessel signal over its local background (H, W), and the structure outside.

    Both are relative: about 1 in a bright vessel; between −1 and 1 about the mean outside.
    """
    away = (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0).astype(np.float32)
    sigma = 24.0
    weight = blurred(away, sigma)
    level = float(np.median(light[away > 0])) if away.any() else float(light.min())
    background = (blurred(light * away, sigma) + 1e-3 * level) / (weight + 1e-3)
    signal = blurred(light, 0.6) - background
    inside = signal[mask]
    top = float(np.percentile(inside, 90)) if inside.size else 1.0
    strength = np.clip(signal / max(top, 1e-6), 0.0, 1.6)
    noise = float(np.std(signal[away > 0])) if away.any() else 1.0
    outside = np.clip(blurred(signal, 1.0) / max(3 * noise, 1e-6), -1, 1) * away
    return strength.astype(np.float32), outside.astype(np.float32)


def _hollow(
    rng: np.random.Generator,
    mask: npt.NDArray[np.bool_],
    strength: Field,
    mpp_um: float,
    style: BrightfieldStyle,
) -> tuple[Field, Field]:
    """Return the wall's stain and the open lumen (H, W): some wide vessels show two walls."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    beyond = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Annotated outlines lie a little outside of what stains: draw the edge in by up to a pixel.
    inset = float(rng.uniform(0.0, 1.0))
    signed = blurred(depth - beyond, 1.0)
    soft = float(rng.uniform(1.0, 3.0))
    inside = np.clip((signed - inset) / soft + 0.5, 0, 1)
    floor = float(rng.uniform(0.2, 0.5))
    contrast = float(rng.uniform(0.4, 1.1))
    stain = inside * np.maximum(strength**contrast, floor)
    if not mask.any() or rng.random() < 0.35:
        return stain.astype(np.float32), np.zeros_like(stain, np.float32)
    wall_px = float(rng.uniform(1.0, 2.0)) / mpp_um
    widest_px = float(rng.uniform(2.5, 6.0)) / mpp_um
    # A vessel is hollow as a whole: spread its greatest depth over its width.
    reach = 2 * int(np.ceil(widest_px)) + 1
    local = cv2.dilate(depth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    wide = np.clip((local - 0.7 * widest_px) / (0.6 * widest_px), 0, 1)
    core = np.clip(depth - wall_px + 0.5, 0, 1) * wide * (1 - style.wall_face)
    return (stain * (1 - core)).astype(np.float32), core.astype(np.float32)


def _nuclei(rng: np.random.Generator, mask: npt.NDArray[np.bool_], mpp_um: float) -> Field:
    """Paint nuclei between the vessels, and flat ones upon their edges (H, W)."""
    shape = (mask.shape[0], mask.shape[1])
    canvas, deep = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    area_mm2 = mask.size * (mpp_um * 1e-3) ** 2
    edge = blurred(mask.astype(np.float32), 2.0)
    slope_y, slope_x = (np.asarray(part) for part in np.gradient(edge))
    slope = np.hypot(slope_x, slope_y)
    for _ in range(int(rng.poisson(rng.uniform(300, 2500) * area_mm2))):
        column, row = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        if mask[int(row), int(column)] and rng.random() < 0.8:
            continue
        on_wall = slope[int(row), int(column)] > 0.04
        radius = float(np.clip(rng.normal(2.6 if on_wall else 3.4, 0.7), 1.6, 6.0))
        elongation = rng.uniform(2.0, 4.0) if on_wall else 1 + abs(rng.normal(0, 0.35))
        radii = wobbly_radii(rng, radius, elongation=1.0, wobble=0.03, count=36)
        angle = (
            np.arctan2(slope_x[int(row), int(column)], -slope_y[int(row), int(column)])
            if on_wall
            else rng.uniform(0, np.pi)
        )
        turn = np.arange(36) * (2 * np.pi / 36)
        ellipse = np.stack(
            [np.cos(turn) * radii * elongation**0.5, np.sin(turn) * radii / elongation**0.5], axis=1
        )
        spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        place = np.array([column, row]) * mpp_um
        focused = rng.random() < 0.8
        stamp(canvas if focused else deep, place + ellipse @ spin, mpp_um, rng.uniform(0.5, 1.3))
    deep = 0.8 * blurred(deep, 1.6 / mpp_um)
    return np.maximum(canvas, deep) * gain_noise(rng, shape, 1.6 / mpp_um, 0.22)


def _lumen_spots(
    rng: np.random.Generator, lumen: Field, mpp_um: float, share: float
) -> list[Field]:
    """Choose places in open lumens for red cells."""
    rows, columns = np.nonzero(lumen > 0.6)
    wanted = int(share * len(rows) * mpp_um**2 / 25.0)
    chosen = rng.integers(0, max(len(rows), 1), wanted)
    return [np.array([columns[at], rows[at]], np.float32) * mpp_um for at in chosen]
