"""How well vessels and cells are outlined by how much they stand out from what lies about them.

`docs.unseen_sections` measures it on its drawn sections: figures go to docs/contrast.json, the
picture to docs/images/measure-contrast.png, the table into the model card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

from docs.pictures import OKABE, save
from training.evaluate import Evaluation
from training.fields import ImageTiles, images_of
from training.kinds import full_name
from training.stream import tiles_of_split

FIGURES = Path(__file__).with_name("contrast.json")
RING_UM = (1.5, 5.0)
LIMITS = (1.0, 2.0, 4.0)


def contrast(
    marker: npt.NDArray[Any], outlined: npt.NDArray[np.bool_], mpp_um: float
) -> float | None:
    """Return by how many standard deviations of its surroundings what is outlined is brighter.

    Mean of `marker` (H, W) inside, less the mean between 1.5 and 5 µm outside of all outlines, over
    the standard deviation there. None if nothing is outlined, or nothing varies about it.
    """
    outside = (~outlined).astype(np.uint8)
    away = np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    around = marker[(away >= RING_UM[0] / mpp_um) & (away <= RING_UM[1] / mpp_um)]
    if not (outlined.any() and around.size and around.std()):
        return None
    return float((marker[outlined].mean() - around.mean()) / around.std())


def measure(folders: Sequence[Path], evaluation: Evaluation, mpp_um: float) -> dict[str, Any]:
    """Return ``{"source: target": [[contrast, Dice], …]}`` of the images that hold the target."""
    dice = {
        (row["source"], row["target"], row["image"]): row["dice"]
        for row in evaluation.scores["images"]
        if row["annotated_area_fraction"]
    }
    pairs: dict[str, list[list[float]]] = {}
    for image in images_of(tiles_of_split(folders, split="val")):
        for target, found in _contrasts(image, mpp_um).items():
            score = dice.get((image.source, target, image.name))
            if score is not None and found is not None:
                pair = [round(found, 3), round(score, 4)]
                pairs.setdefault(f"{image.source}: {target}", []).append(pair)
    return {"bundle_sha256": evaluation.scores["model"]["sha256"], "images": pairs}


def _contrasts(image: ImageTiles, mpp_um: float) -> dict[str, float | None]:
    """Return the contrast of each target on a section that was annotated as a whole."""
    (field,) = image.fields()
    marker = field.channels[..., 0].astype(np.float64)
    return {target: contrast(marker, of > 0, mpp_um) for target, of in field.labels.items()}


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return mean Dice by contrast as Markdown."""
    ranges = ["under 1", *(f"{low:g} to {high:g}" for low, high in pairwise(LIMITS))]
    heads = ["stand out by (SD)", *ranges, f"from {LIMITS[-1]:g}"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for group, pairs in figures["images"].items():
        found, dice = np.array(pairs).T
        place = np.digitize(found, LIMITS)
        cells = [_cell(dice[place == number]) for number in range(len(LIMITS) + 1)]
        lines.append(f"| {full_name(group.split(':')[0])} | {' | '.join(cells)} |")
    return lines


def _cell(dice: npt.NDArray[np.float64]) -> str:
    return f"{dice.mean():.2f} ({len(dice)}; worst {dice.min():.2f})" if dice.size else "–"


def draw(figures: Mapping[str, Any]) -> None:
    """Draw a point for each section."""
    figure, panels = plt.subplots(
        1, len(figures["images"]), figsize=(11, 3.1), sharex=True, sharey=True, layout="constrained"
    )
    for axes, (group, pairs) in zip(panels, figures["images"].items(), strict=True):
        found, dice = np.array(pairs).T
        axes.plot(found, dice, "o", color=OKABE[4], markersize=4, markeredgewidth=0, alpha=0.6)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks([0, 1, 2, 4, 10, 20], ["0", "1", "2", "4", "10", "20"])
        axes.set_title(full_name(group.split(":")[0]).removeprefix("synthetic "), fontsize=9)
        axes.set_xlabel("brighter than about it, in SD", fontsize=8)
        axes.set_ylim(0, 1.02)
        axes.grid(color="#EEEEEE")
    panels[0].set_ylabel("Dice of a section")
    save(figure, "contrast")


def write(figures: Mapping[str, Any]) -> None:
    """Write figures and picture."""
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(figures)
