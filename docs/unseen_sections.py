"""Judge the shipped bundle on drawn sections that no run has seen, and write its card.

    python -m docs.unseen_sections

draws sections of seeds beyond those of all recipes, cuts them into tiles as a run does, judges the
bundle on them, and writes docs/unseen-sections.json and, with the notes of `docs.card_notes`,
model/weights/MODEL_CARD.md. A quarter of an hour on two cores. The scores that travel inside a
bundle are of its last run's validation, on which its temperature was fitted.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datasets.build import build_tiles
from datasets.synth_write import write_synthetic
from docs import card_notes, contrast
from model.bundle import find_bundle, load_bundle
from training.card import write_card
from training.evaluate import Evaluation, evaluate
from training.judging import Judged
from training.sources import SYNTHETIC_KINDS

FIGURES = Path(__file__).with_name("unseen-sections.json")
FIRST_SEED = 9_900_000
"""Recipes draw from seeds below 4,100,000, the other scripts of this folder from others above."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How many sections of each kind are drawn, and how large."""

    sections: int = 120
    size_px: int = 512


def draw(folder: Path, size: Size, executor: Executor | None = None) -> list[Path]:
    """Draw the sections of each kind and return the folders of their tiles, all of split ``val``.

    A tenth of them holds none of what its marker stains.
    """
    folders = []
    for number, (kind, (marker, modality)) in enumerate(SYNTHETIC_KINDS.items()):
        drawn = write_synthetic(
            folder / f"{kind}.images",
            size.sections,
            FIRST_SEED + 10_000 * number,
            size_px=size.size_px,
            markers=(marker,),
            modalities=(modality,),
            executor=executor,
        )
        rows = tuple(dataclasses.replace(row, split="val") for row in drawn.rows)
        folders.append(folder / kind)
        build_tiles(
            dataclasses.replace(drawn, rows=rows),
            folders[-1],
            source=f"synthetic_{kind}",
            executor=executor,
        )
    return folders


def figures_of(evaluation: Evaluation, size: Size) -> dict[str, Any]:
    """Return what is kept of an evaluation: no images, no curves."""
    told = {"bundle_sha256": evaluation.scores["model"]["sha256"], **dataclasses.asdict(size)}
    return {**told, **evaluation.summary}


def main() -> None:
    """Draw, judge, and write figures and card."""
    bundle, size = load_bundle(find_bundle(None)), Size()
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(2, get_context("spawn")) as executor:
            folders = draw(Path(folder), size, executor)
        network = Judged.of(bundle)
        evaluation = evaluate(network, folders)
        contrast.write(contrast.measure(folders, network, evaluation))
    found = figures_of(evaluation, size)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(write_card(bundle, bundle.path.parent, evaluation, notes=card_notes.notes()))


if __name__ == "__main__":
    main()
