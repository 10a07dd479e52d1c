"""The hotspot: the circular field with the most vessel profiles (Weidner, N Engl J Med 324, 1991).

Fields of 0.74 mm², the area of a 200-fold microscope field in that study, are tried about every
point of a grid an eighth of their radius apart. Only fields that lie in the region count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from analysis.distances import CELL_PX, per_cell
from analysis.masks import held_in
from analysis.ownership import Ownership
from imaging.tiles import Window

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FIELD_MM2 = 0.74
_STEPS_PER_RADIUS = 8
# The raster of cells errs by as much along a field's rim.
_WHOLE = 0.985
_FEWEST_FIELDS = 3

TOO_SMALL = f"the region is smaller than {_FEWEST_FIELDS} fields of {FIELD_MM2} mm²"
NO_FIELD = f"no circular field of {FIELD_MM2} mm² lies wholly in the region"


_Covered: TypeAlias = tuple[tuple[slice, slice], npt.NDArray[np.uint16]]


@dataclass(frozen=True)
class _BlockCover:
    """Pixels of each cell of one block that each region holds, without the empty rim."""

    cells: Window
    regions: tuple[_Covered, ...]


def _covered(pixels: Ints) -> _Covered:
    held = held_in(pixels > 0) or (slice(0, 0), slice(0, 0))
    return held, pixels[held].astype(np.uint16)


@dataclass(frozen=True)
class Cover:
    """How much of each cell of `CELL_PX` the regions cover, block by block."""

    parts: tuple[_BlockCover, ...] = ()

    @classmethod
    def of_block(cls, regions: Ownership | None, core: Window) -> Cover:
        """Return the cover of one block's core; nothing where the region is the whole image."""
        if regions is None:
            return cls()
        cells = Window(
            core.x // CELL_PX,
            core.y // CELL_PX,
            -(-core.width // CELL_PX),
            -(-core.height // CELL_PX),
        )
        return cls((_BlockCover(cells, tuple(_covered(per_cell(region)) for region in regions)),))

    def __add__(self, other: Cover) -> Cover:
        """Return the cover of disjoint blocks."""
        return Cover(self.parts + other.parts)

    def share(self, region: int, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return the share (rows, columns) of each of the image's cells that a region covers."""
        whole = np.ones((-(-shape[0] // CELL_PX), -(-shape[1] // CELL_PX)), np.float32)
        for part in self.parts:
            held, pixels = part.regions[region]
            block = whole[part.cells.slices()]
            block[:] = 0
            block[held] = pixels / CELL_PX**2
        return whole


def hotspot(
    y: Ints, x: Ints, cells: npt.NDArray[np.float32], area_mm2: float, mpp_um: float
) -> tuple[float | None, float | None, str]:
    """Return the greatest and the mean profile density per mm² over fields, or why there is none.

    Parameters
    ----------
    y, x
        Profiles (n,) of the region, in pixels.
    cells
        Share of each cell (rows, columns) of `CELL_PX` that lies in the region.
    area_mm2
        Area of the region.
    mpp_um
        Side of a pixel.
    """
    if area_mm2 < _FEWEST_FIELDS * FIELD_MM2:
        return None, None, TOO_SMALL
    _, counted = profiles_in_fields(y, x, cells, mpp_um)
    if not len(counted):
        return None, None, NO_FIELD
    return float(counted.max()) / FIELD_MM2, float(counted.mean()) / FIELD_MM2, ""


def profiles_in_fields(
    y: Ints, x: Ints, cells: npt.NDArray[np.float32], mpp_um: float
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.float64]]:
    """Return where fields that lie in the region are centred (m, 2), and the profiles in each (m,).

    Centres are (y, x) in pixels; for the parameters see `hotspot`.
    """
    radius_px = field_radius_um() / mpp_um
    step = max(1, round(radius_px / _STEPS_PER_RADIUS / CELL_PX))
    rows, columns = np.nonzero(_whole_fields(cells, radius_px / CELL_PX)[::step, ::step])
    centres = (np.stack([rows, columns], axis=1) * float(step) + 0.5) * CELL_PX - 0.5
    counted = np.zeros(len(centres))
    if len(y) and len(centres):
        tree = cKDTree(np.stack([y, x], axis=1))
        counted = tree.query_ball_point(centres, radius_px, return_length=True).astype(np.float64)
    return centres, counted


def field_radius_um() -> float:
    """Return the radius of a field."""
    return math.sqrt(FIELD_MM2 / math.pi) * 1000.0


def _whole_fields(cells: npt.NDArray[np.float32], radius: float) -> npt.NDArray[np.bool_]:
    """Say about which cells a disc of `radius` cells lies in the region."""
    reach = math.ceil(radius)
    offset = np.arange(-reach, reach + 1)
    disc = (np.hypot(offset[:, None], offset) <= radius).astype(np.float32)
    disc /= disc.sum()
    covered = cv2.filter2D(
        np.ascontiguousarray(cells, np.float32), -1, disc, borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(covered >= _WHOLE)
