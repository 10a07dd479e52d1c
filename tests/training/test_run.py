"""Promises about a training run, from tiles to a bundle that is judged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from angiometry import app
from datasets.build import tiles_sha256
from model.bundle import load_bundle
from model.errors import BundleError
from model.export import PARITY_TOLERANCE
from model.predictor import Predictor
from tests.training.small import logged_losses
from training.augment import Augmentation
from training.errors import CheckpointError, DataError, RecipeError, TrainingError
from training.module import SegmentationModule, Start, continued_module, new_module
from training.publish import fit_temperature, publish
from training.recipe import Recipe, SyntheticConfig
from training.run import BEST, LAST, train
from training.sources import prepare_tiles
from training.start import load_checkpoint, read_start
from training.stream import (
    EpochSampler,
    TileStream,
    channel_statistics,
    tiles_of_split,
    workers,
)


@pytest.fixture(scope="module")
def trained(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of one finished run."""
    out = tmp_path_factory.mktemp("run")
    assert train(small_recipe, tile_folders, out) == out / BEST
    return out


def test_a_run_leaves_checkpoints_and_logs(trained: Path):
    """A run writes its best and its last checkpoint, and logs for people and for TensorBoard."""
    assert (trained / BEST).is_file()
    assert (trained / LAST).is_file()
    assert logged_losses(trained)
    assert list(trained.glob("tensorboard/version_0/events.*"))


def test_a_run_is_not_overwritten(small_recipe: Recipe, tile_folders: list[Path], trained: Path):
    """Training into the folder of another run is refused unless it goes on with that run."""
    with pytest.raises(TrainingError, match="already holds a run"):
        train(small_recipe, tile_folders, trained)


def test_there_must_be_something_to_resume(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """Resuming where nothing was begun is refused."""
    with pytest.raises(TrainingError, match="to resume from"):
        train(small_recipe, tile_folders, tmp_path, resume=True)


def test_a_stopped_run_resumes_with_the_same_losses(
    small_recipe: Recipe, tile_folders: list[Path], trained: Path, tmp_path: Path
):
    """Stopped after its first epoch and resumed, a run ends with the very same weights."""
    # The schedule spans all eight steps in both runs; only the stop differs.
    half = train(small_recipe, tile_folders, tmp_path, stop_after_epochs=1)
    assert half == tmp_path / BEST
    train(small_recipe, tile_folders, tmp_path, resume=True)
    resumed = load_checkpoint(tmp_path / LAST).state_dict()
    whole = load_checkpoint(trained / LAST).state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_moved_run_keeps_its_best_weights(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """Renamed between its epochs, a run goes on comparing with the best score that it had."""
    train(small_recipe, tile_folders, tmp_path / "before", stop_after_epochs=1)
    moved = (tmp_path / "before").rename(tmp_path / "after")
    last = torch.load(moved / LAST, weights_only=True)
    (name,) = (key for key in last["callbacks"] if "ModelCheckpoint" in key and "val/dice" in key)
    last["callbacks"][name]["best_model_score"] = torch.tensor(2.0)  # no epoch can beat it
    best = {path: torch.tensor(2.0) for path in last["callbacks"][name]["best_k_models"]}
    last["callbacks"][name] |= {"best_k_models": best, "kth_value": torch.tensor(2.0)}
    torch.save(last, moved / LAST)
    kept = (moved / BEST).read_bytes()
    train(small_recipe, tile_folders, moved, resume=True)
    assert (moved / BEST).read_bytes() == kept
    assert not (tmp_path / "before").exists()


def test_a_run_whose_best_weights_are_gone_keeps_new_ones(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """Where only the last checkpoint was taken along, the epochs to come decide on the best."""
    train(small_recipe, tile_folders, tmp_path, stop_after_epochs=1)
    (tmp_path / BEST).unlink()
    last = torch.load(tmp_path / LAST, weights_only=True)
    (name,) = (key for key in last["callbacks"] if "ModelCheckpoint" in key and "val/dice" in key)
    last["callbacks"][name]["kth_value"] = torch.tensor(2.0)
    torch.save(last, tmp_path / LAST)
    assert train(small_recipe, tile_folders, tmp_path, resume=True).is_file()


def test_a_run_starts_from_a_bundle(
    small_recipe: Recipe, tile_folders: list[Path], trained: Path, tmp_path: Path
):
    """From a bundle, losses start low, statistics stay, and the new bundle says whence it came."""
    bundle, _ = publish(load_checkpoint(trained / BEST), tile_folders, tmp_path / "first.onnx")
    gentle = dataclasses.replace(small_recipe.run, learning_rate=1e-4, warmup_fraction=0.5)
    recipe = dataclasses.replace(small_recipe, run=gentle)
    start = read_start(str(bundle.path))
    best = train(recipe, tile_folders, tmp_path / "run", start=start)
    scratch, further = logged_losses(trained), logged_losses(tmp_path / "run")
    assert further[min(further)] < scratch[min(scratch)]
    module = load_checkpoint(best)
    assert bundle.sha256 in module.started_from
    for mine, given in zip(_normalisations(module), _normalisations(start), strict=True):
        assert torch.equal(mine.running_mean, given.running_mean)
        assert not torch.equal(mine.bias, given.bias)
    second, parity = publish(module, tile_folders, tmp_path / "second.onnx")
    assert parity <= PARITY_TOLERANCE
    assert second.metadata.recipe["trained"]["from"] == module.started_from


def test_a_start_of_another_shape_is_refused(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
):
    """A recipe that asks for another network than it is to start from is refused, naming both."""
    with pytest.raises(RecipeError, match=r"network.base is 4, but 16 in angiometry 1.*recipe"):
        train(small_recipe, tile_folders, tmp_path, start=read_start("angiometry"))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"base": 8}, "network.base is 8, but 4 in the run that is to be resumed: write that"),
        ({"base": 8, "depth": 3}, r"network.base is 8, but 4 in .*; network.depth is 3, but 2 in "),
        (
            {"encoder": "resnet18", "depth": 5},
            r"network.encoder is resnet18, but plain in .*; network.depth is 5, but 2 in ",
        ),
    ],
)
def test_a_run_is_not_resumed_as_another_network(
    small_recipe: Recipe,
    tile_folders: list[Path],
    trained: Path,
    network: dict[str, Any],
    message: str,
):
    """A recipe whose network is no longer that of the run is refused; the run stays as it is."""
    before = (trained / LAST).read_bytes()
    other = dataclasses.replace(small_recipe.network, **network)
    recipe = dataclasses.replace(small_recipe, network=other)
    with pytest.raises(RecipeError, match=message):
        train(recipe, tile_folders, trained, resume=True)
    assert (trained / LAST).read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 16}, "run.steps is 16, but 8 in the run that is to be resumed: write that"),
        (
            {"steps_per_epoch": 2, "learning_rate": 1e-3},
            r"run.steps_per_epoch is 2, but 4 in .*; run.learning_rate is 0.001, but 0.002 in ",
        ),
    ],
)
def test_a_run_is_not_resumed_by_another_schedule(
    small_recipe: Recipe,
    tile_folders: list[Path],
    trained: Path,
    changed: dict[str, Any],
    message: str,
):
    """What the saved schedule decides cannot be changed half-way, and is not silently ignored."""
    recipe = dataclasses.replace(small_recipe, run=dataclasses.replace(small_recipe.run, **changed))
    with pytest.raises(RecipeError, match=message):
        train(recipe, tile_folders, trained, resume=True)


