"""Annotated images drawn in a few lines, small enough to count by eye, and tiles of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.build import build_tiles
from datasets.manifest import Manifest
from datasets.rows import Row
from training.judging import Judged

HEIGHT, WIDTH, TILE_PX = 64, 96, 48
MPP_UM = 0.5


def vessel_mask(number: int) -> npt.NDArray[np.uint8]:
    """Return a band across the image, 8 to 14 px wide."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20 : 28 + number % 7] = 255
    return mask


def cell_labels(number: int) -> npt.NDArray[np.uint8]:
    """Return 2 to 5 cells of 14 × 14 px in a row."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for cell in range(2 + number % 4):
        labels[10:24, 2 + 18 * cell : 16 + 18 * cell] = cell + 1
    return labels


def write_images(folder: Path, target: str, animals: Sequence[str]) -> Manifest:
    """Write an annotated image for each of `animals`, all to validate on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, animal in enumerate(animals):
        mask = vessel_mask(number) if target == "vessel" else cell_labels(number)
        brown = 230 - 120 * (mask > 0).astype(np.uint8)
        pixels = np.stack([brown, brown - 20, brown - 40], axis=-1)
        Image.fromarray(pixels).save(folder / f"{target}{number}.png")
        Image.fromarray(mask).save(folder / f"{target}{number}_labels.png")
        rows.append(
            Row(
                image=f"{target}{number}.png",
                animal=animal,
                markers=("CD31",) if target == "vessel" else ("VEGF",),
                modality="brightfield",
                mpp_um=MPP_UM,
                annotation={target: f"{target}{number}_labels.png"},
                targets=(target,),
                split="val",
            )
        )
    return Manifest(folder, tuple(rows))


def write_tiles(folder: Path, target: str, animals: Sequence[str], source: str) -> Path:
    """Cut such images into tiles, and return their folder."""
    manifest = write_images(folder / f"{source}-images", target, animals)
    out = folder / source
    build_tiles(manifest, out, mpp_um=MPP_UM, tile_px=TILE_PX, source=source)
    return out


def knowing(level: float = 0.2) -> Judged:
    """Return a network that sees exactly what was drawn: all that is as brown as `level`."""

    def predict(channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = (channels[:1] > level).astype(np.float32)
        return np.concatenate([found, found, found])

    return Judged(predict, MPP_UM, {"vessel": 0.5, "vegf_cell": 0.5}, {}, described=_DESCRIBED)


def shrunken(network: Judged) -> Judged:
    """Return a network that sees vessels 2 px lower than they are, so that bands lose their top."""

    def predict(channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = network.predict(channels)
        lower = np.zeros_like(found)
        lower[:, 2:] = found[:, :-2]
        return np.minimum(found, lower)

    return dataclasses.replace(network, predict=predict)


_DESCRIBED = {"name": "drawn", "version": "0", "sha256": "0" * 64}
