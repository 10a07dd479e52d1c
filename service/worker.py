"""What runs inside a worker process: the model loaded once, one image at a time.

Uploads are decoded here and nowhere else, under a memory limit, so that a hostile or broken file
can end this process but not the server.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from service.errors import WorkerLimitError
from service.form import AnalysisRequest
from service.store import PENDING_NAME, SECOND_MASK, SKELETON_NAME, TISSUE_DIR, UPLOAD_DIR

if TYPE_CHECKING:
    from analysis.engine import Output
    from analysis.pipeline import SectionResult
    from imaging.open import SectionImage

LARGER = "Larger ones: have ANGIOMETRY_SYNC_LIMIT_PX raised, or use the command angiometry measure."
GRID_FACTOR = 16
"""How many pixels of the model's grid one pixel allowed may become: 2 µm/px at 0.5 µm/px."""


@dataclass(frozen=True)
class Warmth:
    """What a worker says of itself once its model is loaded."""

    pid: int
    model_name: str
    model_version: str
    model_sha256: str
    provider: str
    self_test_passed: bool


@dataclass(frozen=True)
class Job:
    """One image to measure; `folder` holds it and takes the results."""

    analysis_id: str
    folder: Path
    request: AnalysisRequest
    bundle: Path
    threads: int
    limit_px: int
    memory_limit_bytes: int


@dataclass(frozen=True)
class Measured:
    """A record as JSON holds it, and how many tiles were predicted for it."""

    record: Mapping[str, Any]
    tiles: int

    @property
    def absent_files(self) -> set[str]:
        """Return which of the files of an analysis its markers do not lead to."""
        markers = self.record["image"]["markers"]
        absent = set() if len(markers) > 1 else {SECOND_MASK}
        return absent if "CD31" in markers else absent | {SKELETON_NAME}


@dataclass(frozen=True)
class Source:
    """How an upload is opened."""

    mpp_um: float | None
    modality: Literal["auto", "brightfield", "fluorescence"]
    channels: Mapping[str, int] | None
    limit_px: int

    def open(self, folder: Path) -> SectionImage:
        """Open the upload that lies in `folder`."""
        from imaging.errors import ImageTooLargeError
        from imaging.open import open_image

        try:
            return open_image(
                next((folder / UPLOAD_DIR).iterdir()),
                self.mpp_um,
                modality=self.modality,
                channels=self.channels,
                limit_px=self.limit_px,
            )
        except ImageTooLargeError as error:
            if error.limit_px < self.limit_px:  # a limit of its format, which no setting raises
                raise
            raise ImageTooLargeError(
                f"{error} {LARGER}", limit_px=error.limit_px, value_px=error.value_px
            ) from error


@dataclass(frozen=True)
class Pending:
    """A measured image whose exports are still to be written."""

    result: SectionResult
    source: Source


