"""Render synthetic sections as brightfield H-DAB and as fluorescence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datasets.synth import SyntheticSection
from datasets.synth_camera import RgbImage, photograph
from datasets.synth_paint import gain_noise, smooth_noise, stamp_disc
from datasets.synth_scene import (
    WallLook,
    cell_stain,
    nuclei_stain,
    vessel_stain,
)
from datasets.synth_shapes import Field
from datasets.synth_style import BrightfieldStyle, FluorescenceStyle

NUCLEI = "nuclei"
_BRIGHTFIELD_STREAM, _FLUORESCENCE_STREAM = 1, 2
ERYTHROCYTE_OD = np.array([0.03, 0.16, 0.14], np.float32)
"""Optical density of a red cell: pink, since it lets red light through."""


def render_brightfield(
    section: SyntheticSection,
    marker: str | None = None,
    style: BrightfieldStyle | None = None,
    *,
    seed: int | None = None,
) -> RgbImage:
    """Render one marker of a section as H-DAB.

    Parameters
    ----------
    marker
        CD31 or VEGF, the section's first by default.
    style
        Stain and camera; drawn from the seed by default.
    seed
        Seed of the look, the section's own by default. It never moves anything.

    Returns
    -------
    ndarray of uint8, (H, W, 3), RGB.
    """
    streams = _streams(section, seed, _BRIGHTFIELD_STREAM)
    style = BrightfieldStyle.draw(streams[0]) if style is None else style
    stain_od, extra_od = brightfield_stains(
        section, marker or section.params.markers[0], style, streams[1]
    )
    return photograph(streams[2], stain_od, style, extra_od)


def brightfield_stains(
    section: SyntheticSection, marker: str, style: BrightfieldStyle, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Return the densities of DAB, hematoxylin and residual (H, W, 3), and of what is no stain."""
    shape, mpp = section.shape_at(), section.params.mpp_um
    vessel_rng, cell_rng, nuclei_rng, haze_rng, blood_rng = rng.spawn(5)
    look = WallLook(style.strength_spread, style.granularity, style.wall_face, style.gap_fraction)
    vessels = vessel_stain(vessel_rng, section, look)
    share = 1.0 if marker == "CD31" else style.vessel_distractor
    dab = share * vessels.sharp
    if marker == "VEGF":
        cells = cell_stain(cell_rng, section, style.nuclear_dab, style.granularity)
        dab = np.maximum(dab, cells.marker)
    tissue = 1 - 0.9 * vessels.lumen
    dab = style.dab_od * dab + tissue * brown_haze(haze_rng, shape, mpp, style)
    hematoxylin = style.hematoxylin_od * nuclei_stain(nuclei_rng, section)
    hematoxylin += tissue * blue_haze(haze_rng, shape, mpp, style)
    blood, rims = _erythrocytes(blood_rng, section, vessels.lumen, style.erythrocyte_share)
    dab = dab + rims * float(blood_rng.uniform(0.0, 0.35))
    stain = np.stack([dab, hematoxylin, np.zeros(shape, np.float32)], axis=-1)
    return stain.astype(np.float32), blood[..., None] * ERYTHROCYTE_OD * float(
        blood_rng.uniform(0.5, 2.0)
    )


def brown_haze(
    rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, style: BrightfieldStyle
) -> Field:
    """Return non-specific DAB (H, W): an uneven veil, neuropil texture and diffuse blotches."""
    haze = style.dab_haze_od * gain_noise(rng, shape, 60.0 / mpp_um, style.haze_texture)
    haze *= gain_noise(rng, shape, 2.5 / mpp_um, 0.7 * style.haze_texture)
    haze *= gain_noise(rng, shape, 8.0 / mpp_um, 0.5 * style.haze_texture)
    for _ in range(style.blotch_count):
        blob = smooth_noise(rng, shape, float(rng.uniform(15, 60)) / mpp_um)
        haze += rng.uniform(0.03, 0.25) * min(1.0, 2 * style.dab_od) * np.clip(blob - 1.6, 0, 1.2)
    return haze.astype(np.float32)


def blue_haze(
    rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, style: BrightfieldStyle
) -> Field:
    """Return the counterstain of the neuropil (H, W)."""
    haze = style.hematoxylin_haze_od * gain_noise(rng, shape, 25.0 / mpp_um, 0.2)
    haze *= gain_noise(rng, shape, 2.0 / mpp_um, 0.7 * style.haze_texture)
    return haze.astype(np.float32)


