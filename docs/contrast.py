"""How well vessels and cells are found by how much they stand out from what lies about them.

    python -m docs.contrast

draws the picture docs/images/measure-contrast.png anew from docs/contrast.json, which
`docs.unseen_sections` measures on its drawn sections. The table goes into the model card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from scipy import ndimage

from docs.pictures import OKABE, save
from model.targets import VEGF_CELL, VESSEL
from training.evaluate import Evaluation
from training.fields import Field, images_of
from training.judging import Judged, find_cells
from training.kinds import full_name
from training.stream import tiles_of_split

FIGURES = Path(__file__).with_name("contrast.json")
RING_UM = (1.5, 5.0)
LIMITS = (1.0, 2.0, 4.0)
LEAST_CELL_PX = 100  # 25 µm², the smallest cell that is counted

Bools = npt.NDArray[np.bool_]


def contrast(
    marker: npt.NDArray[Any], inside: Bools, outlined: Bools, mpp_um: float
) -> float | None:
    """Return by how many standard deviations of its surroundings something has more stain.

    Mean of `marker` (H, W) `inside`, less the mean of what lies from 1.5 to 5 µm away from it and
    at least 1.5 µm from all that is `outlined`, over the standard deviation there. None if nothing
    is inside, or nothing varies about it.
    """
    near, far = (reach / mpp_um for reach in RING_UM)
    around = marker[(_away(inside) <= far) & (_away(inside | outlined) >= near)]
    if not (inside.any() and around.size and around.std()):
        return None
    return float((marker[inside].mean() - around.mean()) / around.std())


def _away(mask: Bools) -> npt.NDArray[Any]:
    """Return each pixel's distance from `mask` in pixels."""
    outside = (~mask).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def measure(folders: Sequence[Path], network: Judged, evaluation: Evaluation) -> dict[str, Any]:
    """Measure drawn sections that were annotated as a whole.

    Returns
    -------
    ``vessels``: {source: [[contrast, Dice] of each section that holds any]}; ``cells``: {source:
    [[contrast, 1 if found, else 0] of each annotated cell that no tile's border cuts]}, found being
    where one predicted cell covers over half of both together.
    """
    dice = {
        (row["source"], row["image"]): row["dice"]
        for row in evaluation.scores["images"]
        if row["target"] == VESSEL and row["annotated_area_fraction"]
    }
    vessels: dict[str, list[list[float]]] = {}
    cells: dict[str, list[list[float]]] = {}
    for image in images_of(tiles_of_split(folders, split="val")):
        (field,) = image.fields()
        marker = field.channels[..., 0].astype(np.float64)
        if VEGF_CELL in field.labels:
            found = find_cells(network, field.channels)
            pairs = [[round(value, 2), hit] for value, hit in _cells(field, marker, found, network)]
            cells.setdefault(image.source, []).extend(pairs)
        elif (image.source, image.name) in dice:
            outlined = field.labels[VESSEL] > 0
            value = contrast(marker, outlined, outlined, network.mpp_um)
            if value is not None:
                score = round(dice[image.source, image.name], 3)
                vessels.setdefault(image.source, []).append([round(value, 2), score])
    sha256 = evaluation.scores["model"]["sha256"]
    return {"bundle_sha256": sha256, "vessels": vessels, "cells": cells}


def _cells(
    field: Field, marker: npt.NDArray[Any], found: npt.NDArray[np.int32], network: Judged
) -> Iterator[tuple[float, int]]:
    """Yield each whole annotated cell's contrast, and 1 if it was found."""
    margin = int(np.ceil(RING_UM[1] / network.mpp_um)) + 1
    outlined = field.labels[VEGF_CELL] > 0
    sizes = np.bincount(found.ravel())
    for number, place in enumerate(field.tiles):
        tile = place.window.slices()
        labels = np.where(field.owner[tile] == number, field.labels[VEGF_CELL][tile], 0)
        cut = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is None or label in cut:
                continue
            y, x = (
                slice(max(side.start + start - margin, 0), side.stop + start + margin)
                for side, start in zip(box, (place.window.y, place.window.x), strict=True)
            )
            own = (field.owner[y, x] == number) & (field.labels[VEGF_CELL][y, x] == label)
            value = contrast(marker[y, x], own, outlined[y, x], network.mpp_um)
            if value is not None and own.sum() >= LEAST_CELL_PX:
                yield value, int(_is_found(own, found[y, x], sizes))


