"""Pictures of an evaluation: scores, agreement, reliability and what was outlined worst.

Colours are those of Okabe & Ito, which people of every colour vision tell apart; shapes of
markers and kinds of lines say the same once more.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from model.targets import ANNOTATED_TARGETS
from training.agreement import differences
from training.densities import DENSITIES, Density
from training.judging import ImageScore
from training.kinds import short_name

Group = tuple[str, str]
"""A source and a target."""

ANNOTATED, PREDICTED = "#0072B2", "#D55E00"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINE, _FAINT = "#444444", "#BBBBBB"
_DPI = 110
_LEAST_PIXELS = 50  # fewer in a bin of probability say nothing
_TARGET_WORDS = {"vessel": "vessels", "vegf_cell": "VEGF-positive cells"}


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file of 256 colours, a third of what it would take."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", dpi=_DPI)
    with Image.open(whole) as picture:
        picture.convert("RGB").quantize(256).save(small, format="PNG", optimize=True)
    return small.getvalue()


def in_order(groups: Iterable[Group]) -> list[Group]:
    """Return groups with vessels before cells, so that panels of a row belong together."""
    return sorted(groups, key=lambda group: ANNOTATED_TARGETS.index(group[1]))


def target_words(target: str) -> str:
    """Return what a target is called in a sentence."""
    return _TARGET_WORDS[target]


def group_name(group: Group) -> str:
    """Return what a source and a target are called beside a picture."""
    return f"{short_name(group[0])}: {target_words(group[1])}"


def _panel_title(group: Group) -> str:
    """Return a group's name on two lines: on one it may be wider than its panel, and is cut off."""
    return group_name(group).replace(": ", ":\n")


def score_figure(images: Sequence[Mapping[str, Any]], groups: Sequence[Group]) -> Figure:
    """Draw each image's Dice, a row for each group, with the quartiles."""
    figure = Figure(figsize=(8.6, 0.9 + 0.62 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    for row, group in enumerate(groups):
        found = [image for image in images if (image["source"], image["target"]) == group]
        dice = np.array([image["dice"] for image in found if image["annotated_area_fraction"]])
        if not dice.size:
            continue
        axes.boxplot(
            dice, positions=[row], orientation="horizontal", widths=0.6, showfliers=False,
            medianprops={"color": _LINE}, whiskerprops={"color": _FAINT},
            boxprops={"color": _FAINT}, capprops={"color": _FAINT}, manage_ticks=False,
        )  # fmt: skip
        places = row + jitter.uniform(-0.18, 0.18, dice.size)
        axes.plot(dice, places, **_style(row), markersize=4, alpha=0.75)
    axes.set_yticks(range(len(groups)), [group_name(group) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice of an image (1: predicted and annotated are the same)")
    _tidy(axes, "x")
    return figure


def agreement_figure(
    images: Sequence[Mapping[str, Any]], groups: Sequence[Group], scores: Mapping[str, Any]
) -> Figure:
    """Draw Bland–Altman pictures, a panel for each density of each group."""
    panels = [(n, density) for n, group in enumerate(groups) for density in DENSITIES[group[1]]]
    figure, grid = _panels(len(panels), height=2.9)
    for axes, (number, density) in zip(grid, panels, strict=False):
        source, target = groups[number]
        found = [image for image in images if (image["source"], image["target"]) == groups[number]]
        agreement = scores[source][target]["agreement"][density.name]
        _draw_agreement(axes, found, density, agreement, number)
        axes.set_title(_panel_title(groups[number]), fontsize=9)
    return figure


def _draw_agreement(
    axes: Axes, images: Sequence[Mapping[str, Any]], density: Density,
    found: Mapping[str, Any], number: int,
) -> None:  # fmt: skip
    pairs = [image["densities"][density.name] for image in images]
    annotated, predicted = (
        np.array([pair[side] for pair in pairs]) for side in ("annotated", "predicted")
    )
    difference = differences(annotated, predicted)
    axes.plot((annotated + predicted) / 2, difference, **_style(number), markersize=4)
    axes.axhline(0, color=_FAINT, linewidth=1)
    axes.axhline(found["bias"]["value"], color=_LINE, linewidth=1.4)
    for limit in found["limits_of_agreement"] or ():
        axes.axhline(limit, color=_LINE, linewidth=1.2, linestyle="--")
    unit = f", {density.unit}" if density.unit else ""
    axes.set_xlabel(f"{density.title}{unit}: mean of both", fontsize=8)
    axes.set_ylabel("predicted − annotated", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(0.08)
    if not difference.any():
        axes.set_ylim(-1, 1)
    _tidy(axes, "both")


def reliability_figure(groups: Sequence[Group], scores: Mapping[str, Any]) -> Figure:
    """Draw how often pixels of a given probability were annotated, a panel for each group."""
    figure, grid = _panels(len(groups), height=3.1)
    for axes, (source, target) in zip(grid, groups, strict=False):
        calibration = scores[source][target]["calibration"]
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1)
        _draw_curve(axes, calibration["uncalibrated"], "s--", "#D55E00", "without temperature")
        _draw_curve(axes, calibration["calibrated"], "o-", "#0072B2", "as the model says it")
        axes.set_title(_panel_title((source, target)), fontsize=9)
        axes.set_xlabel("probability that the model gives", fontsize=8)
        axes.set_ylabel("part of these pixels annotated", fontsize=8)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=8)
        _tidy(axes, "both")
    grid[0].legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _draw_curve(axes: Axes, found: Mapping[str, Any], style: str, colour: str, label: str) -> None:
    bins = [entry for entry in found["bins"] if entry["pixels"] >= _LEAST_PIXELS]
    said = [entry["mean_probability"] for entry in bins]
    there = [entry["annotated_fraction"] for entry in bins]
    axes.plot(said, there, style, color=colour, markersize=4, linewidth=1.2, label=label)


def sight_figure(score: ImageScore) -> Figure:
    """Draw one tile with both outlines."""
    figure = Figure(figsize=(3, 3))
    _draw_sight(figure.add_axes((0, 0, 1, 1)), score)
    return figure


def sights_figure(scores: Sequence[ImageScore]) -> Figure:
    """Draw several tiles on one sheet, each with its Dice."""
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    figure = Figure(figsize=(2.4 * columns, 0.4 + 2.65 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(scores) :]:
        axes.set_axis_off()
    for axes, score in zip(grid, scores, strict=False):
        _draw_sight(axes, score)
        dice = score.counts.mask.scores()["dice"]
        axes.set_title(f"{score.image}\nDice {dice:.2f}", fontsize=6)
    lines = [
        Line2D([], [], color=ANNOTATED, label="annotated"),
        Line2D([], [], color=PREDICTED, linestyle="--", label="predicted"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _draw_sight(axes: Axes, score: ImageScore) -> None:
    sight = score.sight
    if sight is None:
        raise ValueError(f"{score.image} has no pixels to show")
    axes.set_axis_off()
    # Stain is dark on white, as on the slide, whatever the microscope.
    axes.imshow(255 - sight.marker, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for mask, colour, style in (
        (sight.annotated, ANNOTATED, "solid"),
        (sight.predicted, PREDICTED, "dashed"),
    ):
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=colour, linestyles=style, linewidths=1.4)


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels, at most three beside each other."""
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(0.6 + 3.0 * columns, 0.4 + height * rows), layout="constrained")
    grid: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid


def _style(number: int) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": _MARKERS[number % len(_MARKERS)],
        "color": _COLOURS[number % len(_COLOURS)],
        "markeredgewidth": 0,
    }


def _tidy(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#EEEEEE", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