def start(memory_limit_bytes: int) -> None:
    """Set up a new worker process: limits, signals, and an end when the server ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import resource

        # Data, not address space: threads and mapped files reserve far more than they ever use.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_server, daemon=True).start()


def _end_with_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        multiprocessing.connection.wait([server.sentinel])
        os._exit(1)


def warm(bundle: Path, threads: int) -> Warmth:
    """Load the default model and run its self-test."""
    from analysis.engine import cached_predictor

    predictor = cached_predictor(bundle, threads)
    metadata = predictor.bundle.metadata
    return Warmth(
        pid=os.getpid(),
        model_name=metadata.name,
        model_version=metadata.version,
        model_sha256=predictor.bundle.sha256,
        provider=predictor.provider,
        self_test_passed=predictor.self_test(),
    )


def measure(job: Job) -> Measured:
    """Measure one image and write its files into the job's folder.

    Raises
    ------
    imaging.errors.ImagingError, analysis.errors.AnalysisError, model.errors.ModelError
        If the image or the request is at fault.
    WorkerLimitError
        If the image needs more memory than the limit.
    """
    try:
        return _measure(job)
    except MemoryError as error:
        limit = job.memory_limit_bytes
        raise WorkerLimitError(
            f"Measuring needs more memory than the {limit} bytes of a worker; crop the image, or "
            "have ANGIOMETRY_MEMORY_LIMIT_BYTES raised.",
            field="image",
        ) from error


def _measure(job: Job) -> Measured:
    # Heavy imports happen here, so that the server's own process stays without them.
    from analysis.engine import CSV_NAME, cached_predictor
    from analysis.exports import write_csv
    from analysis.pipeline import measure_section
    from analysis.record import to_dict
    from imaging.open import parse_channels

    request = job.request
    tiles = 0

    def count(stage: str, done: int, total: int) -> None:
        nonlocal tiles
        if stage == "predict":
            tiles = total

    predictor = cached_predictor(job.bundle, job.threads)
    source = Source(
        request.mpp_um, request.modality, parse_channels(request.channels) or None, job.limit_px
    )
    mask = next((job.folder / TISSUE_DIR).glob("*"), None)
    settings = request.settings
    if mask is not None:
        settings = dataclasses.replace(settings, tissue=str(mask))
    start_s = time.perf_counter()
    with source.open(job.folder) as image:
        check_grid(image.size_at(predictor.bundle.metadata.mpp_um), job.limit_px)
        result = measure_section(
            image,
            predictor,
            request.settings
            if mask is None
            else dataclasses.replace(request.settings, tissue=str(mask)),
            workdir=job.folder,
            progress=count,
            analysis_id=job.analysis_id,
            open_s=time.perf_counter() - start_s,
        )
    if mask is not None:
        result = _naming(mask.name, result)
    write_csv(result.record, job.folder / CSV_NAME)
    (job.folder / PENDING_NAME).write_bytes(pickle.dumps(Pending(result, source)))
    return Measured(to_dict(result.record), tiles)


def _naming(mask: str, result: SectionResult) -> SectionResult:
    """Return a result whose record calls the tissue mask as its sender does, not by a path here.

    `angiometry measure --settings` looks for it under that name, and by its hash.
    """
    from analysis.settings import TISSUE_MODES

    name = f"./{mask}" if mask in TISSUE_MODES else mask
    settings = {**result.record.settings, "tissue": name}
    return dataclasses.replace(result, record=dataclasses.replace(result.record, settings=settings))


def finish(folder: Path, *, keep_upload: bool) -> None:
    """Write the exports of a measured image, then remove what they were drawn from.

    Nobody waits for them in `measure`: drawing takes a third of a second for each megapixel.
    """
    from analysis.engine import NAME_OF_OUTPUT, write_outputs

    # Written by `measure` into a folder that only this service writes to.
    pending: Pending = pickle.loads((folder / PENDING_NAME).read_bytes())
    # The folder has moved since.
    store = dataclasses.replace(pending.result.store, path=folder / pending.result.store.path.name)
    result = dataclasses.replace(pending.result, store=store)
    wanted: tuple[Output, ...] = (
        "overlay", "objects", "objects_csv", "mask", "labels", "skeleton", "xlsx",
    )  # fmt: skip
    with pending.source.open(folder) as image:
        write_outputs(result, image, {kind: folder / NAME_OF_OUTPUT[kind] for kind in wanted})
    if not keep_upload:
        shutil.rmtree(folder / UPLOAD_DIR)
        shutil.rmtree(folder / TISSUE_DIR, ignore_errors=True)
    store.path.unlink()
    # Last, so that a process that dies before is followed by one that does all this again.
    (folder / PENDING_NAME).unlink()


def check_grid(size_px: tuple[int, int], limit_px: int) -> None:
    """Refuse an image that is small itself but immense at the model's pixel size."""
    from imaging.errors import ImageTooLargeError

    value_px = size_px[0] * size_px[1]
    allowed_px = GRID_FACTOR * limit_px
    if value_px > allowed_px:
        raise ImageTooLargeError(
            f"at the model's pixel size the image would have {size_px[0]} × {size_px[1]} pixels, "
            f"and {allowed_px} are allowed: check mpp_um, or crop the image. {LARGER}",
            limit_px=allowed_px,
            value_px=value_px,
        )
