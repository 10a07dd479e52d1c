"""What the mean of eight flips and turns (`--tta`) gains, and what it costs.

    python -m docs.turns

outlines drawn sections of unseen seeds once as they are and once with it; Dice and seconds go to
docs/turns.json. Five minutes on two cores.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from datasets.synth import make_section
from datasets.synth_params import SectionParams
from docs.outliner import Outliner, look
from model.bundle import find_bundle, load_bundle
from model.targets import TARGET_OF_MARKER

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "turns.json"
SECTIONS = 12  # of each kind
_FIRST_SEED = 9_800_000


def measure() -> dict[str, Any]:
    """Return the Dice of each section that holds any, without and with turns, and the times."""
    bundle = load_bundle(find_bundle(None))
    dice: dict[str, list[list[float]]] = {}
    seconds = [0.0, 0.0]
    for marker in ("CD31", "VEGF"):
        outliners = [Outliner(bundle, marker, tta=tta) for tta in (False, True)]
        for modality in ("brightfield", "fluorescence"):
            scores = dice.setdefault(f"{modality} {marker}", [])
            for number in range(SECTIONS):
                rng = np.random.default_rng((47, number))
                params = SectionParams.draw(rng, size_px=384, markers=(marker,))
                section = make_section(_FIRST_SEED + number, params)
                truth = section.labels()[TARGET_OF_MARKER[marker]] > 0
                if not truth.any():
                    continue
                pixels, full_scale = look(section, modality, rng)
                pair = []
                for way, outliner in enumerate(outliners):
                    begun = time.perf_counter()
                    found = outliner(pixels, full_scale)
                    seconds[way] += time.perf_counter() - begun
                    both = int((found & truth).sum())
                    pair.append(round(2 * both / int(found.sum() + truth.sum()), 4))
                scores.append(pair)
    times = round(seconds[1] / seconds[0], 2)
    return {"bundle_sha256": bundle.sha256, "dice": dice, "times_as_long": times}


def table(figures: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [
        "| sections | number | mean Dice (median, worst) | with `--tta` |",
        "| --- | --- | --- | --- |",
    ]
    for kind, pairs in figures["dice"].items():
        cells = [
            f"{scores.mean():.3f} ({np.median(scores):.3f}, {scores.min():.3f})"
            for scores in np.array(pairs).T
        ]
        lines.append(f"| {kind} | {len(pairs)} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    measured = measure()
    FIGURES.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print("\n".join([*table(measured), f"{measured['times_as_long']} times as long"]))
