"""Judge a network on held-out tiles: scores, agreement of densities, calibration.

Real and synthetic images are never averaged together: every summary belongs to one source.
"""

from __future__ import annotations

import dataclasses
import datetime
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.version import software
from datasets.rows import SPLITS, Split
from training.bootstrap import DRAWS, LEAST_ANIMALS, SEED
from training.errors import DataError
from training.fields import ImageTiles, images_of
from training.judging import ImageScore, Judged, judge_image
from training.kinds import is_own, kind_of, known_animals
from training.stream import tiles_of_split
from training.summary import animal_scores, image_row, summarise

Progress = Callable[[str, int, int], None]
WORST_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found: `scores` is all of it as JSON holds it, `worst` what to look at."""

    scores: Mapping[str, Any]
    worst: tuple[ImageScore, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Return the scores that travel with a bundle: no images, no curves."""
        sources = {
            source: {target: _short(summary) for target, summary in targets.items()}
            for source, targets in self.scores["sources"].items()
        }
        kept = {key: self.scores[key] for key in ("split", "thresholds", "tta", "intervals")}
        return {**kept, "sources": sources}


def evaluate(
    network: Judged,
    folders: Sequence[Path],
    *,
    split: Split = "val",
    progress: Progress | None = None,
) -> Evaluation:
    """Judge every held-out image.

    Parameters
    ----------
    folders
        Folders of tiles on the network's grid.
    progress
        Called with ("evaluate", tiles done, tiles in all), then ("intervals", sources done, all).

    Returns
    -------
    Its `scores` hold ``sources``: {source: {target: summary}}, see `training.summary`; ``images``
    and ``animals``, a row for each; and how they were made.

    Raises
    ------
    DataError
        If no tile of the split was annotated, or tiles are on another grid than the network.
    """
    parts = tiles_of_split(folders, split=split)
    for part in parts:
        if part.mpp_um != network.mpp_um:
            raise DataError(
                f"the tiles in {part.folder} have {part.mpp_um:g} µm/px, the model "
                f"{network.mpp_um:g}; build them with --mpp {network.mpp_um:g}",
                field="tiles",
            )
    kept = _Kept()
    for score in _judge(network, images_of(parts), progress):
        kept.add(score)
    if not kept.groups:
        raise DataError(
            f"no pixel of split {split!r} is annotated for any target; "
            "outline some of its images, or draw the areas that were outlined",
            field="data",
        )
    return Evaluation(_scores(network, split, kept.groups, progress), kept.worst())


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


def _judge(
    network: Judged, images: Sequence[ImageTiles], progress: Progress | None
) -> Iterator[ImageScore]:
    total, done = sum(len(image.indices) for image in images), 0
    for image in images:
        yield from judge_image(network, image)
        done += len(image.indices)
        if progress:
            progress("evaluate", done, total)


class _Kept:
    """Scores by source and target, and the pixels of the worst of each group only."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], list[ImageScore]] = defaultdict(list)
        self._heaps: dict[tuple[str, str], list[tuple[float, int, ImageScore]]] = defaultdict(list)

    def add(self, score: ImageScore) -> None:
        """Keep a score, and its pixels while no twelve of its group are worse."""
        group = score.source, score.target
        self.groups[group].append(dataclasses.replace(score, sight=None))
        if not score.counts.mask.annotated_px:
            return
        heap = self._heaps[group]
        dice = score.counts.mask.scores()["dice"] or 0.0
        heapq.heappush(heap, (-dice, len(self.groups[group]), score))
        if len(heap) > WORST_SHOWN:
            heapq.heappop(heap)  # the best of them

    def worst(self) -> tuple[ImageScore, ...]:
        """Return the worst images, as many of each group; the worst first."""
        share = max(1, WORST_SHOWN // max(1, len(self._heaps)))
        chosen = [
            entry for heap in self._heaps.values() for entry in sorted(heap, reverse=True)[:share]
        ]
        chosen.sort(key=lambda entry: entry[:2], reverse=True)  # greatest of the negated scores
        return tuple(score for _, _, score in chosen)[:WORST_SHOWN]


def _scores(
    network: Judged,
    split: Split,
    groups: Mapping[tuple[str, str], list[ImageScore]],
    progress: Progress | None,
) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = defaultdict(dict)
    for done, ((source, target), scores) in enumerate(sorted(groups.items()), start=1):
        sources[source][target] = summarise(scores, network.temperature.get(target, 1.0))
        if progress:
            progress("intervals", done, len(groups))
    every = [score for scores in groups.values() for score in scores]
    own = {score.animal for score in every if is_own(score.source)}
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "software": dataclasses.asdict(software()),
        "model": dict(network.described)
        | {"mpp_um": network.mpp_um, "learnt_animals": known_animals(network.animals, own)},
        "split": split,
        "thresholds": dict(network.thresholds),
        "tta": network.tta,
        "intervals": {
            "coverage": 0.95,
            "method": "bias-corrected accelerated bootstrap",
            "draws": DRAWS,
            "seed": SEED,
            "animals_from": LEAST_ANIMALS,
        },
        "kinds": {source: kind_of(source) for source in sources},
        "sources": dict(sources),
        "animals": [row for scores in groups.values() for row in animal_scores(scores)],
        "images": [image_row(score) for score in every],
    }


def _short(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary without its curves and its list of images."""
    calibration = dict(summary["calibration"])
    for name in ("calibrated", "uncalibrated"):
        calibration[name] = {k: v for k, v in calibration[name].items() if k != "bins"}
    return {k: v for k, v in summary.items() if k != "worst"} | {"calibration": calibration}
