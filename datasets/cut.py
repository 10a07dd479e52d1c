"""One annotated image cut into tiles, on the very path that a served image takes."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.annotations import Bounds, TargetAnnotation, open_annotation
from datasets.errors import BuildError, DatasetsError
from datasets.geojson import DEFAULT_CLASSES
from datasets.rerender import hdab_sections
from datasets.rows import SYNTHETIC_GROUP, VESSMAP_GROUP, Row
from imaging.calibration import MAX_MPP_UM, MIN_MPP_UM
from imaging.errors import ImagingError
from imaging.markers import fit_scaling, marker_channels
from imaging.open import SectionImage, open_image, parse_channels
from imaging.polygons import Grid
from imaging.tissue import find_tissue
from model.targets import TARGET_OF_MARKER, VESSEL

UInt8 = npt.NDArray[np.uint8]

TILE_COLUMNS = (
    "tile",
    "image",
    "animal",
    "section",
    "group",
    "modality",
    "source",
    "split",
    "targets",
    "marker",
    "x_px",
    "y_px",
    "width_px",
    "height_px",
)
_MAX_INSTANCES = 65535
ANNOTATED = "annotated"
"""The source of images that somebody outlined."""
_RENDERED = {
    VESSMAP_GROUP: "rerendered",
    f"{SYNTHETIC_GROUP}_fluorescence_vessel": f"{SYNTHETIC_GROUP}_brightfield_vessel",
}


@dataclasses.dataclass(frozen=True)
class TileSettings:
    """How tiles are cut: µm/px of the model's grid, size, and distance between their corners."""

    mpp_um: float = 0.5
    tile_px: int = 256
    stride_px: int | None = None
    source: str = ANNOTATED
    classes: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(DEFAULT_CLASSES))
    ignore: tuple[str, ...] = ()
    hdab_renderings: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not MIN_MPP_UM <= self.mpp_um < MAX_MPP_UM:
            raise BuildError(
                f"mpp_um {self.mpp_um} is no pixel size of a microscope; "
                f"give µm per pixel, {MIN_MPP_UM:g} to {MAX_MPP_UM:g}",
                "mpp_um",
            )
        if self.tile_px < 16:
            raise BuildError(f"tile_px {self.tile_px} is under 16; give a larger tile", "tile_px")
        if self.stride_px is not None and not 1 <= self.stride_px <= self.tile_px:
            raise BuildError(
                f"stride_px {self.stride_px} is not in 1..{self.tile_px}; "
                "tiles further apart than their size leave gaps",
                "stride_px",
            )
        if self.hdab_renderings < 0:
            raise BuildError("hdab_renderings is negative; give 0 or more", "hdab_renderings")


@dataclasses.dataclass(frozen=True)
class _Pass:
    """One marker of one image, ready to be cut: what to read and what it is called."""

    row: Row
    marker: str
    name: str
    source: str
    annotation: TargetAnnotation


def tile_corners(size_px: int, tile_px: int, stride_px: int) -> list[int]:
    """Return the first pixels of tiles along one axis; the last tile ends at the border."""
    last = max(0, size_px - tile_px)
    return [*range(0, last, stride_px), last]


def cut_row(job: tuple[Path, Row, Path, TileSettings]) -> list[dict[str, str]]:
    """Cut all tiles of one image and return their rows of `tiles.csv`; runs in workers too."""
    base, row, folder, settings = job
    try:
        return list(_row_tiles(base, row, folder, settings))
    except (ImagingError, DatasetsError) as error:
        raise BuildError(f"{row.image}: {error}", getattr(error, "field", "image")) from error


def _row_tiles(
    base: Path, row: Row, folder: Path, settings: TileSettings
) -> Iterator[dict[str, str]]:
    channels = parse_channels(row.channels) if row.channels else None
    with open_image(
        base / row.image, row.mpp_um, modality=row.modality, channels=channels
    ) as image:
        for marker in row.markers:
            target = TARGET_OF_MARKER[marker]
            if target not in row.targets:
                continue
            annotation = open_annotation(
                base / row.annotation[target],
                target,
                (image.width_px, image.height_px),
                settings.classes,
                settings.ignore,
            )
            name = _pass_name(row, marker)
            this = _Pass(row, marker, name, settings.source, annotation)
            yield from _pass_tiles(image, this, folder, settings)
            if settings.hdab_renderings and target == VESSEL and image.modality == "fluorescence":
                yield from _rendered_tiles(image, this, folder, settings)


def _rendered_tiles(
    image: SectionImage, this: _Pass, folder: Path, settings: TileSettings
) -> Iterator[dict[str, str]]:
    """Cut tiles from renderings of a fluorescence image as brightfield H-DAB."""
    key = f"{settings.seed}:{this.name}"
    sections = hdab_sections(image, this.marker, this.annotation, settings.hdab_renderings, key)
    # Only published crops are learnt whole, and only drawn outlines are not real.
    source = _RENDERED.get(_source_of(this, image.modality), f"{ANNOTATED}_rerendered")
    for number, section in enumerate(sections):
        rendered = dataclasses.replace(this, name=f"{this.name}_hdab{number}", source=source)
        yield from _pass_tiles(section, rendered, folder, settings)


