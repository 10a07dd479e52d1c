"""Tiles of a few small synthetic sections, and a recipe that trains on them in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.recipe import Recipe, recipe_from_dict
from training.sources import prepare_tiles

SMALL = {
    "name": "small",
    "version": "0.0.1",
    "data": {
        "tile_px": 64,
        "synthetic": {
            "brightfield_vessel": 6,
            "fluorescence_cells": 6,
            "size_px": 128,
            "empty_fraction": 0.0,
            "val_fraction": 0.5,
        },
    },
    "network": {"base": 4, "depth": 2},
    "loss": {"centre_line_iterations": 2},
    "run": {
        "steps": 8,
        "steps_per_epoch": 4,
        "batch_size": 4,
        "ema_from_step": 2,
        "precision": "32-true",
        "loader_workers": 0,
    },
}


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Return a recipe of eight steps in two epochs on a network of two levels."""
    return recipe_from_dict(SMALL)


@pytest.fixture(scope="session")
def tile_folders(small_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the folders of that recipe's tiles."""
    return prepare_tiles(small_recipe, tmp_path_factory.mktemp("tiles"))
