"""Sum up scores: per source, per animal and per image, each mean with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from model.targets import VEGF_CELL, VESSEL
from training.agreement import agreement
from training.bootstrap import Floats, Resampling, share
from training.calibration import (
    LogitTally,
    best_temperature,
    calibration_error,
    cross_entropy,
    reliability,
)
from training.densities import DENSITIES
from training.instances import INSTANCE_SCORE_NAMES
from training.judging import Counts, ImageScore
from training.scores import SCORE_NAMES

WORST_LISTED = 5


def score_names(target: str) -> tuple[str, ...]:
    """Return the scores that a target has."""
    masks = SCORE_NAMES if target == VESSEL else tuple(n for n in SCORE_NAMES if n != "cl_dice")
    return masks + (INSTANCE_SCORE_NAMES if target == VEGF_CELL else ())


def summarise(scores: Sequence[ImageScore], temperature: float) -> dict[str, Any]:
    """Sum up the images of one source for one target.

    Returns
    -------
    Each mask score's ``mean``, ``median``, ``worst`` and ``ci95`` over the ``images`` that hold
    the target; ``by_animal`` the same over the animals of these, all images of one together;
    ``cells`` over all images' cells together; ``without_target`` the predicted area fraction of
    images that hold none; ``agreement`` of densities; ``calibration``; the ``worst`` images by
    Dice; and ``resampled``, whether the intervals stem from drawing ``animals`` or ``images``.
    """
    target = scores[0].target
    holding = [score for score in scores if score.counts.mask.annotated_px]
    owners = [score.animal for score in holding]
    holders = set(owners)
    resampling = Resampling.of([score.animal for score in scores])
    summary: dict[str, Any] = {
        "images": len(holding),
        "animals": len(holders),
        "resampled": resampling.unit,
    }
    per_image = [score.counts.scores(target) for score in holding]
    animals = animal_scores([score for score in scores if score.animal in holders])
    for name in SCORE_NAMES:
        summary[name] = _spread([row[name] for row in per_image], owners, "images")
    summary["by_animal"] = {
        name: _spread([row[name] for row in animals], [row["animal"] for row in animals], "animals")
        for name in score_names(target)
    }
    summary["without_target"] = _false_area(scores)
    summary["cells"] = _cells(scores, resampling) if target == VEGF_CELL else None
    summary["agreement"] = _agreement(scores, resampling)
    summary["calibration"] = _calibration(scores, temperature, resampling)
    summary["worst"] = [
        {"image": score.image, "animal": score.animal, "dice": score.counts.mask.scores()["dice"]}
        for score in worst_first(holding)[:WORST_LISTED]
    ]
    return summary


def worst_first(scores: Iterable[ImageScore]) -> list[ImageScore]:
    """Return the images that hold their target, that of the lowest Dice first."""
    holding = [score for score in scores if score.counts.mask.annotated_px]
    return sorted(holding, key=lambda score: (score.counts.mask.scores()["dice"], score.image))


def image_row(score: ImageScore) -> dict[str, Any]:
    """Return one image's scores and densities."""
    counts = score.counts
    annotated, predicted = (
        amounts.densities(score.target) for amounts in (counts.annotated, counts.predicted)
    )
    return {
        "image": score.image,
        "animal": score.animal,
        "source": score.source,
        "target": score.target,
        **_areas(counts),
        **counts.scores(score.target),
        "densities": {
            name: {"annotated": annotated[name], "predicted": predicted[name]} for name in annotated
        },
    }


def animal_scores(scores: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """Return the scores of each animal's images together, one source and target at a time."""
    rows = []
    for animal in dict.fromkeys(score.animal for score in scores):
        mine = [score for score in scores if score.animal == animal]
        counts = sum((score.counts for score in mine), Counts())
        rows.append(
            {
                "animal": animal,
                "source": mine[0].source,
                "target": mine[0].target,
                "images": len(mine),
                **_areas(counts),
                **counts.scores(mine[0].target),
            }
        )
    return rows


def _areas(counts: Counts) -> dict[str, float]:
    return {
        "annotated_area_fraction": counts.mask.annotated_px / counts.scored_px,
        "predicted_area_fraction": counts.mask.predicted_px / counts.scored_px,
    }


def _spread(
    values: Sequence[float | None], animals: Sequence[str], counted: str
) -> dict[str, Any] | None:
    """Return mean, median and worst of what is there, and the interval of the mean."""
    there = [value is not None for value in values]
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return None
    owners = [animal for animal, kept in zip(animals, there, strict=True) if kept]
    statistic = share(known, np.ones(known.size))
    return {
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "worst": float(known.min()),
        counted: int(known.size),
        "ci95": Resampling.of(owners).interval(statistic),
    }


def _false_area(scores: Sequence[ImageScore]) -> dict[str, Any] | None:
    empty = [
        score.counts.mask.predicted_px / score.counts.scored_px
        for score in scores
        if not score.counts.mask.annotated_px
    ]
    if not empty:
        return None
    return {"images": len(empty), "mean": float(np.mean(empty)), "worst": float(np.max(empty))}


def _cells(scores: Sequence[ImageScore], resampling: Resampling) -> dict[str, Any]:
    together: Mapping[str, float | None] = sum(
        (score.counts for score in scores), Counts()
    ).cells.scores()
    found: dict[str, Any] = {}
    for name, value in together.items():
        fractions = [score.counts.cells.fractions()[name] for score in scores]
        parts, wholes = np.array(fractions).T
        interval = resampling.interval(share(parts, wholes), wholes != 0)
        found[name] = None if value is None else {"value": value, "ci95": interval}
    return found


def _agreement(scores: Sequence[ImageScore], resampling: Resampling) -> dict[str, Any]:
    target = scores[0].target
    rows = [image_row(score)["densities"] for score in scores]
    return {
        density.name: {
            "unit": density.unit,
            **agreement(
                np.array([row[density.name]["annotated"] for row in rows], np.float64),
                np.array([row[density.name]["predicted"] for row in rows], np.float64),
                resampling,
            ),
        }
        for density in DENSITIES[target]
    }


def _calibration(
    scores: Sequence[ImageScore], temperature: float, resampling: Resampling
) -> dict[str, Any]:
    tallies = [score.counts.logits for score in scores]
    whole = sum(tallies, LogitTally())
    pixels, target = (
        np.stack([getattr(t, name) for t in tallies]) for name in ("pixels", "target")
    )

    def error(at: float) -> dict[str, Any]:
        def statistic(weights: Floats) -> Floats:
            return calibration_error(weights @ pixels, weights @ target, at)

        (value,) = statistic(np.ones((1, len(tallies))))
        return {
            "ece": {"value": float(value), "ci95": resampling.interval(statistic)},
            "cross_entropy": cross_entropy(whole, at),
            "bins": reliability(whole, at),
        }

    return {
        "temperature": temperature,
        "best_temperature": best_temperature(whole),
        "pixels": int(whole.pixels.sum()),
        "calibrated": error(temperature),
        "uncalibrated": error(1.0),
    }
