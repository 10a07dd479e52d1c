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

from datasets.annotations import TargetAnnotation, open_annotation
from datasets.errors import BuildError, DatasetsError
from datasets.geojson import DEFAULT_CLASSES
from datasets.rerender import hdab_sections
from datasets.rows import Row
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


@dataclasses.dataclass(frozen=True)
class TileSettings:
    """How tiles are cut: µm/px of the model's grid, size, and distance between their corners."""

    mpp_um: float = 0.5
    tile_px: int = 256
    stride_px: int | None = None
    source: str = "annotated"
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
    for number, section in enumerate(sections):
        rendered = dataclasses.replace(this, name=f"{this.name}_hdab{number}", source="rerendered")
        yield from _pass_tiles(section, rendered, folder, settings)


def _pass_tiles(
    image: SectionImage, this: _Pass, folder: Path, settings: TileSettings
) -> Iterator[dict[str, str]]:
    scaling = fit_scaling(image, this.marker, find_tissue(image, "auto"))
    target = TARGET_OF_MARKER[this.marker]
    width, height = image.size_at(settings.mpp_um)
    size, stride = settings.tile_px, settings.stride_px or settings.tile_px
    for y in tile_corners(height, size, stride):
        for x in tile_corners(width, size, stride):
            grid = Grid(x, y, min(size, width), min(size, height), image.scale_at(settings.mpp_um))
            found = this.annotation.read(grid)
            if not found.complete.any():
                continue
            tile = f"{this.name}_{x}_{y}"
            pixels = image.read_region(x, y, grid.width, grid.height, settings.mpp_um)
            channels = marker_channels(pixels, scaling)
            _save(folder / "channels" / f"{tile}.png", _to_bytes(channels))
            _save(folder / target / f"{tile}.png", _compact(found.labels, target, tile))
            if not found.complete.all():
                mask = found.complete.astype(np.uint8) * 255
                _save(folder / "annotated" / f"{tile}.png", mask)
            yield _record(tile, this, image.modality, target, grid)


def _record(tile: str, this: _Pass, modality: str, target: str, grid: Grid) -> dict[str, str]:
    row = this.row
    values = (
        tile,
        row.image,
        row.animal,
        row.section,
        row.group,
        modality,
        this.source,
        row.split or "train",
        target,
        this.marker,
        *(str(number) for number in (grid.x, grid.y, grid.width, grid.height)),
    )
    return dict(zip(TILE_COLUMNS, values, strict=True))


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
