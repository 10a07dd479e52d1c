"""Put the record together: what was measured, on what, by what, and what to know about it."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.cell_tally import CellOutcome
from analysis.comparisons import compare
from analysis.record import Association, ImageInfo, ModelInfo, Record, Region
from analysis.settings import MeasureSettings
from analysis.uncertainty import Interval
from analysis.version import software
from analysis.vessels import VesselOutcome
from imaging.markers import MarkerScaling
from imaging.open import SectionImage
from imaging.tissue import Tissue
from model.predictor import Predictor

# Beyond this a vessel of 5 µm is under three pixels of the image, whatever the grid.
_COARSE_RATIO = 2.0


@dataclass(frozen=True)
class MeasuredArea:
    """What was found in one region; an outcome is None where its marker was not asked for."""

    name: str
    vessels: VesselOutcome | None
    cells: CellOutcome | None = None
    association: Association | None = None
    association_reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def area_mm2(self) -> float:
        """Return the area of the region, 0 where it holds no pixel of tissue."""
        outcome = self.vessels or self.cells
        return outcome.area_mm2 if outcome else 0.0

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Return the intervals of all densities of the region."""
        outcomes = (self.vessels, self.cells)
        return tuple(i for outcome in outcomes if outcome is not None for i in outcome.intervals)


@dataclass(frozen=True)
class Parts:
    """Everything that a record is made of."""

    image: SectionImage
    predictor: Predictor
    settings: MeasureSettings
    scalings: Mapping[str, MarkerScaling]
    tissue: Tissue
    areas: Sequence[MeasuredArea]
    pairs: Sequence[tuple[str, str]]
    uncertainty: tuple[Mapping[str, Any], ...]
    quality: Mapping[str, Any]
    timings_s: Mapping[str, float]


def assemble(parts: Parts, *, analysis_id: str | None = None, name: str | None = None) -> Record:
    """Return the record of one measured section."""
    image, settings = parts.image, parts.settings
    regions = tuple(region_of(area) for area in parts.areas)
    return Record(
        analysis_id=analysis_id or new_id(),
        created_at=now(),
        software=software(),
        image=_image_info(image, settings, name or image.name),
        model=model_info(parts.predictor, settings),
        settings=_settings_of(parts),
        regions=regions,
        comparisons=comparisons(parts.areas, regions, parts.pairs),
        uncertainty=parts.uncertainty,
        quality=parts.quality,
        parity=parity(parts.areas) if settings.parity else None,
        timings_s=parts.timings_s,
        warnings=_warnings(parts),
    )


