"""Optical density and stain separation in brightfield images.

Light that passes a stained section falls off exponentially with the amount of stain
(Beer–Lambert), so optical densities add where stains lie over one another, and the amounts follow
from a linear change of basis (Ruifrok and Johnston, Anal Quant Cytol Histol 23:291, 2001).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]
BackgroundSource = Literal["glass", "default", "given"]

DEFAULT_BACKGROUND_RGB: RGB = (255.0, 255.0, 255.0)

# Ruifrok and Johnston's H-DAB, as revised by Landini for ImageJ's colour deconvolution.
_HEMATOXYLIN: RGB = (0.650, 0.704, 0.286)
_DAB: RGB = (0.268, 0.570, 0.776)


@dataclass(frozen=True, slots=True)
class StainVectors:
    """Unit vectors of the optical density of each stain, in the order red, green, blue."""

    hematoxylin: RGB
    dab: RGB
    residual: RGB

    def __post_init__(self) -> None:
        for name in ("hematoxylin", "dab", "residual"):
            vector = getattr(self, name)
            if len(vector) != 3 or not all(math.isfinite(value) for value in vector):
                raise ValueError(f"stain vector {name} needs three finite numbers, got {vector}")
            if abs(math.hypot(*vector) - 1.0) > 1e-3:
                raise ValueError(
                    f"stain vector {name} has length {math.hypot(*vector):.4f}, not 1: "
                    "build the set with StainVectors.from_pair"
                )
        if abs(float(np.linalg.det(self.matrix))) < 0.05:
            raise ValueError("the stain vectors lie nearly in one plane and cannot be separated")

    @classmethod
    def default(cls) -> StainVectors:
        """Return the H-DAB vectors of Ruifrok, Johnston and Landini."""
        return cls.from_pair(_HEMATOXYLIN, _DAB)

    @classmethod
    def from_pair(
        cls, hematoxylin: RGB | NDArray[np.float64], dab: RGB | NDArray[np.float64]
    ) -> StainVectors:
        """Scale two vectors to unit length and add their cross product as the residual."""
        first, second = _unit(hematoxylin), _unit(dab)
        return cls(_rgb(first), _rgb(second), _rgb(_unit(np.cross(first, second))))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Return the vectors as rows (3, 3) in the order DAB, hematoxylin, residual."""
        return np.array([self.dab, self.hematoxylin, self.residual], dtype=np.float64)


def optical_density(
    rgb: NDArray[Any], background_rgb: RGB = DEFAULT_BACKGROUND_RGB
) -> NDArray[np.float32]:
    """Return log10(I0 / I) of each channel, with I at least 1.

    Parameters
    ----------
    rgb : ndarray, shape (..., 3)
        Intensities on the scale 0–255, of any number type.
    background_rgb : tuple of float
        Intensity I0 of empty glass.

    Returns
    -------
    ndarray of float32, shape (..., 3)
        Optical density; negative where a pixel is brighter than the background.
    """
    i0 = np.asarray(background_rgb, dtype=np.float64)
    if i0.shape != (3,) or not np.isfinite(i0).all() or (i0 < 1).any():
        raise ValueError(f"background_rgb needs three intensities of at least 1, got {i0.tolist()}")
    pixels = np.asarray(rgb)
    if pixels.dtype == np.uint8 and pixels.size:
        levels = np.maximum(np.arange(256, dtype=np.float64), 1.0)[:, None]
        table = np.log10(i0 / levels).astype(np.float32)
        flat = np.ascontiguousarray(pixels).reshape(1, -1, 3)
        density = cv2.LUT(flat, table[None])
        return np.asarray(density, dtype=np.float32).reshape(pixels.shape)
    intensity = np.maximum(pixels.astype(np.float32), np.float32(1.0))
    return (np.log10(i0).astype(np.float32) - np.log10(intensity)).astype(np.float32)


def separate(od: NDArray[np.floating], vectors: StainVectors) -> NDArray[np.float32]:
    """Return the amount of each stain from optical densities.

    Parameters
    ----------
    od : ndarray, shape (..., 3)
        Optical densities of red, green and blue.
    vectors : StainVectors
        What one unit of each stain absorbs.

    Returns
    -------
    ndarray of float32, shape (..., 3)
        Optical density of DAB (the marker), hematoxylin (the counterstain) and the residual;
        not clipped, so noise stays unbiased.
    """
    inverse = np.linalg.inv(vectors.matrix)
    density = np.ascontiguousarray(od, dtype=np.float32)
    if not density.size:
        return density
    # cv2.transform takes a fifth of the time of a matrix product with three columns.
    amounts = cv2.transform(density.reshape(1, -1, 3), inverse.T.astype(np.float32))
    return np.asarray(amounts, dtype=np.float32).reshape(density.shape)


