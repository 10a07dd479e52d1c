"""Vessel profiles and cells as GeoJSON features in full-resolution pixels, as QuPath reads them."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from analysis.areas import Areas, plan_of
from analysis.cells import cells_of_block
from analysis.folding import vessel_settings
from analysis.masks import MaskLike
from analysis.outlines import Outline, edges_of, mask_edges, outlines
from analysis.pipeline import SectionResult, intensity_reader
from analysis.profiles import Runs, components, connect, find_runs
from analysis.raster import ImageFrame
from analysis.regions import EXCLUDE, RegionPlan
from imaging.open import SectionImage
from imaging.tiles import Window, grid
from model.targets import VEGF_CELL, VEGF_CELL_CENTRE

VESSEL_CLASS = "Vessel"
CELL_CLASS = "VEGF-positive cell"
TISSUE_CLASS = "Tissue"
REGION_CLASS = "Region"
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOUR_OF_CLASS: dict[str, tuple[int, int, int]] = {
    VESSEL_CLASS: (86, 180, 233),
    CELL_CLASS: (240, 228, 66),
    TISSUE_CLASS: (0, 158, 115),
    REGION_CLASS: (213, 94, 0),
}
OBJECT_COLUMNS = (
    "label", "class", "name", "x_um", "y_um", "area_um2", "perimeter_um", "counted", "stain_mean",
)  # fmt: skip
_BLOCK_PX = 1024
_STRIP_PX = 512


@dataclass(frozen=True)
class SectionObject:
    """One object in pixels of the model's grid, with its measurements as QuPath names them.

    `name` is its class, `title` what a region is called.
    """

    name: str
    geometry: Polygon | MultiPolygon
    measurements: dict[str, float]
    title: str = ""


def find_objects(result: SectionResult, image: SectionImage) -> list[SectionObject]:
    """Return Ω where it is not the frame, then regions, vessel profiles and cells.

    A profile is what `vessels.profile_count` counts: fragments closer than the gap are one. Its
    measurement ``Counted`` is 0 where it meets the image's bottom or right border, or where its
    last pixel lies outside the tissue.
    """
    found: list[SectionObject] = []
    plan = plan_of(image, result.settings)
    areas = Areas.of(image, result.tissue, plan)
    omega = None if areas.masks is None else areas.masks[0]
    if result.tissue.tissue.fraction < 1.0:
        found.extend(_tissue(result))
    found.extend(_regions(result, image, plan))
    if result.vessel_mask is not None:
        found.extend(_profiles(result, omega))
    if result.cell_mask is not None:
        found.extend(_cells(result, image, omega))
    return found


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
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for number, item in enumerate(objects):
            stream.write(",\n" if number else "\n")
            stream.write(_feature(item, number, result.record.analysis_id, frame))
        stream.write("\n]}\n")
    partial.replace(path)


def _feature(item: SectionObject, number: int, analysis_id: str, frame: ImageFrame) -> str:
    """Return a feature as JSON; its thousands of corners are written by GEOS, not by Python."""
    properties: dict[str, Any] = {
        "objectType": "annotation" if item.name in (TISSUE_CLASS, REGION_CLASS) else "detection",
        "classification": {"name": item.name, "color": list(COLOUR_OF_CLASS[item.name])},
    }
    if item.title:
        properties["name"] = item.title
    if item.measurements:
        properties["measurements"] = item.measurements
    # The same analysis gives its objects the same identifiers, so that QuPath replaces them.
    identifier = uuid.uuid5(uuid.NAMESPACE_OID, f"{analysis_id}/{number}")
    geometry = shapely.to_geojson(in_image(item.geometry, frame))
    return (
        f'{{"type": "Feature", "id": "{identifier}", "geometry": {geometry}, '
        f'"properties": {json.dumps(properties)}}}'
    )


def numbered(objects: list[SectionObject]) -> list[tuple[int, SectionObject]]:
    """Return profiles and cells with their numbers, from 1 on: in table and labels alike."""
    kept = (item for item in objects if item.name not in (TISSUE_CLASS, REGION_CLASS))
    return list(enumerate(kept, 1))


def object_rows(objects: list[SectionObject], mpp_um: float) -> Iterator[list[Any]]:
    """Yield profiles and cells as the table's rows, in the order of `OBJECT_COLUMNS`.

    Places are centroids, in µm from the image's top left corner; `mpp_um` is that of the grid.
    """
    for label, item in numbered(objects):
        centre, known = item.geometry.centroid, item.measurements
        stain = next((v for k, v in known.items() if k.endswith(" mean")), None)
        yield [
            label, item.name, item.title, round(centre.x * mpp_um, 3), round(centre.y * mpp_um, 3),
            known["Area µm^2"], known["Perimeter µm"], int(known["Counted"]), stain,
        ]  # fmt: skip


def write_objects_csv(objects: list[SectionObject], mpp_um: float, path: Path) -> None:
    """Write profiles and cells as CSV, one row each."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(OBJECT_COLUMNS)
        for row in object_rows(objects, mpp_um):
            writer.writerow(["" if cell is None else cell for cell in row])
    partial.replace(path)


def in_image(geometry: Polygon | MultiPolygon, frame: ImageFrame) -> Polygon | MultiPolygon:
    """Return a geometry of the grid in pixels of the image, to a hundredth of a pixel."""
    limit = np.array([frame.width_px, frame.height_px])
    return shapely.transform(
        geometry, lambda corners: np.minimum(np.round(corners * frame.scale, 2), limit)
    )


