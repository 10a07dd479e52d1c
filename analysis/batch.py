"""Many images with the same settings: in one process or several, and again where it stopped.

Each finished image is written at once to a journal beside the JSON file, so that a run that was
cut off goes on with ``--resume``.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loky import cpu_count

from analysis.assembly import file_sha256
from analysis.clock import Progress
from analysis.engine import MeasureJob, Output, measure_file, open_section
from analysis.errors import LOST_PROCESS, AnalysisError
from analysis.raster import MASK_SUFFIXES, TIFF_SUFFIXES, cell_mask_path
from analysis.record import rounded, to_dict
from imaging.calibration import agree
from imaging.errors import ImagingError
from imaging.names import readable
from model.bundle import load_bundle
from model.files import write_whole

SUFFIX_OF_OUTPUT: Mapping[Output, str] = {
    "csv": ".csv",
    "xlsx": ".xlsx",
    "mask": ".png",
    "labels": ".ome.tif",
    "objects": ".geojson",
    "objects_csv": ".csv",
    "overlay": ".png",
    "skeleton": ".png",
}
OF_THE_RUN: tuple[Output, ...] = ("json", "table")  # one file, however many images
_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "table": (".csv",),
    "csv": (".csv",),
    "xlsx": (".xlsx",),
    "mask": MASK_SUFFIXES,
    "labels": TIFF_SUFFIXES,
    "overlay": (".png",),
    "skeleton": (".png",),
    "objects": (".geojson", ".json"),
    "contact-sheet": (".png",),
    "with-splits": (".csv",),
}
STDOUT = Path("-")


@dataclass(frozen=True)
class Outcome:
    """What became of one image: its record, or the reason that there is none.

    `field` names the input at fault; it is empty where the fault is no wrong input.
    """

    source: Path
    record: Mapping[str, Any] | None = None
    error: str = ""
    field: str = ""
    resumed: bool = False


def plan(
    images: Sequence[Path], template: MeasureJob, outputs: Mapping[Output, Path]
) -> list[MeasureJob]:
    """Return one job for each image.

    One image: each output is a file. Several: each output but JSON and the run's table is a folder,
    and takes files named after the images.

    Raises
    ------
    AnalysisError
        If an output cannot be such a file or folder, or would replace an image or another output.
    """
    files: dict[Output, Path] = {k: path for k, path in outputs.items() if k not in OF_THE_RUN}
    whole = [
        (kind, path)
        for kind, path in outputs.items()
        if kind in OF_THE_RUN and not (kind == "json" and path == STDOUT)
    ]
    if len(images) == 1:
        job = dataclasses.replace(template, source=images[0], outputs=files)
        _check_places([job], whole)
        return [job]
    for kind, path in files.items():
        if path.exists() and not path.is_dir():
            raise AnalysisError(
                f"--{_flag(kind)} {path} is a file, and several images need a folder", _flag(kind)
            )
    names = output_names(images)
    jobs = [
        dataclasses.replace(
            template,
            source=image,
            outputs={kind: path / (name + SUFFIX_OF_OUTPUT[kind]) for kind, path in files.items()},
        )
        for image, name in zip(images, names, strict=True)
    ]
    _check_places(jobs, whole)
    return jobs


def _check_places(jobs: Sequence[MeasureJob], whole: Sequence[tuple[str, Path]]) -> None:
    """Refuse outputs that would replace an input, or each other; `whole` are those of the run."""
    inputs = {job.source for job in jobs}
    inputs |= {job.settings.tissue_file for job in jobs if job.settings.tissue_file}
    places: list[tuple[str, Path]] = [
        (kind, path) for job in jobs for kind, path in job.output_paths().items()
    ]
    places += whole
    if "CD31" not in jobs[0].settings.markers and any(kind == "skeleton" for kind, _ in places):
        raise AnalysisError(
            "--skeleton draws the vessels', and only VEGF is measured; leave it out", "skeleton"
        )
    masks = [path for kind, path in places if kind == "mask"]
    if len(jobs[0].settings.markers) > 1:
        places += [("mask", cell_mask_path(path)) for path in masks]
    check_outputs(inputs, [(_flag(kind), path) for kind, path in places])
    check_suffixes(places)


def check_suffixes(places: Sequence[tuple[str, Path]]) -> None:
    """Refuse outputs (kind, path) whose name says that they are something else.

    Raises
    ------
    AnalysisError
        Naming the flag and the file.
    """
    for kind, path in places:
        wanted = _SUFFIXES.get(kind, (path.suffix.lower(),))
        if path.suffix.lower() not in wanted:
            raise AnalysisError(
                f"--{kind} {path} {_wrong(path)}; end it with "
                f"{', '.join(wanted)}{', or .csv' if kind == 'objects' else ''}",
                kind,
            )


def _wrong(path: Path) -> str:
    return f"would be no {path.suffix} file" if path.suffix else "does not say what file it is"


def _flag(kind: str) -> str:
    """Return the flag that asks for an output: --objects does for the table, too."""
    return "objects" if kind == "objects_csv" else kind


def check_outputs(inputs: Collection[Path], places: Sequence[tuple[str, Path]]) -> None:
    """Refuse outputs (flag, path) that no file can be, or that would replace another.

    Raises
    ------
    AnalysisError
        Naming the flag and the file.
    """
    taken = {path.resolve(): "read by this command" for path in inputs}
    for kind, path in places:
        if path.resolve() in taken:
            raise AnalysisError(
                f"--{kind} {path} is {taken[path.resolve()]}; name another file", kind
            )
        if path.is_dir():
            raise AnalysisError(f"--{kind} {path} is a folder; give a file name", kind)
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise AnalysisError(f"--{kind} {path} is no ordinary file; name another", kind)
        # Folders that are missing are made.
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise AnalysisError(
                f"--{kind} {path} cannot be written: {folder} is no folder that you may write "
                "to; name another",
                kind,
            )
        taken[path.resolve()] = f"what --{kind} writes too"


def output_names(images: Sequence[Path]) -> list[str]:
    """Return the name of each image's outputs: its stem, or its whole name where stems repeat."""
    stems = Counter(image.stem for image in images)
    names = [image.stem if stems[image.stem] == 1 else image.name for image in images]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise AnalysisError(
            f"several images are named {twice[0]}, so their outputs would overwrite each other; "
            "measure them in separate runs",
            "image",
        )
    return names


