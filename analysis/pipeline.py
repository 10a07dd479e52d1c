"""One section from pixels to its record: scale, predict tile by tile, measure block by block.

Letters: K targets stored, H, W pixels of the model's grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from analysis.areas import Areas, plan_of
from analysis.assembly import MeasuredArea, Parts, assemble
from analysis.association import associate
from analysis.cell_tally import CellOutcome, measure_cells
from analysis.cells import CellSettings
from analysis.clock import Progress, StageClock, silent
from analysis.distances import DistanceSummary
from analysis.errors import MarkerImageError
from analysis.familiarity import unfamiliarity
from analysis.folding import (
    Densities,
    cell_settings,
    densities_of,
    tally_areas,
    vessel_settings,
)
from analysis.masks import Intensity, MaskLike, ProbabilityStore, ThresholdMask, TissueMask
from analysis.prediction import box_of, predict_section
from analysis.quality import judge
from analysis.record import Record
from analysis.region_masks import Within
from analysis.settings import MeasureSettings
from analysis.tissue_check import cause_of, remaining
from analysis.uncertainty import THRESHOLD_SHIFT, entry
from analysis.vessels import (
    VesselOutcome,
    finish,
)
from imaging.markers import MarkerScaling, fit_scaling, marker_intensity
from imaging.open import SectionImage
from imaging.quality import pixel_quality
from imaging.tiles import Window
from imaging.tissue import Tissue, find_tissue
from model.bundle import BundleMetadata
from model.predictor import Predictor
from model.targets import VEGF_CELL, VEGF_CELL_CENTRE, VESSEL


@dataclass(frozen=True)
class SectionResult:
    """A record, and what its exports are drawn from.

    Attributes
    ----------
    record
        The measurements.
    store
        Probabilities on the model's grid; `store.open()` is uint8 (K, H, W).
    settings
        As measured, with every threshold written out.
    mpp_um
        Pixel size of the model's grid.
    tissue
        Ω on the model's grid, sliceable as bool (H, W).
    scalings
        How each marker's pixels were scaled.
    """

    record: Record
    store: ProbabilityStore
    settings: MeasureSettings
    mpp_um: float
    tissue: TissueMask
    scalings: dict[str, MarkerScaling]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (H, W) of the model's grid."""
        return self.store.height_px, self.store.width_px

    @property
    def probabilities(self) -> npt.NDArray[np.uint8]:
        """Return the stored probabilities, a read-only memory map uint8 (K, H, W)."""
        return self.store.open()

    def mask(self, target: str) -> ThresholdMask:
        """Return where `target` was found, sliceable as bool (H, W)."""
        return ThresholdMask(self.store.layer(target), self.settings.level(target))

    @property
    def vessel_mask(self) -> ThresholdMask | None:
        """Return the vessel mask, or None where CD31 was not asked for."""
        return self.mask(VESSEL) if VESSEL in self.store.targets else None

    @property
    def cell_mask(self) -> ThresholdMask | None:
        """Return the mask of VEGF-positive cells, or None where VEGF was not asked for."""
        return self.mask(VEGF_CELL) if VEGF_CELL in self.store.targets else None

    @property
    def cell_settings(self) -> CellSettings:
        """Return how cells were told apart."""
        return cell_settings(self.settings, self.mpp_um)