@pytest.mark.parametrize(
    ("table", "changed", "message"),
    [
        ("run", {"batch_size": 3, "seed": 9}, r"run\.batch_size is 3, but .*; run\.seed is 9"),
        ("loss", {"dice": 0.3}, r"loss\.dice is 0\.3"),
        ("augment", {"restain": 0.7}, r"augment\.restain is 0\.7"),
        ("data", {"shares": {"annotated": 0.1}}, r"data\.shares is \{'annotated': 0\.1\}"),
    ],
)
def test_a_run_goes_on_as_it_began(
    small_recipe: Recipe,
    tile_folders: list[Path],
    trained: Path,
    table: str,
    changed: dict[str, Any],
    message: str,
):
    """What weighs its score or decides what it learns stays: a bundle tells of one recipe."""
    part = dataclasses.replace(getattr(small_recipe, table), **changed)
    with pytest.raises(RecipeError, match=message):
        train(
            dataclasses.replace(small_recipe, **{table: part}), tile_folders, trained, resume=True
        )


def test_a_warm_up_of_a_single_step_is_taken(small_recipe: Recipe):
    """Ten steps with the usual tenth of them to warm up have a schedule that starts at the top."""
    run = dataclasses.replace(small_recipe.run, steps=10, steps_per_epoch=10, warmup_fraction=0.1)
    module = new_module(dataclasses.replace(small_recipe, run=run), (0,) * 3, (1,) * 3, "hash")
    rate = module.configure_optimizers()["optimizer"].param_groups[0]["lr"]
    assert rate == pytest.approx(run.learning_rate)


def test_a_run_is_not_resumed_on_other_tiles(
    small_recipe: Recipe, tile_folders: list[Path], trained: Path
):
    """Scores of two sets of images cannot be compared: the way on is a new run from the weights."""
    before = (trained / LAST).read_bytes()
    with pytest.raises(DataError, match=r"same data, or start a new run with --from .*last.ckpt"):
        train(small_recipe, tile_folders[:1], trained, resume=True)
    assert (trained / LAST).read_bytes() == before


