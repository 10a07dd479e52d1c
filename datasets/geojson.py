"""QuPath GeoJSON: the outlines in a file, sorted by what their classes mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import shapely

from datasets.errors import AnnotationError
from imaging.errors import GeoJsonError
from imaging.geojson import Feature, features, parse
from model.targets import ANNOTATED_TARGETS, VEGF_CELL, VESSEL

ANNOTATED_AREA = "annotated_area"
UNKNOWN_AREA = "unknown_area"
IGNORE = "ignore"
CLASS_MEANINGS = (*ANNOTATED_TARGETS, ANNOTATED_AREA, UNKNOWN_AREA, IGNORE)

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
    "Ignore*": UNKNOWN_AREA,  # and for one that nothing is to be learnt from
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
    try:
        for feature in features(parse(_text(path), path.name), path.name):
            name = feature.classification or UNCLASSIFIED
            meaning = folded.get(name.casefold())
            if meaning is None:
                unknown.add(name)
            elif meaning != IGNORE:
                found[meaning].append(_polygon(feature))
    except GeoJsonError as error:
        raise AnnotationError(str(error)) from error
    if unknown:
        raise AnnotationError(
            f"{path.name} has classes without a target: {', '.join(sorted(unknown))}; "
            "give each object its class in QuPath, or map classes with --classes NAME=TARGET (or "
            "NAME=ignore), in a recipe under data.classes",
            field="classes",
        )
    return {meaning: tuple(outlines) for meaning, outlines in found.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"{path.name} is no JSON text ({error}); export it again as GeoJSON, not compressed"
        ) from error


def _polygon(feature: Feature) -> shapely.Geometry:
    geometry = feature.filled()
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise AnnotationError(
            f"{feature.where} is a {geometry.geom_type}; draw a closed outline, "
            "or map its class to ignore"
        )
    return geometry
