"""One region against another: ratios of densities, such as peri-infarct to its mirror image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.record import Region
from analysis.uncertainty import NOTHING, ONE_BLOCK, Interval

COMPARED = (
    "vessels.area_fraction",
    "vessels.profile_density_per_mm2",
    "vessels.length_density_mm_per_mm2",
    "vessels.branchpoint_density_per_mm2",
    "cells.positive_density_per_mm2",
    "cells.positive_area_fraction",
)
# CD31 can be nearly absent in healthy cortex: a ratio to a handful of profiles means nothing.
FEWEST = 10


def compare(
    regions: Sequence[Region],
    pairs: Iterable[tuple[str, str]],
    intervals: Mapping[tuple[str, str], Interval],
) -> tuple[dict[str, Any], ...]:
    """Return the record's comparisons.

    Parameters
    ----------
    regions
        What was measured.
    pairs
        Names of a region and of its reference.
    intervals
        By name of region and path of the density.
    """
    named = {region.name: region for region in regions}
    return tuple(
        _ratio(named[name], named[reference], path, intervals.get((reference, path)))
        for name, reference in pairs
        for path in COMPARED
        if getattr(named[name], path.partition(".")[0]) is not None
    )


def _ratio(
    region: Region, reference: Region, path: str, interval: Interval | None
) -> dict[str, Any]:
    value, below = (_value(part, path) for part in (region, reference))
    reason = _reason(reference, path, value, below, interval)
    ratio = None if reason or value is None or below is None else value / below
    return {
        "region": region.name,
        "reference": reference.name,
        "path": path,
        "ratio": ratio,
        "log_ratio": math.log(ratio) if ratio else None,
        "reason": reason or ("" if ratio else f"nothing was counted in {region.name}"),
    }


def _reason(
    reference: Region, path: str, value: float | None, below: float | None,
    interval: Interval | None,
) -> str:  # fmt: skip
    part, name = path.partition(".")[0], reference.name
    thing, count = (
        ("vessel profiles", reference.vessels.profile_count)
        if part == "vessels" and reference.vessels is not None
        else ("positive cells", reference.cells.positive_count if reference.cells else 0)
    )
    if value is None or below is None:
        return f"the value is null in {name if below is None else 'the region'}"
    if (count or 0) < FEWEST:
        return f"{name} holds {count or 0} {thing}: a ratio needs at least {FEWEST}"
    if interval is not None and interval.reason in (NOTHING, ONE_BLOCK):
        return f"the interval of {name} touches 0: {interval.reason}"
    if not below:
        return f"nothing was counted in {name}"
    return ""


def _value(region: Region, path: str) -> float | None:
    part, name = path.split(".")
    value: float | None = getattr(getattr(region, part), name)
    return value
