"""What ``angiometry morphometry`` does, apart from parsing its flags."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.batch import STDOUT, check_outputs, check_suffixes
from analysis.clock import Progress
from analysis.command import check_tissue
from analysis.engine import Output
from analysis.errors import SettingsError
from analysis.exports import write_csv, write_json
from analysis.morphometry import measure_mask
from analysis.record import Record, to_dict, to_json
from analysis.regions import read_regions
from analysis.screen import print_record, tell
from analysis.settings import EarlierSettings, MeasureSettings, load_settings
from analysis.workbook import write_xlsx

_WRITERS: Mapping[Output, Callable[[Record, Path], None]] = {
    "json": write_json,
    "csv": write_csv,
    "xlsx": write_xlsx,
}


@dataclass(frozen=True)
class MorphometryRequest:
    """The flags of ``angiometry morphometry``; None is a flag that was not given."""

    mask: Path
    mpp_um: float | None = None
    section_thickness_um: float | None = None
    tissue: Path | None = None
    regions: Path | None = None
    band_um: float | None = None
    parity: bool | None = None
    sizes: Mapping[str, float | None] = field(default_factory=dict)
    settings: Path | None = None
    outputs: Mapping[Output, Path] = field(default_factory=dict)


def morphometry(
    request: MorphometryRequest,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> None:
    """Measure a vessel mask; the record goes to files, to standard output, or is shown."""
    earlier = _earlier(request)
    chosen = _chosen(request, earlier.settings)
    tissue, outputs = chosen.tissue_file, request.outputs
    to_stdout = outputs.get("json") == STDOUT
    places = [(k, path) for k, path in outputs.items() if not (k == "json" and to_stdout)]
    check_outputs([request.mask, *([tissue] if tissue else [])], places)
    check_suffixes(places)
    record = measure_mask(
        request.mask,
        earlier.mpp_um if request.mpp_um is None else request.mpp_um,
        tissue=tissue,
        settings=chosen,
        progress=progress,
        executor=executor,
    )
    if to_stdout:
        sys.stdout.write(to_json(record) + "\n")
    elif not places:
        print_record(to_dict(record), Console())
    for kind, path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[kind](record, path)
    aloud = Console(stderr=True)
    for warning in record.warnings:
        tell(aloud, f"warning: {warning}")
    for _, path in places:
        tell(aloud, f"wrote {path}")


def _earlier(request: MorphometryRequest) -> EarlierSettings:
    """Return the settings of the earlier record that is named, or else the defaults."""
    if request.settings is None:
        return EarlierSettings(MeasureSettings(tissue="frame"))
    earlier = load_settings(request.settings)
    if earlier.model_sha256 is not None or earlier.settings.thresholds:
        raise SettingsError(
            f"{request.settings} is the record of an image that a model looked at; give one of "
            "angiometry morphometry, or its settings one by one",
            "settings",
        )
    if request.tissue is None:
        check_tissue(earlier)
    return earlier


def _chosen(request: MorphometryRequest, earlier: MeasureSettings) -> MeasureSettings:
    """Return the settings to measure with: flags given win over the earlier ones."""
    if request.tissue == Path("auto"):
        raise SettingsError("a mask shows no glass to leave out; give a mask or frame", "tissue")
    changes: dict[str, Any] = {
        "section_thickness_um": request.section_thickness_um,
        "tissue": None if request.tissue is None else str(request.tissue),
        "regions": None if request.regions is None else read_regions(request.regions),
        "band_um": request.band_um,
        "parity": request.parity,
        **request.sizes,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(earlier, **given)
