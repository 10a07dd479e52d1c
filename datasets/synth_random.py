"""Random sizes and smooth random lines that vessels and cells share."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from datasets.synth_params import SectionParams
from datasets.synth_shapes import FloatArray, angles_of

MARGIN_UM = 90.0
"""How far beyond the frame tubes start, so that as many come in as leave."""

STEP_UM = 2.5
"""Distance of successive points of a centre-line."""


def wobbly_radii(
    rng: np.random.Generator, radius_um: float, *, elongation: float, wobble: float, count: int = 72
) -> FloatArray:
    """Return the polar radii (``count``,) of an ellipse of equal area, roughened by harmonics."""
    angles = angles_of(count)
    turned = angles - rng.uniform(0, np.pi)
    a, b = radius_um * np.sqrt(elongation), radius_um / np.sqrt(elongation)
    radii = a * b / np.hypot(b * np.cos(turned), a * np.sin(turned))
    for order in range(2, 7):
        size = rng.normal(0, wobble / (order - 1))
        radii = radii * (
            1 + np.clip(size, -0.25, 0.25) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
        )
    return np.asarray(radii)


def vessel_radius(rng: np.random.Generator, params: SectionParams) -> float:
    """Draw the radius of a capillary in µm."""
    radius = params.radius_median_um * np.exp(rng.normal(0, params.radius_spread))
    return float(np.clip(radius, 1.4, 8.0))


def unit_noise(rng: np.random.Generator, count: int, scale: float) -> FloatArray:
    """Return noise (count,) of deviation 1 that is smooth over ``scale`` steps."""
    white = rng.normal(0, 1, count + int(8 * scale))
    smooth = gaussian_filter1d(white, scale) * np.sqrt(2 * np.sqrt(np.pi) * scale)
    return np.asarray(smooth[int(4 * scale) : int(4 * scale) + count])


def blended_radii(
    rng: np.random.Generator, count: int, first: float, own: float, last: float
) -> FloatArray:
    """Return radii (count,) from the first node's over the segment's own to the last's."""
    share = np.linspace(0, 1, count)
    radii = np.interp(
        share, [0, 0.25, 0.75, 1], [0.5 * (first + own), own, own, 0.5 * (own + last)]
    )
    wobble = gaussian_filter1d(rng.normal(0, 1, count), 2.0, mode="nearest")
    return np.asarray(np.maximum(radii * (1 + 0.15 * wobble), 1.2))
