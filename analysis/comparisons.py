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
# CD31 can be nearly absent in healthy cortex: a ratio to a handful of profiles means nothing. A
# network is one profile, or none where it ends elsewhere, but has as many segments as it has parts.
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
    name = reference.name
    if value is None or below is None:
        return f"the value is null in {name if below is None else 'the region'}"
    counts = _counts(reference, path)
    if max(counts.values()) < FEWEST:
        held = " and ".join(f"{count} {thing}" for thing, count in counts.items())
        needed = f"{FEWEST} of either" if len(counts) > 1 else str(FEWEST)
        return f"{name} holds {held}: a ratio needs at least {needed}"
    if interval is not None and interval.reason in (NOTHING, ONE_BLOCK):
        return f"the interval of {name} touches 0: {interval.reason}"
    if not below:
        return f"nothing was counted in {name}"
    return ""


def _counts(region: Region, path: str) -> dict[str, int]:
    """Return how many things there are that a ratio to this density could rest on."""
    if path.startswith("cells."):
        return {"positive cells": (region.cells.positive_count if region.cells else 0) or 0}
    vessels = region.vessels
    counts = {"vessel profiles": (vessels.profile_count if vessels else 0) or 0}
    if path != "vessels.profile_density_per_mm2":
        counts["segments"] = (vessels.segment_count if vessels else 0) or 0
    return counts


def _value(region: Region, path: str) -> float | None:
    part, name = path.split(".")
    value: float | None = getattr(getattr(region, part), name)
    return value
