"""The figures of an evaluation in plain words, for people who measure tissue."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from training.densities import DENSITIES, Density
from training.kinds import is_own
from training.score_table import NOTHING, interval, number, short_number

TRAINED_ON = (
    "The model learnt from all images of this source that were at hand: of those, this says how "
    "well they were learnt, not how new images fare."
)
# The limits of Koo & Li 2016, doi 10.1016/j.jcm.2016.02.012.
_ICC_WORDS = ((0.9, "excellent"), (0.75, "good"), (0.5, "moderate"), (-math.inf, "poor"))


def learnt_from(animals: Sequence[str]) -> str:
    """Return what it means that these animals were learnt from, and what to do about it."""
    return (
        f"The model learnt from animals called {', '.join(animals)}, in its last run or in one "
        "before it: the scores of these flatter; judge others."
    )


def why_flattering(source: str, whole: Collection[str], animals: Sequence[str]) -> str:
    """Return why a source's scores flatter a model; nothing if they do not.

    `whole` are the sources of which it learnt all images, `animals` those of the laboratory's own
    judged ones that it learnt from.
    """
    if source in whole:
        return TRAINED_ON
    return learnt_from(animals) if animals and is_own(source) else ""


def sentences(target: str, summary: Mapping[str, Any]) -> list[str]:
    """Return what a source's scores for one target say, one sentence each."""
    told = [_overlap(summary), _centre_line(target, summary), *_cells(summary)]
    told += [
        _density(density, summary["agreement"][density.name], said=bool(summary["cells"]))
        for density in DENSITIES[target]
    ]
    told += [_empty(summary), _calibration(summary["calibration"])]
    return [sentence for sentence in told if sentence]


def drawn(summary: Mapping[str, Any]) -> str:
    """Return what was counted, and what the intervals stem from."""
    images, animals = summary["images"], summary["animals"]
    few = summary["dice"] is None or summary["dice"]["ci95"] is None
    intervals = (
        "too few for an interval of Dice, and too few to decide anything"
        if few
        else f"intervals from drawing {summary['resampled']} anew"
    )
    return (
        f"{images} {_plural('image', images)} of {animals} {_plural('animal', animals)} "
        f"that hold the target; {intervals}"
    )


def counted(animals: int, images: int) -> str:
    """Return how many animals and images there are."""
    return f"{animals} {_plural('animal', animals)}, {images} {_plural('image', images)}"


def agreement_cells(density: Density, found: Mapping[str, Any]) -> dict[str, str]:
    """Return one density's agreement by column of a table."""
    images, holding = found["images"], found["relative_images"]
    limits = found["limits_of_agreement"]
    error = found["mean_absolute_relative_error"]
    unit = f" ({density.unit})" if density.unit else ""
    return {
        "density": density.title + unit,
        "images": str(images) if holding == images else f"{images} ({holding})",
        "annotated": short_number(found["mean_annotated"]),
        "bias": short_number(found["bias"]["value"]) + _short(found["bias"]["ci95"]),
        "limits": f"{short_number(limits[0])} to {short_number(limits[1])}" if limits else NOTHING,
        "error": percent(error["value"]) + percents(error["ci95"]) if error else NOTHING,
        "icc": _icc(found["icc_a1"]),
    }


def _overlap(summary: Mapping[str, Any]) -> str:
    dice = summary["dice"]
    if dice is None:
        return "No image holds the target, so nothing can overlap."
    return (
        f"Overlap (Dice) is {number(dice['mean'], 2)}{interval(dice['ci95'], 2)} on average, "
        f"{number(dice['worst'], 2)} on the worst image; 1 would be the same outlines."
    )


def _centre_line(target: str, summary: Mapping[str, Any]) -> str:
    found = summary["cl_dice"]
    if target != "vessel" or found is None:
        return ""
    return (
        f"Of the vessels' courses, {number(found['mean'], 2)}{interval(found['ci95'], 2)} is "
        "shared (centre-line Dice), however wide they were drawn."
    )


def _cells(summary: Mapping[str, Any]) -> list[str]:
    cells = summary["cells"]
    if not cells or not cells["f1"]:
        return []
    f1, count = cells["f1"], cells["count_error"]
    told = [
        f"Single cells are matched with F1 {number(f1['value'], 2)}{interval(f1['ci95'], 2)}: "
        "1 if every cell was found and none invented."
    ]
    if count:
        more = "more" if count["value"] >= 0 else "fewer"
        told.append(
            f"{percent(abs(count['value']))} {more} cells are counted than annotated"
            f"{_interval_words(count['ci95'])}."
        )
    return told


def _density(density: Density, found: Mapping[str, Any], *, said: bool) -> str:
    """Return a sentence on one density; `said` if the difference on average was told already."""
    bias, mean = found["bias"]["value"], found["mean_annotated"]
    error, icc = found["mean_absolute_relative_error"], found["icc_a1"]
    # An error relative to nothing is none, so that both figures may be of different images.
    some_hold_none = found["relative_images"] < found["images"]
    told = []
    if mean and not said:
        more = "more" if bias >= 0 else "less"
        all_of = f"all {found['images']}" if some_hold_none else "all images"
        told.append(f"{all_of} together {percent(abs(bias) / mean)} {more} than annotated")
    if error:
        which = _holding(found["relative_images"]) if some_hold_none else "a single image"
        usual = " on average" if found["relative_images"] > 1 else ""
        told.append(f"{which} {percent(error['value'])} off{usual}")
    if icc:
        word = next(word for least, word in _ICC_WORDS if icc["value"] >= least)
        told.append(f"{word} agreement (ICC {_icc(icc)})")
    return f"{density.title}: {', '.join(told)}." if told else ""


def _holding(images: int) -> str:
    return "the one that has any" if images == 1 else f"a single one of the {images} that have any"


def _empty(summary: Mapping[str, Any]) -> str:
    empty = summary["without_target"]
    if not empty:
        return ""
    return (
        f"Where nothing is there, {100 * empty['mean']:.2f} % of the area is outlined all the same "
        f"({empty['images']} {_plural('image', empty['images'])}; "
        f"{100 * empty['worst']:.2f} % on the worst)."
    )


def _calibration(found: Mapping[str, Any]) -> str:
    error, before = (found[name]["ece"]["value"] for name in ("calibrated", "uncalibrated"))
    return (
        f"Probabilities are off by {_points(error)} on average (ECE "
        f"{number(error, 4)}{interval(found['calibrated']['ece']['ci95'], 4)}); "
        f"without the model's temperature of {found['temperature']:.2f} it would be "
        f"{_points(before)}."
    )


def _points(value: float) -> str:
    return f"{100 * value:.2f} percentage points"


def _icc(entry: Mapping[str, Any] | None) -> str:
    return NOTHING if entry is None else number(entry["value"], 2) + interval(entry["ci95"], 2)


def percent(value: float) -> str:
    """Return a part of 1 in per cent."""
    return f"{100 * value:.1f} %".replace("-", "−")


def percents(bounds: list[float] | None) -> str:
    """Return a 95 % interval of a part in brackets, after a space; nothing for None."""
    return "" if bounds is None else f" ({percent(bounds[0])} to {percent(bounds[1])})"


def _interval_words(bounds: list[float] | None) -> str:
    if bounds is None:
        return ""
    return f" (95 % interval {percent(bounds[0])} to {percent(bounds[1])})"


def _short(bounds: list[float] | None) -> str:
    return "" if bounds is None else f" ({short_number(bounds[0])} to {short_number(bounds[1])})"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
