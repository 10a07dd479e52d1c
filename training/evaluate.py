"""Judge a network on held-out tiles: scores per image and per source, and false positives.

Real and synthetic images are never averaged together: every summary belongs to one source.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from analysis.cells import CellSettings, label_cells
from datasets.rows import SPLITS, Split
from datasets.tiles import TileItem
from model.targets import ANNOTATED_TARGETS, CHANNELS, VEGF_CELL, VEGF_CELL_CENTRE, VESSEL
from training.errors import DataError
from training.instances import INSTANCE_SCORE_NAMES, InstanceTally, tally_instances
from training.scores import SCORE_NAMES, MaskTally, summarise, tally_masks
from training.stream import tiles_of_split

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.uint8]]
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class ImageScore:
    """One image's tally for one target, with what `summarise` needs to group it.

    `annotated_px` and `predicted_px` are areas in pixels of `scored_px`, the part that was
    annotated either way. `cells` counts single cells, where the target is made of them.
    """

    image: str
    source: str
    target: str
    tally: MaskTally
    scored_px: int
    annotated_px: int
    predicted_px: int
    cells: InstanceTally | None = None


def evaluate(
    predict: Predict,
    folders: Sequence[Path],
    thresholds: Mapping[str, float],
    *,
    split: Split = "val",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every held-out image.

    Parameters
    ----------
    predict
        Marker channels float32 (3, H, W) to probabilities uint8 (K, H, W), as
        `model.predictor.Predictor.predict`.
    folders
        Folders of tiles.
    thresholds
        Target to the probability from which a pixel counts.

    Returns
    -------
    ``{"split", "thresholds", "sources": {source: {target: summary}}, "images": [...]}``; a summary
    holds each score's mean, median and worst over images that have the target, under
    ``without_target`` the predicted area fraction of those that have none, and, for cells, under
    ``cells`` the scores of `training.instances` over all the images' cells together.
    """
    scores = _merge_tiles(_score_tiles(predict, folders, thresholds, split, progress))
    by_source: dict[str, dict[str, Any]] = defaultdict(dict)
    for source, target in sorted({(score.source, score.target) for score in scores}):
        chosen = [s for s in scores if (s.source, s.target) == (source, target)]
        by_source[source][target] = _summary(chosen)
    return {
        "split": split,
        "thresholds": dict(thresholds),
        "sources": dict(by_source),
        "images": [_image_row(score) for score in scores],
    }


def parse_split(text: str) -> Split:
    """Return the split of that name.

    Raises
    ------
    DataError
        If there is none.
    """
    for split in SPLITS:
        if text == split:
            return split
    raise DataError(f"split {text!r} is not one of {', '.join(SPLITS)}", field="split")


def print_scores(scores: Mapping[str, Any], console: Console) -> None:
    """Print one table of scores: a row for each source and target, means over images."""
    table = Table()
    areas = ("source", "target", "images", *SCORE_NAMES, "worst dice", "false area")
    for column in (*areas, *INSTANCE_SCORE_NAMES):
        table.add_column(column.replace("_", " "), overflow="fold")
    for source, targets in scores["sources"].items():
        for target, summary in targets.items():
            means = [summary[name] and f"{summary[name]['mean']:.3f}" for name in SCORE_NAMES]
            worst = summary["dice"] and f"{summary['dice']['worst']:.3f}"
            empty = summary["without_target"]
            false_area = empty and f"{empty['mean']:.5f} ({empty['images']})"
            found = summary["cells"] or dict.fromkeys(INSTANCE_SCORE_NAMES)
            counted = [
                None if found[name] is None else f"{found[name]:.3f}"
                for name in INSTANCE_SCORE_NAMES
            ]
            cells = [*means, worst, false_area, *counted]
            table.add_row(source, target, str(summary["images"]), *(cell or "–" for cell in cells))
    console.print(table)