def test_a_checkpoint_of_other_channels_is_not_resumed(small_recipe: Recipe):
    """Weights for other target or input channels than this version's are refused, naming both."""
    for key, ours in (("in_channels", 3), ("out_channels", 3)):
        statistics = (0.0,) * 2 if key == "in_channels" else (0.0,) * 3
        foreign = SegmentationModule(
            dataclasses.asdict(small_recipe),
            {"base": 4, "depth": 2, key: 2}
            | {"channel_mean": statistics, "channel_std": statistics},
            "",
        )
        with pytest.raises(RecipeError, match=f"network.{key} is {ours}, but 2 in the run"):
            continued_module(small_recipe, foreign, "")


def test_there_must_be_something_to_start_from(tmp_path: Path):
    """A bundle or checkpoint that is not there, or damaged, is one clear error."""
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_start(str(tmp_path / "absent.ckpt"))
    with pytest.raises(BundleError, match="there is no model"):
        read_start("absent")
    with pytest.raises(BundleError, match=r"there is no file absent\.onnx"):
        read_start("absent.onnx")


def _normalisations(holder: SegmentationModule | Start) -> list[torch.nn.BatchNorm2d]:
    return [layer for layer in holder.network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]


def test_a_damaged_checkpoint_is_named(trained: Path, tmp_path: Path):
    """A truncated or foreign checkpoint is one clear error."""
    for number, content in enumerate([b"", b"no checkpoint", (trained / LAST).read_bytes()[:5000]]):
        damaged = tmp_path / f"{number}.ckpt"
        damaged.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged or no checkpoint"):
            load_checkpoint(damaged)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "absent.ckpt")


def test_a_checkpoint_with_altered_weights_is_named(trained: Path, tmp_path: Path):
    """One byte of the weights that is not what was written is found, though the file opens."""
    content = bytearray((trained / LAST).read_bytes())
    weight = load_checkpoint(trained / LAST).network.head.weight.detach().numpy().tobytes()
    content[content.index(weight)] ^= 0x10
    altered = tmp_path / "altered.ckpt"
    altered.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"altered.ckpt is damaged"):
        load_checkpoint(altered)


def test_a_checkpoint_becomes_a_bundle_with_its_scores(
    trained: Path, tile_folders: list[Path], tmp_path: Path
):
    """The bundle repeats the checkpoint, and carries calibration, data hash and scores."""
    bundle, parity = publish(load_checkpoint(trained / BEST), tile_folders, tmp_path / "small.onnx")
    metadata = load_bundle(tmp_path / "small.onnx").metadata
    assert parity <= PARITY_TOLERANCE
    assert metadata == bundle.metadata
    assert metadata.training_data_sha256 == tiles_sha256(tile_folders)
    assert set(metadata.validation_scores["sources"]) == {
        "synthetic_brightfield_vessel",
        "synthetic_fluorescence_cells",
    }
    assert Predictor(bundle).self_test()


def test_the_command_line_exports_and_evaluates(
    trained: Path, tile_folders: list[Path], tmp_path: Path
):
    """`export` writes the bundle, `evaluate` writes its scores as JSON."""
    tiles = [text for folder in tile_folders for text in ("--tiles", str(folder))]
    out = tmp_path / "b.onnx"
    run = CliRunner().invoke(app, ["export", str(trained / BEST), "--out", str(out), *tiles])
    assert run.exit_code == 0, run.output
    assert f"card: {tmp_path / 'MODEL_CARD.md'}" in run.stdout.splitlines()
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert load_bundle(out).sha256 in card
    assert "synthetic fluorescence cells | vegf_cell" in card
    scores = tmp_path / "scores.json"
    run = CliRunner().invoke(app, ["evaluate", str(out), *tiles, "--json", str(scores)])
    assert run.exit_code == 0, run.output
    assert {"model", "sources", "animals", "images"} <= set(json.loads(scores.read_text()))


def test_temperature_undoes_overconfidence(trained: Path, tile_folders: list[Path]):
    """Logits three times too large are found to be three times too large."""
    network = load_checkpoint(trained / BEST).network.eval()
    before = fit_temperature(network, tile_folders)["vessel"]
    with torch.no_grad():
        network.head.weight *= 3
        network.head.bias *= 3
    assert fit_temperature(network, tile_folders)["vessel"] == pytest.approx(3 * before, rel=0.02)


