"""Promises about recipes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model.bundle import find_bundle, load_bundle
from training.errors import RecipeError
from training.recipe import SOURCES, Recipe, read_recipe, recipe_from_dict
from training.sources import SYNTHETIC_KINDS

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read(path: Path):
    """The recipes that ship are valid, and survive the round trip through a checkpoint."""
    recipe = read_recipe(path)
    assert recipe_from_dict(dataclasses.asdict(recipe)) == recipe


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"stepps": 1}, "unknown key stepps"),
        ({"run": {"stepps": 1}}, r"unknown key run\.stepps; known here are: run\.steps"),
        ({"data": {"synthetic": {"cells": 1}}}, r"unknown key data\.synthetic\.cells"),
        ({"run": {"steps": "many"}}, r"run\.steps is 'many'; it must be of type int"),
        ({"run": {"steps": True}}, r"run\.steps is True"),
        ({"run": {"steps": 0}}, r"run\.steps is 0; it must be positive"),
        ({"run": {"precision": "fp8"}}, r"run\.precision is 'fp8'; choose one of"),
        ({"run": 3}, r"run must be a table"),
        ({"data": {"tile_px": 100}}, r"tile_px is 100; make it a multiple of 16"),
        ({"network": {"encoder": "resnet18", "depth": 4}}, "network: encoder resnet18 halves five"),
        ({"name": "a/b"}, "letters, digits"),
        ({"augment": {"affine": -3.0}}, r"augment\.affine is -3\.0; give a number from 0 to 1"),
        ({"run": {"ema_decay": 7.0}}, r"run\.ema_decay is 7\.0"),
        ({"run": {"loader_workers": -2}}, r"run\.loader_workers is -2"),
        ({"data": {"shares": {"vessmap": 0.8, "rerendered": 0.4}}}, "together at most 1"),
        ({"data": {"shares": {"nonesuch": 0.5}}}, r"data\.shares names nonesuch; tiles come from"),
        (
            {"data": {"classes": {"Tube": "vessels"}}},
            r"data\.classes\.Tube is 'vessels'; choose",
        ),
        ({"data": {"mpp_um": float("inf")}}, r"data\.mpp_um is inf"),
        ({"data": {"vessmap_val_fraction": 2}}, r"data\.vessmap_val_fraction is 2"),
        ({"data": {"synthetic": {"size_px": 0}}}, r"data\.synthetic\.size_px is 0"),
        ({"data": {"synthetic": {"empty_fraction": -2}}}, r"data\.synthetic\.empty_fraction is -2"),
        ({"run": {"learning_rate": float("inf")}}, r"run\.learning_rate is inf"),
        ({"loss": {"bce": 0, "dice": 0, "centre_line": 0}}, "all 0; give one a weight"),
        ({"name": ".."}, "use letters, digits"),
        ({"name": "tiles"}, "where tiles are kept"),
    ],
)
def test_what_cannot_be_followed_is_named(table: dict[str, object], message: str):
    """An unknown key or impossible value is an error that names it with its path."""
    with pytest.raises(RecipeError, match=message):
        recipe_from_dict({"name": "a", "version": "1"} | table)


def test_every_kind_of_synthetic_section_may_have_a_share() -> None:
    """The recipe knows the name of every source that tiles are made from."""
    assert {f"synthetic_{kind}" for kind in SYNTHETIC_KINDS} < set(SOURCES)


def test_own_stain_is_judged_as_the_bundle_that_it_starts_from():
    """Thresholds alike, or two bundles that a laboratory compares differ by more than weights."""
    own = dataclasses.asdict(read_recipe(RECIPES / "own-stain.toml").thresholds)
    shipped = load_bundle(find_bundle(None)).metadata.thresholds
    assert own == {name: shipped[name] for name in own}


def test_name_and_version_are_required():
    """A bundle needs a name and a version, so a recipe does."""
    with pytest.raises(RecipeError, match="version"):
        recipe_from_dict({"name": "a"})


def test_broken_toml_and_missing_files_are_named(tmp_path: Path):
    """A file that is no TOML, or not there, is one clear error."""
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match=r"broken\.toml is no valid TOML"):
        read_recipe(broken)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_whole_numbers_are_accepted_for_fractions():
    """A person may write 1 where 1.0 is meant."""
    recipe = recipe_from_dict({"name": "a", "version": "1", "loss": {"bce": 2}})
    assert recipe.loss.bce == 2.0
    assert isinstance(recipe, Recipe)
