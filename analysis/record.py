"""The measurement record: one tree of frozen dataclasses, serialised once, read by everyone.

A value that cannot be computed is ``None``, and `Region.reasons` says why under its dotted path
(``"vessels.diameter_um"``). `docs/measurements.md` defines every number; names carry their units.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from imaging.names import readable


@dataclasses.dataclass(frozen=True)
class Diameter:
    """Length-weighted widths of the vessel mask along the normal of its skeleton, in µm."""

    mean: float | None = None
    median: float | None = None
    p10: float | None = None
    p90: float | None = None


@dataclasses.dataclass(frozen=True)
class ExtravascularDistance:
    """Distance from tissue outside vessels to the nearest vessel, in µm (Kaplan–Meier)."""

    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    max: float | None = None


@dataclasses.dataclass(frozen=True)
class Lacunarity:
    """Gliding-box lacunarity of the vessel mask by box size."""

    box_um: tuple[float, ...] = ()
    value: tuple[float | None, ...] = ()
    mean: float | None = None
    slope: float | None = None


@dataclasses.dataclass(frozen=True)
class Vessels:
    """Vessel measurements of one region."""

    area_fraction: float | None = None
    area_mm2: float | None = None
    profile_count: int | None = None
    profile_density_per_mm2: float | None = None
    length_mm: float | None = None
    length_density_mm_per_mm2: float | None = None
    branchpoint_count: int | None = None
    branchpoint_density_per_mm2: float | None = None
    segment_count: int | None = None
    endpoint_count: int | None = None
    mean_segment_length_um: float | None = None
    diameter_um: Diameter = Diameter()
    tortuosity_mean: float | None = None
    extravascular_distance_um: ExtravascularDistance = ExtravascularDistance()
    lacunarity: Lacunarity = Lacunarity()
    hotspot_profile_density_per_mm2: float | None = None
    mean_field_profile_density_per_mm2: float | None = None


@dataclasses.dataclass(frozen=True)
class MeanMedian:
    """Mean and median of one quantity over cells."""

    mean: float | None = None
    median: float | None = None


@dataclasses.dataclass(frozen=True)
class Cells:
    """Measurements of VEGF-positive cells in one region.

    `optical_density` is filled for brightfield, `intensity` for fluorescence; the other is None.
    """

    positive_count: int | None = None
    positive_density_per_mm2: float | None = None
    positive_area_fraction: float | None = None
    cell_area_um2: MeanMedian = MeanMedian()
    optical_density: MeanMedian | None = None
    intensity: MeanMedian | None = None
    integrated_optical_density: float | None = None
    average_optical_density: float | None = None


@dataclasses.dataclass(frozen=True)
class Association:
    """How close VEGF-positive cells lie to vessels, where both markers are on one image.

    The mappings are keyed by the distance in µm: "5", "10", "20".
    """

    cell_to_vessel_distance_um: MeanMedian = MeanMedian()
    fraction_within_um: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    observed_to_expected: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    p_value: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Region:
    """Everything measured in one region; ``None`` parts have their reason in `reasons`."""

    name: str
    area_mm2: float
    vessels: Vessels | None = None
    cells: Cells | None = None
    association: Association | None = None
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Software:
    """The version of Angiometry that measured."""

    version: str
    git_revision: str | None


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """What was measured, and on which calibration."""

    name: str
    sha256: str
    width_px: int
    height_px: int
    mpp_um: float
    mpp_source: str
    modality: str
    markers: tuple[str, ...]
    channels: Mapping[str, int]
    section_thickness_um: float | None = None


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The bundle that segmented."""

    name: str
    version: str
    sha256: str
    mpp_um: float
    thresholds: Mapping[str, float]
    provider: str


@dataclasses.dataclass(frozen=True)
class Record:
    """One section's measurements with everything needed to repeat them."""

    analysis_id: str
    created_at: str
    software: Software
    image: ImageInfo
    model: ModelInfo | None
    settings: Mapping[str, Any]
    regions: tuple[Region, ...]
    comparisons: tuple[Mapping[str, Any], ...] = ()
    uncertainty: tuple[Mapping[str, Any], ...] = ()
    quality: Mapping[str, Any] | None = None
    parity: tuple[Mapping[str, Any], ...] | None = None
    timings_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def to_dict(record: Record) -> dict[str, Any]:
    """Return `record` as nested dictionaries and lists that JSON can hold."""
    plain: dict[str, Any] = json.loads(to_json(record))
    return plain


def to_json(record: Record) -> str:
    """Serialise `record`; NaN and infinity are a programming error and raise ``ValueError``."""
    tree = rounded(dataclasses.asdict(record))
    if record.parity is None:  # there only where it was asked for
        del tree["parity"]
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)


def significant(value: float) -> float:
    """Return `value` to twelve significant digits: binary fractions beyond them are no data."""
    return float(f"{value:.12g}")


def rounded(tree: Any) -> Any:
    """Return a tree of mappings and lists with its numbers and texts as records hold them."""
    if isinstance(tree, float):
        return significant(tree)
    if isinstance(tree, str):
        return readable(tree)  # the path of a tissue mask may be no text
    if isinstance(tree, Mapping):
        return {key: rounded(value) for key, value in tree.items()}
    return [rounded(value) for value in tree] if isinstance(tree, (tuple, list)) else tree


def flatten(region: Region) -> Iterator[tuple[str, float | int | None]]:
    """Yield every measurement of `region` as (dotted path, value), in the record's order."""
    yield "area_mm2", region.area_mm2
    for part in ("vessels", "cells", "association"):
        values = getattr(region, part)
        if values is not None:
            yield from _leaves(part, dataclasses.asdict(values))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, float | int | None]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, (tuple, list)):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}.{index}", inner)
    else:
        yield path, significant(value) if isinstance(value, float) else value
