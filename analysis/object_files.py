"""Vessel profiles and cells as GeoJSON features, which QuPath reads, and as a table."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from analysis.objects import COLOUR_OF_CLASS, SectionObject, find_objects, in_image, numbered
from analysis.pipeline import SectionResult
from analysis.raster import ImageFrame
from analysis.rows import harmless
from imaging.open import SectionImage

OBJECT_COLUMNS = (
    "label", "class", "regions", "x_um", "y_um", "area_um2", "perimeter_um", "counted",
    "stain_mean",
)  # fmt: skip


def write_geojson(
    result: SectionResult,
    image: SectionImage,
    path: Path,
    objects: list[SectionObject] | None = None,
) -> None:
    """Write the section's objects as a GeoJSON FeatureCollection that QuPath opens.

    Coordinates are pixels of the image at full resolution, (0, 0) its top left corner. `objects`
    are those of `find_objects`, found here if None.
    """
    objects = find_objects(result, image) if objects is None else objects
    frame = ImageFrame.of(image, result.mpp_um)
    label = 0
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for number, item in enumerate(objects):
            label += item.has_number
            # The same analysis gives its objects the same identifiers: QuPath replaces them.
            name = f"{result.record.analysis_id}/{number}"
            identifier = uuid.uuid5(uuid.NAMESPACE_OID, name)
            stream.write(",\n" if number else "\n")
            stream.write(_feature(item, identifier, label, frame))
        stream.write("\n]}\n")
    partial.replace(path)


def _feature(item: SectionObject, identifier: uuid.UUID, label: int, frame: ImageFrame) -> str:
    """Return a feature as JSON; its thousands of corners are written by GEOS, not by Python."""
    properties: dict[str, Any] = {
        "objectType": "detection" if item.has_number else "annotation",
        "classification": {"name": item.name, "color": list(COLOUR_OF_CLASS[item.name])},
    }
    if item.title:
        properties["name"] = item.title
    if item.measurements:
        properties["measurements"] = item.measurements
    if item.has_number:
        # QuPath keeps texts here. No name: read as regions, objects stay one by their class.
        properties["metadata"] = {"label": str(label), "regions": _joined(item.regions)}
    geometry = shapely.to_geojson(in_image(item.geometry, frame))
    return (
        f'{{"type": "Feature", "id": "{identifier}", "geometry": {geometry}, '
        f'"properties": {json.dumps(properties)}}}'
    )


def object_rows(objects: list[SectionObject], mpp_um: float) -> Iterator[list[Any]]:
    """Yield profiles and cells as the table's rows, in the order of `OBJECT_COLUMNS`.

    Places are centroids, in µm from the image's top left corner; `mpp_um` is that of the grid.
    """
    for label, item in numbered(objects):
        centre, known = item.geometry.centroid, item.measurements
        stain = next((v for k, v in known.items() if k.endswith(" mean")), None)
        yield [
            label, item.name, harmless(_joined(item.regions)),
            round(centre.x * mpp_um, 3), round(centre.y * mpp_um, 3),
            known["Area µm^2"], known["Perimeter µm"], int(known["Counted"]), stain,
        ]  # fmt: skip


def _joined(regions: tuple[str, ...]) -> str:
    return "; ".join(regions)


def write_objects_csv(objects: list[SectionObject], mpp_um: float, path: Path) -> None:
    """Write profiles and cells as CSV, one row each."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(OBJECT_COLUMNS)
        for row in object_rows(objects, mpp_um):
            writer.writerow(["" if cell is None else cell for cell in row])
    partial.replace(path)
