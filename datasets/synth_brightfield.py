"""Render synthetic sections as brightfield H-DAB by Beer–Lambert."""

from __future__ import annotations

import numpy as np

from datasets.synth import SyntheticSection, look_streams
from datasets.synth_camera import RgbImage, photograph
from datasets.synth_paint import blurred, gain_noise, smooth_noise, stamp, stamp_disc, streaks
from datasets.synth_random import wobbly_radii
from datasets.synth_scene import (
    VesselStain,
    WallLook,
    cell_stain,
    holes,
    nuclei_stain,
    vessel_stain,
)
from datasets.synth_shapes import Field
from datasets.synth_style import BrightfieldStyle

_STREAM = 1
_ERYTHROCYTE_AREA_UM2 = 25.0


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
    choice, stain, camera = look_streams(section.seed if seed is None else seed, _STREAM, 3)
    style = BrightfieldStyle.draw(choice) if style is None else style
    marker = section.params.markers[0] if marker is None else marker
    stain_od, extra_od = brightfield_stains(section, marker, style, stain)
    return photograph(camera, stain_od, style, extra_od)


def brightfield_stains(
    section: SyntheticSection, marker: str, style: BrightfieldStyle, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Return the densities of DAB, hematoxylin and residual (H, W, 3), and of red cells alike."""
    shape, mpp = section.shape_at(), section.params.mpp_um
    vessel_rng, cell_rng, nuclei_rng, haze_rng, blood_rng = rng.spawn(5)
    look = WallLook(
        style.strength_spread,
        style.granularity,
        style.wall_face,
        style.gap_fraction,
        style.defocused_share,
    )
    vessels = vessel_stain(vessel_rng, section, look)
    far = blurred(vessels.defocused, float(vessel_rng.uniform(0.6, 1.4)) / mpp)
    dab = vessels.sharp + float(vessel_rng.uniform(0.5, 0.9)) * far
    if marker == "VEGF":
        cells = cell_stain(
            cell_rng,
            section,
            style.nuclear_dab,
            style.granularity,
            style.defocused_share,
            weakest=style.weakest_cell,
        )
        dab = np.maximum(style.vessel_distractor * dab, cells)
    torn = holes(haze_rng.spawn(1)[0], section, style.hole_count)
    tissue = (1 - 0.9 * torn) * _tissue(haze_rng, vessels, mpp, style)
    dab = style.dab_od * dab + tissue * brown_haze(haze_rng, shape, mpp, style)
    hematoxylin = style.hematoxylin_od * (1 - torn) * nuclei_stain(nuclei_rng, section)
    hematoxylin += tissue * blue_haze(haze_rng, shape, mpp, style)
    spots = _blood_spots(blood_rng, section, vessels.lumen, style.erythrocyte_share)
    rims, blood = erythrocytes(blood_rng, shape, spots, mpp)
    stain = np.stack([dab + rims, hematoxylin, np.zeros(shape, np.float32)], axis=-1)
    return stain.astype(np.float32), blood


def brown_haze(
    rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, style: BrightfieldStyle
) -> Field:
    """Return non-specific DAB (H, W): a veil with neuropil texture, blotches, ghosts, granules."""
    haze = style.dab_haze_od * gain_noise(rng, shape, 60.0 / mpp_um, style.haze_texture)
    haze *= gain_noise(rng, shape, 2.5 / mpp_um, 0.7 * style.haze_texture)
    haze *= gain_noise(rng, shape, 8.0 / mpp_um, 0.5 * style.haze_texture)
    for _ in range(style.blotch_count):
        blob = smooth_noise(rng, shape, float(np.exp(rng.uniform(1.6, 4.1))) / mpp_um)
        depth = rng.uniform(0.03, 0.25) * min(1.0, 2 * style.dab_od)
        haze += np.float32(depth) * np.clip(blob - rng.uniform(0.8, 1.8), 0, 1.2)
    haze += _ghosts(rng, shape, mpp_um, style.ghost_count) * min(0.25, 0.25 * style.dab_od)
    return (haze + _granules(rng, shape, mpp_um, style.granule_count)).astype(np.float32)


def blue_haze(
    rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, style: BrightfieldStyle
) -> Field:
    """Return the counterstain of the neuropil (H, W)."""
    haze = style.hematoxylin_haze_od * gain_noise(rng, shape, 25.0 / mpp_um, 0.2)
    haze *= gain_noise(rng, shape, 2.0 / mpp_um, 0.7 * style.haze_texture)
    return haze.astype(np.float32)


def erythrocytes(
    rng: np.random.Generator, shape: tuple[int, int], spots_um: list[Field], mpp_um: float
) -> tuple[Field, Field]:
    """Return red cells at given places: their brown rims (H, W) and their own OD (H, W, 3).

    Their peroxidase turns some DAB brown at the rim; the rest is pink, red light passing through.
    """
    cells, cores = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for centre in spots_um:
        radius = float(rng.uniform(1.8, 3.2))
        outline = wobbly_radii(rng, radius, elongation=rng.uniform(1.0, 1.6), wobble=0.06, count=20)
        turn = np.arange(20) * (2 * np.pi / 20)
        rim = outline[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        stamp(cells, centre + rim, mpp_um, float(rng.uniform(0.4, 1.0)))
        stamp(cores, centre + 0.55 * rim, mpp_um)
    colour = np.array([0.05, 0.15, 0.15]) * rng.uniform((0.4, 0.6, 0.5), (2.0, 1.2, 1.4))
    rims = np.float32(rng.uniform(0.0, 0.35)) * np.clip(cells - 0.7 * cores, 0, 1)
    return rims.astype(np.float32), (cells * (1 - 0.3 * cores))[..., None] * colour.astype(
        np.float32
    )


def _blood_spots(
    rng: np.random.Generator, section: SyntheticSection, lumen: Field, share: float
) -> list[Field]:
    """Choose places in lumens, and in tissue where it bled, for red cells."""
    mpp = section.params.mpp_um
    rows, columns = np.nonzero(lumen > 0.5)
    wanted = int(share * len(rows) * mpp**2 / _ERYTHROCYTE_AREA_UM2)
    chosen = rng.integers(0, max(len(rows), 1), wanted)
    spots = [np.array([columns[at], rows[at]], np.float32) * mpp for at in chosen]
    for _ in range(int(rng.choice([0, 0, 0, 1, 3])) if share > 0 else 0):
        middle = rng.uniform(0, section.params.size_um, 2)
        spread = rng.uniform(3.0, 18.0, 2)
        spots += list(middle + spread * rng.standard_normal((int(rng.integers(3, 50)), 2)))
    return spots


def _tissue(
    rng: np.random.Generator, vessels: VesselStain, mpp_um: float, style: BrightfieldStyle
) -> Field:
    """Return how dense the neuropil is (H, W): open lumens, shrinkage about vessels, fibres."""
    shape = (vessels.lumen.shape[0], vessels.lumen.shape[1])
    density = 1 - 0.9 * vessels.lumen
    if style.halo > 0:
        near = blurred(vessels.inside, 2.2 / mpp_um)
        patchy = np.clip(0.5 + 0.6 * smooth_noise(rng, shape, 20.0 / mpp_um), 0, 1)
        density *= 1 - style.halo * np.clip(2.2 * near, 0, 1) * patchy * (1 - vessels.inside)
    if style.fibres > 0:
        density *= np.exp(0.5 * style.fibres * streaks(rng, shape, 1.6 / mpp_um))
    return density.astype(np.float32)


def _ghosts(rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, count: int) -> Field:
    """Paint cells far above or below the focal plane (H, W): too blurred for anyone to outline."""
    canvas = np.zeros(shape, np.float32)
    for _ in range(count):
        centre = rng.uniform(0, (shape[1] * mpp_um, shape[0] * mpp_um))
        stamp_disc(canvas, centre, float(rng.uniform(3, 7)), mpp_um, float(rng.uniform(0.3, 1)))
    return blurred(canvas, 3.5 / mpp_um) if count else canvas


def _granules(rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, count: int) -> Field:
    """Paint precipitate of the chromogen (H, W): dark grains below 1.5 µm."""
    canvas = np.zeros(shape, np.float32)
    for _ in range(count):
        centre = rng.uniform(0, (shape[1] * mpp_um, shape[0] * mpp_um))
        stamp_disc(canvas, centre, float(rng.uniform(0.3, 0.8)), mpp_um, float(rng.uniform(0.2, 1)))
    return canvas