def _score_tiles(
    predict: Predict,
    folders: Sequence[Path],
    thresholds: Mapping[str, float],
    split: Split,
    progress: Progress | None,
) -> Iterable[ImageScore]:
    parts = tiles_of_split(folders, split=split)
    total, done = sum(len(part) for part in parts), 0
    for part in parts:
        for index, row in enumerate(part.rows):
            item = part[index]
            probabilities = predict(item["image"].numpy())
            for target in ANNOTATED_TARGETS:
                if item["annotated"][CHANNELS.index(target)]:
                    image = row["tile"].rsplit("_", 2)[0]  # a tile's name ends in its corner
                    score = _score_tile(
                        image, row["source"], target, item, probabilities, thresholds
                    )
                    if target == VEGF_CELL:
                        found = label_cells(
                            probabilities[CHANNELS.index(VEGF_CELL)],
                            probabilities[CHANNELS.index(VEGF_CELL_CENTRE)],
                            CellSettings(part.mpp_um, round(255 * thresholds[VEGF_CELL])),
                        )
                        cells = _compare_cells(found, part.cells(index), item, part.mpp_um)
                        score = dataclasses.replace(score, cells=cells)
                    yield score
            done += 1
            if progress:
                progress("evaluate", done, total)


def _score_tile(
    image: str,
    source: str,
    target: str,
    item: TileItem,
    probabilities: npt.NDArray[np.uint8],
    thresholds: Mapping[str, float],
) -> ImageScore:
    channel = CHANNELS.index(target)
    seen = item["weight"][0].numpy() > 0
    predicted = (probabilities[channel] >= round(255 * thresholds[target])) & seen
    annotated = (item["target"][channel].numpy() > 0.5) & seen
    return ImageScore(
        image,
        source,
        target,
        tally_masks(predicted, annotated, centre_line=target == VESSEL),
        scored_px=int(np.count_nonzero(seen)),
        annotated_px=int(np.count_nonzero(annotated)),
        predicted_px=int(np.count_nonzero(predicted)),
    )


def _compare_cells(
    found: npt.NDArray[Any], drawn: npt.NDArray[Any], item: TileItem, mpp_um: float
) -> InstanceTally:
    """Compare cells where they were annotated; parts of either that are too small for one go."""
    seen = item["weight"][0].numpy() > 0
    least_px = CellSettings(mpp_um, 1).min_area_px
    kept = []
    for labels in (found * seen, drawn):
        areas = np.bincount(labels.ravel())
        kept.append(np.where(areas[labels] >= least_px, labels, 0))
    return tally_instances(*kept)


def _merge_tiles(scores: Iterable[ImageScore]) -> list[ImageScore]:
    """Add up the tiles of each image."""
    merged: dict[tuple[str, str, str], ImageScore] = {}
    for score in scores:
        key = (score.source, score.image, score.target)
        merged[key] = _sum(merged[key], score) if key in merged else score
    return list(merged.values())


def _sum(one: ImageScore, other: ImageScore) -> ImageScore:
    return dataclasses.replace(
        one,
        tally=one.tally + other.tally,
        scored_px=one.scored_px + other.scored_px,
        annotated_px=one.annotated_px + other.annotated_px,
        predicted_px=one.predicted_px + other.predicted_px,
        cells=one.cells + other.cells if one.cells and other.cells else None,
    )


def _summary(scores: Sequence[ImageScore]) -> dict[str, Any]:
    holding = [score for score in scores if score.annotated_px]
    empty = [score.predicted_px / score.scored_px for score in scores if not score.annotated_px]
    summary = summarise(score.tally for score in holding)
    summary["without_target"] = (
        {"images": len(empty), "mean": float(np.mean(empty)), "worst": float(np.max(empty))}
        if empty
        else None
    )
    cells = [score.cells for score in scores if score.cells]
    summary["cells"] = sum(cells, InstanceTally()).scores() if cells else None
    return summary


def _image_row(score: ImageScore) -> dict[str, Any]:
    return {
        "image": score.image,
        "source": score.source,
        "target": score.target,
        "annotated_area_fraction": score.annotated_px / score.scored_px,
        "predicted_area_fraction": score.predicted_px / score.scored_px,
        **score.tally.scores(),
        **(score.cells.scores() if score.cells else {}),
    }
