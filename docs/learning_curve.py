"""How much a laboratory's own outlines help: a stain that the shipped model has never seen.

    python -m docs.learning_curve

draws sections in a green chromogen on a red counterstain, trains on from the shipped bundle with 5,
10 and 20 outlined tiles by the recipe for own stains, though for a sixth of its steps only, and
judges each on sections of other animals. Half an hour to an hour on two cores. The figures go to
docs/learning-curve.json, the picture to docs/images/measure-learning-curve.png.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from datasets.manifest import Manifest
from datasets.rows import Row, Split, file_sha256
from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_params import SectionParams
from datasets.synth_style import BrightfieldStyle
from docs.pictures import OKABE, save
from imaging.stains import StainVectors
from model.bundle import find_bundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "training" / "recipes" / "own-stain.toml"
FIGURES = ROOT / "docs" / "learning-curve.json"
COUNTS = (0, 5, 10, 20)
JUDGED = 24
STEPS = 64
SIDE_PX = 256
NUCLEAR_FAST_RED = (0.20, 0.85, 0.48)
GREEN = (0.75, 0.45, 0.48)


def draw_tile(folder: Path, number: int, split: Split) -> Row:
    """Draw and outline one tile of the strange stain, an animal of its own."""
    rng = np.random.default_rng((31, number))
    params = SectionParams.draw(rng, size_px=SIDE_PX)
    section = make_section(8_000_000 + number, params)
    style = dataclasses.replace(
        BrightfieldStyle.draw(rng),
        vectors=StainVectors.from_pair(NUCLEAR_FAST_RED, GREEN),
        dab_od=float(rng.uniform(0.35, 1.0)),
    )
    image, outline = folder / f"tile_{number}.png", folder / f"vessel_{number}.png"
    Image.fromarray(render_brightfield(section, style=style)).save(image)
    Image.fromarray(section.vessel_mask().astype(np.uint8)).save(outline)
    return Row(
        image=image.name,
        animal=f"animal {number}",
        modality="brightfield",
        mpp_um=params.mpp_um,
        annotation={"vessel": outline.name},
        targets=("vessel",),
        split=split,
        licence="Apache-2.0",
        sha256=file_sha256(image),
    )


def write_tiles(folder: Path, first: int, count: int, held_out: int) -> Path:
    """Write `count` tiles, the last `held_out` of them for validation; return their manifest."""
    folder.mkdir(parents=True)
    rows = [
        draw_tile(folder, first + at, "val" if at >= count - held_out else "train")
        for at in range(count)
    ]
    path = folder / "manifest.csv"
    Manifest(folder, tuple(rows)).write(path)
    return path


def angiometry(*arguments: str | Path) -> str:
    """Run the command line and return what it printed."""
    command = [sys.executable, "-m", "angiometry", *map(str, arguments)]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def trained_on(manifest: Path, folder: Path) -> Path:
    """Train on from the shipped bundle with the outlines of `manifest`; return the new bundle."""
    recipe = folder / "recipe.toml"
    text = re.sub(r"(?m)^steps = .*$", f"steps = {STEPS}", RECIPE.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^steps_per_epoch = .*$", f"steps_per_epoch = {STEPS // 4}", text)
    recipe.write_text(text, encoding="utf-8")
    out = folder / manifest.parent.name
    common = ("--from", "angiometry", "--data", manifest, "--tiles", folder / "tiles")
    told = angiometry("train", recipe, *common, "--out", out)
    tiles = re.findall(r"--tiles (\S+)", told)
    own = [argument for path in tiles if "annotated" in path for argument in ("--tiles", path)]
    bundle = out / "own-stain.onnx"
    # Of so short a run the last weights: one to four own tiles validate, too few to choose by.
    angiometry("export", out / "own-stain" / "last.ckpt", *own, "--out", bundle)
    return bundle


def judged(bundle: str | Path, manifest: Path, folder: Path) -> dict[str, Any]:
    """Return the vessels' mean Dice on the judging tiles, with its interval."""
    path = folder / "scores.json"
    angiometry("evaluate", bundle, "--data", manifest, "--json", path)
    scores = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = scores["sources"]["annotated"]["vessel"]["dice"]
    return found


def measure(folder: Path) -> dict[str, Any]:
    """Return the score for each number of tiles."""
    judges = write_tiles(folder / "judging", 0, JUDGED, JUDGED)
    found = {}
    for count in COUNTS:
        bundle: str | Path = "angiometry"
        if count:
            own = write_tiles(folder / f"tiles-{count}", 1000, count, max(1, count // 5))
            bundle = trained_on(own, folder)
        found[str(count)] = judged(bundle, judges, folder)
        print(f"{count} tiles: {found[str(count)]}", flush=True)
    bundle_used = load_bundle(find_bundle(None))
    told = {"bundle": bundle_used.metadata.version, "bundle_sha256": bundle_used.sha256}
    return {**told, "judged_tiles": JUDGED, "steps": STEPS, "dice": found}


def table(figures: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    cells = [
        f"{score['mean']:.2f} ({score['ci95'][0]:.2f}–{score['ci95'][1]:.2f})"
        for score in figures["dice"].values()
    ]
    return [
        f"| outlined tiles | {' | '.join(figures['dice'])} |",
        f"|---|{'---|' * len(cells)}",
        f"| Dice | {' | '.join(cells)} |",
    ]


def draw(figures: dict[str, Any]) -> None:
    """Draw the curve beside a tile of the stain."""
    counts = [int(count) for count in figures["dice"]]
    scores = list(figures["dice"].values())
    middle = np.array([score["mean"] for score in scores])
    low, high = np.array([score["ci95"] for score in scores]).T
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9), dpi=120, layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        draw_tile(Path(folder), 3, "val")
        left.imshow(Image.open(Path(folder) / "tile_3.png"))
    left.set_axis_off()
    left.set_title("green chromogen, red counterstain", size=8)
    right.errorbar(counts, middle, [middle - low, high - middle], fmt="o-", color=OKABE[4])
    right.set(xlabel="outlined tiles", ylabel="Dice, vessels", ylim=(0, 1), xticks=counts)
    right.grid(alpha=0.3)
    save(figure, "learning-curve")


if __name__ == "__main__":
    if "--draw" not in sys.argv:
        with tempfile.TemporaryDirectory() as scratch:
            found = json.dumps(measure(Path(scratch)), indent=2) + "\n"
        FIGURES.write_text(found, encoding="utf-8")
    figures_now = json.loads(FIGURES.read_text(encoding="utf-8"))
    draw(figures_now)
    print("\n".join(table(figures_now)))
