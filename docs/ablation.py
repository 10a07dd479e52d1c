"""What each part of the training is worth: small networks trained with one part left out.

    python -m docs.ablation data/vessmap --work /tmp/ablation

trains networks of width 8 from random weights on vessels alone, with the crops of VessMAP that the
first fold leaves, and judges all of them on the same images, which none has seen. An hour or more
on two cores. The figures go to docs/ablation.json after each network, and what stands there is not
trained again; the table goes to docs/model-choices.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datasets.tiles import TileDataset
from docs.ablation_images import cut_as_rgb, judge_tiles, judges
from docs.choices import put_table
from model.targets import CHANNELS, VESSEL
from training.fields import images_of
from training.judging import Judged, predict_field
from training.recipe import Recipe, SyntheticConfig, read_recipe
from training.run import LAST, train
from training.scores import tally_masks
from training.sources import prepare_tiles
from training.start import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "ablation.json"

JUDGES = {
    "crops": ("held-out VessMAP crops", "dice"),
    "crops, centre-line": ("– the same, centre-line Dice", "cl_dice"),
    "hdab": ("– rendered as H-DAB, as in training", "dice"),
    "fast_red": ("– in a red chromogen instead of DAB", "dice"),
    "counterstain": ("– under a stronger counterstain", "dice"),
    "brightfield": ("synthetic brightfield sections", "dice"),
    "fluorescence": ("synthetic fluorescence sections", "dice"),
    "other_colour": ("– with the marker in red, not green", "dice"),
    "empty_brightfield": ("brightfield without vessels, false area", "false_area"),
    "empty_fluorescence": ("fluorescence without vessels, false area", "false_area"),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the networks, their runs and their data are."""

    base: int = 8
    depth: int = 4
    tile_px: int = 128
    steps: int = 300
    batch_size: int = 8
    renderings: int = 4
    brightfield: int = 150
    fluorescence: int = 100
    section_px: int = 256
    judged_sections: int = 24


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train: what it changes of the reference's recipe, and whether it sees RGB."""

    title: str
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe
    rgb: bool = False


def without_renderings(recipe: Recipe) -> Recipe:
    """Leave out the crops rendered as H-DAB; the others share their draws."""
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, hdab_renderings=0))


def without_sections(recipe: Recipe) -> Recipe:
    """Leave out the synthetic sections; the crops and their renderings share their draws."""
    data = dataclasses.replace(recipe.data, synthetic=SyntheticConfig())
    return dataclasses.replace(recipe, data=data)


def without_centre_line(recipe: Recipe) -> Recipe:
    """Learn by cross-entropy and Dice alone."""
    return dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, centre_line=0.0))


def with_every_colour(recipe: Recipe) -> Recipe:
    """Drop no counterstain: it is no channel of its own in RGB."""
    augment = dataclasses.replace(recipe.augment, drop_counterstain=0.0)
    return dataclasses.replace(recipe, augment=augment)


VARIANTS = {
    "reference": Variant("reference"),
    "no_renderings": Variant("without renderings", without_renderings),
    "no_sections": Variant("without synthetic sections", without_sections),
    "rgb": Variant("plain RGB", with_every_colour, rgb=True),
    "no_centre_line": Variant("without centre-line loss", without_centre_line),
}


def recipe_of(variant: Variant, seed: int, size: Size) -> Recipe:
    """Return the shipped recipe at this size, its shares and augmentations as they are."""
    shipped = read_recipe(ROOT / "training" / "recipes" / "angiometry.toml")
    synthetic = SyntheticConfig(
        brightfield_vessel=size.brightfield,
        fluorescence_vessel=size.fluorescence,
        size_px=size.section_px,
        empty_fraction=shipped.data.synthetic.empty_fraction,
        seed=shipped.data.synthetic.seed,
        val_fraction=0.0,
    )
    data = dataclasses.replace(
        shipped.data,
        tile_px=size.tile_px,
        hdab_renderings=size.renderings,
        vessmap_val_fraction=0.2,
        vessmap_fold=0,
        synthetic=synthetic,
    )
    run = dataclasses.replace(
        shipped.run,
        steps=size.steps,
        steps_per_epoch=size.steps,  # no weights are chosen on what judges: the last ones count
        batch_size=size.batch_size,
        ema_decay=0.98,
        ema_from_step=size.steps // 4,
        precision="32-true",
        seed=seed,
    )
    network = dataclasses.replace(shipped.network, base=size.base, depth=size.depth)
    loss = dataclasses.replace(shipped.loss, centre_line=0.5)
    recipe = dataclasses.replace(shipped, data=data, run=run, network=network, loss=loss)
    return variant.change(recipe)


