"""The model card: what a bundle was trained on and how well it does, written from its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from model.bundle import CARD_NAME, Bundle, card_mark
from model.files import write_whole
from training.charts import (
    Group,
    agreement_figure,
    group_name,
    in_order,
    png,
    reliability_figure,
    sights_figure,
)
from training.densities import DENSITIES
from training.evaluate import Evaluation
from training.instances import INSTANCE_SCORE_NAMES
from training.kinds import (
    KIND_TITLES,
    KINDS,
    Kind,
    full_name,
    short_name,
    sources_of,
    trained_on,
)
from training.score_table import interval, number, score_cells, with_interval
from training.scores import SCORE_NAMES
from training.wording import agreement_cells, why_flattering

_VESSMAP_LIMIT = " VessMAP does not record animals: two crops of one mouse may lie on both sides."
# Named, not linked: a card may be written into any folder.
_ALL_TRAINED_ON = """\
None: every VessMAP crop was trained on. What networks of the shipped bundle's recipe score on crops
that they never saw, and how many real cells are found, stands in the program's own page
docs/model-choices.md."""
_OWN_VALIDATION = """\
The validation images helped to choose among checkpoints of the one run, and the temperatures were
  fitted to them, which flatters their calibration; that run learnt from none of them."""
_OTHER_IMAGES = """\
The images scored above are not those that the run validated with. The file cannot tell whether it
  learnt from any of them: that is for whoever chose them to say."""
_NEVER_TESTED = """\
- **Never tested{but}:** annotated brightfield CD31, rat tissue, any VEGF stain, cytoplasmic DAB
  cells, sections with infarcts. None of these was at hand with an annotation when it was trained.
"""

_TEXT = """\
# Model card: {name} {version}

{description}.

| | |
|---|---|
| file | `{file}`, {mib:.1f} MiB, {mark}
| exported | {created_at}, git revision `{git_revision}` |
| network | U-Net ({encoder}), width {base}, {depth} halvings, on {mpp_um} µm/px |
| input | marker, counterstain and residual channel, each 0–1 |
| output | {targets}, each a probability |
| thresholds | {thresholds} |
| calibration temperature | {temperature} |
| training | {steps} steps of {batch_size} tiles of {tile_px}² px{started} |
| training data | hash `{training_data_sha256}` |
| licence of the data | {data_licence} |

## Intended use

Outlining CD31+ vessels and VEGF-positive cells on brain sections, brightfield H-DAB or
fluorescence, so that densities can be compared between animals that were stained and imaged alike.
A person looks at the overlay before a number is used. Not for diagnosis.

## Scores

On images that training never saw, at the thresholds above; mean over images, {tta} test-time
augmentation. "False area" is the predicted area fraction where nothing of the target is there. F1
counts cells that overlap an annotated one by more than half, AJI is their aggregated Jaccard index,
the count error is that of all the images' cells together (of a cell that a tile's border cuts, what
is left counts). In brackets are 95 % intervals (bootstrap, by animal where there are at least
{animals_from}, else by image). Densities are measured alike on predicted and on annotated outlines:
difference is predicted − annotated, limits hold about 95 % of images' differences (Bland and
Altman), error is the mean absolute relative one of images that have any, ICC the intraclass
correlation for absolute agreement, ICC(A,1). ECE is the expected calibration error of pixels in 15
bins; "best here" is the temperature of the least cross-entropy on these images.

{scored}{notes}
## Known limits

- {validation}{vessmap_limit}
- A good score on synthetic sections says that the network learnt the generator, not that it reads a
  real stain.
{never_tested}- Expect faults where a thin wall surrounds an unstained lumen (filled in part), at
  erythrocytes and small brown blotches, folds, at the image's own border, and, in a section without
  vessels, on bright netted autofluorescence: scaling by the section's own range enlarges it.
- Edges of other brown stains may be outlined as vessels, and quality needn't warn: a measurement is
  of the marker that was stained, not of the one that was named.
"""


def write_card(
    bundle: Bundle, folder: Path, evaluation: Evaluation, *, own: bool = False, notes: str = ""
) -> Path:
    """Write the card of `bundle`, with what `evaluation` found, into `folder`; return its path.

    Pictures of agreement, reliability and the worst images are written beside it, named
    ``MODEL_CARD-….png``; the last only where the evaluation still has their pixels. `own` says that
    the images are those that the run validated with, which it has not learnt from; `notes` is
    Markdown that goes before the known limits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = bundle.metadata
    scores = evaluation.scores
    recipe = metadata.recipe
    trained = recipe.get("trained", {})
    text = _TEXT.format(
        **{key: getattr(metadata, key) for key in _PLAIN},
        file=bundle.path.name,
        mib=bundle.path.stat().st_size / 2**20,
        mark=card_mark(bundle.sha256),
        targets=", ".join(metadata.targets),
        thresholds=_pairs(metadata.thresholds),
        temperature=_pairs(metadata.temperature),
        **recipe["network"],
        steps=_steps(recipe),
        started=_started(trained),
        batch_size=recipe["run"]["batch_size"],
        tile_px=recipe["data"]["tile_px"],
        tta="with" if scores["tta"] else "without",
        validation=_OWN_VALIDATION if own else _OTHER_IMAGES,
        vessmap_limit=_VESSMAP_LIMIT if "vessmap" in scores["sources"] else "",
        # Whoever judges with images of their own knows what is on them.
        never_tested=_NEVER_TESTED.format(
            but=", but for what your own images show" if "annotated" in scores["sources"] else ""
        ),
        animals_from=scores["intervals"]["animals_from"],
        scored="".join(_scored(evaluation, kind, folder, recipe) for kind in KINDS),
        notes=f"\n{notes.strip()}\n" if notes.strip() else "",
    )
    path = folder / CARD_NAME
    write_whole(path, text.encode())
    return path