def comparisons(
    areas: Sequence[MeasuredArea], regions: Sequence[Region], pairs: Sequence[tuple[str, str]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the ratios of regions to their references."""
    intervals = {(area.name, i.path): i for area in areas for i in area.intervals}
    return compare(regions, pairs, intervals)


def parity(areas: Sequence[MeasuredArea]) -> tuple[Mapping[str, Any], ...]:
    """Return what other programs would report of each region's vessels."""
    return tuple(
        {"region": area.name, **area.vessels.parity} for area in areas if area.vessels is not None
    )


def region_of(area: MeasuredArea) -> Region:
    """Return the region that was measured, with the reason of every missing part."""
    vessels, cells = area.vessels, area.cells
    reasons: dict[str, str] = dict(area.association_reasons)
    if vessels is None:
        reasons["vessels"] = "CD31 is not among the markers of this image"
    else:
        reasons |= {_dotted("vessels", path): why for path, why in vessels.reasons.items()}
    if cells is None:
        reasons["cells"] = "VEGF is not among the markers of this image"
    else:
        reasons |= cells.reasons
    return Region(
        name=area.name,
        area_mm2=area.area_mm2,
        vessels=vessels.vessels if vessels else None,
        cells=cells.cells if cells else None,
        association=area.association,
        reasons=reasons,
    )


def model_info(predictor: Predictor, settings: MeasureSettings) -> ModelInfo:
    """Return which bundle segmented, with the thresholds in use."""
    metadata = predictor.bundle.metadata
    return ModelInfo(
        name=metadata.name,
        version=metadata.version,
        sha256=predictor.bundle.sha256,
        mpp_um=metadata.mpp_um,
        thresholds=dict(settings.thresholds),
        provider=predictor.provider,
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def new_id() -> str:
    """Return a new random identifier of an analysis."""
    return uuid.uuid4().hex


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _image_info(image: SectionImage, settings: MeasureSettings, name: str) -> ImageInfo:
    return ImageInfo(
        name=name,
        sha256=file_sha256(Path(image.path)),
        width_px=image.width_px,
        height_px=image.height_px,
        mpp_um=image.mpp_um,
        mpp_source=image.mpp_source,
        modality=image.modality,
        markers=settings.markers,
        channels=dict(image.channels),
        section_thickness_um=settings.section_thickness_um,
    )


def _settings_of(parts: Parts) -> dict[str, Any]:
    """Return every choice and every fitted value that influenced a number."""
    image = parts.image
    asked = image.mpp_um if image.mpp_source == "request" else None
    mask = parts.settings.tissue_file
    return parts.settings.as_record() | {
        "tissue_sha256": None if mask is None else file_sha256(mask),
        "mpp_um": asked,
        "modality": image.modality,
        "channels": dict(image.channels),
        "scaling": {marker: _plain(value) for marker, value in parts.scalings.items()},
    }


def _plain(scaling: MarkerScaling) -> dict[str, Any]:
    """Return a scaling without what does not apply to its modality."""
    values = dataclasses.asdict(scaling)
    return {name: value for name, value in values.items() if value is not None}


def _warnings(parts: Parts) -> tuple[str, ...]:
    image, found = parts.image, []
    grid_um = parts.predictor.bundle.metadata.mpp_um
    assumed = any(s.background_source == "default" for s in parts.scalings.values())
    if assumed and not parts.tissue.is_empty:
        tint = (
            "optical densities include"
            if "VEGF" in parts.settings.markers
            else "the model also sees"
        )
        found.append(
            "no glass was found, so the background was assumed to be 255 (white); "
            f"{tint} the tint of the slide and lamp"
        )
    if image.mpp_um > _COARSE_RATIO * grid_um:
        found.append(
            f"the image has {image.mpp_um:g} µm/px and the model looks at {grid_um:g} µm/px: "
            "capillaries and small cells may be missed; scan at a higher magnification"
        )
    found.extend(warnings_of(parts.areas, parts.tissue))
    return tuple(found)


def warnings_of(areas: Sequence[MeasuredArea], tissue: Tissue | None = None) -> tuple[str, ...]:
    """Return what has to be known about the regions; what concerns one alone names it.

    `tissue` is what was given or found, None for the frame.
    """
    found = list(_of_empty(areas, tissue))
    for area in areas:
        for outcome in (area.vessels, area.cells):
            for text in () if outcome is None else outcome.warnings:
                if text not in found:
                    found.append(text if area is areas[0] else f"{area.name}: {text}")
    return tuple(dict.fromkeys(found))


def _of_empty(areas: Sequence[MeasuredArea], tissue: Tissue | None) -> Iterator[str]:
    """Say what holds nothing to be measured: all of the tissue, or else single regions."""
    if tissue is not None and tissue.source == "mask" and tissue.is_empty:
        yield "the tissue mask is empty, all of it is 0, so that nothing was measured"
    elif areas[0].area_mm2 == 0:
        yield "there is no tissue to be measured"
    else:
        for area in areas[1:]:
            if area.area_mm2 == 0:
                yield f"{area.name}: the region holds no pixel of tissue, so its densities are null"


def _dotted(part: str, path: str) -> str:
    return path if path == part or path.startswith(f"{part}.") else f"{part}.{path}"