def trained(checkpoint: Path) -> Judged:
    """Return the network of a checkpoint, ready to be judged at probability 0.5."""
    network = load_checkpoint(checkpoint).network.eval()

    def predict(channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            answer: npt.NDArray[np.float32] = torch.sigmoid(
                network(torch.from_numpy(channels)[None])
            )[0].numpy()
        return answer

    return Judged(predict, mpp_um=0.5, thresholds={VESSEL: 0.5}, temperature={})


def judged(network: Judged, folder: Path) -> dict[str, float | int]:
    """Return the mean scores of images with vessels; if there are none, the mean false area."""
    scores: dict[str, list[float]] = {"dice": [], "cl_dice": [], "false_area": []}
    images = images_of([TileDataset(folder, "val")])
    for field in (field for image in images for field in image.fields()):
        vessels = predict_field(network, field.channels)[CHANNELS.index(VESSEL)] >= 0.5
        tally = tally_masks(vessels & field.seen, field.labels[VESSEL] > 0)
        if tally.annotated_px:
            found = tally.scores()
            for name in ("dice", "cl_dice"):
                scores[name].append(found[name] or 0.0)
        else:
            scores["false_area"].append(tally.predicted_px / np.count_nonzero(field.seen))
    shown = ("dice", "cl_dice") if scores["dice"] else ("false_area",)
    means = {name: round(float(np.mean(scores[name])), 4) for name in shown}
    return {"images": len(scores[shown[0]]), **means}


def one_run(
    name: str, seed: int, vessmap: Path, tiles: Mapping[str, Path], work: Path, size: Size
) -> dict[str, Any]:
    """Train one network and return what each judge says of it."""
    variant = VARIANTS[name]
    recipe = recipe_of(variant, seed, size)
    with cut_as_rgb() if variant.rgb else nullcontext():
        folders = prepare_tiles(recipe, work / f"tiles-rgb-{variant.rgb}", vessmap=vessmap)
    start = time.monotonic()
    out = work / f"{name}-{seed}"
    train(recipe, folders, out)
    minutes = round((time.monotonic() - start) / 60, 1)
    network = trained(out / LAST)
    scores = {judge: judged(network, folder) for judge, folder in tiles.items()}
    return {"variant": name, "seed": seed, "minutes": minutes, "scores": scores}


def measure(
    vessmap: Path,
    work: Path,
    figures: Path,
    size: Size,
    names: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (1, 2, 3),
) -> dict[str, Any]:
    """Train what `figures` lacks, each variant once before any a second time; write after each."""
    found: dict[str, Any] = {"size": dataclasses.asdict(size), "runs": []}
    if figures.is_file():
        found = json.loads(figures.read_text(encoding="utf-8"))
    images = judges(vessmap, work / "judges", size.judged_sections)
    tiles = {rgb: judge_tiles(images, work / f"judged-rgb-{rgb}", rgb=rgb) for rgb in (False, True)}
    done = {(run["variant"], run["seed"]) for run in found["runs"]}
    for seed, name in ((seed, name) for seed in seeds for name in names):
        if (name, seed) in done:
            continue
        run = one_run(name, seed, vessmap, tiles[VARIANTS[name].rgb], work, size)
        found["runs"].append(run)
        figures.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(run), flush=True)
    return found


def table(found: Mapping[str, Any]) -> str:
    """Return means over seeds as a table, with the least and the greatest where there are two."""
    runs = {
        name: [run["scores"] for run in found["runs"] if run["variant"] == name]
        for name in VARIANTS
    }
    runs = {name: scores for name, scores in runs.items() if scores}
    heads = ["judged on", "images", *(VARIANTS[name].title for name in runs)]
    networks = ["networks", "", *(str(len(scores)) for scores in runs.values())]
    lines = [heads, ["---"] * len(heads), networks]
    for judge, (title, score) in JUDGES.items():
        source = judge.split(",")[0]
        cells = [_cell([scores[source][score] for scores in of], score) for of in runs.values()]
        lines.append([title, str(next(iter(runs.values()))[0][source]["images"]), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(values: Sequence[float], score: str) -> str:
    factor, digits, unit = (100, 1, " %") if score == "false_area" else (1, 3, "")
    shown = [f"{factor * value:.{digits}f}" for value in (np.mean(values), *_ends(values))]
    return f"{shown[0]}{unit}" + (f" ({shown[1]}–{shown[2]})" if len(values) > 1 else "")


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def main() -> None:
    """Train, judge, and write the table where it is shown."""
    parser = argparse.ArgumentParser(description="Train small networks with one part left out.")
    parser.add_argument("vessmap", type=Path, help="folder or archive of VessMAP")
    parser.add_argument("--work", type=Path, help="where tiles and runs are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(arguments.vessmap, arguments.work or Path(scratch), FIGURES, Size())
    put_table("| judged on |", table(found))


if __name__ == "__main__":
    main()
