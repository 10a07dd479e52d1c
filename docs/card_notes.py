"""What the shipped bundle's card says beyond the scores of its validation, as Markdown.

    python -m docs.card_notes

prints what the other scripts of this folder have measured; `docs.unseen_sections` writes it into
the card. Two tables are taken from docs/model-choices.md, where they were written by hand: what the
bundle learnt from, and the long runs of several widths and seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs import (
    ablation,
    contrast,
    cross_validation,
    empty_sections,
    open_lumens,
    real_cells,
    real_fields,
    strange_sections,
    turns,
)
from docs.choices import read_table


def notes() -> str:
    """Return the Markdown."""
    folds = _read(cross_validation.FIGURES)
    parts = [
        "## Measured besides",
        "The sections above were drawn from seeds that no run has used. The scores that travel "
        "inside the file are of its last run's validation, on which its temperature was fitted. "
        "What follows is of this bundle unless another is named; [how the network "
        "was chosen](../../docs/model-choices.md) has the conditions of each figure, and what it "
        "cannot show.",
        "### How much must stand out",
        "Here are the same sections, sorted by how much more stain there is inside of all vessels "
        "than from 1.5 to 5 µm outside of them, in standard deviations of the latter; and their "
        "cells, each by itself. The inside of an open vessel is unstained, and counts. Vessels in "
        "fluorescence that stand out little are missed, and faint cells are missed more often than "
        "others.",
        "\n".join(contrast.table(_read(contrast.FIGURES))),
        "![Dice of each section against how much its vessels or cells stand out]"
        "(../../docs/images/measure-contrast.png)",
        "### What it learnt from",
        read_table("| source | images |"),
        "This is the last of ten runs, each from the weights before (those of the three before "
        "call themselves by the same version); [which sections the others learnt from]"
        "(../../docs/model-choices.md#what-180-learnt-from) stands with it. "
        "VessMAP is believed to be CC BY 4.0, as the record that it comes from (Zenodo 10045265) "
        "would say; its files state no licence.",
        "### Real crops of vessels, judged by networks that never saw them",
        "This bundle learnt from all VessMAP crops. So five networks of its kind were trained, "
        "each without a fifth of them, from one that knew drawn sections alone, in shorter runs "
        f"({folds['size']['start_steps'] + folds['size']['steps']:,} steps in all; the bundle took "
        "over ten thousand), without specks. VessMAP states no pixel size: it is read as "
        "0.5 µm/px. These figures "
        f"are of all crops together, at probability {folds['threshold']:g}.",
        "\n".join(cross_validation.table(folds)),
        "![Difference of predicted and annotated densities against their mean, each crop and each "
        "rendering](../../docs/images/measure-cross-validation.png)",
        "![How often pixels of each probability belong to a vessel; no temperature was fitted, so "
        "that both curves are one](../../docs/images/measure-cross-validation-reliability.png)",
        "### Real cells, none of them trained on",
        "\n".join(real_cells.table(_read(real_cells.FIGURES))),
        "![Cells found in each image against cells that were marked]"
        "(../../docs/images/measure-real-cells.png)",
        "### Whole real fields that nobody has outlined",
        "\n".join(real_fields.table(_read(real_fields.FIGURES))),
        "What is brown and lies about what is blue is outlined, whatever the antibody, and quality "
        "does not warn. Here is what is outlined on each, without its pixels, as for most no "
        "licence is stated.",
        "![Outlines on three brown and eleven fluorescence fields]"
        "(../../docs/images/measure-real-fields.png)",
        "### Where no vessel is",
        _empty(_read(empty_sections.FIGURES)),
        "### Open lumens",
        _lumens(_read(open_lumens.FIGURES)),
        "### Where it fails",
        "The worst of the pictures above. Orange, dashed: what is outlined. Blue: wide vessels as "
        "they were drawn; those without orange are missed. In the first three no vessel is there.",
        "![Three sections without vessels of which a part is outlined, and two with wide vessels "
        "that are missed](../../docs/images/measure-failures.png)",
        "### Turns at prediction",
        _turns(_read(turns.FIGURES)),
        "\n".join(turns.table(_read(turns.FIGURES))),
        "### Strange sections",
        "How well `quality.out_of_distribution` tells drawn sections of unseen seeds from the same "
        "sections spoiled: area under the ROC curve.",
        "\n".join(strange_sections.table(_read(strange_sections.FIGURES))),
        "### Width and seeds",
        "Networks that left 15 VessMAP crops out, 3,000 steps each, on these 15.",
        read_table("| network | Dice |"),
        "A ResNet-18 as encoder, larger and from random weights, was no better on all that "
        "validated together (one run: real and drawn vessels 0.846 against 0.852, cells 0.808 "
        "against 0.800 to 0.812); with ImageNet weights it was not tried.",
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
        f"{figures['times_as_long']:.2g} times as long. "
        "What they gain or lose on other, smaller drawn sections of unseen seeds, some with so "
        "little stained that few pixels decide their Dice:"
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(notes(), end="")