_PLAIN = (
    "name",
    "version",
    "description",
    "created_at",
    "git_revision",
    "mpp_um",
    "training_data_sha256",
    "data_licence",
)


def _started(trained: Mapping[str, Any]) -> str:
    """Return what the weights were before, and whether they are the mean with those."""
    if not trained.get("from"):
        return ""
    halfway = "; these weights are the mean of both" if trained.get("halfway") else ""
    return f", starting from {trained['from']}{halfway}"


def _steps(recipe: Mapping[str, Any]) -> str:
    """Return how many steps were trained, beside the recipe's number where a run ended earlier."""
    planned = recipe["run"]["steps"]
    done = recipe.get("trained", {}).get("steps", planned)
    return f"{done:,}" if done == planned else f"{done:,} of the recipe's {planned:,}"


def _pairs(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _scored(evaluation: Evaluation, kind: Kind, folder: Path, recipe: Mapping[str, Any]) -> str:
    """Return the card's part on one kind of source, writing its pictures."""
    sources = evaluation.scores["sources"]
    names = sources_of(kind, sources)
    groups = in_order((source, target) for source in names for target in sources[source])
    lines = [f"### {KIND_TITLES[kind]}", ""]
    if groups:
        animals = evaluation.scores["model"]["learnt_animals"]
        reasons = {name: why_flattering(name, trained_on(recipe), animals) for name in names}
        lines += [f"**{full_name(name)}:** {why}\n" for name, why in reasons.items() if why]
        lines += _score_table(groups, sources)
        lines += _agreement_table(groups, sources)
        lines += _calibration_table(groups, sources)
        lines += _pictures(evaluation, kind, groups, folder)
    else:
        _remove_pictures(folder, kind)
        never = kind == "real" and bool(trained_on(recipe))
        lines += [_ALL_TRAINED_ON if never else "None.", ""]
    return "\n".join(lines) + "\n"


def _score_table(groups: Sequence[Group], sources: Mapping[str, Any]) -> list[str]:
    lines = _head(
        "images", "target", "number", "Dice", "worst", "IoU", "centre-line Dice", "precision",
        "recall", "false area (images)", "cells: F1", "AJI", "count error",
    )  # fmt: skip
    for source, target in groups:
        summary = sources[source][target]
        cells = score_cells(summary)
        for name in SCORE_NAMES:
            cells[name] += interval(summary[name] and summary[name]["ci95"])
        for name in INSTANCE_SCORE_NAMES:
            cells[name] = with_interval((summary["cells"] or {}).get(name))
        shown = ("dice", "worst", "iou", "cl_dice", "precision", "recall", "false_area")
        row = [cells[name] for name in (*shown, *INSTANCE_SCORE_NAMES)]
        lines.append(_row(full_name(source), target, str(summary["images"]), *row))
    return [*lines, ""]


def _agreement_table(groups: Sequence[Group], sources: Mapping[str, Any]) -> list[str]:
    lines = _head(
        "images",
        "density",
        "number (with any)",
        "annotated",
        "difference",
        "limits",
        "error of an image",
        "ICC(A,1)",
    )
    for source, target in groups:
        found = sources[source][target]["agreement"]
        for density in DENSITIES[target]:
            cells = agreement_cells(density, found[density.name])
            lines.append(_row(short_name(source), *cells.values()))
    return [*lines, ""]


def _calibration_table(groups: Sequence[Group], sources: Mapping[str, Any]) -> list[str]:
    lines = _head("images", "target", "temperature", "ECE", "ECE without it", "best here")
    for source, target in groups:
        found = sources[source][target]["calibration"]
        errors = [with_interval(found[n]["ece"], digits=4) for n in ("calibrated", "uncalibrated")]
        temperatures = [number(found[name], 2) for name in ("temperature", "best_temperature")]
        lines.append(_row(short_name(source), target, temperatures[0], *errors, temperatures[1]))
    return [*lines, ""]


def _pictures(
    evaluation: Evaluation, kind: Kind, groups: Sequence[Group], folder: Path
) -> list[str]:
    """Write the pictures of one kind and return the lines that show them."""
    _remove_pictures(folder, kind)
    lines = []
    for name, told, figure in _figures(evaluation, groups):
        path = folder / _picture_name(kind, name)
        write_whole(path, png(figure))
        lines += [f"![{told}]({path.name})", ""]
    return lines


def _figures(evaluation: Evaluation, groups: Sequence[Group]) -> Iterator[tuple[str, str, Figure]]:
    """Yield each picture: its name, what it shows in words, and itself."""
    images, sources = evaluation.scores["images"], evaluation.scores["sources"]
    named = "; ".join(group_name(group) for group in groups)
    told = f"Difference of predicted and annotated densities against their mean. {named}"
    yield "agreement", told, agreement_figure(images, groups, sources)
    told = f"Part of pixels annotated against their probability. {named}"
    yield "reliability", told, reliability_figure(groups, sources)
    worst = [score for score in evaluation.worst if (score.source, score.target) in groups]
    if worst:
        told = "The worst images, annotated and predicted outlines, with their Dice"
        yield "worst", told, sights_figure(worst)


def _picture_name(kind: Kind, name: str) -> str:
    return f"{Path(CARD_NAME).stem}-{kind.replace('_', '-')}-{name}.png"


def _remove_pictures(folder: Path, kind: Kind) -> None:
    """Remove pictures of an earlier card, which may have had more of them."""
    for name in ("agreement", "reliability", "worst"):
        (folder / _picture_name(kind, name)).unlink(missing_ok=True)


def _head(*columns: str) -> list[str]:
    return [_row(*columns), "|" + "---|" * len(columns)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
