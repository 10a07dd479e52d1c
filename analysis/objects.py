"""Vessel profiles and cells with their outlines, beside the tissue and its regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

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
from analysis.regions import EXCLUDE, TISSUE, RegionPlan
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
_BLOCK_PX = 1024
_STRIP_PX = 512


@dataclass(frozen=True)
class SectionObject:
    """One object in pixels of the model's grid, with its measurements as QuPath names them.

    `name` is its class, `title` what a region is called, `regions` where a profile or cell counts.
    """

    name: str
    geometry: Polygon | MultiPolygon
    measurements: dict[str, float]
    title: str = ""
    regions: tuple[str, ...] = ()

    @property
    def has_number(self) -> bool:
        """Whether this is a profile or cell, which are numbered in table, outlines and labels."""
        return self.name not in (TISSUE_CLASS, REGION_CLASS)


def find_objects(result: SectionResult, image: SectionImage) -> list[SectionObject]:
    """Return Ω where it is not the frame, then regions, vessel profiles and cells.

    A profile is what `vessels.profile_count` counts: fragments closer than the gap are one. It
    counts in the regions that hold its last pixel, and in none where it meets the image's bottom or
    right border. Its measurement ``Counted`` is 0 where it does not count in the tissue.
    """
    found: list[SectionObject] = []
    plan = plan_of(image, result.settings)
    areas = Areas.of(image, result.tissue, plan)
    if result.tissue.tissue.fraction < 1.0:
        found.extend(_tissue(result))
    found.extend(_regions(result, image, plan))
    single: list[SectionObject] = []
    if result.vessel_mask is not None:
        single.extend(_profiles(result))
    if result.cell_mask is not None:
        single.extend(_cells(result, image))
    return found + _counted(single, result.shape, areas)


def numbered(objects: list[SectionObject]) -> list[tuple[int, SectionObject]]:
    """Return profiles and cells with their numbers, from 1 on: in table and labels alike."""
    return list(enumerate((item for item in objects if item.has_number), 1))


def in_image(geometry: Polygon | MultiPolygon, frame: ImageFrame) -> Polygon | MultiPolygon:
    """Return a geometry of the grid in pixels of the image, to a hundredth of a pixel."""
    limit = np.array([frame.width_px, frame.height_px])
    return shapely.transform(
        geometry, lambda corners: np.minimum(np.round(corners * frame.scale, 2), limit)
    )


def _tissue(result: SectionResult) -> Iterator[SectionObject]:
    for outline in outlines(mask_edges(result.tissue)):
        known = _area(outline.area_px * result.mpp_um**2 * 1e-6)
        yield SectionObject(TISSUE_CLASS, outline.geometry, known)


def _area(area_mm2: float) -> dict[str, float]:
    """Return an area as QuPath names it; its border is not known to more than six digits."""
    return {"Area mm^2": float(f"{area_mm2:.6g}")}


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
            yield SectionObject(REGION_CLASS, scaled, _area(area_of[name]), name)


def _profiles(result: SectionResult) -> Iterator[SectionObject]:
    mask = result.vessel_mask
    assert mask is not None
    settings = vessel_settings(result.settings, result.mpp_um)
    for group in profiles(outlines(mask_edges(mask)), mask, settings.reach_px):
        if sum(outline.area_px for outline in group) >= settings.min_profile_px - 1e-9:
            yield _object(VESSEL_CLASS, group, result.mpp_um, {})


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
    name: str, group: list[Outline], mpp_um: float, more: dict[str, float]
) -> SectionObject:
    """Return one object with area and perimeter; where it counts is not known yet."""
    polygons = [polygon for outline in group for polygon in outline.polygons]
    geometry = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    measurements = {
        "Area µm^2": round(geometry.area * mpp_um**2, 4),
        "Perimeter µm": round(geometry.length * mpp_um, 4),
        "Counted": 0.0,
    }
    return SectionObject(name, geometry, measurements | more)


def _counted(
    objects: list[SectionObject], shape: tuple[int, int], areas: Areas
) -> list[SectionObject]:
    """Return the objects of a grid (H, W) with the regions among whose counts they are."""
    pixels = np.array([_last_pixel(item.geometry) for item in objects], np.int64).reshape(-1, 2)
    ends = np.array([item.geometry.bounds[2:] for item in objects]).reshape(-1, 2)
    clear = np.all(ends < np.array([shape[1], shape[0]]), axis=1, keepdims=True)
    held = _held(pixels, areas) & clear
    counted = []
    for item, holds in zip(objects, held, strict=True):
        regions = tuple(name for name, is_in in zip(areas.names, holds, strict=True) if is_in)
        known = item.measurements | {"Counted": float(TISSUE in regions)}
        counted.append(dataclasses.replace(item, measurements=known, regions=regions))
    return counted


def _held(pixels: npt.NDArray[np.int64], areas: Areas) -> npt.NDArray[np.bool_]:
    """Say which regions (n, R) hold each pixel (n, 2), row and column.

    Regions are drawn once for all pixels of a block, not for each: outlines have many corners.
    """
    held = np.ones((len(pixels), len(areas.names)), np.bool_)
    if areas.masks is None:
        return held
    blocks, block = np.unique(pixels // _BLOCK_PX, axis=0, return_inverse=True)
    for number, (top, left) in enumerate(blocks * _BLOCK_PX):
        here = np.flatnonzero(block.reshape(-1) == number)
        y, x = (pixels[here] - (top, left)).T
        window = slice(top, top + y.max() + 1), slice(left, left + x.max() + 1)
        for region, mask in enumerate(areas.masks):
            held[here, region] = mask[window][y, x]
    return held


def _last_pixel(geometry: Polygon | MultiPolygon) -> tuple[int, int]:
    """Return (row, column) of the last pixel in row-major order, whose region counts the object."""
    x, y = shapely.get_coordinates(geometry).T
    bottom = y.max()
    return int(bottom) - 1, int(x[y == bottom].max()) - 1


def _cells(result: SectionResult, image: SectionImage) -> Iterator[SectionObject]:
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
            yield _object(CELL_CLASS, [outline], result.mpp_um, mean)


def _means(
    labels: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return the mean of `values` (H, W) over each label, indexed by it."""
    inside = labels > 0
    sums = np.bincount(labels[inside], weights=values[inside])
    return np.asarray(sums / np.maximum(np.bincount(labels[inside]), 1), np.float64)