def _pass_tiles(
    image: SectionImage, this: _Pass, folder: Path, settings: TileSettings
) -> Iterator[dict[str, str]]:
    scaling = fit_scaling(image, this.marker, find_tissue(image, "auto"))
    target = TARGET_OF_MARKER[this.marker]
    for grid, complete, labels in _annotated_windows(image, this.annotation, settings):
        tile = f"{this.name}_{grid.x}_{grid.y}"
        pixels = image.read_region(grid.x, grid.y, grid.width, grid.height, settings.mpp_um)
        channels = marker_channels(pixels, scaling)
        _save(folder / "channels" / f"{tile}.png", _to_bytes(channels))
        _save(folder / target / f"{tile}.png", _compact(labels, target, tile))
        if not complete.all():
            _save(folder / "annotated" / f"{tile}.png", complete.astype(np.uint8) * 255)
        yield _record(tile, this, image.modality, target, grid)


def _annotated_windows(
    image: SectionImage, annotation: TargetAnnotation, settings: TileSettings
) -> Iterator[tuple[Grid, npt.NDArray[np.bool_], npt.NDArray[np.int32]]]:
    """Yield the tiles that hold something annotated: place, where annotated, and labels there.

    What lies in two areas, or on the tiles of two, is annotated on the first alone.
    """
    (width, height), step = image.size_at(settings.mpp_um), image.scale_at(settings.mpp_um)
    size = settings.tile_px
    areas = annotation.area_bounds()
    boxes = [(0.0, 0.0, width * step, height * step)] if areas is None else areas
    earlier: list[Grid] = []
    for box in boxes:
        made = []
        for x, y in _corners(box, (width, height), step, settings, whole=areas is None):
            grid = Grid(x, y, min(size, width), min(size, height), step)
            found = annotation.read(grid)
            complete = found.complete.copy()
            for other in earlier:
                _leave_out(complete, grid, other)
            if complete.any():
                made.append(grid)
                yield grid, complete, found.labels
        earlier += made


def _corners(
    box: Bounds, size_px: tuple[int, int], step: float, settings: TileSettings, *, whole: bool
) -> Iterator[tuple[int, int]]:
    """Yield the first pixels of the tiles over one area, given in image pixels, row by row.

    On one grid for all, an area of a tile's size would lie on four tiles, most of each unknown. So
    an area has tiles of its own about its middle, as many as it needs; of the `whole` image they
    begin at its corner.
    """
    size, along = settings.tile_px, []
    for low, high, limit in zip(box[:2], box[2:], size_px, strict=True):
        first = max(0, round(low / step))
        extent = max(1, min(limit, round(high / step)) - first)
        span = -(-extent // size) * size
        if whole or span > limit:
            along.append(tile_corners(limit, size, settings.stride_px or size))
        else:
            start = min(max(0, first - (span - extent) // 2), limit - span)
            along.append(
                [start + at for at in tile_corners(span, size, settings.stride_px or size)]
            )
    yield from ((x, y) for y in along[1] for x in along[0])


def _leave_out(complete: npt.NDArray[np.bool_], grid: Grid, other: Grid) -> None:
    """Unset what of `complete` (H, W), which lies at `grid`, lies on the tile at `other`, too."""
    x0, y0 = max(0, other.x - grid.x), max(0, other.y - grid.y)
    x1, y1 = other.x + other.width - grid.x, other.y + other.height - grid.y
    if x1 > 0 and y1 > 0:
        complete[y0:y1, x0:x1] = False


def _record(tile: str, this: _Pass, modality: str, target: str, grid: Grid) -> dict[str, str]:
    row = this.row
    values = (
        tile,
        row.image,
        row.animal,
        row.section,
        row.group,
        modality,
        _source_of(this, modality),
        row.split or "train",
        target,
        this.marker,
        *(str(number) for number in (grid.x, grid.y, grid.width, grid.height)),
    )
    return dict(zip(TILE_COLUMNS, values, strict=True))


def _source_of(this: _Pass, modality: str) -> str:
    """Return where the pixels come from: published and drawn ones are not a laboratory's own."""
    if this.source != ANNOTATED:
        return this.source
    if this.row.group == VESSMAP_GROUP:
        return VESSMAP_GROUP
    if this.row.group != SYNTHETIC_GROUP:
        return ANNOTATED
    shown = "vessel" if TARGET_OF_MARKER[this.marker] == VESSEL else "cells"
    return f"{SYNTHETIC_GROUP}_{modality}_{shown}"


def _pass_name(row: Row, marker: str) -> str:
    """Return a file name that is unique to the image's path, whatever the order of rows."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(row.image).stem).strip("-") or "image"
    return f"{stem}-{hashlib.sha256(row.image.encode()).hexdigest()[:6]}_{marker}"


def _to_bytes(channels: npt.NDArray[np.float32]) -> UInt8:
    return np.rint(np.moveaxis(channels, 0, -1) * 255).astype(np.uint8)


def _compact(labels: npt.NDArray[np.int32], target: str, tile: str) -> npt.NDArray[Any]:
    """Return a vessel mask as 0/1 (uint8) and cells numbered from 1 within the tile (uint16)."""
    if target == VESSEL:
        return (labels > 0).astype(np.uint8)
    numbers, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + (numbers[0] != 0)
    if compact.max() > _MAX_INSTANCES:
        raise BuildError(f"tile {tile} has over {_MAX_INSTANCES} cells; check the annotation")
    cells: npt.NDArray[np.uint16] = compact.astype(np.uint16)
    return cells


def _save(path: Path, pixels: npt.NDArray[Any]) -> None:
    Image.fromarray(pixels).save(path, format="PNG")