def _erythrocytes(
    rng: np.random.Generator, section: SyntheticSection, lumen: Field, share: float
) -> tuple[Field, Field]:
    """Fill some lumens with red cells, seldom tissue too; return their coverage and their rims."""
    shape, mpp = section.shape_at(), section.params.mpp_um
    cells, cores = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    rows, columns = np.nonzero(lumen > 0.5)
    spots = np.stack([columns, rows], axis=1) * mpp
    wanted = int(share * len(spots) * mpp**2 / 25.0)
    chosen = list(spots[rng.integers(0, len(spots), wanted)]) if len(spots) else []
    if share > 0 and rng.random() < 0.2:  # a small haemorrhage
        middle = rng.uniform(0, section.params.size_um, 2)
        chosen += list(middle + rng.normal(0, 12.0, (int(rng.integers(5, 50)), 2)))
    for centre in chosen:
        radius = float(rng.uniform(2.0, 3.2))
        stamp_disc(cells, centre, radius, mpp, float(rng.uniform(0.6, 1.0)))
        stamp_disc(cores, centre, 0.6 * radius, mpp)
    return cells, np.clip(cells - 0.8 * cores, 0, 1)


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
    streams = _streams(section, seed, _FLUORESCENCE_STREAM)
    style = FluorescenceStyle.draw(streams[0]) if style is None else style
    markers = section.params.markers if markers is None else markers
    signals = [nuclei_stain(streams[1], section) * style.nuclei]
    for marker, stream in zip(markers, streams[2].spawn(len(markers)), strict=True):
        signals.append(_marker_light(stream, section, marker, style))
    channels = [
        _expose(stream, signal + _bleed(signals, index, style), style, first=index == 0)
        for index, (signal, stream) in enumerate(
            zip(signals, streams[3].spawn(len(signals)), strict=True)
        )
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
    return np.minimum(style.bleed * others, 0.35 * style.signal).astype(np.float32)


def _marker_light(
    rng: np.random.Generator, section: SyntheticSection, marker: str, style: FluorescenceStyle
) -> Field:
    """Return the light (H, W) of one marker as a fraction of full scale."""
    look = WallLook(
        style.strength_spread,
        style.granularity,
        style.wall_face,
        style.gap_fraction,
        style.defocused_share,
    )
    mpp = section.params.mpp_um
    vessels = vessel_stain(rng, section, look)
    far = cv2.GaussianBlur(vessels.defocused, (0, 0), float(rng.uniform(0.8, 1.8)) / mpp)
    light = vessels.sharp + float(rng.uniform(0.4, 0.8)) * far
    if marker == "VEGF":
        cells = cell_stain(rng, section, style.nuclear_signal, style.granularity)
        light = np.maximum(style.vessel_distractor * light, cells.marker)
    glow = cv2.GaussianBlur(light, (0, 0), 6.0 / mpp)
    return np.asarray(style.signal * (light + 0.12 * glow), np.float32)


def _expose(
    rng: np.random.Generator, light: Field, style: FluorescenceStyle, *, first: bool
) -> Field:
    """Add autofluorescence and specks, then optics and camera; grey values (H, W) of full scale."""
    shape = (light.shape[0], light.shape[1])
    veil = style.background * (0.5 if first else 1.0)
    glow = veil * gain_noise(rng, shape, 120.0, style.uneven_background)
    glow *= gain_noise(rng, shape, 6.0, style.texture) * gain_noise(rng, shape, 1.5, style.texture)
    light = light + glow + style.signal * _specks(rng, shape, style.speck_count)
    light = cv2.GaussianBlur(light, (0, 0), style.blur_px, borderType=cv2.BORDER_REFLECT)
    light = light * _vignette(rng, shape, style.vignetting)
    electrons = np.maximum(light, 0) * style.electrons
    noisy = light + np.sqrt(electrons) / style.electrons * rng.standard_normal(
        shape, dtype=np.float32
    )
    noisy = noisy + style.read_noise * rng.standard_normal(shape, dtype=np.float32)
    grain = float(rng.choice([0.0, rng.uniform(0.4, 0.8)]))
    if grain:  # resampled or denoised by the microscope's software
        noisy = cv2.GaussianBlur(noisy, (0, 0), grain)
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


def _streams(section: SyntheticSection, seed: int | None, stream: int) -> list[np.random.Generator]:
    entropy = np.random.SeedSequence((section.seed if seed is None else seed, stream))
    return [np.random.default_rng(child) for child in entropy.spawn(4)]
