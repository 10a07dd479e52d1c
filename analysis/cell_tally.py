"""What cells amount to: one small tally for each block, added in any order, then finished.

Letters: H, W pixels of the model's grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.cautions import NOT_A_CONCENTRATION, NOT_STOICHIOMETRIC
from analysis.cells import CellSettings, cells_of_block
from analysis.masks import Intensity, MaskLike
from analysis.ownership import Ownership
from analysis.quadrats import Places, QuadratGrid, QuadratSums, count_pixels
from analysis.record import Cells, MeanMedian
from analysis.uncertainty import Interval, intervals
from imaging.tiles import Window, grid

_BLOCK_PX = 1024
# Medians come from histograms, because those merge: the steps are below a camera's own.
OD_STEP = 0.0005
GREY_STEP = 0.25
NO_TISSUE = "the analysed tissue is empty"
NO_CELL = "no VEGF-positive cell was found"
NO_POSITIVE_AREA = "nothing is VEGF-positive"


@dataclass(frozen=True)
class CellTally:
    """What one block, or many, saw of the cells, by region; tallies add in any order.

    Attributes
    ----------
    tissue_px, positive_px
        Pixels of each region, and positive ones in it, specks included, by quadrat.
    places
        Cells counted (n,), each at its last pixel.
    areas_px, centroids
        Their areas (n,), and their centroids (n, 2) as (y, x) in pixels.
    intensity_sums
        Marker intensity summed over the pixels of cells, by region.
    intensities
        Pixels of cells by quantised marker intensity, one histogram for each region.
    clusters_cut
        Clusters too wide to be seen whole.
    """

    tissue_px: QuadratSums
    positive_px: QuadratSums
    places: Places
    areas_px: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float64]
    intensity_sums: npt.NDArray[np.float64]
    intensities: tuple[Counter[int], ...]
    clusters_cut: int = 0

    def __add__(self, other: CellTally) -> CellTally:
        """Return the tally of both."""
        pairs = zip(self.intensities, other.intensities, strict=True)
        return CellTally(
            self.tissue_px + other.tissue_px,
            self.positive_px + other.positive_px,
            self.places + other.places,
            np.concatenate([self.areas_px, other.areas_px]),
            np.concatenate([self.centroids, other.centroids]),
            self.intensity_sums + other.intensity_sums,
            tuple(one + two for one, two in pairs),
            self.clusters_cut + other.clusters_cut,
        )


@dataclass(frozen=True)
class CellOutcome:
    """Cell measurements of one region, why some are null, and what to know about them.

    `centroids` (n, 2) are the (y, x) of the cells counted, `intervals` say where the
    densities of the tissue at large probably lie.
    """

    cells: Cells
    area_mm2: float
    reasons: dict[str, str]
    warnings: tuple[str, ...]
    centroids: npt.NDArray[np.float64]
    intervals: tuple[Interval, ...] = ()


def tally_block(
    probability: MaskLike,
    centre: MaskLike,
    core: Window,
    settings: CellSettings,
    *,
    regions: Sequence[MaskLike] | None = None,
    intensity: Intensity | None = None,
    step: float = OD_STEP,
) -> CellTally:
    """Measure the cells that the block `core` owns; see `measure_cells` for the parameters.

    `step` is the width of the histogram's classes of intensity.
    """
    width = int(probability.shape[1])
    positive = np.asarray(probability[core.slices()] >= settings.level)
    members = Ownership.of(
        [np.ones(positive.shape, np.bool_)]
        if regions is None
        else (region[core.slices()] for region in regions)
    )
    quadrats = QuadratGrid.over(width, settings.mpp_um)
    block = cells_of_block(probability, centre, core, settings)
    rows, columns = (places[block.counted] for places in block.last_pixel)
    member = members.at(rows - core.y, columns - core.x)
    sums, histograms = np.zeros(len(members)), [Counter[int]() for _ in range(len(members))]
    # Specks too small for a cell are positive area, but no cell's stain.
    cells = block.labels[core.within(block.window).slices()] > 0
    if intensity is not None and cells.any():
        stain = intensity(core)
        for number, region in enumerate(members):
            values = stain[cells & region].astype(np.float64)
            sums[number] = values.sum()
            histograms[number] = _histogram(np.rint(values / step).astype(np.int64))
    return CellTally(
        tissue_px=count_pixels(quadrats, members, core),
        positive_px=count_pixels(quadrats, (m & positive for m in members), core),
        places=Places(rows * width + columns, member),
        areas_px=block.areas_px[block.counted],
        centroids=block.centroids[block.counted],
        intensity_sums=sums,
        intensities=tuple(histograms),
        clusters_cut=block.clusters_cut,
    )


def _histogram(steps: npt.NDArray[np.int64]) -> Counter[int]:
    values, counts = np.unique(steps, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def measure_cells(
    probability: MaskLike,
    centre: MaskLike,
    settings: CellSettings,
    *,
    regions: Sequence[MaskLike] | None = None,
    intensity: Intensity | None = None,
    modality: str = "brightfield",
    block_px: int = _BLOCK_PX,
    progress: Callable[[int, int], None] | None = None,
) -> list[CellOutcome]:
    """Count and measure VEGF-positive cells block by block.

    Parameters
    ----------
    probability, centre
        uint8 (H, W), or anything that gives such windows for ``[y0:y1, x0:x1]``.
    settings
        Threshold, grid and smallest area.
    regions
        R regions as bool (H, W), sliceable likewise, which may overlap; None is one that is the
        whole frame.
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
    list of CellOutcome
        One for each region.
    """
    step = OD_STEP if modality == "brightfield" else GREY_STEP
    height, width = probability.shape
    tiles = list(grid(width, height, block_px, 0))
    merged: CellTally | None = None
    for done, tile in enumerate(tiles, start=1):
        tally = tally_block(
            probability,
            centre,
            tile.core,
            settings,
            regions=regions,
            intensity=intensity,
            step=step,
        )
        merged = tally if merged is None else merged + tally
        if progress is not None:
            progress(done, len(tiles))
    assert merged is not None  # a grid has at least one tile
    return finish(merged, settings, modality, width, measured=intensity is not None)


def finish(
    tally: CellTally, settings: CellSettings, modality: str, width: int, *, measured: bool = True
) -> list[CellOutcome]:
    """Turn a tally into the measurements of each region; what is None has its reason.

    `width` is that of the grid in pixels; `measured` tells whether intensities were read at all.
    """
    return [
        _outcome(tally, region, settings, modality, width, measured)
        for region in range(len(tally.intensities))
    ]


def _outcome(
    tally: CellTally, region: int, settings: CellSettings, modality: str, width: int, measured: bool
) -> CellOutcome:
    pixel_um2 = settings.mpp_um**2
    tissue_px = int(tally.tissue_px.total[region])
    positive_px = int(tally.positive_px.total[region])
    mine = tally.places.member[:, region]
    areas = _histogram(tally.areas_px[mine])
    count = areas.total()
    area_mm2 = tissue_px * pixel_um2 * 1e-6
    reasons: dict[str, str] = {}
    if not tissue_px:
        reasons |= dict.fromkeys(("positive_density_per_mm2", "positive_area_fraction"), NO_TISSUE)
    if not count:
        reasons["cell_area_um2"] = NO_CELL
    seen = _Seen(
        float(tally.intensity_sums[region]), tally.intensities[region], positive_px, pixel_um2
    )
    cells = Cells(
        positive_count=count,
        positive_density_per_mm2=count / area_mm2 if area_mm2 else None,
        positive_area_fraction=positive_px / tissue_px if tissue_px else None,
        cell_area_um2=MeanMedian(_mean(areas, pixel_um2), _median(areas, pixel_um2)),
        **_intensities(seen, modality, measured, reasons),
    )
    quadrats = QuadratGrid.over(width, settings.mpp_um)
    sums = {
        "cells.positive_density_per_mm2": tally.places.by_quadrat(quadrats, width),
        "cells.positive_area_fraction": tally.positive_px,
    }
    values = {path: getattr(cells, path.removeprefix("cells.")) for path in sums}
    return CellOutcome(
        cells=cells,
        area_mm2=area_mm2,
        reasons={f"cells.{path}": reason for path, reason in reasons.items()},
        warnings=_warnings(tally, modality, measured),
        centroids=tally.centroids[mine],
        intervals=intervals(values, sums, tally.tissue_px, region, quadrats, settings.mpp_um),
    )


@dataclass(frozen=True)
class _Seen:
    """What was seen of the marker in the pixels of one region's cells.

    `positive_px` are those of the positive area: specks count, though their stain does not.
    """

    intensity_sum: float
    intensities: Counter[int]
    positive_px: int
    pixel_um2: float


def _intensities(
    seen: _Seen, modality: str, measured: bool, reasons: dict[str, str]
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
    pixels = seen.intensities.total()
    mean = seen.intensity_sum / pixels if pixels else None
    values: dict[str, Any] = {name: MeanMedian(mean, _median(seen.intensities, step))}
    if mean is None:
        reasons[name] = NO_CELL
    if not brightfield:
        return _with_reasons(values, density_names, f"not defined for {modality}", reasons)
    values["integrated_optical_density"] = seen.intensity_sum * seen.pixel_um2
    if seen.positive_px:
        values["average_optical_density"] = seen.intensity_sum / seen.positive_px
    else:
        reasons["average_optical_density"] = NO_POSITIVE_AREA
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