def _is_found(own: Bools, found: npt.NDArray[np.int32], sizes: npt.NDArray[np.int64]) -> bool:
    """Return whether one of the predicted cells shares over half of what both cover.

    `sizes` has the area of each predicted cell by its number: they may reach beyond the window.
    """
    numbers, shared = np.unique(found[own], return_counts=True)
    shared = np.where(numbers > 0, shared, 0)
    best = shared.argmax()
    return bool(2 * shared[best] > own.sum() + sizes[numbers[best]] - shared[best])


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return mean Dice of sections and the part of cells that is found, by contrast."""
    ranges = [f"{low:g} to {high:g}" for low, high in pairwise(LIMITS)]
    heads = ["stand out by (SD)", f"under {LIMITS[0]:g}", *ranges, f"from {LIMITS[-1]:g}"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for source, pairs in figures["vessels"].items():
        cells = [
            f"{dice.mean():.2f} ({len(dice)}; worst {dice.min():.2f})" if dice.size else "–"
            for dice in _by_contrast(pairs)
        ]
        lines.append(f"| {full_name(source)}, Dice | {' | '.join(cells)} |")
    for source, pairs in figures["cells"].items():
        cells = [
            f"{100 * hits.mean():.0f} % of {hits.size:,}" if hits.size else "–"
            for hits in _by_contrast(pairs)
        ]
        lines.append(f"| {full_name(source)}, found | {' | '.join(cells)} |")
    return lines


def _by_contrast(pairs: Sequence[Sequence[float]]) -> list[npt.NDArray[np.float64]]:
    found, scores = np.array(pairs).T
    place = np.digitize(found, LIMITS)
    return [scores[place == number] for number in range(len(LIMITS) + 1)]


def draw(figures: Mapping[str, Any]) -> None:
    """Draw a point for each section with vessels, and a bar for each range of cells' contrasts."""
    vessels, cells = figures["vessels"], figures["cells"]
    figure, panels = plt.subplots(
        1, len(vessels) + len(cells), figsize=(11, 3.1), sharey=True, layout="constrained"
    )
    for axes, (source, pairs) in zip(panels, [*vessels.items(), *cells.items()], strict=True):
        axes.set_title(full_name(source).removeprefix("synthetic "), fontsize=9)
        axes.set_xlabel("more stain than about it, in SD", fontsize=8)
        axes.grid(axis="y", color="#EEEEEE")
        axes.set_axisbelow(True)
        axes.set_ylim(0, 1.02)
        if source in vessels:
            found, dice = np.array(pairs).T
            axes.plot(found, dice, "o", color=OKABE[4], ms=4, markeredgewidth=0, alpha=0.6)
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xticks([-1, 0, 1, 2, 4, 10], ["−1", "0", "1", "2", "4", "10"])
        else:
            parts = [hits.mean() if hits.size else 0 for hits in _by_contrast(pairs)]
            axes.bar(range(len(parts)), parts, color=OKABE[5])
            axes.set_xticks(range(len(parts)), ["< 1", "1–2", "2–4", "> 4"])
    panels[0].set_ylabel("Dice of a section")
    panels[len(vessels)].set_ylabel("part of cells found")
    save(figure, "contrast")


def write(figures: Mapping[str, Any]) -> None:
    """Write figures and picture."""
    FIGURES.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    draw(figures)


if __name__ == "__main__":
    draw(json.loads(FIGURES.read_text(encoding="utf-8")))
