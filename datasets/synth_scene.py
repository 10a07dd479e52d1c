"""Where the stains of a synthetic section lie, relative to 1: walls, lumens, bodies, nuclei.

Both renderings paint from these layers: brightfield as optical density, fluorescence as light.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from datasets.synth import SyntheticSection
from datasets.synth_cells import Cell
from datasets.synth_paint import (
    blurred,
    cover,
    gain_noise,
    outline_field,
    smooth_noise,
    soft_inside,
    stamp,
)
from datasets.synth_random import wobbly_radii
from datasets.synth_shapes import Field, FloatArray, Outline, VesselField, tube_field

# A tube narrower than the section is thick keeps its front or back wall in it: its lumen is never
# free of stain. Sections of 10 µm are usual, so narrower tubes are roofed, twice as wide ones open.
_ROOF = 0.35
_SECTION_UM = 10.0


@dataclass(frozen=True)
class VesselStain:
    """Stain of the vessel walls and the open lumens, each (H, W), 1 is full stain or open.

    ``sharp`` and ``defocused`` are the stain of vessels in and out of the focal plane, ``inside``
    is the coverage of all vessels, walls included.
    """

    sharp: Field
    defocused: Field
    lumen: Field
    inside: Field


@dataclass(frozen=True)
class WallLook:
    """How walls take the stain: see the attributes of the same names in the styles."""

    strength_spread: float
    granularity: float
    wall_face: float
    gap_fraction: float
    defocused_share: float = 0.0


def vessel_stain(
    rng: np.random.Generator, section: SyntheticSection, look: WallLook
) -> VesselStain:
    """Paint the endothelium of every tube and profile; narrow ones are solid."""
    mpp, shape = section.params.mpp_um, section.shape_at()
    layers = sorted({tube.layer for tube in section.tubes})
    groups = [[tube for tube in section.tubes if tube.layer == layer] for layer in layers]
    fields = [tube_field(group, shape, mpp) for group in groups]
    fields.append(outline_field(section.profiles, shape, mpp))
    counts = [*map(len, groups), len(section.profiles)]
    sharp, defocused, lumen, inside = (np.zeros(shape, np.float32) for _ in range(4))
    for field, count in zip(fields, counts, strict=True):
        if count == 0:
            continue
        # Profiles are cut across and open: a slanting cut shows a little of their wall's face.
        roof, face = (0.0, 0.5) if field is fields[-1] else (_ROOF, 1.0)
        stain, opening = _walls(
            field, section.params.wall_thickness_um, mpp, face * look.wall_face, roof
        )
        gains = np.append(np.exp(rng.normal(0, look.strength_spread, count)), 0.0)
        away = np.append(rng.random(count) < look.defocused_share, False)
        stain *= gains.astype(np.float32)[field.owner]
        is_away = away[field.owner]
        sharp += np.where(is_away, 0, stain)
        defocused += np.where(is_away, stain, 0)
        np.maximum(lumen, opening, out=lumen)
        np.maximum(inside, soft_inside(field.signed_um, mpp), out=inside)
    texture = _texture(rng, shape, mpp, look)
    return VesselStain(sharp * texture, defocused * texture, lumen, inside)


def _walls(
    field: VesselField, wall_um: float, mpp_um: float, face: float, roof: float
) -> tuple[Field, Field]:
    """Return the stain and the openness (H, W) of tubes whose lumen is covered by at least roof."""
    inside = soft_inside(field.signed_um, mpp_um)
    inner = soft_inside(field.signed_um + np.float32(wall_um), mpp_um)
    solid = np.clip((wall_um * 2.6 - field.radius_um) / wall_um, 0, 1)
    covered = roof * np.clip(2 - 2 * field.radius_um / _SECTION_UM, 0, 1)
    level = np.maximum(np.maximum(face, covered), solid)
    return (inside - inner + inner * level).astype(np.float32), (inner * (1 - level)).astype(
        np.float32
    )


def _texture(
    rng: np.random.Generator, shape: tuple[int, int], mpp_um: float, look: WallLook
) -> Field:
    grain = gain_noise(rng, shape, 1.2 / mpp_um, look.granularity)
    grain *= gain_noise(rng, shape, 12.0 / mpp_um, 0.6 * look.granularity)
    if look.gap_fraction > 0:
        limit = NormalDist().inv_cdf(min(look.gap_fraction, 0.5))
        grain *= np.clip((smooth_noise(rng, shape, 5.0 / mpp_um) - limit) * 2.5 + 0.5, 0.12, 1)
    return grain.astype(np.float32)


def cell_stain(
    rng: np.random.Generator,
    section: SyntheticSection,
    nuclear_level: float,
    granularity: float,
    defocused_share: float = 0.0,
    *,
    weakest: float = 0.0,
) -> Field:
    """Paint cytoplasm around paler nuclei (H, W), relative to 1, and the stumps of processes.

    No cell stains less than `weakest`: what drowns in the background would be a guess to outline.
    """
    mpp, shape = section.params.mpp_um, section.shape_at()
    sharp, deep, stumps = (np.zeros(shape, np.float32) for _ in range(3))
    for cell in section.cells:
        cell = dataclasses.replace(cell, strength=max(cell.strength, weakest))  # noqa: PLW2901
        away = rng.random() < defocused_share
        for start, tip in cell.processes_um:
            stamp(stumps, _taper(start, tip), mpp, (0.3 if away else 0.7) * cell.strength)
        level = 1.0 if cell.nuclear else nuclear_level
        _paint_cell(rng, deep if away else sharp, cell, level, mpp)
    stumps = blurred(stumps, 0.8)
    deep = blurred(deep, float(rng.uniform(0.6, 1.4)) / mpp)
    stain = np.maximum(np.maximum(sharp, deep), stumps)
    stain *= gain_noise(rng, shape, 0.9 / mpp, granularity)
    stain *= gain_noise(rng, shape, 3.0 / mpp, 0.4 * granularity)
    return stain


def _paint_cell(
    rng: np.random.Generator, canvas: Field, cell: Cell, nuclear_level: float, mpp_um: float
) -> None:
    """Paint one body: stronger near or far from the nucleus, and to one side."""
    near_far, to_x, to_y = rng.uniform((-0.5, -0.35, -0.35), (0.35, 0.35, 0.35))
    touched = cover(cell.body.vertices_um, (canvas.shape[0], canvas.shape[1]), mpp_um)
    if touched is None:
        return
    window, covered = touched
    nucleus = np.zeros_like(covered)
    origin = np.array([window[1].start, window[0].start]) * mpp_um
    stamp(nucleus, cell.nucleus.vertices_um - origin, mpp_um)
    radius = cell.body.mean_radius_um
    rows, columns = (np.arange(part.start, part.stop) + 0.5 for part in window)
    x = (columns * mpp_um - cell.body.centre_um[0]) / radius
    y = (rows[:, None] * mpp_um - cell.body.centre_um[1]) / radius
    shade = np.clip(1 + near_far * (np.hypot(x, y) - 0.7) + to_x * x + to_y * y, 0.4, 1.8)
    painted = cell.strength * covered * shade * (1 - nucleus * (1 - nuclear_level))
    np.maximum(canvas[window], painted.astype(np.float32), out=canvas[window])


def holes(rng: np.random.Generator, section: SyntheticSection, count: int) -> Field:
    """Return where tissue is missing (H, W), 0 to 1: tears, and vacuoles of oedema.

    `count` holes of 2 to 20 µm radius have no wall; vessels and positive cells stay whole.
    """
    mpp, shape, size = section.params.mpp_um, section.shape_at(), section.params.size_um
    canvas = np.zeros(shape, np.float32)
    for _ in range(count):
        radius = float(np.exp(rng.uniform(np.log(2.0), np.log(20.0))))
        elongation = float(np.exp(abs(rng.normal(0, 0.5))))
        x, y = rng.uniform(0, size, 2)
        radii = wobbly_radii(rng, radius, elongation=elongation, wobble=0.12)
        stamp(canvas, Outline((float(x), float(y)), radii).vertices_um, mpp)
    if count:
        canvas[section.vessel_mask() | (section.cell_labels() > 0)] = 0
    return canvas


def nuclei_stain(rng: np.random.Generator, section: SyntheticSection) -> Field:
    """Paint all nuclei, those of positive cells included, with chromatin texture."""
    mpp, shape = section.params.mpp_um, section.shape_at()
    canvas = np.zeros(shape, np.float32)
    deep = np.zeros(shape, np.float32)
    for nucleus in section.nuclei:
        out_of_focus = rng.random() < 0.2
        stamp(deep if out_of_focus else canvas, nucleus.outline.vertices_um, mpp, nucleus.strength)
    for cell in section.cells:
        # Chromogen in a nucleus keeps hematoxylin out: from a grey mixture to plain brown.
        least = 0.1 if cell.nuclear else 0.6
        stamp(canvas, cell.nucleus.vertices_um, mpp, float(rng.uniform(least, 1.1)))
    deep = 0.8 * blurred(deep, 1.6 / mpp)
    chromatin = gain_noise(rng, shape, 1.6 / mpp, 0.22)
    return np.maximum(canvas, deep) * chromatin


def _taper(start: FloatArray, tip: FloatArray) -> FloatArray:
    """Return the corners of a process that thins towards its tip."""
    along = tip - start
    normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    return np.stack(
        [start + 1.1 * normal, tip + 0.3 * normal, tip - 0.3 * normal, start - 1.1 * normal]
    )
