"""How well networks of the shipped kind outline each VessMAP crop, judged by one that never saw it.

    python -m docs.cross_validation data/vessmap --work /tmp/folds

trains one network on drawn sections alone, goes on from it five times with these, four fifths of
the crops and their renderings as H-DAB, and judges each on the fifth that was left out. An hour and
a half on two cores that multiply in bfloat16, three elsewhere; a run of the same recipe that is
whole in the folder of `--work` is not done again. The figures go to
docs/cross-validation.json, pictures of agreement and reliability to docs/images, the table to
docs/model-choices.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from docs.ablation import trained
from docs.choices import put_table
from docs.pictures import IMAGES
from model.files import write_whole
from model.targets import VESSEL
from training.charts import agreement_figure, png, reliability_figure
from training.fields import images_of
from training.judging import ImageScore, judge_image
from training.module import Start
from training.recipe import Recipe, SyntheticConfig, read_recipe
from training.run import LAST, train
from training.sources import prepare_tiles
from training.start import read_start
from training.stream import tiles_of_split
from training.summary import image_row, summarise
from training.wording import percent

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "cross-validation.json"
AGREEMENT = IMAGES / "measure-cross-validation.png"
RELIABILITY = IMAGES / "measure-cross-validation-reliability.png"
SOURCES = {"vessmap": "VessMAP", "rerendered": "their renderings as H-DAB"}
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the networks, their runs and their data are."""

    base: int = 16
    depth: int = 4
    tile_px: int = 256
    brightfield: int = 100
    fluorescence: int = 200
    section_px: int = 512
    start_steps: int = 900
    steps: int = 640
    batch_size: int = 8
    renderings: int = 3


def start_recipe(size: Size) -> Recipe:
    """Return the shipped recipe at this size for drawn sections with vessels alone."""
    shares = {"synthetic_fluorescence_vessel": 0.6, "synthetic_brightfield_vessel": 0.4}
    return _recipe(size, size.start_steps, 2e-3, shares=shares)


def fold_recipe(size: Size, fold: int) -> Recipe:
    """Return the shipped recipe at this size for all crops but those of part number `fold`."""
    return _recipe(
        size,
        size.steps,
        1.5e-3,
        shares={
            "vessmap": 0.5,
            "rerendered": 0.2,
            "synthetic_fluorescence_vessel": 0.2,
            "synthetic_brightfield_vessel": 0.1,
        },
        hdab_renderings=size.renderings,
        vessmap_val_fraction=1 / FOLDS,
        vessmap_fold=fold,
    )


def _recipe(size: Size, steps: int, learning_rate: float, **data: Any) -> Recipe:
    shipped = read_recipe(ROOT / "training" / "recipes" / "angiometry-continued.toml")
    synthetic = SyntheticConfig(
        brightfield_vessel=size.brightfield,
        fluorescence_vessel=size.fluorescence,
        size_px=size.section_px,
        empty_fraction=0.1,
        seed=20_000,
        val_fraction=0.1,
    )
    return dataclasses.replace(
        shipped,
        data=dataclasses.replace(shipped.data, tile_px=size.tile_px, synthetic=synthetic, **data),
        network=dataclasses.replace(shipped.network, base=size.base, depth=size.depth),
        run=dataclasses.replace(
            shipped.run,
            steps=steps,
            steps_per_epoch=steps,  # no weights are chosen on what judges: the last ones count
            batch_size=size.batch_size,
            learning_rate=learning_rate,
            ema_decay=0.98,
            ema_from_step=steps // 4,
            seed=1,
        ),
    )


def run_all(
    vessmap: Path, work: Path, size: Size, devices: int, executor: Executor | None = None
) -> list[tuple[Path, list[Path]]]:
    """Train what `work` lacks; return each fold's last weights and the tiles to judge them on."""

    def run(
        name: str, recipe: Recipe, crops: Path | None, start: Start | None
    ) -> tuple[Path, list[Path]]:
        folders = prepare_tiles(recipe, work / "tiles", vessmap=crops, executor=executor)
        out = work / f"{name}-{_digest(recipe, folders, start)}"
        last = out / LAST
        if not last.is_file():
            train(recipe, folders, out, start=start, devices=devices)
        return last, folders

    drawn, _ = run("start", start_recipe(size), None, None)
    start = read_start(str(drawn))
    return [run(f"fold-{fold}", fold_recipe(size, fold), vessmap, start) for fold in range(FOLDS)]


