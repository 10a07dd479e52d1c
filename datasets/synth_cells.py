"""Place synthetic cells: VEGF-positive bodies with their nuclei, and nuclei of negative cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from datasets.synth_params import SectionParams
from datasets.synth_random import wobbly_radii
from datasets.synth_shapes import FloatArray, Outline, Tube, angles_of
from datasets.synth_vessels import centre_line_tree

NucleusKind = Literal["round", "oval", "endothelial"]

_ANGLES = 72
_TRIES = 12


@dataclass(frozen=True, eq=False)
class Cell:
    """A VEGF-positive cell: its body, the nucleus inside, and how strongly it stains.

    Attributes
    ----------
    body, nucleus
        Outlines; neighbours that touch share a straight border and never overlap.
    strength
        Stain relative to the section's own, 0.15 (weak) to 2.2 (strong).
    processes_um
        Lines (n, 2, 2) from inside the body to the tips of its processes, which carry stain but are
        no part of the body.
    nuclear
        Whether the stain fills the nucleus alone, which is then the body.
    """

    body: Outline
    nucleus: Outline
    strength: float
    processes_um: FloatArray
    nuclear: bool = False


@dataclass(frozen=True, eq=False)
class Nucleus:
    """The nucleus of a negative cell."""

    outline: Outline
    kind: NucleusKind
    strength: float


def place_cells(
    rng: np.random.Generator,
    params: SectionParams,
    tubes: tuple[Tube, ...],
    profiles: tuple[Outline, ...],
) -> tuple[Cell, ...]:
    """Place at most the asked number of positive cells, clear of vessels, some touching."""
    wanted = round(params.positive_cell_density_per_mm2 * params.area_mm2)
    (nuclear_rng,) = rng.spawn(1)
    asked = nuclear_rng.random(wanted) < params.nuclear_fraction
    centres, radii, nuclear = _spots(rng, nuclear_rng, params, asked, _Obstacles(tubes, profiles))
    outlines = [
        (_nuclear_radii(nuclear_rng, radius), []) if stain else _body_radii(rng, radius)
        for radius, stain in zip(radii, nuclear, strict=True)
    ]
    _part(centres, radii, outlines)
    return tuple(
        _nuclear_cell(nuclear_rng, centre, shape, params.cell_strength_spread)
        if stain
        else _cell(rng, centre, shape, leaving, params.cell_strength_spread)
        for stain, centre, (shape, leaving) in zip(nuclear, centres, outlines, strict=True)
    )


def place_nuclei(
    rng: np.random.Generator,
    params: SectionParams,
    tubes: tuple[Tube, ...],
    profiles: tuple[Outline, ...],
    cells: tuple[Cell, ...],
) -> tuple[Nucleus, ...]:
    """Place nuclei of negative cells between vessels and cells, and flat ones along the walls."""
    blocked = _Obstacles(tubes, (*profiles, *(cell.body for cell in cells)))
    free_rng, wall_rng = rng.spawn(2)
    nuclei = []
    taken: list[tuple[FloatArray, float]] = []
    for _ in range(int(free_rng.poisson(params.nucleus_density_per_mm2 * params.area_mm2))):
        kind: NucleusKind = "round" if free_rng.random() < 0.55 else "oval"
        radius = float(np.clip(free_rng.normal(3.4, 0.8), 2.0, 6.0))
        centre = free_rng.uniform(0, params.size_um, 2)
        if blocked.near(centre, 0.8 * radius) or any(
            np.hypot(*(centre - other)) < 0.85 * (radius + reach) for other, reach in taken[-400:]
        ):
            continue
        taken.append((centre, radius))
        elongation = 1.0 + abs(free_rng.normal(0, 0.12 if kind == "round" else 0.7))
        shape = wobbly_radii(free_rng, radius, elongation=elongation, wobble=0.03)
        strength = float(np.clip(free_rng.lognormal(0, 0.3), 0.3, 2.0))
        nuclei.append(Nucleus(Outline((float(centre[0]), float(centre[1])), shape), kind, strength))
    nuclei.extend(_endothelial_nuclei(wall_rng, params, tubes))
    return tuple(nuclei)


class _Obstacles:
    """Tubes and outlines that a new cell must not cover."""

    def __init__(self, tubes: tuple[Tube, ...], outlines: tuple[Outline, ...]) -> None:
        self._lines = centre_line_tree(tubes)
        self._centres = np.array([outline.centre_um for outline in outlines]).reshape(-1, 2)
        self._outlines = outlines
        self._farthest = np.array([outline.radii_um.max() for outline in outlines])

    def near(self, centre: FloatArray, radius_um: float) -> bool:
        if self._lines is not None:
            # The widest vessel may be nearer than the nearest centre-line: look at a few.
            distances, at = self._lines[0].query(centre, k=min(8, self._lines[0].n))
            if np.any(distances < self._lines[1][at] + radius_um):
                return True
        apart = np.hypot(*(self._centres - centre).T)
        return any(
            self._outlines[at].distance_um(centre) < radius_um
            for at in np.flatnonzero(apart < self._farthest + radius_um)
        )


def _spots(
    rng: np.random.Generator,
    nuclear_rng: np.random.Generator,
    params: SectionParams,
    nuclear: npt.NDArray[np.bool_],
    blocked: _Obstacles,
) -> tuple[list[FloatArray], list[float], list[bool]]:
    """Choose centres and radii, and tell which cells that found room are nuclear.

    A clustered cell is set beside one that is there already.
    """
    centres: list[FloatArray] = []
    radii: list[float] = []
    placed: list[bool] = []
    for stain in map(bool, nuclear):
        for _ in range(_TRIES):
            radius = float(
                np.clip(nuclear_rng.normal(3.8, 1.1), 2.0, 6.5)
                if stain
                else np.clip(params.positive_cell_radius_um * np.exp(rng.normal(0, 0.2)), 2.9, 12.5)
            )
            if centres and rng.random() < params.cluster_fraction:
                beside = int(rng.integers(len(centres)))
                angle = rng.uniform(0, 2 * np.pi)
                gap = (radius + radii[beside]) * rng.uniform(0.8, 1.05)
                centre = centres[beside] + gap * np.array([np.cos(angle), np.sin(angle)])
                spacing = 0.75
            else:
                centre = rng.uniform(0, params.size_um, 2)
                spacing = 1.15
            inside = np.all((centre > -0.3 * radius) & (centre < params.size_um + 0.3 * radius))
            clear = all(
                np.hypot(*(centre - other)) > spacing * (radius + reach)
                for other, reach in zip(centres, radii, strict=True)
            )
            if inside and clear and not blocked.near(centre, radius):
                centres.append(centre)
                radii.append(radius)
                placed.append(stain)
                break
    return centres, radii, placed


def _body_radii(rng: np.random.Generator, radius: float) -> tuple[FloatArray, list[float]]:
    """Return a body's polar radii and the angles at which processes leave it."""
    kind = rng.choice(4, p=[0.3, 0.3, 0.25, 0.15])
    angles = angles_of(_ANGLES)
    if kind == 0:  # oval or round, hardly a process
        shape = wobbly_radii(
            rng, radius, elongation=1 + abs(rng.normal(0, 0.25)), wobble=0.04, count=_ANGLES
        )
        leaving: list[float] = []
    else:  # 1 pyramidal, 2 polygonal, 3 bipolar
        count = (0, 3, int(rng.integers(4, 7)), 2)[kind]
        even = np.arange(count) * 2 * np.pi / count
        leaving = list(even + rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.22, count))
        shape = wobbly_radii(rng, 0.82 * radius, elongation=1.1, wobble=0.04, count=_ANGLES)
        for number, angle in enumerate(leaving):
            away = np.angle(np.exp(1j * (angles - angle)))
            apical = kind == 1 and number == 0
            height = radius * (rng.uniform(0.5, 0.9) if apical else rng.uniform(0.12, 0.4))
            shape = shape + height * np.exp(-((away / rng.uniform(0.25, 0.5)) ** 2))
    shape = shape * radius / np.sqrt(np.mean(shape**2))
    return shape, [angle for angle in leaving if rng.random() < 0.7]


