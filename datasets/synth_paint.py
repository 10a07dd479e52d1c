"""Paint shapes and noise: soft-edged coverage (H, W) in 0..1 and random textures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from datasets.synth_shapes import Field, FloatArray, Outline, VesselField, angles_of

_SHIFT_BITS = 4


def blurred(image: Field, sigma_px: float) -> Field:
    """Return the image (H, W) or (H, W, C) under a Gaussian blur, mirrored at its border."""
    soft = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft, np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale_px: float
) -> npt.NDArray[np.float32]:
    """Return noise (H, W) of mean about 0, deviation about 1, that varies over ``scale_px``.

    Drawn on a coarse grid and enlarged, so that broad noise costs as little as fine noise.
    """
    height, width = shape
    step = max(1.0, scale_px / 2.0)
    rows, columns = int(np.ceil(height / step)) + 4, int(np.ceil(width / step)) + 4
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse = blurred(coarse, max(0.3, scale_px / step / 2))
    coarse /= max(float(coarse.std()), 1e-6)
    if step == 1.0:
        return np.ascontiguousarray(coarse[2 : 2 + height, 2 : 2 + width])
    offset = rng.uniform(0.5, 1.5, 2)
    matrix = np.array([[1 / step, 0, offset[0]], [0, 1 / step, offset[1]]], np.float32)
    return np.asarray(
        cv2.warpAffine(
            coarse,
            matrix,
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def gain_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale_px: float, spread: float
) -> Field:
    """Return positive multipliers (H, W) about 1 whose logarithm deviates by ``spread``."""
    return np.asarray(np.exp(np.float32(spread) * smooth_noise(rng, shape, scale_px)))


def cover(
    vertices_um: FloatArray, shape: tuple[int, int], mpp_um: float
) -> tuple[tuple[slice, slice], Field] | None:
    """Return the window of a polygon and how much of each pixel in it the polygon covers.

    None where it lies wholly outside an image of this shape.
    """
    height, width = shape
    corners = vertices_um / mpp_um - 0.5
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (width, height))
    if x0 >= x1 or y0 >= y1:
        return None
    fixed = np.round((corners - (x0, y0)) * (1 << _SHIFT_BITS)).astype(np.int32)
    drawn = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(drawn, [fixed], 255, cv2.LINE_AA, _SHIFT_BITS)
    window = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
    return window, drawn.astype(np.float32) / np.float32(255)


def stamp(canvas: Field, vertices_um: FloatArray, mpp_um: float, value: float = 1.0) -> None:
    """Raise the canvas to ``value`` inside a polygon, its edge smoothed over a pixel."""
    touched = cover(vertices_um, (canvas.shape[0], canvas.shape[1]), mpp_um)
    if touched is not None:
        window, covered = touched
        np.maximum(canvas[window], np.float32(value) * covered, out=canvas[window])


def stamp_disc(
    canvas: Field, centre_um: FloatArray, radius_um: float, mpp_um: float, value: float = 1.0
) -> None:
    """Raise the canvas to ``value`` inside a circle."""
    angles = angles_of(24)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    stamp(canvas, centre_um + radius_um * rim, mpp_um, value)


def outline_field(
    outlines: Sequence[Outline], shape: tuple[int, int], mpp_um: float
) -> VesselField:
    """Measure about how far each pixel lies from the outlines, along the ray from their centre."""
    height, width = shape
    field = VesselField(
        np.full(shape, 1e6, np.float32), np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
    )
    for number, outline in enumerate(outlines):
        reach = float(outline.radii_um.max()) + 3 * mpp_um
        centre = np.asarray(outline.centre_um)
        x0, y0 = np.maximum(np.floor((centre - reach) / mpp_um).astype(int), 0)
        x1, y1 = np.minimum(np.ceil((centre + reach) / mpp_um).astype(int), (width, height))
        if x0 >= x1 or y0 >= y1:
            continue
        dx = (np.arange(x0, x1) + 0.5) * mpp_um - centre[0]
        dy = ((np.arange(y0, y1) + 0.5) * mpp_um - centre[1])[:, None]
        count = outline.radii_um.size
        turn = np.mod(np.arctan2(dy, dx), 2 * np.pi) * (count / (2 * np.pi))
        radii = np.append(outline.radii_um, outline.radii_um[0])
        signed = (np.hypot(dx, dy) - np.interp(turn, np.arange(count + 1), radii)).astype(
            np.float32
        )
        window = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
        nearer = signed < field.signed_um[window]
        field.signed_um[window][nearer] = signed[nearer]
        field.radius_um[window][nearer] = outline.mean_radius_um
        field.owner[window][nearer] = number
    return field


def streaks(rng: np.random.Generator, shape: tuple[int, int], width_px: float) -> Field:
    """Return noise (H, W) of deviation about 1 drawn out along one direction, as fibres are."""
    length = int(12 * width_px) | 1
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    half = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.round(length // 2 + sign * half).astype(int) for sign in (-1, 1))
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0, 1)
    drawn = cv2.filter2D(smooth_noise(rng, shape, width_px), -1, kernel / kernel.sum())
    return np.asarray(drawn / max(float(drawn.std()), 1e-6), np.float32)


def soft_inside(signed_um: Field, mpp_um: float) -> Field:
    """Return how much of each pixel lies inside, from the signed distance of its centre."""
    return np.asarray(np.clip(0.5 - signed_um / mpp_um, 0, 1), np.float32)