def _digest(recipe: Recipe, folders: Sequence[Path], start: Start | None) -> str:
    """Return digits that change with the recipe, the tiles, or the weights that it starts from."""
    parts = [repr(recipe), *(folder.name for folder in folders), start.name if start else ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def judged(runs: Sequence[tuple[Path, Sequence[Path]]], threshold: float) -> dict[str, Any]:
    """Judge each network on what was held out from it, and sum up all crops as one set.

    Returns
    -------
    ``folds``: the mean Dice of each; ``sources``: {source: summary}, see `training.summary`;
    ``images``: a row for each crop or rendering.
    """
    scores: dict[str, list[ImageScore]] = {source: [] for source in SOURCES}
    folds: dict[str, list[float]] = {source: [] for source in SOURCES}
    for checkpoint, folders in runs:
        network = dataclasses.replace(trained(checkpoint), thresholds={VESSEL: threshold})
        found = [
            dataclasses.replace(score, sight=None)
            for image in images_of(tiles_of_split(folders, split="val"))
            if image.source in SOURCES
            for score in judge_image(network, image)
        ]
        for source in SOURCES:
            mine = [score for score in found if score.source == source]
            scores[source] += mine
            dice = [score.counts.mask.scores()["dice"] or 0.0 for score in mine]
            folds[source].append(round(float(np.mean(dice)), 4))
    return {
        "threshold": threshold,
        "folds": folds,
        "sources": {source: {VESSEL: summarise(of, 1.0)} for source, of in scores.items()},
        "images": [image_row(score) for of in scores.values() for score in of],
    }


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [
        "| crops never seen | number | Dice | worst | centre-line Dice | area, error of a crop | "
        "area, bias | length | branchpoints | ICC of the three | ECE |",
        "| --- " * 11 + "|",
    ]
    for source, title in SOURCES.items():
        found = figures["sources"][source][VESSEL]
        area, length, points = found["agreement"].values()
        errors = [
            percent(density["mean_absolute_relative_error"]["value"])
            for density in (area, length, points)
        ]
        cells = [
            title,
            str(found["images"]),
            "{mean:.3f} ({0:.3f}–{1:.3f})".format(*found["dice"]["ci95"], **found["dice"]),
            f"{found['dice']['worst']:.3f}",
            f"{found['cl_dice']['mean']:.3f}",
            errors[0],
            _bias(area),
            f"{errors[1]}, bias {_bias(length)}",
            f"{errors[2]}, bias {_bias(points)}",
            ", ".join(f"{density['icc_a1']['value']:.2f}" for density in (area, length, points)),
            f"{found['calibration']['uncalibrated']['ece']['value']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def told(figures: Mapping[str, Any], threshold: float) -> list[str]:
    """Return what the page says of the runs, for a bundle of this `threshold`."""
    size, folds = figures["size"], figures["folds"]
    crops, rendered = (", ".join(f"{dice:.3f}" for dice in folds[source]) for source in SOURCES)
    low = figures["sources"]["vessmap"][VESSEL]["worst"][0]
    own = "the bundle's own" if figures["threshold"] == threshold else f"its own is {threshold:g}"
    return [
        f"one learnt {size['start_steps']} steps of {size['batch_size']} from drawn sections alone",
        f"each went on for {size['steps']} steps",
        f"at probability {figures['threshold']:g} ({own})",
        f"The five folds: {crops}; renderings {rendered}.",
        f"Worst is crop {low['animal'].removeprefix('vessmap-')} ({low['dice']:.3f})",
        f"{size['start_steps'] + size['steps']:,} steps, where the shipped weights took over ten "
        "thousand",
    ]


def _bias(density: Mapping[str, Any]) -> str:
    """Return the mean difference over the mean that was annotated, with its interval."""
    bias, whole = density["bias"], density["mean_annotated"]
    value, low, high = (100 * part / whole for part in (bias["value"], *bias["ci95"]))
    return f"{value:+.1f} % ({low:+.1f} to {high:+.1f})".replace("-", "−")


def draw(figures: Mapping[str, Any]) -> None:
    """Draw differences of densities against their means, and how honest probabilities are."""
    groups, sources = [(source, VESSEL) for source in SOURCES], figures["sources"]
    write_whole(AGREEMENT, png(agreement_figure(figures["images"], groups, sources)))
    write_whole(RELIABILITY, png(reliability_figure(groups, sources)))


def main() -> None:
    """Train, judge, and write figures, picture and table where they are shown."""
    parser = argparse.ArgumentParser(description="Judge every crop by a network that never saw it.")
    parser.add_argument("vessmap", type=Path, help="folder or archive of VessMAP")
    parser.add_argument("--work", type=Path, help="where tiles and runs are kept")
    parser.add_argument("--devices", type=int, default=1, help="processes or cards for each run")
    arguments = parser.parse_args()
    size = Size()
    threshold = start_recipe(size).thresholds.vessel
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        with ProcessPoolExecutor(2, get_context("spawn")) as executor:
            runs = run_all(arguments.vessmap, work, size, arguments.devices, executor)
        found = judged(runs, threshold)
    figures = {"size": dataclasses.asdict(size)} | found
    digits = json.loads(json.dumps(figures), parse_float=lambda text: float(f"{float(text):.5g}"))
    FIGURES.write_text(json.dumps(digits, indent=1) + "\n", encoding="utf-8")
    draw(figures)
    shown = "\n".join(table(figures))
    put_table("| crops never seen |", shown)
    print(shown)


if __name__ == "__main__":
    main()
