"""Measure one file from its path alone: what a worker process runs for service and command line.

Everything in a job can be sent to another process; what the job leaves in its folder can be
served as it lies there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from analysis.clock import Progress
from analysis.errors import SettingsError
from analysis.exports import write_csv, write_json
from analysis.labels import write_labels
from analysis.object_files import (
    OBJECT_COLUMNS,
    object_rows,
    write_geojson,
    write_objects_csv,
)
from analysis.objects import find_objects
from analysis.overlay import write_overlay
from analysis.pipeline import SectionResult, measure_section
from analysis.raster import write_masks
from analysis.record import Record
from analysis.settings import MeasureSettings
from analysis.skeleton_picture import write_skeleton
from analysis.workbook import write_xlsx
from imaging.open import SectionImage, open_image
from model.bundle import load_bundle
from model.predictor import Predictor

RECORD_NAME = "record.json"
CSV_NAME = "measurements.csv"
XLSX_NAME = "measurements.xlsx"
OVERLAY_NAME = "overlay.png"
SKELETON_NAME = "skeleton.png"
OBJECTS_NAME = "objects.geojson"
OBJECTS_TABLE_NAME = "objects.csv"
MASK_NAME = "mask.ome.tif"
LABELS_NAME = "labels.ome.tif"
PROGRESS_NAME = "progress.json"

Output = Literal[
    "json", "table", "csv", "xlsx", "mask", "labels", "objects", "objects_csv", "overlay",
    "skeleton",
]  # fmt: skip
NAME_OF_OUTPUT: Mapping[Output, str] = {
    "json": RECORD_NAME,
    "csv": CSV_NAME,
    "xlsx": XLSX_NAME,
    "mask": MASK_NAME,
    "labels": LABELS_NAME,
    "objects": OBJECTS_NAME,
    "objects_csv": OBJECTS_TABLE_NAME,
    "overlay": OVERLAY_NAME,
    "skeleton": SKELETON_NAME,
}
_PROGRESS_EVERY_S = 0.25


@dataclass(frozen=True)
class MeasureJob:
    """One file to measure; every part can be pickled.

    Attributes
    ----------
    source
        The image file.
    workdir
        Folder for everything written; made if absent.
    bundle
        The ONNX bundle.
    settings
        What to measure and how.
    mpp_um, modality, channels
        As `imaging.open.open_image` takes them.
    outputs
        Output to the file that it is written to; all of them, in `workdir`, by default.
    name
        The image's name in the record, where it differs from the file's (an upload).
    analysis_id
        Identifier to record; a random one if None.
    limit_px
        Most pixels that are accepted; the reader's own limit if None.
    threads
        Processor threads for prediction; all cores if None.
    keep_probabilities
        Leave ``probabilities.npy`` in `workdir`, so that it can be measured again.
    """

    source: Path
    workdir: Path
    bundle: Path
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    mpp_um: float | None = None
    modality: str = "auto"
    channels: Mapping[str, int] | None = None
    outputs: Mapping[Output, Path] | None = None
    name: str | None = None
    analysis_id: str | None = None
    limit_px: int | None = None
    threads: int | None = None
    keep_probabilities: bool = True

    def output_paths(self) -> dict[Output, Path]:
        """Return where each output goes."""
        if self.outputs is None:
            return {kind: self.workdir / name for kind, name in NAME_OF_OUTPUT.items()}
        return dict(self.outputs)


def measure_file(
    job: MeasureJob, progress: Progress | None = None, executor: Executor | None = None
) -> Record:
    """Open, measure and export one file; vessel blocks are measured in `executor` if given.

    Without `progress`, as in a worker process, ``progress.json`` in the job's folder tells how
    far it is: ``{"stage", "done", "total"}``, replaced at most four times a second.

    Raises
    ------
    imaging.errors.ImagingError, analysis.errors.AnalysisError, model.errors.ModelError
        Whatever is wrong with the image, the settings or the bundle; all survive pickling.
    """
    job.workdir.mkdir(parents=True, exist_ok=True)
    report = progress or ProgressFile(job.workdir / PROGRESS_NAME)
    predictor = cached_predictor(job.bundle, job.threads)
    start = time.perf_counter()
    with open_section(job) as image:
        result = measure_section(
            image,
            predictor,
            job.settings,
            workdir=job.workdir,
            progress=report,
            executor=executor,
            analysis_id=job.analysis_id,
            open_s=time.perf_counter() - start,
            name=job.name,
        )
        write_outputs(result, image, job.output_paths(), report)
    if not job.keep_probabilities:
        result.store.path.unlink()
    return result.record


def write_outputs(
    result: SectionResult,
    image: SectionImage,
    paths: Mapping[Output, Path],
    progress: Progress | None = None,
) -> None:
    """Write the outputs asked for; each appears whole or not at all."""
    # Outlines take longest and serve several outputs: traced once.
    traced = {"labels", "objects", "objects_csv", "overlay", "xlsx"} & set(paths)
    objects = find_objects(result, image) if traced else []
    for done, (kind, path) in enumerate(paths.items()):
        if progress is not None:
            progress("export", done, len(paths))
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "json":
            write_json(result.record, path)
        elif kind == "csv":
            write_csv(result.record, path)
        elif kind == "xlsx":
            write_xlsx(result.record, path, OBJECT_COLUMNS, object_rows(objects, result.mpp_um))
        elif kind == "mask":
            write_masks(result, image, path)
        elif kind == "labels":
            write_labels(result, image, path, objects)
        elif kind == "objects":
            write_geojson(result, image, path, objects)
        elif kind == "objects_csv":
            write_objects_csv(objects, result.mpp_um, path)
        elif kind == "overlay":
            write_overlay(result, image, path, objects)
        elif result.vessel_mask is not None:  # cells alone have no skeleton
            write_skeleton(result, image, path)
    if progress is not None:
        progress("export", len(paths), len(paths))


class ProgressFile:
    """Progress that another process can read: a small JSON file, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = float("-inf")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Write the state, unless it was written just now and the stage goes on."""
        now = time.monotonic()
        if 0 < done < total and now - self._written < _PROGRESS_EVERY_S:
            return
        self._written = now
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps({"stage": stage, "done": done, "total": total}))
        partial.replace(self._path)


def cached_predictor(bundle: Path, threads: int | None = None) -> Predictor:
    """Return this process's predictor for a bundle; loaded anew only when the file changed."""
    try:
        state = bundle.stat()
    except OSError as error:
        raise SettingsError(
            f"the bundle {bundle} cannot be read ({error.strerror})", "model"
        ) from error
    return _predictor(bundle, state.st_mtime_ns, state.st_size, threads)


@lru_cache(maxsize=2)
def _predictor(bundle: Path, mtime_ns: int, size: int, threads: int | None) -> Predictor:
    # Time and size only tell that the file changed: what identifies it is its SHA-256.
    return Predictor(load_bundle(bundle), threads)


def open_section(job: MeasureJob) -> SectionImage:
    """Open the job's image as the job says that it is to be read."""
    modality = cast(Literal["auto", "brightfield", "fluorescence"], job.modality)
    if job.limit_px is None:
        return open_image(job.source, job.mpp_um, modality=modality, channels=job.channels)
    return open_image(
        job.source, job.mpp_um, modality=modality, channels=job.channels, limit_px=job.limit_px
    )
