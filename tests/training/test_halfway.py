"""Promises about weights halfway between a run's and those that it started from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from datasets.build import tiles_sha256
from model.bundle import find_bundle, load_bundle
from model.unet import UNet, UNetConfig
from training.errors import CheckpointError
from training.halfway import meet_halfway
from training.kinds import trained_on
from training.module import SegmentationModule, Start, new_module
from training.publish import publish
from training.recipe import Recipe
from training.start import read_start
from training.stream import channel_statistics


def started(recipe: Recipe) -> tuple[SegmentationModule, Start]:
    """Return a run's module whose every weight lies 1 above where it started."""
    torch.manual_seed(3)
    config = UNetConfig(**dataclasses.asdict(recipe.network), channel_mean=(0.1, 0.2, 0.3))
    start = Start("the start", UNet(config), folded=True)
    module = new_module(recipe, (), (), "hash", start)
    with torch.no_grad():
        for weight in module.network.parameters():
            weight.add_(1)
    return module, start


def test_every_weight_lies_in_the_middle(small_recipe: Recipe):
    """What a run changed by 1 is changed by a half; the normalisation of the input stays."""
    module, start = started(small_recipe)
    meet_halfway(module, start)
    given = dict(start.network.named_parameters())
    for name, weight in module.network.named_parameters():
        assert torch.allclose(weight, given[name] + 0.5, atol=1e-6)
    assert torch.equal(module.network.mean, start.network.mean)


def test_the_start_itself_is_not_changed(small_recipe: Recipe):
    """Averaging leaves the weights that were given as they are."""
    module, start = started(small_recipe)
    before = {name: weight.clone() for name, weight in start.network.state_dict().items()}
    meet_halfway(module, start)
    assert all(torch.equal(w, before[name]) for name, w in start.network.state_dict().items())


def test_strangers_are_not_averaged(small_recipe: Recipe):
    """Weights that the run did not start from are refused, and both are named."""
    module, start = started(small_recipe)
    other = dataclasses.replace(start, name="another")
    with pytest.raises(CheckpointError, match="started from the start, not from another") as caught:
        meet_halfway(module, other)
    assert caught.value.field == "mean_with"
    module.started_from = ""
    with pytest.raises(CheckpointError, match="random weights, not from angiometry 1"):
        meet_halfway(module, read_start("angiometry"))


def test_what_the_start_learnt_is_still_said(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """Licence, and sources that were learnt whole, go with the weights from bundle to bundle."""
    start = read_start("angiometry")
    shape = dataclasses.asdict(start.network.config)
    network = dataclasses.replace(
        small_recipe.network, **{key: shape[key] for key in ("encoder", "base", "depth")}
    )
    module = new_module(dataclasses.replace(small_recipe, network=network), (), (), "hash", start)
    bundle, _ = publish(module, tile_folders, tmp_path / "b.onnx")
    assert small_recipe.data.licence in bundle.metadata.data_licence
    assert "VessMAP: CC BY 4.0" in bundle.metadata.data_licence
    assert trained_on(bundle.metadata.recipe) == ("vessmap", "rerendered")
    shipped = load_bundle(find_bundle(None)).metadata
    learnt = {"brightfield/CD31", "fluorescence/VEGF"}
    assert set(shipped.familiar) - learnt == {"brightfield/VEGF", "fluorescence/CD31"}
    for kind in set(shipped.familiar) - learnt:  # what was not learnt is known as before
        assert bundle.metadata.familiar[kind] == shipped.familiar[kind]
    for kind in learnt:  # what was, too, beside what the run saw
        known = bundle.metadata.familiar[kind]
        assert known["before"] == shipped.familiar[kind]
        assert known["centre"] != shipped.familiar[kind]["centre"]
    again = read_start(str(bundle.path))
    assert again.inherited["licence"] == bundle.metadata.data_licence
    assert again.inherited["whole"] == ["vessmap", "rerendered"]
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    # "hash" is no hash of these tiles.
    assert "not those that the run validated with" in card


def test_vessmap_is_named_where_it_was_learnt_from(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """A recipe with a share for VessMAP does not make a bundle say that it saw any of it."""
    data = dataclasses.replace(small_recipe.data, shares={"vessmap": 0.5}, vessmap_val_fraction=0.0)
    recipe = dataclasses.replace(small_recipe, data=data)
    module = new_module(recipe, *channel_statistics(tile_folders), tiles_sha256(tile_folders))
    bundle, _ = publish(module, tile_folders, tmp_path / "b.onnx")
    assert bundle.metadata.recipe["trained"]["sources"] == [
        "synthetic_brightfield_vessel",
        "synthetic_fluorescence_cells",
    ]
    assert trained_on(bundle.metadata.recipe) == ()
    assert trained_on({"data": {"shares": {"vessmap": 0.5}, "vessmap_val_fraction": 0.0}}) == (
        "vessmap",
    )


def test_the_bundle_and_its_card_say_so(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """Whoever reads the card learns that these are no run's own weights."""
    module, start = started(small_recipe)
    meet_halfway(module, start)
    bundle, _ = publish(module, tile_folders, tmp_path / "b.onnx")
    assert bundle.metadata.recipe["trained"]["halfway"] is True
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "starting from the start; these weights are the mean of both" in card
