"""QuPath GeoJSON: its features, their names and outlines, in full-resolution pixels."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from shapely.errors import ShapelyError

from imaging.errors import GeoJsonError


@dataclass(frozen=True)
class Feature:
    """One feature of a file.

    Attributes
    ----------
    where
        What an error calls it: file, number and name.
    name
        ``properties.name``, or empty.
    classification
        Name of its class, or empty.
    geometry
        As the file has it.
    """

    where: str
    name: str
    classification: str
    geometry: Mapping[str, Any]

    def shape(self) -> shapely.Geometry:
        """Return the geometry.

        Raises
        ------
        GeoJsonError
            If it is broken, or has coordinates that are no numbers.
        """
        try:
            with np.errstate(invalid="ignore"):  # what is no number is refused below, by name
                geometry = shapely.geometry.shape(self.geometry)
        except (KeyError, TypeError, ValueError, AttributeError, ShapelyError) as error:
            raise GeoJsonError(f"{self.where} has a broken geometry; draw it again") from error
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise GeoJsonError(f"{self.where} has coordinates that are no numbers; draw it again")
        return geometry

    def filled(self) -> shapely.Geometry:
        """Return the geometry; of one that crosses itself, the area that QuPath fills.

        An outline that crosses itself is all that it winds about, once or more often; GEOS's other
        method takes away what is wound about twice. Each part is mended alone, because parts that
        overlap, mended together, lose what they share.
        """
        geometry = self.shape()
        if geometry.geom_type not in ("Polygon", "MultiPolygon") or geometry.is_valid:
            return geometry
        united = with_area(
            *shapely.make_valid(
                shapely.get_parts(geometry), method="structure", keep_collapsed=False
            )
        )
        return united if united.area else shapely.Polygon()  # of no parts it is a collection


def with_area(*geometries: shapely.Geometry) -> shapely.Geometry:
    """Return what of geometries has an area, as one."""
    parts = shapely.get_parts(shapely.get_parts(geometries))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


def parse(text: str, source: str) -> Any:
    """Return the document that a file holds; `source` is its name, for errors."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GeoJsonError(
            f"{source} is no JSON text ({error}); export it again as GeoJSON, not compressed"
        ) from error


def features(document: Any, source: str) -> Iterator[Feature]:
    """Yield the features of a FeatureCollection, a list, or a single feature.

    Parameters
    ----------
    document
        As `parse` returns it.
    source
        The file's name, for errors.

    Raises
    ------
    GeoJsonError
        If it is no GeoJSON, or a feature has no geometry.
    """
    if isinstance(document, Mapping):
        alone = [document] if "geometry" in document else None
        document = document.get("features", alone)
    if not isinstance(document, list) or not all(isinstance(each, Mapping) for each in document):
        raise GeoJsonError(
            f"{source} is no GeoJSON FeatureCollection; export the outlines from QuPath with "
            "File, Export objects as GeoJSON"
        )
    for number, feature in enumerate(document, start=1):
        if not isinstance(feature.get("geometry"), Mapping):
            raise GeoJsonError(f"{source}, feature {number} has no geometry; remove it")
        properties = feature.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        name = _text(properties.get("name"))
        class_name = _text(_class_name(properties.get("classification")))
        shown = f" ({name or class_name})" if name or class_name else ""
        yield Feature(f"{source}, feature {number}{shown}", name, class_name, feature["geometry"])


def _text(name: Any) -> str:
    """Return a name that any file can hold: half a surrogate pair cannot be written.

    One name is one sequence of characters (NFC): macOS writes "ö" as an o and its dots.
    """
    text = str(name or "").strip().encode(errors="replace").decode()
    return unicodedata.normalize("NFC", text)


def _class_name(classification: Any) -> str:
    if isinstance(classification, str):
        return classification.strip()
    if not isinstance(classification, Mapping):
        return ""
    names = classification.get("names")
    if isinstance(names, list) and names:  # a derived class, as newer QuPath writes it
        return ": ".join(str(name) for name in names)
    return str(classification.get("name") or "").strip()
