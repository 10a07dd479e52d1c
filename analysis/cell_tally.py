"""What cells amount to: one small tally for each block, added in any order, then finished.

Letters: H, W pixels of the model's grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.cautions import NOT_A_CONCENTRATION, NOT_STOICHIOMETRIC
from analysis.cells import CellSettings, cells_of_block
from analysis.masks import Intensity, MaskLike
from analysis.record import Cells, MeanMedian
from imaging.tiles import Window, grid

_BLOCK_PX = 1024
# Medians come from histograms, because those merge: the steps are below a camera's own.
OD_STEP = 0.0005
GREY_STEP = 0.25
NO_TISSUE = "the analysed tissue is empty"
NO_CELL = "no VEGF-positive cell was found"


@dataclass(frozen=True)
class CellTally:
    """What one block, or many, saw of the cells; tallies add in any order.

    `areas_px` counts cells by their area, `intensities` counts positive pixels by their quantised
    marker intensity. `clusters_cut` counts clusters too wide to be seen whole.
    """

    tissue_px: int = 0
    positive_px: int = 0
    areas_px: Counter[int] = field(default_factory=Counter)
    intensity_sum: float = 0.0
    intensities: Counter[int] = field(default_factory=Counter)
    clusters_cut: int = 0

    def __add__(self, other: CellTally) -> CellTally:
        """Return the tally of both."""
        return CellTally(
            self.tissue_px + other.tissue_px,
            self.positive_px + other.positive_px,
            self.areas_px + other.areas_px,
            self.intensity_sum + other.intensity_sum,
            self.intensities + other.intensities,
            self.clusters_cut + other.clusters_cut,
        )


@dataclass(frozen=True)
class CellOutcome:
    """Cell measurements of one region, why some are null, and what to know about them."""

    cells: Cells
    area_mm2: float
    reasons: dict[str, str]
    warnings: tuple[str, ...]


def tally_block(
    probability: MaskLike,
    centre: MaskLike,
    core: Window,
    settings: CellSettings,
    *,
    tissue: MaskLike | None = None,
    intensity: Intensity | None = None,
    step: float = OD_STEP,
) -> CellTally:
    """Measure the cells that the block `core` owns; see `measure_cells` for the parameters.

    `step` is the width of the histogram's classes of intensity.
    """
    positive = probability[core.slices()] >= settings.level
    inside = np.ones(positive.shape, np.bool_) if tissue is None else tissue[core.slices()]
    positive &= inside
    block = cells_of_block(probability, centre, core, settings)
    rows, columns = block.last_pixel if block.owned.size else (np.zeros(0, int),) * 2
    counted = block.counted & inside[rows - core.y, columns - core.x]
    total, histogram = 0.0, Counter[int]()
    if intensity is not None and positive.any():
        values = intensity(core)[positive].astype(np.float64)
        total = float(values.sum())
        steps, counts = np.unique(np.rint(values / step).astype(np.int64), return_counts=True)
        histogram = Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))
    return CellTally(
        tissue_px=int(np.count_nonzero(inside)),
        positive_px=int(np.count_nonzero(positive)),
        areas_px=Counter(block.areas_px[counted].tolist()),
        intensity_sum=total,
        intensities=histogram,
        clusters_cut=block.clusters_cut,
    )


def measure_cells(
    probability: MaskLike,
    centre: MaskLike,
    settings: CellSettings,
    *,
    tissue: MaskLike | None = None,
    intensity: Intensity | None = None,
    modality: str = "brightfield",
    block_px: int = _BLOCK_PX,
    progress: Callable[[int, int], None] | None = None,
) -> CellOutcome:
    """Count and measure VEGF-positive cells block by block.

    Parameters
    ----------
    probability, centre
        uint8 (H, W), or anything that gives such windows for ``[y0:y1, x0:x1]``.
    settings
        Threshold, grid and smallest area.
    tissue
        Ω as bool (H, W), sliceable likewise; None is the whole frame.
    intensity
        Gives the raw marker intensity of a window; without it intensities are null.
    modality
        ``"brightfield"`` reports optical density, ``"fluorescence"`` grey values.
    block_px
        Side of a block; alters no number.
    progress
        Called with (blocks done, blocks in all).

    Returns
    -------
    CellOutcome
    """
    step = OD_STEP if modality == "brightfield" else GREY_STEP
    height, width = probability.shape
    tiles = list(grid(width, height, block_px, 0))
    tally = CellTally()
    for done, tile in enumerate(tiles, start=1):
        tally += tally_block(
            probability,
            centre,
            tile.core,
            settings,
            tissue=tissue,
            intensity=intensity,
            step=step,
        )
        if progress is not None:
            progress(done, len(tiles))
    return finish(tally, settings, modality, measured=intensity is not None)


def finish(
    tally: CellTally, settings: CellSettings, modality: str, *, measured: bool = True
) -> CellOutcome:
    """Turn a tally into measurements; what cannot be computed is None with its reason.

    `measured` tells whether intensities were read at all.
    """
    pixel_um2 = settings.mpp_um**2
    area_mm2 = tally.tissue_px * pixel_um2 * 1e-6
    count = tally.areas_px.total()
    reasons: dict[str, str] = {}
    if not tally.tissue_px:
        reasons |= dict.fromkeys(("positive_density_per_mm2", "positive_area_fraction"), NO_TISSUE)
    if not count:
        reasons["cell_area_um2"] = NO_CELL
    area = MeanMedian(
        mean=_mean(tally.areas_px, pixel_um2), median=_median(tally.areas_px, pixel_um2)
    )
    cells = Cells(
        positive_count=count,
        positive_density_per_mm2=count / area_mm2 if area_mm2 else None,
        positive_area_fraction=tally.positive_px / tally.tissue_px if tally.tissue_px else None,
        cell_area_um2=area,
        **_intensities(tally, pixel_um2, modality, measured, reasons),
    )
    return CellOutcome(
        cells=cells,
        area_mm2=area_mm2,
        reasons={f"cells.{path}": reason for path, reason in reasons.items()},
        warnings=_warnings(tally, modality, measured),
    )


def _intensities(
    tally: CellTally, pixel_um2: float, modality: str, measured: bool, reasons: dict[str, str]
) -> dict[str, Any]:
    """Return the intensity values of `Cells`, and put why the others are null into `reasons`."""
    brightfield = modality == "brightfield"
    name = "optical_density" if brightfield else "intensity"
    absent = "intensity" if brightfield else "optical_density"
    reasons[absent] = f"not defined for {modality}"
    density_names = ("integrated_optical_density", "average_optical_density")
    if not measured:
        reasons |= dict.fromkeys((name, *density_names), "no image was given, only probabilities")
        return {}
    step = OD_STEP if brightfield else GREY_STEP
    mean = tally.intensity_sum / tally.positive_px if tally.positive_px else None
    values: dict[str, Any] = {name: MeanMedian(mean, _median(tally.intensities, step))}
    if mean is None:
        reasons[name] = NO_CELL
    if not brightfield:
        return _with_reasons(values, density_names, f"not defined for {modality}", reasons)
    values["integrated_optical_density"] = tally.intensity_sum * pixel_um2
    values["average_optical_density"] = mean
    if mean is None:
        reasons["average_optical_density"] = NO_CELL
    return values


def _with_reasons(
    values: dict[str, Any], names: tuple[str, ...], reason: str, reasons: dict[str, str]
) -> dict[str, Any]:
    reasons.update(dict.fromkeys(names, reason))
    return values


def _warnings(tally: CellTally, modality: str, measured: bool) -> tuple[str, ...]:
    warnings = []
    if measured:
        brightfield = modality == "brightfield"
        warnings.append(NOT_STOICHIOMETRIC if brightfield else NOT_A_CONCENTRATION)
    if tally.clusters_cut:
        warnings.append(
            "some positive cells touch over so wide a stretch that they were parted window by "
            "window; check the VEGF threshold, their count is approximate"
        )
    return tuple(warnings)


def _mean(histogram: Counter[int], unit: float) -> float | None:
    total = histogram.total()
    if not total:
        return None
    return sum(value * count for value, count in histogram.items()) * unit / total


def _median(histogram: Counter[int], unit: float) -> float | None:
    """Return the median of a histogram of whole steps: the mean of the two middle values."""
    total = histogram.total()
    if not total:
        return None
    values = np.array(sorted(histogram))
    ends = np.cumsum([histogram[int(value)] for value in values])
    low = values[np.searchsorted(ends, (total - 1) // 2, side="right")]
    high = values[np.searchsorted(ends, total // 2, side="right")]
    return float(low + high) / 2 * unit
