"""What ``angiometry measure`` does, apart from parsing its flags."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from analysis.assembly import file_sha256
from analysis.batch import STDOUT, Ledger, Outcome, json_text, plan, run
from analysis.clock import Progress
from analysis.engine import MeasureJob, Output
from analysis.errors import SettingsError
from analysis.raster import cell_mask_path
from analysis.regions import read_regions
from analysis.run_table import run_table_text
from analysis.screen import show, tell
from analysis.settings import EarlierSettings, MeasureSettings, load_settings
from analysis.usage import named
from imaging.names import readable
from imaging.open import parse_channels
from model.bundle import find_bundle, load_bundle
from model.errors import BundleError
from model.files import write_whole
from model.targets import parse_markers

_DEFAULT_MARKER = "CD31"
# Images named beside a warning that many of them share.
_NAMED = 5


@dataclass(frozen=True)
class MeasureRequest:
    """The flags of ``angiometry measure``; None is a flag that was not given."""

    images: Sequence[Path]
    marker: str | None = None
    mpp_um: float | None = None
    modality: str | None = None
    channels: str | None = None
    section_thickness_um: float | None = None
    regions: Path | None = None
    band_um: float | None = None
    parity: bool | None = None
    tissue: str | None = None
    model: str | None = None
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    sizes: Mapping[str, float | None] = field(default_factory=dict)
    tta: bool | None = None
    workers: int = 1
    outputs: Mapping[Output, Path] = field(default_factory=dict)
    resume: bool = False
    settings: Path | None = None


def outputs(**paths: Path | None) -> dict[Output, Path]:
    """Return the outputs that were asked for; objects are a table where their file is a .csv."""
    asked = {cast(Output, kind): path for kind, path in paths.items() if path is not None}
    objects = asked.get("objects")
    if objects is not None and objects.suffix.lower() == ".csv":
        asked["objects_csv"] = asked.pop("objects")
    return asked


def measure(request: MeasureRequest, progress: Progress, console: Console) -> int:
    """Measure the images of `request` and return the exit code.

    0: all measured; 1: some of several images failed. What is wrong with the request, or with the
    only image, is raised.

    `console` writes to standard error; results go to files or to standard output.
    """
    if request.workers < 1:
        raise SettingsError(f"--workers is {request.workers}; give 1 or more", "workers")
    json_path = request.outputs.get("json")
    if request.resume and json_path in (None, STDOUT):
        raise SettingsError("--resume needs --json FILE, which tells what is done", "resume")
    single = len(request.images) == 1
    jobs = plan(request.images, _template(request), request.outputs)
    to_file = json_path if json_path != STDOUT else None
    ledger = Ledger(to_file, resume=request.resume) if to_file else None
    outcomes = _measured(jobs, ledger, request, progress, console)
    if single and outcomes[0].field:
        raise SettingsError(outcomes[0].error, outcomes[0].field)
    whole = ledger.close(outcomes, single=single) if ledger else outcomes
    if json_path == STDOUT:
        sys.stdout.write(json_text(outcomes, single=single) or "")
    elif not request.outputs:
        show(outcomes, Console())
    table = request.outputs.get("table")
    if table:
        write_whole(table, run_table_text(whole).encode())
    code = _report(outcomes, console)
    for path in _written(jobs, request, outcomes):
        tell(console, f"wrote {path}")
    return code


def _written(
    jobs: Sequence[MeasureJob], request: MeasureRequest, outcomes: Sequence[Outcome]
) -> Iterator[Path]:
    """Yield every file, or folder of several images, that the run has written."""
    measured = any(outcome.record for outcome in outcomes)
    for kind, path in request.outputs.items():
        if path != STDOUT and (measured or kind == "table"):
            yield path
            if kind == "mask" and len(jobs) == 1 and len(jobs[0].settings.markers) > 1:
                yield cell_mask_path(path)


def _measured(
    jobs: Sequence[MeasureJob],
    ledger: Ledger | None,
    request: MeasureRequest,
    progress: Progress,
    console: Console,
) -> list[Outcome]:
    """Measure what is not done, and return an outcome for every job in their order."""
    known: dict[int, Outcome] = {}
    if ledger is not None:
        for number, job in enumerate(jobs):
            earlier = ledger.earlier(job)
            if earlier is not None:
                known[number] = earlier
                ledger.add(earlier)
    todo = [number for number in range(len(jobs)) if number not in known]

    def finished(outcome: Outcome) -> None:
        if ledger is not None:
            ledger.add(outcome)
        if len(jobs) > 1:
            state = "failed" if outcome.record is None else "done"
            console.print(f"{state}: {outcome.source}", highlight=False, markup=False)

    with tempfile.TemporaryDirectory(prefix="angiometry-") as folder:
        placed = [dataclasses.replace(jobs[n], workdir=Path(folder)) for n in todo]
        fresh = run(placed, workers=request.workers, progress=progress, finished=finished)
    known |= dict(zip(todo, fresh, strict=True))
    return [known[number] for number in range(len(jobs))]


def _template(request: MeasureRequest) -> MeasureJob:
    """Return the job that all images share: flags given win over an earlier record's settings."""
    earlier = load_settings(request.settings) if request.settings else EarlierSettings(_defaults())
    if earlier.of_mask:
        raise SettingsError(
            f"{request.settings} is the record of a vessel mask that angiometry morphometry "
            "measured; give one of angiometry measure, or its settings one by one",
            "settings",
        )
    bundle = _bundle_of(request, earlier)
    found = load_bundle(bundle)
    if request.model is None and earlier.model_sha256 not in (None, found.sha256):
        raise SettingsError(
            f"the record was made with another version of the model {earlier.model!r} "
            f"(sha256 {str(earlier.model_sha256)[:12]}…); give --model to use this one instead",
            "settings",
        )
    if request.tissue is None:
        check_tissue(earlier)
    changes: dict[str, Any] = {
        "markers": parse_markers(request.marker) if request.marker is not None else None,
        "section_thickness_um": request.section_thickness_um,
        "tissue": request.tissue,
        "tta": request.tta,
        "regions": read_regions(request.regions) if request.regions is not None else None,
        "band_um": request.band_um,
        "parity": request.parity,
        **request.sizes,
    }
    settings = dataclasses.replace(
        earlier.settings,
        thresholds=dict(earlier.settings.thresholds)
        | {target: value for target, value in request.thresholds.items() if value is not None},
        **{name: value for name, value in changes.items() if value is not None},
    )
    channels = parse_channels(request.channels) if request.channels else earlier.channels
    return MeasureJob(
        source=Path(),
        workdir=Path(),
        bundle=bundle,
        settings=settings,
        mpp_um=request.mpp_um if request.mpp_um is not None else earlier.mpp_um,
        modality=request.modality or earlier.modality,
        channels=channels or None,
        outputs={},
        keep_probabilities=False,
    )