def _nuclear_radii(rng: np.random.Generator, radius: float) -> FloatArray:
    """Return the polar radii of a stained nucleus: round to spindle-shaped, no processes."""
    elongation = 1.0 + abs(rng.normal(0, 0.45))
    return wobbly_radii(rng, radius, elongation=elongation, wobble=0.05, count=_ANGLES)


def _part(
    centres: list[FloatArray],
    radii: list[float],
    outlines: list[tuple[FloatArray, list[float]]],
) -> None:
    """Cut bodies that would overlap along the straight border of their power diagram, in place."""
    angles = angles_of(_ANGLES)
    direction = np.stack([np.cos(angles), np.sin(angles)])
    for i in range(len(centres)):
        for j in range(len(centres)):
            toward = centres[j] - centres[i]
            apart = float(np.hypot(*toward))
            if i == j or apart > outlines[i][0].max() + outlines[j][0].max():
                continue
            border = (apart**2 + radii[i] ** 2 - radii[j] ** 2) / (2 * apart)
            facing = toward @ direction / apart
            limit = np.full(_ANGLES, np.inf)
            np.divide(border, facing, out=limit, where=facing > 1e-6)
            np.minimum(outlines[i][0], np.maximum(limit, 0.5), out=outlines[i][0])


def _cell(
    rng: np.random.Generator,
    centre: FloatArray,
    shape: FloatArray,
    leaving: list[float],
    strength_spread: float,
) -> Cell:
    middle = (float(centre[0]), float(centre[1]))
    typical = float(np.sqrt(np.mean(shape**2)))
    size = float(np.clip(typical * rng.uniform(0.42, 0.68), 2.2, 5.5))
    nucleus = wobbly_radii(
        rng, size, elongation=1 + abs(rng.normal(0, 0.15)), wobble=0.02, count=_ANGLES
    )
    nucleus = np.minimum(nucleus, 0.85 * shape)
    strength = float(np.clip(rng.lognormal(-0.05, strength_spread), 0.15, 2.2))
    directions = np.array([[np.cos(a), np.sin(a)] for a in leaving]).reshape(-1, 1, 2)
    far = typical * rng.uniform(1.2, 3.0, (len(leaving), 1, 1))
    near = np.full_like(far, 0.8 * typical)
    return Cell(
        Outline(middle, shape),
        Outline(middle, nucleus),
        strength,
        centre + directions * np.concatenate([near, far], axis=1),
    )


