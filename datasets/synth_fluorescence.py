"""Render synthetic sections as fluorescence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.synth import SyntheticSection, look_streams
from datasets.synth_paint import blurred, gain_noise, smooth_noise, stamp_disc
from datasets.synth_scene import WallLook, cell_stain, holes, nuclei_stain, vessel_stain
from datasets.synth_shapes import Field
from datasets.synth_style import FluorescenceStyle

NUCLEI = "nuclei"
_STREAM = 2
_DARK_HOLE = np.float32(0.7)
"""Part of the glow that a hole lacks: what lies above and below it still glows."""


def fluorescence_channels(markers: Sequence[str]) -> dict[str, int]:
    """Return which channel shows what in a fluorescence rendering: nuclei first, then markers."""
    return {name: index for index, name in enumerate((NUCLEI, *markers))}


def render_fluorescence(
    section: SyntheticSection,
    markers: Sequence[str] | None = None,
    style: FluorescenceStyle | None = None,
    *,
    seed: int | None = None,
) -> npt.NDArray[Any]:
    """Render a section as fluorescence.

    Parameters
    ----------
    markers
        Markers to show, the section's own by default.
    style
        Preparation and camera; drawn from the seed by default.
    seed
        Seed of the look, the section's own by default. It never moves anything.

    Returns
    -------
    ndarray of uint8 or uint16, (H, W, 1 + markers); `fluorescence_channels` names the channels.
    """
    streams = look_streams(section.seed if seed is None else seed, _STREAM, 4)
    style = FluorescenceStyle.draw(streams[0]) if style is None else style
    markers = section.params.markers if markers is None else markers
    torn = holes(streams[0].spawn(1)[0], section, style.hole_count)
    nuclei = nuclei_stain(streams[1], section) * np.float32(style.nuclei) * (1 - torn)
    signals: list[Field] = [nuclei]
    glowing = 1 - _DARK_HOLE * torn
    veils: list[Field] = [0.5 * glowing]
    clouds = [0.5 * style.mottle]
    for marker, stream in zip(markers, streams[2].spawn(len(markers)), strict=True):
        light, veil = _marker_light(stream, section, marker, style)
        signals.append(light)
        veils.append(veil * glowing)
        clouds.append(_mottle(section, marker, style))
    channels = [
        _expose(
            stream,
            signals[index] + _bleed(signals, index, style),
            veils[index],
            clouds[index],
            style,
        )
        for index, stream in enumerate(streams[3].spawn(len(signals)))
    ]
    dtype = np.uint8 if style.full_scale == 255 else np.uint16
    return np.stack(channels, axis=-1).astype(dtype)


def _bleed(signals: Sequence[Field], own: int, style: FluorescenceStyle) -> Field:
    """Return the light (H, W) of the other channels that leaks into this one.

    A filter set is chosen so that the leak stays below the signal; strong dyes leak no more.
    """
    others = sum(
        (signal for k, signal in enumerate(signals) if k != own), np.zeros_like(signals[0])
    )
    return np.asarray(np.minimum(style.bleed * others, 0.2 * style.signal), np.float32)


def _marker_light(
    rng: np.random.Generator, section: SyntheticSection, marker: str, style: FluorescenceStyle
) -> tuple[Field, Field]:
    """Return the light (H, W) of one marker as a part of full scale, and how dense tissue glows."""
    look = WallLook(
        style.strength_spread,
        style.granularity,
        style.wall_face,
        style.gap_fraction,
        style.defocused_share,
    )
    mpp = section.params.mpp_um
    vessels = vessel_stain(rng, section, look)
    far = blurred(vessels.defocused, float(rng.uniform(0.8, 1.8)) / mpp)
    light = vessels.sharp + float(rng.uniform(0.4, 0.8)) * far
    if marker == "VEGF":
        cells = cell_stain(
            rng,
            section,
            style.nuclear_signal,
            style.granularity,
            0.5 * style.defocused_share,
            weakest=style.weakest_cell,
        )
        light = np.maximum(style.vessel_distractor * light, cells)
    glow = blurred(light, 6.0 / mpp)
    # Blood and empty places lack the glow of neuropil: where they are not stained they are dark.
    hollow = vessels.inside if marker == "VEGF" else vessels.lumen
    veil = 1 - style.shadow * blurred(hollow, 1.0 / mpp)
    return (style.signal * (light + 0.12 * glow)).astype(np.float32), veil.astype(np.float32)


def _mottle(section: SyntheticSection, marker: str, style: FluorescenceStyle) -> float:
    """Return the deviation of the clouds in a marker's channel.

    Where there is something to outline, clouds as bright as the stain would make the truth a guess.
    """
    stained = section.cells if marker == "VEGF" else (*section.tubes, *section.profiles)
    return style.mottle_beside_signal if stained else style.mottle


def _clouds(rng: np.random.Generator, shape: tuple[int, int], style: FluorescenceStyle) -> Field:
    """Return clouded autofluorescence (H, W) of mean 0 and deviation 1."""
    broad = smooth_noise(rng, shape, style.mottle_px)
    fine = smooth_noise(rng, shape, max(style.mottle_px / 3, 1.5))
    share = float(rng.uniform(0.0, 0.7))
    clouds = (1 - share) * broad + share * fine
    clouds += 0.5 * style.mottle_skew * (clouds**2 - 1)
    return np.asarray((clouds - clouds.mean()) / max(float(clouds.std()), 1e-6), np.float32)


def _expose(
    rng: np.random.Generator, light: Field, veil: Field, mottle: float, style: FluorescenceStyle
) -> Field:
    """Add autofluorescence and specks, then optics and camera; grey values (H, W) of full scale."""
    shape = (light.shape[0], light.shape[1])
    glow = style.background * veil * gain_noise(rng, shape, 120.0, style.uneven_background)
    glow *= gain_noise(rng, shape, 6.0, style.texture)
    glow *= gain_noise(rng, shape, 1.5, style.texture)
    if mottle > 0:
        glow = np.maximum(glow + np.float32(mottle) * veil * _clouds(rng, shape, style), 0)
    light = light + glow + style.signal * _specks(rng, shape, style.speck_count)
    light = blurred(light, style.blur_px)
    light = light * _vignette(rng, shape, style.vignetting)
    # Shot noise is the square root of the electrons counted; the sensor adds its own.
    deviation = np.sqrt(np.maximum(light, 0) / style.electrons + style.read_noise**2)
    noise = rng.standard_normal(shape, dtype=np.float32)
    noisy = (light + deviation * noise).astype(np.float32)
    grain = float(rng.choice([0.0, rng.uniform(0.4, 0.8)]))
    if grain:  # resampled or denoised by the microscope's software
        noisy = blurred(noisy, grain)
    return np.clip(np.round(noisy * style.full_scale), 0, style.full_scale)


def _specks(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Field:
    """Return bright autofluorescent specks (H, W) such as lipofuscin: single or in small heaps."""
    canvas = np.zeros(shape, np.float32)
    for _ in range(count):
        centre = rng.uniform(0, (shape[1], shape[0]))
        bright = float(rng.lognormal(-0.6, 0.6))
        for _ in range(int(rng.choice([1, 1, 1, 3, 6]))):
            spot = centre + rng.normal(0, 2.5, 2)
            stamp_disc(canvas, spot, float(rng.uniform(0.6, 2.0)), 1.0, bright)
    return canvas


def _vignette(rng: np.random.Generator, shape: tuple[int, int], depth: float) -> Field:
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    centre = rng.uniform(-0.2, 0.2, 2)
    return np.asarray(1 - 0.5 * depth * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2), np.float32)
