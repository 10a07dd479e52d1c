"""What the shipped bundle's card says beyond the scores of its validation, as Markdown.

    python -m docs.card_notes > notes.md
    angiometry evaluate angiometry --tiles … --card model/weights --notes notes.md

puts together what the other scripts of this folder have measured, so that the card repeats their
figures and none is typed. `--tiles` names every folder that the bundle was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs import ablation, empty_sections, real_cells, strange_sections


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
        "### Strange sections",
        "How well `quality.out_of_distribution` tells drawn sections of unseen seeds from the same "
        "sections spoiled: area under the ROC curve.",
        "\n".join(strange_sections.table(_read(strange_sections.FIGURES))),
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


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(notes(), end="")