def run(
    jobs: Sequence[MeasureJob],
    *,
    workers: int = 1,
    progress: Progress | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure every job; one that fails is listed and the rest go on.

    Parameters
    ----------
    jobs
        What to measure; a job's `workdir` is a folder in which it gets a temporary one.
    workers
        Processes. With one, or for a single image, this process measures and `progress` is called;
        a single image has its vessel blocks spread over the others.
    finished
        Called with each outcome as soon as it is known.

    Returns
    -------
    list of Outcome
        In the order of `jobs`.
    """
    outcomes: dict[int, Outcome] = {}
    results: Iterator[tuple[int, Outcome]]
    if not jobs:
        return []
    if workers <= 1:
        results = ((i, _attempt(job, progress)) for i, job in enumerate(jobs))
    elif len(jobs) == 1:
        with _pool(workers) as pool:
            results = iter([(0, _attempt(jobs[0], progress, pool))])
    else:
        results = _in_processes(jobs, min(workers, len(jobs)))
    for number, outcome in results:
        outcomes[number] = outcome
        if finished is not None:
            finished(outcome)
    return [outcomes[number] for number in range(len(jobs))]


def _in_processes(jobs: Sequence[MeasureJob], workers: int) -> Iterator[tuple[int, Outcome]]:
    threads = max(1, cpu_count() // workers)
    with _pool(workers) as pool:
        futures: dict[Future[Outcome], int] = {
            pool.submit(_attempt, dataclasses.replace(job, threads=threads)): number
            for number, job in enumerate(jobs)
        }
        for future in as_completed(futures):
            number = futures[future]
            try:
                yield number, future.result()
            except Exception as error:  # noqa: BLE001 - the outermost loop: a worker died
                message = f"its worker process died ({error}); measure it with --workers 1"
                yield number, Outcome(jobs[number].source, error=message)


def _pool(workers: int) -> ProcessPoolExecutor:
    # ONNX Runtime's threads do not survive a fork.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _attempt(
    job: MeasureJob, progress: Progress | None = None, executor: Executor | None = None
) -> Outcome:
    """Measure one job in a temporary folder of its own."""
    try:
        job.workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="angiometry-", dir=job.workdir) as folder:
            placed = dataclasses.replace(job, workdir=Path(folder))
            record = measure_file(placed, progress, executor)
        return Outcome(job.source, record=to_dict(record))
    except ValueError as error:
        return Outcome(job.source, error=str(error), field=getattr(error, "field", ""))
    except BrokenExecutor:
        return Outcome(job.source, error=LOST_PROCESS)
    except Exception as error:  # noqa: BLE001 - the outermost loop: the rest go on
        return Outcome(job.source, error=f"{type(error).__name__}: {error}")


class Ledger:
    """The JSON output of a run, and what an earlier run had already put there.

    While a run goes on, each record is a line of the journal ``<name>.journal``; at its end the
    file is written whole and the journal removed.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.journal = path.with_name(path.name + ".journal")
        self._earlier = list(self._read()) if resume else []
        if not resume:
            self.journal.unlink(missing_ok=True)

    def earlier(self, job: MeasureJob) -> Outcome | None:
        """Return the outcome of an earlier run that measured the same thing, if there is one.

        The same image by name and content, the same choices, the same bundle, and every output
        still there. A modality that is left open is the one that the image shows now, and
        channels that are left open are none.
        """
        if not all(path.exists() for path in job.output_paths().values()):
            return None
        name = readable(job.source.name)
        candidates = [r for r in self._earlier if _get(r, "image", "name") == name]
        if not candidates or not job.source.is_file():
            return None
        content, bundle = file_sha256(job.source), load_bundle(job.bundle)
        choices = rounded(job.settings.resolved(bundle.metadata.thresholds).as_record())
        for record in candidates:
            settings = record.get("settings", {})
            same = (
                _get(record, "image", "sha256") == content
                and _get(record, "model", "sha256") == bundle.sha256
                and {name: settings.get(name) for name in choices} == choices
                and _get(record, "image", "section_thickness_um")
                == rounded(job.settings.section_thickness_um)
                and _same_reading(record, job)
            )
            if same:
                return Outcome(job.source, record=record, resumed=True)
        return None

    def add(self, outcome: Outcome) -> None:
        """Note a finished image, so that it survives this process."""
        if outcome.record is None:
            return
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with self.journal.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(outcome.record, ensure_ascii=False) + "\n")

    def close(self, outcomes: Sequence[Outcome], *, single: bool) -> list[Outcome]:
        """Write the JSON file: an object for a single image, else an array.

        Records of images that were not asked for again stay, before those of `outcomes`; all of
        them come back, so that a table has the same images.
        """
        asked = {readable(outcome.source.name) for outcome in outcomes}
        others = {
            name: Outcome(Path(name), record=record, resumed=True)
            for record in self._earlier
            if (name := str(_get(record, "image", "name"))) not in asked
        }
        whole = [*others.values(), *outcomes]
        content = json_text(whole, single=single and not others)
        if content is not None:
            write_whole(self.path, content.encode())
        self.journal.unlink(missing_ok=True)
        return whole

    def _read(self) -> Iterator[dict[str, Any]]:
        if self.path.is_file():
            try:
                tree = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise AnalysisError(
                    f"{self.path} is no JSON, so nothing can be resumed from it; remove it", "json"
                ) from error
            records = tree if isinstance(tree, list) else [tree]
            if not all(_is_record(record) for record in records):
                raise AnalysisError(
                    f"{self.path} holds something else than records of measure, so nothing can be "
                    "resumed from it; remove it, or name another file",
                    "json",
                )
            yield from records
        if self.journal.is_file():
            for line in self.journal.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # the line that was being written when the run was cut off
                if _is_record(record):
                    yield record