def measure_section(
    image: SectionImage,
    predictor: Predictor,
    settings: MeasureSettings,
    *,
    workdir: Path,
    progress: Progress | None = None,
    executor: Executor | None = None,
    analysis_id: str | None = None,
    open_s: float | None = None,
    name: str | None = None,
) -> SectionResult:
    """Measure one section.

    Memory does not grow with the section: pixels are read tile by tile, probabilities lie on
    disk, and vessels and cells are measured block by block.

    Parameters
    ----------
    image
        An open section; brightfield, or fluorescence whose channels name the markers asked for.
    predictor
        The bundle to predict with; its µm/px is the grid that everything is measured on.
    settings
        What to measure and how.
    workdir
        An existing folder for the probabilities, ``probabilities.npy``.
    progress
        Called with (stage, done, total).
    executor
        Where vessel blocks are measured; in this process if None.
    analysis_id
        Identifier to record; a random one if None.
    open_s
        Seconds that opening took, to be recorded with the other stages.
    name
        The image's name in the record; the file's own if None.

    Returns
    -------
    SectionResult

    Raises
    ------
    MarkerImageError
        If the image cannot show the markers asked for.
    imaging.errors.ImagingError
        If channels, modality or tissue mask do not fit the image.
    """
    report = progress or silent
    check_markers(image, settings)
    # Before anything is predicted: regions that do not fit are refused here.
    plan = plan_of(image, settings)
    metadata = predictor.bundle.metadata
    settings = settings.resolved(metadata.thresholds)
    clock = StageClock({} if open_s is None else {"open": open_s})
    with clock.stage("scale"):
        report("scale", 0, 1)
        tissue = find_tissue(image, settings.tissue_file or settings.tissue)
        scalings = {m: fit_scaling(image, m, tissue) for m in settings.markers}
        report("scale", 1, 1)
    with clock.stage("predict"):
        store = predict_section(
            image, predictor, scalings, tissue, workdir=workdir, tta=settings.tta, progress=report
        )
    # Grids that nearly coincide are not resampled: the pixel measured is the image's own then.
    grid_um = image.mpp_um * image.scale_at(metadata.mpp_um)
    omega = TissueMask(tissue, store.height_px, store.width_px, grid_um)
    areas = Areas.of(image, omega, plan)
    # What need not wait for the main fold runs beside it: NumPy and OpenCV let go of the
    # interpreter while they compute. One thing at a time: memory then holds two blocks, not four.
    with ThreadPoolExecutor(1) as aside:
        excluded = None if plan is None else plan.exclusions
        quality = aside.submit(
            _quality, image, tissue, excluded, settings, scalings, metadata, clock
        )
        shifted = aside.submit(_at_thresholds, store, areas, settings, grid_um, executor, clock)
        with clock.stage("vessels"):
            vessels = _vessels(store, areas, settings, grid_um, report, executor)
        judged = quality.result()  # from here on, only cells read pixels
        with clock.stage("cells"):
            cells = _cells(image, store, areas, settings, scalings, grid_um, report)
        with clock.stage("association"):
            measured = measured_areas(areas, vessels, cells, settings)
        report("thresholds", 0, 1)
        entries = _entries(measured, shifted.result())
        report("thresholds", 1, 1)
    parts = Parts(
        image,
        predictor,
        settings,
        scalings,
        tissue,
        measured,
        areas.pairs,
        entries,
        judged,
        clock.with_total(),
    )
    record = assemble(parts, analysis_id=analysis_id, name=name)
    return SectionResult(record, store, settings, grid_um, omega, scalings)


def check_markers(image: SectionImage, settings: MeasureSettings) -> None:
    """Refuse markers that the image cannot show: two on one chromogen, or on one channel."""
    markers = settings.markers
    if len(markers) < 2:
        return
    if image.modality == "brightfield":
        raise MarkerImageError(
            f"{'+'.join(markers)} cannot both be measured on a brightfield image: one chromogen "
            "(DAB) shows one marker; give the marker that was stained, or a fluorescence image",
            "marker",
        )
    channels = [image.channel_of(marker) for marker in markers]
    if len(set(channels)) < len(channels):
        raise MarkerImageError(
            f"{'+'.join(markers)} are both given as channel {channels[0]}; "
            "name one channel for each, such as CD31=1,VEGF=2",
            "channels",
        )


@dataclass(frozen=True)
class VesselsOfAreas:
    """Vessels of each region, how far tissue lies from them, and where they are, exclusions off."""

    outcomes: list[VesselOutcome]
    distances: DistanceSummary
    mask: MaskLike


