"""The densities that predicted and annotated masks are compared by, measured as any section is.

Amounts of an image's parts add up; a density is an amount over the area that was annotated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from analysis.folding import vessel_settings
from analysis.settings import MeasureSettings
from analysis.vessels import densities, fold_vessels
from model.targets import VEGF_CELL, VESSEL
from training.tally import Tally, ratio

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Density:
    """A density by its name in the measurement record, the amount it is made of, and its words."""

    name: str
    amount: str
    title: str
    unit: str


DENSITIES: Mapping[str, tuple[Density, ...]] = {
    VESSEL: (
        Density("area_fraction", "area_mm2", "Area fraction", ""),
        Density("length_density_mm_per_mm2", "length_mm", "Length density", "mm/mm²"),
        Density("branchpoint_density_per_mm2", "branchpoints", "Branchpoint density", "1/mm²"),
    ),
    VEGF_CELL: (Density("positive_density_per_mm2", "cells", "Positive cells", "1/mm²"),),
}


@dataclasses.dataclass(frozen=True)
class Amounts(Tally):
    """What a mask holds inside the annotated area of `tissue_mm2`."""

    tissue_mm2: float = 0.0
    area_mm2: float = 0.0
    length_mm: float = 0.0
    branchpoints: float = 0.0
    cells: float = 0.0

    def densities(self, target: str) -> dict[str, float | None]:
        """Return the densities of a target, by name."""
        return {
            density.name: ratio(getattr(self, density.amount), self.tissue_mm2)
            for density in DENSITIES[target]
        }


def vessel_amounts(mask: Bools, seen: Bools, mpp_um: float) -> Amounts:
    """Measure a vessel mask (H, W) inside the annotated pixels `seen` (H, W).

    It is the fold that `angiometry measure` and `morphometry` measure with, at their defaults.
    """
    settings = vessel_settings(MeasureSettings(), mpp_um)
    tally = fold_vessels(mask, [seen], settings, densities_only=True)
    (found,) = densities(tally, settings, mask.shape[1])
    tissue_mm2 = np.count_nonzero(seen) * mpp_um**2 * 1e-6
    amounts = {
        density.amount: (found[f"vessels.{density.name}"] or 0.0) * tissue_mm2
        for density in DENSITIES[VESSEL]
    }
    return Amounts(tissue_mm2=tissue_mm2, **amounts)


def cell_amounts(count: int, seen: Bools, mpp_um: float) -> Amounts:
    """Return what `count` cells in the annotated pixels `seen` (H, W) amount to."""
    return Amounts(tissue_mm2=np.count_nonzero(seen) * mpp_um**2 * 1e-6, cells=count)