def test_what_was_not_judged_keeps_its_temperature(trained: Path, tile_folders: list[Path]):
    """Tiles of vessels alone say nothing about cells: these keep what the start had, else 1."""
    network = load_checkpoint(trained / BEST).network.eval()
    vessels = [folder for folder in tile_folders if "vessel" in folder.name]
    assert fit_temperature(network, vessels)["vegf_cell"] == 1
    before = {"vegf_cell": 2.5, "vessel": 2.5}
    kept = fit_temperature(network, vessels, before)
    assert kept["vegf_cell"] == 2.5
    assert kept["vessel"] == fit_temperature(network, vessels)["vessel"]
    # Larger tiles are cropped to what the network takes.
    middle = fit_temperature(network, vessels, tile_px=48)["vessel"]
    assert middle == pytest.approx(kept["vessel"], rel=0.3)


def test_crops_follow_from_their_number(small_recipe: Recipe, tile_folders: list[Path]):
    """Tiles larger than the network's are cropped at the same place each time they are drawn."""
    stream = TileStream(tile_folders, Augmentation(small_recipe.augment), {}, 1, 48)
    first = [stream[number]["image"] for number in range(4)]
    torch.manual_seed(99)
    assert all(torch.equal(stream[number]["image"], first[number]) for number in range(4))
    assert {tuple(image.shape) for image in first} == {(3, 48, 48)}


def test_draws_follow_from_their_number(small_recipe: Recipe, tile_folders: list[Path]):
    """The n-th draw is the same whenever it is drawn, and epochs go on where the last ended."""
    stream = TileStream(tile_folders, Augmentation(small_recipe.augment), {}, seed=1, tile_px=64)
    first = stream[5]
    stream[6]
    again = stream[5]
    assert first["tile"] == again["tile"]
    assert torch.equal(first["image"], again["image"])
    sampler = EpochSampler(4)
    sampler.set_epoch(2)
    assert list(sampler) == [8, 9, 10, 11]


def test_shares_decide_how_often_a_source_is_drawn(small_recipe: Recipe, tile_folders: list[Path]):
    """A source with share 1 is the only one drawn; that of an absent one goes to the others."""
    shares = {"synthetic_fluorescence_cells": 1.0, "synthetic_brightfield_vessel": 0.0}
    stream = TileStream(tile_folders, Augmentation(small_recipe.augment), shares, 1, 64)
    assert all(stream[number]["tile"].startswith("VEGF") for number in range(12))
    absent = shares | {"vessmap": 0.5, "synthetic_fluorescence_cells": 0.5}
    alone = TileStream(tile_folders, Augmentation(small_recipe.augment), absent, 1, 64)
    assert (
        alone[3]["tile"] == stream[3]["tile"]
    )  # the share of what is not at hand goes to the rest


def test_statistics_are_those_of_all_training_pixels(tile_folders: list[Path]):
    """The network is told the mean and spread of the tiles that it learns from.

    A channel that never varies is divided by a hundredth, not by zero.
    """
    mean, std = channel_statistics(tile_folders)
    tiles = tiles_of_split(tile_folders, split="train")
    pixels = np.concatenate([t.raw(i).image.reshape(-1, 3) for t in tiles for i in range(len(t))])
    assert mean == pytest.approx(pixels.mean(axis=0) / 255, abs=1e-5)
    assert std == pytest.approx(np.maximum(pixels.std(axis=0) / 255, 0.01), abs=1e-5)


def test_of_many_tiles_the_statistics_take_some_from_everywhere(
    tile_folders: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """With at least three of them, the mean is that of tiles from each folder's whole length."""
    tiles = tiles_of_split(tile_folders, split="train")
    images = [t.raw(i).image for t in tiles for i in range(len(t))]
    monkeypatch.setattr("training.stream._STATISTICS_TILES", 3)
    every = len(images) // 3
    assert every > 1
    taken = np.concatenate([image.reshape(-1, 3) for image in images[::every]])
    assert channel_statistics(tile_folders)[0] == pytest.approx(taken.mean(axis=0) / 255, abs=1e-5)


def test_a_card_is_fed_by_all_cores_but_one_and_a_processor_by_one_worker(
    monkeypatch: pytest.MonkeyPatch,
):
    """What the recipe asks for holds; left to the machine it follows from who learns."""
    assert [workers(asked) for asked in (0, 3)] == [0, 3]
    monkeypatch.setattr("training.stream.cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert workers(-1) == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [workers(-1, processes) for processes in (1, 2, 16)] == [15, 7, 1]


def test_a_recipe_without_data_is_refused(small_recipe: Recipe, tmp_path: Path):
    """A run that has nothing to learn from says how to give it data."""
    data = dataclasses.replace(small_recipe.data, synthetic=SyntheticConfig())
    nothing = dataclasses.replace(small_recipe, data=data)
    with pytest.raises(DataError, match="--data MANIFEST"):
        prepare_tiles(nothing, tmp_path)