def check_tissue(earlier: EarlierSettings) -> None:
    """Refuse a tissue mask that is not the one of the record, though it has its name."""
    mask = earlier.settings.tissue_file
    if mask is None or earlier.tissue_sha256 is None or not mask.is_file():
        return  # a mask that is not there is refused where it is read
    try:
        found = file_sha256(mask)
    except OSError as error:
        raise SettingsError(f"{mask} cannot be read ({error.strerror})", "tissue") from error
    if found != earlier.tissue_sha256:
        raise SettingsError(
            f"{mask} is not the tissue mask that the record was made with (sha256 {found[:12]}…, "
            f"recorded is {earlier.tissue_sha256[:12]}…); put the recorded file back, or give "
            "--tissue to use another mask",
            "tissue",
        )


def _bundle_of(request: MeasureRequest, earlier: EarlierSettings) -> Path:
    """Return the bundle's file; a record names its bundle, but not where that lies."""
    try:
        return find_bundle(request.model or earlier.model)
    except BundleError as error:
        if request.model is not None or request.settings is None:
            raise
        raise SettingsError(
            f"the record was made with the model {earlier.model!r}, which does not ship: "
            "say where its bundle lies with --model FILE.onnx",
            "model",
        ) from error


def _defaults() -> MeasureSettings:
    return MeasureSettings(markers=parse_markers(_DEFAULT_MARKER))


def _warnings(record: Mapping[str, Any]) -> Iterator[str]:
    yield from record.get("warnings", ())
    quality = record.get("quality") or {"reasons": ()}
    for reason in quality["reasons"]:
        yield f"image quality ({quality['verdict']}): {reason}"


def _report(outcomes: Sequence[Outcome], console: Console) -> int:
    """Show warnings and failures on standard error, and return the exit code."""
    warned: dict[str, list[str]] = {}
    for outcome in outcomes:
        for warning in _warnings(outcome.record or {}):
            warned.setdefault(warning, []).append(readable(outcome.source.name))
    for warning, names in warned.items():
        of = ""
        if len(outcomes) > 1:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            of = f"{', '.join(names[:_NAMED])}{more}: "
        tell(console, f"warning: {of}{warning}")
    resumed = sum(outcome.resumed for outcome in outcomes)
    if resumed:
        console.print(f"{resumed} already measured", highlight=False)
    failed = [outcome for outcome in outcomes if outcome.record is None]
    for outcome in failed:
        tell(console, f"error: {outcome.source}: {named(outcome.field, outcome.error)}")
    return 1 if failed else 0
