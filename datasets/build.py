"""From annotated images to training tiles, on the very path that a served image takes.

Each image is opened, scaled once per marker, brought to the model's µm/px and cut into tiles. Two
markers on one image are two passes: pass m has m's stain in the marker channel and m's target.

A folder of tiles holds `tiles.csv` (a row for each tile), `channels/TILE.png` (RGB 8 bit: marker,
counterstain, residual, × 255), `vessel/TILE.png` (0/1) and `vegf_cell/TILE.png` (16-bit instance
numbers) for the targets annotated on it, `annotated/TILE.png` (0/255) where only a part of the
tile is annotated, and `tiles.json` (µm/px, tile size, hash of the content).
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.cut import ANNOTATED, TILE_COLUMNS, TileSettings, cut_row
from datasets.errors import BuildError
from datasets.geojson import DEFAULT_CLASSES
from datasets.manifest import Manifest
from datasets.rows import SPLITS, Row, file_sha256
from datasets.splits import assign_splits
from model.targets import ANNOTATED_TARGETS

Progress = Callable[[str, int, int], None]
_SUBFOLDERS = ("channels", *ANNOTATED_TARGETS, "annotated")


@dataclasses.dataclass(frozen=True)
class BuildSummary:
    """What a build wrote: tiles in all, by split and by target, and the hash of their content."""

    folder: Path
    tiles: int
    tiles_by_split: Mapping[str, int]
    tiles_by_target: Mapping[str, int]
    images_without_annotation: tuple[str, ...]
    manifest_hash: str


def build_tiles(
    manifest: Manifest,
    out_dir: str | Path,
    *,
    mpp_um: float = 0.5,
    tile_px: int = 256,
    stride_px: int | None = None,
    classes: Mapping[str, str] = DEFAULT_CLASSES,
    ignore: Sequence[str] = (),
    source: str = ANNOTATED,
    hdab_renderings: int = 0,
    seed: int = 0,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> BuildSummary:
    """Cut the annotated images of a manifest into training tiles.

    Parameters
    ----------
    out_dir
        Folder to write to; it must be empty or absent.
    mpp_um, tile_px, stride_px
        The model's grid, and size and distance of tiles on it; tiles touch by default. The last
        tile of a row ends at the image's border. A smaller image gives a smaller tile.
    classes, ignore
        GeoJSON class name to target, and class names left out: see `open_annotation`.
    source
        What `tiles.csv` says about where the pixels come from.
    hdab_renderings
        How many times each fluorescence image with vessel outlines is rendered as brightfield
        H-DAB besides, which keeps its animal and split.
    seed
        Draws the splits of undecided animals and the renderings.
    executor
        Spreads the images over workers; the files are the same with or without it.
    progress
        Called with ("tiles", images done, images in all).

    Raises
    ------
    BuildError, SplitError
        If an image or its annotation cannot be used, naming it; if animals leak between splits.
    """
    settings = TileSettings(
        mpp_um, tile_px, stride_px, source, dict(classes), tuple(ignore), hdab_renderings, seed
    )
    folder = Path(out_dir)
    if folder.is_dir() and any(folder.iterdir()):
        raise BuildError(f"{folder} is not empty; give a new folder for the tiles", "out")
    manifest = assign_splits(manifest, seed=seed)
    annotated = [row for row in manifest.rows if row.targets]
    if not annotated:
        raise BuildError("no image of the manifest is annotated; give targets and annotations")
    _refuse_repeats(manifest.folder, annotated)
    # Only what is complete gets the folder's name, so that a failed build can simply be repeated.
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in _SUBFOLDERS:
        (partial / name).mkdir(parents=True)
    jobs = [(manifest.folder, row, partial, settings) for row in annotated]
    results = executor.map(cut_row, jobs) if executor else map(cut_row, jobs)
    records: list[dict[str, str]] = []
    for done, rows in enumerate(results, start=1):
        records += rows
        if progress:
            progress("tiles", done, len(jobs))
    if not records:
        raise BuildError("no tile lies in an annotated area; draw the areas over the images")
    skipped = tuple(row.image for row in manifest.rows if not row.targets)
    described = _describe(partial, records, settings)
    partial.replace(folder)
    return BuildSummary(folder, images_without_annotation=skipped, **described)


def _refuse_repeats(folder: Path, rows: Sequence[Row]) -> None:
    """Refuse one file in two splits: its score would be of what was learnt by heart."""
    first_of: dict[str, Row] = {}
    for row in rows:
        path = folder / row.image
        first = first_of.setdefault(file_sha256(path), row) if path.is_file() else row
        if first.split != row.split:
            raise BuildError(
                f"{row.image} is the same file as {first.image}; {first.split} and {row.split} "
                "must not share pictures: remove one of them",
                "image",
            )


def manifest_hash(folder: str | Path) -> str:
    """Return the SHA-256 over the table and the pixels of a folder of tiles.

    It is taken over decoded pixels, so that another PNG encoder gives the same hash.
    """
    folder = Path(folder)
    digest = hashlib.sha256((folder / "tiles.csv").read_bytes())
    for path in sorted(folder.glob("*/*.png"), key=lambda path: path.relative_to(folder).parts):
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.asarray(image)
        header = f"{path.relative_to(folder).as_posix()} {pixels.dtype.str} {pixels.shape}"
        digest.update(header.encode())
        digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def tiles_sha256(folders: Sequence[Path]) -> str:
    """Return one hash over several folders of tiles, in whatever order they are given."""
    hashes = sorted(manifest_hash(folder) for folder in folders)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _describe(
    folder: Path, records: Sequence[Mapping[str, str]], settings: TileSettings
) -> dict[str, Any]:
    """Write the table and the description of all tiles; return what was counted."""
    with (folder / "tiles.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, TILE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    for name in _SUBFOLDERS:
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()
    counted = {
        "tiles": len(records),
        "tiles_by_split": {s: sum(record["split"] == s for record in records) for s in SPLITS},
        "tiles_by_target": {
            t: sum(record["targets"] == t for record in records) for t in ANNOTATED_TARGETS
        },
        "manifest_hash": manifest_hash(folder),
    }
    described = {"mpp_um": settings.mpp_um, "tile_px": settings.tile_px, **counted}
    (folder / "tiles.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return counted
