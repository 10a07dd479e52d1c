"""The evaluation as one HTML page that needs no other file, and as files of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from model.files import write_whole
from training.charts import (
    ANNOTATED,
    PREDICTED,
    Group,
    agreement_figure,
    group_name,
    in_order,
    png,
    reliability_figure,
    score_figure,
    sight_figure,
    target_words,
)
from training.densities import DENSITIES
from training.evaluate import Evaluation, Progress
from training.judging import ImageScore
from training.kinds import KIND_TITLES, KINDS, full_name, sources_of
from training.row_tables import animal_table, image_table
from training.wording import (
    agreement_cells,
    counted,
    drawn,
    sentences,
    why_flattering,
)

_TEMPLATES = Path(__file__).parent / "templates"


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write all scores."""
    text = json.dumps(evaluation.scores, indent=2, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


def write_page(evaluation: Evaluation, path: Path, progress: Progress | None = None) -> None:
    """Write the page; every picture lies in it.

    `progress` is called with ("page", parts drawn, parts in all).
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = _sections(evaluation, progress)
    text = environment.get_template("evaluation.html").render(
        scores=evaluation.scores,
        sections=sections,
        annotated_colour=ANNOTATED,
        predicted_colour=PREDICTED,
    )
    write_whole(path, text.encode())


def _sections(evaluation: Evaluation, progress: Progress | None) -> list[dict[str, Any]]:
    """Return what the page shows of each kind of source that there is."""
    sources = evaluation.scores["sources"]
    kinds = [kind for kind in KINDS if sources_of(kind, sources)]
    sections = []
    for done, kind in enumerate(kinds, start=1):
        names = sources_of(kind, sources)
        groups = in_order((source, target) for source in names for target in sources[source])
        worst = [score for score in evaluation.worst if score.source in names]
        sections.append({"title": KIND_TITLES[kind], **_section(evaluation.scores, groups, worst)})
        if progress:
            progress("page", done, len(kinds))
    return sections


def _section(
    scores: Mapping[str, Any], groups: Sequence[Group], worst: Sequence[ImageScore]
) -> dict[str, Any]:
    sources, images = scores["sources"], scores["images"]
    return {
        "groups": [_group(group, scores) for group in groups],
        "score_picture": _uri(score_figure(images, groups)),
        "agreement_picture": _uri(agreement_figure(images, groups, sources)),
        "reliability_picture": _uri(reliability_figure(groups, sources)),
        "worst": [_sight(score) for score in worst],
    }


def _group(group: Group, scores: Mapping[str, Any]) -> dict[str, Any]:
    source, target = group
    summary, model = scores["sources"][source][target], scores["model"]
    told = sentences(target, summary)
    animals, images = (
        [row for row in scores[rows] if (row["source"], row["target"]) == group]
        for rows in ("animals", "images")
    )
    return {
        "name": group_name(group),
        "title": target_words(target)[0].upper() + target_words(target)[1:],
        "source": full_name(source),
        "drawn": drawn(summary),
        "warning": why_flattering(source, model.get("trained_on", ()), model["learnt_animals"]),
        "sentences": [text.replace(" %", "\N{NO-BREAK SPACE}%") for text in told],
        "agreement": [
            agreement_cells(density, summary["agreement"][density.name])
            for density in DENSITIES[target]
        ],
        "counted": counted(len(animals), len(images)),
        "animals": animal_table(target, animals, summary["by_animal"]),
        "images": image_table(target, images),
    }


def _sight(score: ImageScore) -> dict[str, Any]:
    dice = score.counts.mask.scores()["dice"]
    return {
        "picture": _uri(sight_figure(score)),
        "image": score.image,
        "group": group_name((score.source, score.target)),
        "dice": f"{dice:.2f}",
        "tile": score.sight.tile if score.sight else "",
    }


def _uri(figure: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")