def compose(
    stain_od: NDArray[np.floating],
    vectors: StainVectors,
    background_rgb: RGB = DEFAULT_BACKGROUND_RGB,
) -> NDArray[np.float32]:
    """Return the colour that given amounts of stain leave of the background light.

    The inverse of `separate` after `optical_density`.

    Parameters
    ----------
    stain_od : ndarray, shape (..., 3)
        Optical density of DAB, hematoxylin and the residual.
    vectors : StainVectors
        What one unit of each stain absorbs.
    background_rgb : tuple of float
        Intensity I0 of empty glass, 0–255.

    Returns
    -------
    ndarray of float32, shape (..., 3)
        Red, green and blue from 0 to 255.
    """
    od = np.asarray(stain_od, dtype=np.float32) @ vectors.matrix.astype(np.float32)
    i0 = np.asarray(background_rgb, dtype=np.float32)
    return np.clip(i0 * np.float32(10.0) ** -od, 0.0, 255.0).astype(np.float32)


def estimate_background(
    rgb: NDArray[Any], glass: NDArray[np.bool_] | None = None
) -> tuple[RGB, BackgroundSource]:
    """Return the intensity of the slide's own glass, or 255 where no glass is seen.

    Parameters
    ----------
    rgb : ndarray, shape (H, W, 3)
        Intensities on the scale 0–255.
    glass : ndarray of bool, shape (H, W), optional
        Where the slide is empty, as `imaging.tissue` finds it.

    Returns
    -------
    tuple
        (red, green, blue) medians over the glass, and "glass"; or (255, 255, 255), "default".
    """
    if glass is None or not glass.any():
        return DEFAULT_BACKGROUND_RGB, "default"
    median = np.median(np.asarray(rgb)[glass], axis=0)
    return _rgb(np.maximum(median, 1.0)), "glass"


def estimate_vectors(
    rgb: NDArray[Any],
    background_rgb: RGB = DEFAULT_BACKGROUND_RGB,
    *,
    min_od: float = 0.15,
    max_angle_deg: float = 20.0,
) -> StainVectors:
    """Estimate the H and DAB vectors of an image, or return the default ones.

    The two extreme directions (percentiles 1 and 99 of the angle) in the plane of the two largest
    singular vectors of the optical densities (Macenko et al., ISBI 2009). An extreme that lies
    further than `max_angle_deg` from its default is no hematoxylin or DAB, as in an image that
    shows one stain only: the default vector stands then.

    Parameters
    ----------
    rgb : ndarray, shape (..., 3)
        Intensities on the scale 0–255.
    background_rgb : tuple of float
        Intensity I0 of empty glass.
    min_od : float
        Pixels whose mean optical density is lower are background and not used.
    max_angle_deg : float
        Greatest angle to the default vector.

    Returns
    -------
    StainVectors
        Deterministic; the defaults where fewer than 500 pixels are stained.
    """
    default = StainVectors.default()
    od = optical_density(rgb, background_rgb).reshape(-1, 3).astype(np.float64)
    # Saturated pixels have no hue left, and would bend the plane.
    usable = (od.mean(axis=1) > min_od) & (od.max(axis=1) < 2.0)
    od = od[usable]
    if len(od) < 500:
        return default
    od = od[:: max(1, len(od) // 200_000)]
    _, axes = np.linalg.eigh(od.T @ od)
    plane = axes[:, :0:-1]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    projected = od @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    ends = [
        plane @ np.array([math.cos(a), math.sin(a)]) for a in np.percentile(angles, (1.0, 99.0))
    ]
    pair = sorted(ends, key=lambda end: _angle_deg(end, np.array(default.hematoxylin)))
    hematoxylin = _nearest(pair[0], default.hematoxylin, max_angle_deg)
    dab = _nearest(pair[1], default.dab, max_angle_deg)
    if (hematoxylin, dab) == (default.hematoxylin, default.dab):
        return default
    if _angle_deg(np.array(hematoxylin), np.array(dab)) < 15.0:
        return default
    return StainVectors.from_pair(hematoxylin, dab)


def _nearest(found: NDArray[np.float64], default: RGB, max_angle_deg: float) -> RGB:
    """Return the vector found if it is close enough to the default, else the default."""
    close = _angle_deg(found, np.array(default)) <= max_angle_deg and bool((found >= -0.05).all())
    return _rgb(_unit(np.maximum(found, 0.0))) if close else default


def _unit(vector: RGB | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a vector of length 1 in the same direction."""
    array = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(array))
    if array.shape != (3,) or not math.isfinite(length) or length < 1e-6:
        raise ValueError(f"a stain vector needs three finite numbers, not all 0, got {vector}")
    return array / length


def _rgb(vector: NDArray[np.float64]) -> RGB:
    """Return an array of three as a tuple of Python floats."""
    return float(vector[0]), float(vector[1]), float(vector[2])


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the angle between two vectors in degrees."""
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