def json_text(outcomes: Sequence[Outcome], *, single: bool) -> str | None:
    """Return the records as JSON text; None where a single image has none."""
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if single and not records:
        return None
    tree = records[0] if single else records
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _is_record(tree: object) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get("image"), dict)


def _same_reading(record: Mapping[str, Any], job: MeasureJob) -> bool:
    """Tell whether pixel size, tissue mask, channels and modality are those the job asks for."""
    settings, image = record.get("settings", {}), record["image"]
    asked = job.mpp_um
    if asked is not None and image.get("mpp_source") == "file":
        # What the file states holds, and a request of the same size is no other.
        asked = None if agree(image["mpp_um"], asked) else asked
    mask = job.settings.tissue_file
    content = file_sha256(mask) if mask is not None and mask.is_file() else None
    return bool(
        settings.get("mpp_um") == rounded(asked)
        and settings.get("tissue_sha256") == content
        and settings.get("channels") == dict(job.channels or {})
        and settings.get("modality") == _modality_of(job)
    )


def _modality_of(job: MeasureJob) -> str | None:
    """Return the modality that the job asks for, or else that its image shows; None if unclear."""
    if job.modality != "auto":
        return job.modality
    try:
        with open_section(job) as image:
            return image.modality
    except ImagingError:
        return None  # measuring it says what is wrong


def _get(record: Mapping[str, Any], part: str, name: str) -> Any:
    inner = record.get(part)
    return inner.get(name) if isinstance(inner, Mapping) else None
