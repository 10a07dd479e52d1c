"""What docs/ablation.py judges on, and how an image looks to the network that sees plain RGB."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets import cut
from datasets.annotations import open_annotation
from datasets.build import build_tiles
from datasets.manifest import Manifest
from datasets.rows import Row, file_sha256
from datasets.synth_rerender import rerender_as_hdab
from datasets.synth_style import BrightfieldStyle
from datasets.synth_write import SynthModality, write_synthetic
from datasets.vessmap import vessmap_manifest
from imaging.markers import MarkerScaling
from imaging.open import open_image
from imaging.polygons import Grid
from imaging.stains import StainVectors
from model.targets import VESSEL
from training.restain import FAST_RED

SEED = 9_000_000  # no section and no rendering of the recipe has a seed near it
SIDE_PX = 256
GREEN, RED = 1, 0
# FAST_RED is 24° from the default DAB, about which sections are drawn, and 19° from the nearest of
# 3,000 drawn ones; only a recipe with `restain` shows it in training.
# Training draws up to 1.3 in nuclei and 0.18 between them.
STRONG_COUNTERSTAIN = {"hematoxylin_od": 2.2, "hematoxylin_haze_od": 0.35}

Change = Callable[[BrightfieldStyle], BrightfieldStyle]


def as_rgb(
    pixels: npt.NDArray[Any], scaling: MarkerScaling, marker_colour: int = GREEN
) -> npt.NDArray[np.float32]:
    """Return pixels (H, W, C) as the RGB picture that people export, float32 (3, H, W) in 0..1.

    Grey stays grey, levels are not stretched; of two channels the nuclei are blue.
    """
    unit = np.moveaxis(pixels.astype(np.float32) / scaling.full_scale, -1, 0)
    if scaling.modality == "brightfield":
        return np.ascontiguousarray(unit)
    assert scaling.marker_plane is not None
    marker = unit[scaling.marker_plane.channel]
    if scaling.nuclei_plane is None:
        return np.stack([marker] * 3)
    picture = np.zeros((3, *marker.shape), np.float32)
    picture[marker_colour], picture[2] = marker, unit[scaling.nuclei_plane.channel]
    return picture


@contextmanager
def cut_as_rgb(marker_colour: int = GREEN) -> Iterator[None]:
    """Let tiles that are cut in a ``with`` block hold RGB in place of marker channels."""
    look = partial(as_rgb, marker_colour=marker_colour)
    with mock.patch.object(cut, "marker_channels", look):
        yield


def as_drawn(style: BrightfieldStyle) -> BrightfieldStyle:
    """Return a look as training draws it."""
    return style


def in_fast_red(style: BrightfieldStyle) -> BrightfieldStyle:
    """Return the look with another chromogen on the same counterstain."""
    vectors = StainVectors.from_pair(style.vectors.hematoxylin, FAST_RED)
    return dataclasses.replace(style, vectors=vectors)


def counterstained(style: BrightfieldStyle) -> BrightfieldStyle:
    """Return the look with a counterstain stronger than any that training draws."""
    return dataclasses.replace(style, **STRONG_COUNTERSTAIN)  # type: ignore[arg-type]


def judges(vessmap: Path, folder: Path, sections: int) -> dict[str, Manifest]:
    """Write and describe the images of each judge, all of split ``val``."""
    whole = vessmap_manifest(vessmap)
    crops = dataclasses.replace(whole, rows=tuple(r for r in whole.rows if r.split == "val"))
    looks = {"hdab": as_drawn, "fast_red": in_fast_red, "counterstain": counterstained}
    kinds: dict[str, tuple[SynthModality, float]] = {
        "brightfield": ("brightfield", 0.0),
        "fluorescence": ("fluorescence", 0.0),
        "empty_brightfield": ("brightfield", 1.0),
        "empty_fluorescence": ("fluorescence", 1.0),
    }
    return {
        "crops": crops,
        **{name: _rendered(crops, folder / name, change) for name, change in looks.items()},
        **{
            name: _drawn(folder / name, SEED + 1000 * number, sections, *kind)
            for number, (name, kind) in enumerate(kinds.items())
        },
    }


def judge_tiles(found: dict[str, Manifest], folder: Path, *, rgb: bool) -> dict[str, Path]:
    """Cut the images of each judge as marker channels or as RGB; return a folder for each.

    ``other_colour`` is the fluorescence with its marker in red: to marker channels, the same.
    """
    folders = {}
    for name, manifest in {**found, "other_colour": found["fluorescence"]}.items():
        folders[name] = folder / name
        if (folders[name] / "tiles.json").is_file():
            continue
        if rgb:
            with cut_as_rgb(RED if name == "other_colour" else GREEN):
                build_tiles(manifest, folders[name], tile_px=SIDE_PX)
        else:
            build_tiles(manifest, folders[name], tile_px=SIDE_PX)
    return folders


def _rendered(crops: Manifest, folder: Path, change: Change) -> Manifest:
    """Render each crop as a stained section: the same look for each `change` but for what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, row in enumerate(crops.rows):
        with open_image(crops.path(row.image), row.mpp_um, modality="fluorescence") as image:
            size = image.width_px, image.height_px
            plane = image.read_region(0, 0, *size)[..., 0]
        outlines = open_annotation(crops.path(row.annotation[VESSEL]), VESSEL, size)
        vessels = outlines.read(Grid(0, 0, *size)).labels > 0
        style = change(BrightfieldStyle.draw(np.random.default_rng((SEED, number))))
        picture, outline = folder / f"{number}.png", folder / f"{number}_vessel.png"
        Image.fromarray(rerender_as_hdab(vessels, plane, SEED + number, style=style)).save(picture)
        Image.fromarray(vessels.astype(np.uint8)).save(outline)
        rows.append(
            Row(
                image=picture.name,
                animal=row.animal,
                modality="brightfield",
                mpp_um=row.mpp_um,
                annotation={VESSEL: outline.name},
                targets=(VESSEL,),
                split="val",
                licence=row.licence,
                sha256=file_sha256(picture),
            )
        )
    return Manifest(folder, tuple(rows))


def _drawn(
    folder: Path, seed: int, count: int, modality: SynthModality, empty_fraction: float
) -> Manifest:
    """Draw synthetic sections of seeds that training never uses; read them where they are."""
    table = folder / "manifest.csv"
    if table.is_file():
        found = Manifest.read(table)
    else:
        found = write_synthetic(
            folder,
            count,
            seed,
            size_px=SIDE_PX,
            markers=("CD31",),
            modalities=(modality,),
            empty_fraction=empty_fraction,
        )
    rows = tuple(dataclasses.replace(row, split="val") for row in found.rows)
    return dataclasses.replace(found, rows=rows)
