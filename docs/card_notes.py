"""What the shipped bundle's card says beyond the scores of its validation, as Markdown.

    python -m docs.card_notes > notes.md
    angiometry evaluate angiometry --tiles … --card model/weights --notes notes.md

puts together what the other scripts of this folder have measured, so that the card repeats their
figures and none is typed. `--tiles` names every folder that the bundle was trained on.
"""

from __future__ import annotations

import json
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from docs import (
    ablation,
    empty_sections,
    open_lumens,
    real_cells,
    strange_sections,
    turns,
)

_CHOICES = Path(__file__).with_name("model-choices.md")


def notes() -> str:
    """Return the Markdown."""
    parts = [
        "## Measured besides",
        "Figures of this bundle unless another is named. [How the network was chosen]"
        "(../../docs/model-choices.md) has the conditions of each, and what it cannot show.",
        "### Real cells, none of them trained on",
        "\n".join(real_cells.table(_read(real_cells.FIGURES))),
        "![Cells found in each image against cells that were marked]"
        "(../../docs/images/measure-real-cells.png)",
        "### Where no vessel is",
        _empty(_read(empty_sections.FIGURES)),
        "### Open lumens",
        _lumens(_read(open_lumens.FIGURES)),
        "### Turns at prediction",
        _turns(_read(turns.FIGURES)),
        "\n".join(turns.table(_read(turns.FIGURES))),
        "### Strange sections",
        "How well `quality.out_of_distribution` tells drawn sections of unseen seeds from the same "
        "sections spoiled: area under the ROC curve.",
        "\n".join(strange_sections.table(_read(strange_sections.FIGURES))),
        "### Real crops that an earlier bundle never saw",
        "Of 1.2.0 at its threshold of 0.58, with 95 % intervals; later bundles learnt from all "
        "crops.",
        _table_below("## Densities on real crops that the network never saw"),
        "![Difference of predicted and annotated area fraction, length density and branchpoint "
        "density against their mean, 15 crops](../../docs/images/vessmap-agreement.png)",
        "### Width, encoder, seeds",
        "Networks that left 15 VessMAP crops out, 3,000 steps each: validation over all tiles, "
        "then the 15 crops.",
        _table_below("# How the shipped network was chosen"),
        "### What each part of the training is worth",
        "Small, short networks (width 8, 300 steps), vessels alone, judged on images that none has "
        "seen: mean Dice, or the area outlined where nothing is; in brackets the least and the "
        "greatest of three seeds.",
        ablation.table(_read(ablation.FIGURES)),
    ]
    return "\n\n".join(parts) + "\n"


def _empty(figures: dict[str, Any]) -> str:
    told = empty_sections.told(figures)
    mottled = figures["mottled"]
    worst = max(mottled, key=lambda kind: sum(mottled[kind]))
    return (
        f"Of drawn sections without vessels, {told['sections below']} have less than 0.5 % of "
        f"their area outlined; {told['sections, mean']} on average, {told['sections, worst']} at "
        f"worst. Of mottled glow {told['mottled, mean']} on average, "
        f"{told['mottled, worst kind']} of the worst kind ({worst})."
    )


def _lumens(figures: dict[str, Any]) -> str:
    told = open_lumens.told(figures)
    return (
        "A vessel's lumen belongs to it. Of drawn arterioles and venules that are cut across, "
        f"{told['brightfield']} in brightfield and {told['fluorescence']} in fluorescence are "
        f"outlined over at least 80 % of their area, and {told['brightfield, missed']} and "
        f"{told['fluorescence, missed']} over less than 10 %; the others in part."
    )


def _turns(figures: dict[str, Any]) -> str:
    return (
        "The mean of eight flips and turns (`--tta`) takes "
        f"{figures['times_as_long']:.2g} times as long. On drawn sections of unseen seeds:"
    )


def _table_below(heading: str) -> str:
    """Return the first table below a heading of docs/model-choices.md."""
    lines = _CHOICES.read_text(encoding="utf-8").splitlines()
    below = lines[lines.index(heading) + 1 :]
    rows = dropwhile(lambda line: not line.startswith("|"), below)
    return "\n".join(takewhile(lambda line: line.startswith("|"), rows))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(notes(), end="")
