"""The model card: what a bundle was trained on and how well it does, written from its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from training.instances import INSTANCE_SCORE_NAMES

CARD_NAME = "MODEL_CARD.md"
_REAL = {
    "annotated": "annotated images of your own",
    "vessmap": "VessMAP crops, mouse cortex, fluorescence (real image, real annotation)",
}
_HALF_REAL = {
    "rerendered": "VessMAP crops rendered as H-DAB (real outlines, synthetic stain)",
}

_VESSMAP_LIMIT = " VessMAP does not record animals: two crops of one mouse may lie on both sides."
_ALL_TRAINED_ON = """\
None: every VessMAP crop was trained on. [How the network was chosen](../../docs/model-choices.md)
has the scores of networks of the same recipe on crops that these never saw."""
_NEVER_TESTED = """\
- **Never tested:** annotated brightfield CD31, rat tissue, any VEGF stain, cytoplasmic DAB cells,
  sections with infarcts. None of these was at hand with an annotation.
"""

_TEXT = """\
# Model card: {name} {version}

{description}.

| | |
|---|---|
| file | `{file}`, {mib:.1f} MiB, SHA-256 `{sha256}` |
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

On images that training never saw, at the thresholds above; mean over images, without test-time
augmentation. "False area" is the predicted area fraction where nothing of the target is there. F1
counts cells that overlap an annotated one by more than half, AJI is their aggregated Jaccard index,
the count error is that of all the images' cells together (of a cell that a tile's border cuts, what
is left counts).

### Real images

{real}

### Real outlines, synthetic stain

{half_real}

### Synthetic sections

{synthetic}

## Known limits

- The validation images helped to choose among checkpoints of the one run; none of them was
  trained on.{vessmap_limit}
- A good score on synthetic sections says that the network learnt the generator, not that it reads a
  real stain.
{never_tested}- Expect faults where a thin wall surrounds an unstained lumen (filled in part), at
  erythrocytes and small brown blotches, folds, at the image's own border, and, in a section without
  vessels, on bright netted autofluorescence: scaling by the section's own range enlarges it.
"""


def write_card(bundle: Bundle, folder: Path) -> Path:
    """Write the card of `bundle` into `folder` and return its path."""
    metadata = bundle.metadata
    sources = metadata.validation_scores["sources"]
    recipe = metadata.recipe
    trained = recipe.get("trained", {})
    synthetic = {name: name.replace("_", " ") for name in sources if name.startswith("synthetic")}
    text = _TEXT.format(
        **{key: getattr(metadata, key) for key in _PLAIN},
        file=bundle.path.name,
        mib=bundle.path.stat().st_size / 2**20,
        sha256=bundle.sha256,
        targets=", ".join(metadata.targets),
        thresholds=_pairs(metadata.thresholds),
        temperature=_pairs(metadata.temperature),
        **recipe["network"],
        steps=_steps(recipe),
        started=f", starting from {trained['from']}" if trained.get("from") else "",
        batch_size=recipe["run"]["batch_size"],
        tile_px=recipe["data"]["tile_px"],
        vessmap_limit=_VESSMAP_LIMIT if "vessmap" in sources else "",
        # Whoever trains on images of their own knows what is on them.
        never_tested="" if "annotated" in sources else _NEVER_TESTED,
        real=_ALL_TRAINED_ON if _all_trained_on(recipe) else _table(sources, _REAL),
        half_real=_table(sources, _HALF_REAL),
        synthetic=_table(sources, synthetic),
    )
    path = folder / CARD_NAME
    path.write_text(text, encoding="utf-8")
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


def _all_trained_on(recipe: Mapping[str, Any]) -> bool:
    """Say whether VessMAP was trained on without a part of it to judge by."""
    data = recipe["data"]
    return "vessmap" in data["shares"] and data.get("vessmap_val_fraction") == 0


def _steps(recipe: Mapping[str, Any]) -> str:
    """Return how many steps were trained, beside the recipe's number where a run ended earlier."""
    planned = recipe["run"]["steps"]
    done = recipe.get("trained", {}).get("steps", planned)
    return f"{done:,}" if done == planned else f"{done:,} of the recipe's {planned:,}"


def _pairs(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _table(sources: Mapping[str, Any], names: Mapping[str, str]) -> str:
    lines = [
        "| images | target | number | Dice | worst | IoU | centre-line Dice | precision | recall "
        "| false area (images) | cells: F1 | AJI | count error |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for source, name in names.items():
        for target, summary in sources.get(source, {}).items():
            lines.append(_row(name, target, summary))
    return "\n".join(lines) if len(lines) > 2 else "None."


def _counted(cells: Mapping[str, float | None] | None) -> list[str]:
    found = cells or {}
    values = [found.get(name) for name in INSTANCE_SCORE_NAMES]
    return ["–" if value is None else f"{value:.3f}" for value in values]


def _row(name: str, target: str, summary: Mapping[str, Any]) -> str:
    scored = {key: summary[key] for key in ("dice", "iou", "cl_dice", "precision", "recall")}
    means = {key: f"{value['mean']:.3f}" if value else "–" for key, value in scored.items()}
    worst = f"{summary['dice']['worst']:.3f}" if summary["dice"] else "–"
    empty = summary["without_target"]
    false_area = f"{empty['mean']:.4f} ({empty['images']})" if empty else "–"
    cells = (
        name,
        target,
        str(summary["images"]),
        means["dice"],
        worst,
        means["iou"],
        means["cl_dice"] if target == "vessel" else "–",
        means["precision"],
        means["recall"],
        false_area,
        *_counted(summary.get("cells")),
    )
    return "| " + " | ".join(cells) + " |"
