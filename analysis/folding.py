"""What one section's probabilities amount to over its areas, at given settings."""

from __future__ import annotations

from concurrent.futures import Executor

from analysis.areas import Areas
from analysis.cell_tally import measure_cells
from analysis.cells import CellSettings
from analysis.clock import Progress, silent
from analysis.masks import MaskLike, ProbabilityStore, ThresholdMask
from analysis.settings import MeasureSettings
from analysis.tally import VesselTally
from analysis.vessels import VesselSettings, densities, fold_vessels
from model.targets import VEGF_CELL, VEGF_CELL_CENTRE, VESSEL

Densities = list[dict[str, float | None]]
"""The densities of each region by their paths in the record."""


def cell_settings(settings: MeasureSettings, mpp_um: float) -> CellSettings:
    """Return the part of `settings` that tells cells apart on a grid of `mpp_um`."""
    return CellSettings(mpp_um, settings.level(VEGF_CELL), settings.min_cell_area_um2)


def vessel_settings(settings: MeasureSettings, mpp_um: float) -> VesselSettings:
    """Return the part of `settings` that measures vessels on a grid of `mpp_um`."""
    return VesselSettings(
        mpp_um=mpp_um,
        min_profile_area_um2=settings.min_profile_area_um2,
        gap_um=settings.gap_um,
        max_vessel_radius_um=settings.max_vessel_radius_um,
    )


def tally_areas(
    mask: MaskLike,
    areas: Areas,
    settings: MeasureSettings,
    mpp_um: float,
    report: Progress = silent,
    executor: Executor | None = None,
    *,
    densities_only: bool = False,
) -> VesselTally:
    """Tally a vessel mask (H, W) on a grid of `mpp_um` over all areas."""
    return fold_vessels(
        mask,
        areas.masks,
        vessel_settings(settings, mpp_um),
        hidden=areas.hidden,
        block_px=settings.block_px,
        executor=executor,
        progress=lambda done, total: report("vessels", done, total),
        densities_only=densities_only,
    )


def densities_of(
    store: ProbabilityStore,
    areas: Areas,
    settings: MeasureSettings,
    grid_um: float,
    executor: Executor | None,
) -> Densities:
    """Return the densities of each region at the thresholds of `settings`."""
    found: Densities = [{} for _ in areas.names]
    if VESSEL in store.targets:
        mask = ThresholdMask(store.layer(VESSEL), settings.level(VESSEL))
        tally = tally_areas(mask, areas, settings, grid_um, executor=executor, densities_only=True)
        found = densities(tally, vessel_settings(settings, grid_um), mask.shape[1])
    if VEGF_CELL in store.targets:
        cells = measure_cells(
            store.layer(VEGF_CELL),
            store.layer(VEGF_CELL_CENTRE),
            cell_settings(settings, grid_um),
            regions=areas.masks,
        )
        for values, cell_outcome in zip(found, cells, strict=True):
            for interval in cell_outcome.intervals:
                name = interval.path.removeprefix("cells.")
                values[interval.path] = getattr(cell_outcome.cells, name)
    return found
