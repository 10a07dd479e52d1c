"""QuPath GeoJSON: the outlines in a file, sorted by what their classes mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry

from datasets.errors import AnnotationError
from model.targets import ANNOTATED_TARGETS, VEGF_CELL, VESSEL

ANNOTATED_AREA = "annotated_area"
IGNORE = "ignore"
CLASS_MEANINGS = (*ANNOTATED_TARGETS, ANNOTATED_AREA, IGNORE)

DEFAULT_CLASSES: Mapping[str, str] = {
    "Vessel": VESSEL,
    "Blood vessel": VESSEL,
    "CD31": VESSEL,
    "CD31+": VESSEL,
    "VEGF": VEGF_CELL,
    "VEGF+": VEGF_CELL,
    "VEGF cell": VEGF_CELL,
    "VEGF+ cell": VEGF_CELL,
    "Annotated area": ANNOTATED_AREA,
    "Region*": ANNOTATED_AREA,  # QuPath's own class for a region of interest
    "Ignore*": IGNORE,
    "Negative": IGNORE,
}
UNCLASSIFIED = "Unclassified"


def read_outlines(
    path: Path, meanings: Mapping[str, str]
) -> dict[str, tuple[shapely.Geometry, ...]]:
    """Read polygons and multipolygons of a FeatureCollection, a list, or a single feature.

    Parameters
    ----------
    meanings
        Class name to one of `CLASS_MEANINGS`; capitals do not matter.

    Returns
    -------
    dict
        Each of `CLASS_MEANINGS` but ``ignore`` to its outlines, in the order of the file.

    Raises
    ------
    AnnotationError
        If the file is no GeoJSON, a class has no meaning, or an outline that is not ignored is
        broken or not closed.
    """
    folded = {name.casefold(): meaning for name, meaning in meanings.items()}
    found: dict[str, list[shapely.Geometry]] = {
        meaning: [] for meaning in CLASS_MEANINGS if meaning != IGNORE
    }
    unknown: set[str] = set()
    for number, feature in enumerate(_features(path), start=1):
        name = _class_name(feature)
        meaning = folded.get(name.casefold())
        if meaning is None:
            unknown.add(name)
        elif meaning != IGNORE:
            found[meaning].append(_polygon(feature, f"{path.name}, feature {number} ({name})"))
    if unknown:
        raise AnnotationError(
            f"{path.name} has classes without a target: {', '.join(sorted(unknown))}; "
            "map each as NAME=TARGET, or as NAME=ignore",
            field="classes",
        )
    return {meaning: tuple(outlines) for meaning, outlines in found.items()}


def _features(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"{path.name} is no JSON text ({error}); export it again as GeoJSON, not compressed"
        ) from error
    if isinstance(document, Mapping):
        document = document.get("features", [document])
    if not isinstance(document, list):
        raise AnnotationError(f"{path.name} is no GeoJSON; export a FeatureCollection")
    for number, feature in enumerate(document, start=1):
        if not isinstance(feature, Mapping) or not isinstance(feature.get("geometry"), Mapping):
            raise AnnotationError(f"{path.name}, feature {number} has no geometry; remove it")
        yield feature


def _class_name(feature: Mapping[str, Any]) -> str:
    properties = feature.get("properties") or {}
    classification = properties.get("classification") if isinstance(properties, Mapping) else None
    if isinstance(classification, str):
        return classification.strip()
    if not isinstance(classification, Mapping):
        return UNCLASSIFIED
    names = classification.get("names")
    if isinstance(names, list) and names:  # a derived class, as newer QuPath writes it
        return ": ".join(str(name) for name in names)
    return str(classification.get("name") or UNCLASSIFIED).strip()


def _polygon(feature: Mapping[str, Any], where: str) -> shapely.Geometry:
    try:
        with np.errstate(invalid="ignore"):  # what is no number is refused below, by name
            geometry = shapely.geometry.shape(feature["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError, shapely.GEOSException) as error:
        raise AnnotationError(f"{where} has a broken geometry; draw it again") from error
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise AnnotationError(
            f"{where} is a {geometry.geom_type}; draw a closed outline, or map its class to ignore"
        )
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise AnnotationError(f"{where} has coordinates that are no numbers; draw it again")
    return geometry