def _nuclear_cell(
    rng: np.random.Generator, centre: FloatArray, shape: FloatArray, strength_spread: float
) -> Cell:
    """Make a cell whose nucleus alone took the stain; what is outlined is that nucleus."""
    outline = Outline((float(centre[0]), float(centre[1])), shape)
    # Nuclei of one field run from a trace to black: a deviation of about 1 in the logarithm.
    strength = float(np.clip(rng.lognormal(-0.3, 0.5 + strength_spread), 0.1, 2.2))
    return Cell(outline, outline, strength, np.empty((0, 2, 2)), nuclear=True)


def _endothelial_nuclei(
    rng: np.random.Generator, params: SectionParams, tubes: tuple[Tube, ...]
) -> list[Nucleus]:
    """Lay flat nuclei into the wall, one to about 45 µm of vessel."""
    nuclei = []
    for tube in tubes:
        length = 2.5 * len(tube.points_um)
        for _ in range(int(rng.poisson(length / 45.0))):
            at = int(rng.integers(0, len(tube.points_um) - 1))
            ahead = tube.points_um[at + 1] - tube.points_um[at]
            angle = float(np.arctan2(ahead[1], ahead[0]))
            side = rng.choice([-1.0, 1.0]) * (tube.radii_um[at] - 0.4)
            centre = tube.points_um[at] + side * np.array([-np.sin(angle), np.cos(angle)])
            if np.any(centre < 0) or np.any(centre > params.size_um):
                continue
            a, b = rng.uniform(3.2, 5.5), rng.uniform(0.9, 1.6)
            turned = angles_of(36) - angle
            shape = a * b / np.hypot(b * np.cos(turned), a * np.sin(turned))
            outline = Outline((float(centre[0]), float(centre[1])), shape)
            nuclei.append(Nucleus(outline, "endothelial", float(rng.uniform(0.7, 1.4))))
    return nuclei