def _tissue(result: SectionResult) -> Iterator[SectionObject]:
    for outline in outlines(mask_edges(result.tissue)):
        area_mm2 = outline.area_px * result.mpp_um**2 * 1e-6
        yield SectionObject(TISSUE_CLASS, outline.geometry, {"Area mm^2": area_mm2})


def _regions(
    result: SectionResult, image: SectionImage, plan: RegionPlan | None
) -> Iterator[SectionObject]:
    """Return the outlines of the regions, as they were drawn or derived, tissue or not."""
    if plan is None:
        return
    area_of = {region.name: region.area_mm2 for region in result.record.regions}
    step = image.mpp_um / result.mpp_um
    shapes = dict(plan.shapes)
    if plan.exclusions is not None:
        shapes[EXCLUDE] = plan.exclusions
        area_of[EXCLUDE] = plan.exclusions.area * image.mpp_um**2 * 1e-6
    for name, shape in shapes.items():
        scaled = shapely.transform(shape, lambda corners: corners * step)
        if not scaled.is_empty:
            yield SectionObject(REGION_CLASS, scaled, {"Area mm^2": area_of[name]}, name)


def _profiles(result: SectionResult, omega: MaskLike | None) -> Iterator[SectionObject]:
    mask = result.vessel_mask
    assert mask is not None
    settings = vessel_settings(result.settings, result.mpp_um)
    for group in profiles(outlines(mask_edges(mask)), mask, settings.reach_px):
        if sum(outline.area_px for outline in group) >= settings.min_profile_px - 1e-9:
            yield _object(VESSEL_CLASS, group, result, omega, {})


def profiles(found: list[Outline], mask: MaskLike, reach_px: float) -> list[list[Outline]]:
    """Group the outlines of `mask` (H, W) to profiles: fragments closer than `reach_px` are one."""
    if not found:
        return []
    runs = _runs(mask)
    _, profile = components(len(runs.row), *connect(runs, reach_px))
    rows, columns = np.array([outline.pixel for outline in found]).T
    stride = mask.shape[1] + 1
    run = np.searchsorted(runs.row * stride + runs.start, rows * stride + columns, "right") - 1
    members: dict[int, list[Outline]] = {}
    for number, outline in zip(profile[run].tolist(), found, strict=True):
        members.setdefault(number, []).append(outline)
    return list(members.values())


def _runs(mask: MaskLike) -> Runs:
    """Return the runs of a whole mask (H, W), read strip by strip."""
    height, width = mask.shape
    strips = []
    for top in range(0, height, _STRIP_PX):
        runs = find_runs(mask[top : min(top + _STRIP_PX, height), 0:width])
        strips.append((runs.row + top, runs.start, runs.stop))
    return Runs(*(np.concatenate(parts) for parts in zip(*strips, strict=True)))


def _object(
    name: str,
    group: list[Outline],
    result: SectionResult,
    omega: MaskLike | None,
    more: dict[str, float],
) -> SectionObject:
    """Return one object with area, perimeter and whether it is counted."""
    polygons = [polygon for outline in group for polygon in outline.polygons]
    geometry = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    height, width = result.shape
    _, _, right, bottom = geometry.bounds
    clear = right < width and bottom < height
    if clear and omega is not None:
        row, column = _last_pixel(geometry)
        clear = bool(omega[row : row + 1, column : column + 1].all())
    measurements = {
        "Area µm^2": round(geometry.area * result.mpp_um**2, 4),
        "Perimeter µm": round(geometry.length * result.mpp_um, 4),
        "Counted": float(clear),
    }
    return SectionObject(name, geometry, measurements | more)


def _last_pixel(geometry: Polygon | MultiPolygon) -> tuple[int, int]:
    """Return (row, column) of the last pixel in row-major order, whose region counts the object."""
    x, y = shapely.get_coordinates(geometry).T
    bottom = y.max()
    return int(bottom) - 1, int(x[y == bottom].max()) - 1


def _cells(
    result: SectionResult, image: SectionImage, omega: MaskLike | None
) -> Iterator[SectionObject]:
    height, width = result.shape
    probability = result.store.layer(VEGF_CELL)
    centre = result.store.layer(VEGF_CELL_CENTRE)
    read = intensity_reader(image, result.scalings["VEGF"], result.mpp_um)
    name = "DAB OD mean" if image.modality == "brightfield" else "Intensity mean"
    for tile in grid(width, height, _BLOCK_PX, 0):
        block = cells_of_block(probability, centre, tile.core, result.cell_settings)
        if not block.owned.size:
            continue
        mine = np.where(np.isin(block.labels, block.owned), block.labels, 0)
        means = _means(mine, read(block.window))
        window = Window(0, 0, block.window.width, block.window.height)
        origin = block.window.x, block.window.y
        for outline in outlines(edges_of(np.pad(mine, 1), window, origin)):
            mean = {name: round(float(means[outline.label]), 5)}
            yield _object(CELL_CLASS, [outline], result, omega, mean)


def _means(
    labels: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return the mean of `values` (H, W) over each label, indexed by it."""
    inside = labels > 0
    sums = np.bincount(labels[inside], weights=values[inside])
    return np.asarray(sums / np.maximum(np.bincount(labels[inside]), 1), np.float64)
