"""The cross-validation judges each crop once, by a network that never saw it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from docs.choices import PAGE
from docs.cross_validation import FIGURES, FOLDS, SOURCES, Size, judged, run_all, table, told
from training.recipe import read_recipe
from training.stream import tiles_of_split

SMALL = Size(
    base=4, depth=2, tile_px=32, brightfield=10, fluorescence=10, section_px=64, start_steps=2,
    steps=2, batch_size=4, renderings=1,
)  # fmt: skip


def test_each_crop_is_judged_once_by_a_network_that_never_saw_it(
    small_vessmap: Path, tmp_path: Path
) -> None:
    """Five crops, five networks; a run that is whole is not done again, with the same figures."""
    runs = run_all(small_vessmap, tmp_path, SMALL, 1)
    longer, _ = run_all(small_vessmap, tmp_path, dataclasses.replace(SMALL, steps=3), 1)[0]
    assert longer not in [checkpoint for checkpoint, _ in runs]
    for _, folders in runs:
        trained, held_out = (
            {
                row["animal"]
                for part in tiles_of_split(folders, split=split)
                for row in part.rows
                if row["source"] in SOURCES
            }
            for split in ("train", "val")
        )
        assert len(held_out) == 1
        assert len(trained) == 4
        assert not trained & held_out
    found = judged(runs, threshold=0.01)
    animals = [row["animal"] for row in found["images"] if row["source"] == "vessmap"]
    assert len(animals) == len(set(animals)) == FOLDS
    assert found["sources"]["rerendered"]["vessel"]["images"] == FOLDS
    before = [checkpoint.stat().st_mtime_ns for checkpoint, _ in runs]
    again = run_all(small_vessmap, tmp_path, SMALL, 1)
    assert [checkpoint.stat().st_mtime_ns for checkpoint, _ in again] == before
    assert judged(again, threshold=0.01) == found
    assert len(table(found)) == 4


def test_the_page_shows_the_figures() -> None:
    """The table on the page is that of the file, and so is what is said of the runs."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(table(figures)) in page
    recipe = read_recipe(PAGE.parents[1] / "training" / "recipes" / "angiometry-continued.toml")
    said = " ".join(page.split())
    assert [part for part in told(figures, recipe.thresholds.vessel) if part not in said] == []
    assert sum(row["source"] == "vessmap" for row in figures["images"]) == 75


def test_biases_are_told_as_parts_of_what_was_annotated() -> None:
    """A difference of −0.01 of a mean of 0.25 is −4 %, its interval likewise."""
    density = {
        "mean_absolute_relative_error": {"value": 0.061},
        "mean_annotated": 0.25,
        "icc_a1": {"value": 0.9},
        "bias": {"value": -0.01, "ci95": [-0.02, 0.005]},
    }
    found = {
        "images": 75,
        "dice": {"mean": 0.9, "ci95": [0.89, 0.91], "worst": 0.8},
        "cl_dice": {"mean": 0.95},
        "calibration": {"uncalibrated": {"ece": {"value": 0.02}}},
        "agreement": dict.fromkeys(("area", "length", "branchpoints"), density),
    }
    figures = {"sources": {name: {"vessel": found} for name in ("vessmap", "rerendered")}}
    told = "6.1 % | −4.0 % (−8.0 to +2.0) | 6.1 %, bias −4.0 % (−8.0 to +2.0)"
    assert table(figures)[2].startswith(
        f"| VessMAP | 75 | 0.900 (0.890–0.910) | 0.800 | 0.950 | {told}"
    )