def _vessels(
    store: ProbabilityStore,
    areas: Areas,
    settings: MeasureSettings,
    grid_um: float,
    report: Progress,
    executor: Executor | None,
) -> VesselsOfAreas | None:
    if VESSEL not in store.targets:
        return None
    mask = ThresholdMask(store.layer(VESSEL), settings.level(VESSEL))
    tally = tally_areas(mask, areas, settings, grid_um, report, executor)
    distances = DistanceSummary(tally.distances, mask.shape, grid_um)
    outcomes = finish(tally, vessel_settings(settings, grid_um), mask.shape, distances)
    seen = mask if areas.hidden is None else Within(mask, but=areas.hidden)
    return VesselsOfAreas(outcomes, distances, seen)


def _cells(
    image: SectionImage,
    store: ProbabilityStore,
    areas: Areas,
    settings: MeasureSettings,
    scalings: dict[str, MarkerScaling],
    grid_um: float,
    report: Progress,
) -> list[CellOutcome] | None:
    if VEGF_CELL not in store.targets:
        return None
    return measure_cells(
        store.layer(VEGF_CELL),
        store.layer(VEGF_CELL_CENTRE),
        cell_settings(settings, grid_um),
        regions=areas.masks,
        intensity=intensity_reader(image, scalings["VEGF"], grid_um),
        modality=image.modality,
        progress=lambda done, total: report("cells", done, total),
    )


def measured_areas(
    areas: Areas,
    vessels: VesselsOfAreas | None,
    cells: list[CellOutcome] | None,
    settings: MeasureSettings,
) -> tuple[MeasuredArea, ...]:
    """Return what was measured in each region, vessels and cells brought together."""
    found = []
    for number, name in enumerate(areas.names):
        association, reasons = None, {"association": "needs CD31 and VEGF on one image"}
        if vessels is not None and cells is not None:
            distance_um = vessels.distances.at(vessels.mask, cells[number].centroids)
            association, reasons = associate(
                distance_um, vessels.distances, number, settings.association_seed
            )
        found.append(
            MeasuredArea(
                name,
                None if vessels is None else vessels.outcomes[number],
                None if cells is None else cells[number],
                association,
                reasons,
            )
        )
    return tuple(found)


def _quality(
    image: SectionImage,
    tissue: Tissue,
    excluded: shapely.Geometry | None,
    settings: MeasureSettings,
    scalings: dict[str, MarkerScaling],
    metadata: BundleMetadata,
    clock: StageClock,
) -> Mapping[str, Any]:
    with clock.stage("quality"):
        left = remaining(image, tissue, excluded)
        pixels = pixel_quality(image, left, settings.markers, scalings, metadata.mpp_um)
        strange, unknown = unfamiliarity(image, left, scalings, metadata)
        return judge(
            pixels,
            image_mpp_um=image.mpp_um,
            model_mpp_um=metadata.mpp_um,
            out_of_distribution=strange,
            unknown_because=unknown,
            little_because=cause_of(tissue, left),
        )


def _at_thresholds(
    store: ProbabilityStore,
    areas: Areas,
    settings: MeasureSettings,
    grid_um: float,
    executor: Executor | None,
    clock: StageClock,
) -> tuple[Densities, ...]:
    """Return the densities at a lower and at a higher threshold."""
    with clock.stage("thresholds"):
        return tuple(
            densities_of(store, areas, settings.shifted(shift), grid_um, executor)
            for shift in (-THRESHOLD_SHIFT, THRESHOLD_SHIFT)
        )


def _entries(
    measured: tuple[MeasuredArea, ...], beside: tuple[Densities, ...]
) -> tuple[dict[str, Any], ...]:
    """Return the record's intervals, with the densities at thresholds lower and higher."""
    return tuple(
        entry(area.name, interval, *(values[number].get(interval.path) for values in beside))
        for number, area in enumerate(measured)
        for interval in area.intervals
    )


def intensity_reader(image: SectionImage, scaling: MarkerScaling, mpp_um: float) -> Intensity:
    """Return a reader of raw marker intensity on the model's grid."""

    def read(window: Window) -> npt.NDArray[np.float32]:
        return marker_intensity(image.read_region(*box_of(window), mpp_um), scaling)

    return read
