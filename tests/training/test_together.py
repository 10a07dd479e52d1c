"""Promises about several processes that train one batch together."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import lightning
import psutil
import pytest
import torch
from torch import distributed, multiprocessing

from tests.training.small import last_scores, logged_losses
from training.errors import DataError, RecipeError
from training.losses import SegmentationLoss, alone
from training.module import new_module
from training.processes import SharedBatchNorm2d, ShareNormalisation, total
from training.recipe import LossConfig, Recipe
from training.run import LAST, check_run, train
from training.stream import (
    EpochSampler,
    ShareSampler,
    channel_statistics,
    training_loader,
    validation_loader,
)
from training.tile_dice import TileDice

PROCESSES = 2
RATE = 1e-4
APART = 0.05  # of the way that a run moved its weights
TILE_SOURCES = ("drawn", "annotated", "drawn", "annotated", "drawn", "annotated", "drawn")


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features (4, 3, 16, 16), targets and weights; annotated areas differ by tile."""
    chance = torch.Generator().manual_seed(0)
    features = torch.randn(4, 3, 16, 16, generator=chance)
    target = (torch.rand(4, 3, 16, 16, generator=chance) > 0.7).float()
    weight = torch.zeros(4, 3, 16, 16)
    weight[0, :, :, :2], weight[1], weight[2, 0], weight[3, :, 3:5] = 1, 1, 1, 1
    return features, target, weight


def gradients(network: torch.nn.Module, number: int, processes: int) -> dict[str, torch.Tensor]:
    """Return loss and gradients of a process's share of the batch, and the statistics learnt."""
    features, target, weight = (part[number::processes].double() for part in batch())
    loss = SegmentationLoss(LossConfig(centre_line_iterations=2))
    terms = loss(network(features), target, weight, alone if processes == 1 else total)
    terms["loss"].backward()
    found = {f"gradient of {n}": p.grad / processes for n, p in network.named_parameters()}
    return found | {"loss": terms["loss"].detach()} | dict(network.named_buffers())


def small_network() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.BatchNorm2d(5), torch.nn.Conv2d(5, 3, 1)
    ).double()


def share(number: int, folder: str) -> None:
    """Work on one share in a process of its own, and leave the sum of all gradients."""
    meeting = Path(folder, "meeting").as_uri()
    distributed.init_process_group("gloo", meeting, rank=number, world_size=PROCESSES)
    network = ShareNormalisation().apply(small_network())
    assert any(isinstance(layer, SharedBatchNorm2d) for layer in network.modules())
    found = gradients(network, number, PROCESSES)
    for name, value in found.items():
        if name.startswith("gradient"):
            distributed.all_reduce(value)
    torch.save(found, Path(folder, f"{number}.pt"))
    distributed.destroy_process_group()


def test_shares_have_the_loss_and_gradients_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two processes annotate unequally much, every pixel still counts as in one batch.

    In 64 bits, where rounding hides nothing.
    """
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    # Forked after others have used threads, the processes wait for ever.
    multiprocessing.start_processes(share, (str(tmp_path),), PROCESSES, start_method="spawn")
    whole = gradients(small_network(), 0, 1)
    for number in range(PROCESSES):
        found = torch.load(tmp_path / f"{number}.pt")
        assert set(found) == set(whole)
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_the_shares_of_a_batch_are_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two processes, each batch holds the draws of one process's batch, each tile once."""
    sampler, tiles = EpochSampler(8, epoch=2), ShareSampler(5)
    assert (list(sampler), list(tiles)) == ([16, 17, 18, 19, 20, 21, 22, 23], [0, 1, 2, 3, 4])
    drawn, judged = [], []
    for number in range(2):
        monkeypatch.setattr("training.stream.place", lambda number=number: (number, 2))
        assert len(sampler) == len(list(sampler)) == 4
        assert len(tiles) == len(list(tiles))
        drawn.append(list(sampler))
        judged += list(tiles)
    batches = [set(drawn[0][first : first + 2] + drawn[1][first : first + 2]) for first in (0, 2)]
    assert batches == [{16, 17, 18, 19}, {20, 21, 22, 23}]
    assert sorted(judged) == [0, 1, 2, 3, 4]


def test_what_cannot_be_shared_is_refused(small_recipe: Recipe, tile_folders: list[Path]) -> None:
    """A batch that does not divide, or more devices than tiles to judge by, is one clear error."""
    with pytest.raises(RecipeError, match=r"batch_size is 4; make it a multiple of the 3 devices"):
        training_loader(small_recipe, tile_folders, 3)
    with pytest.raises(RecipeError, match="multiple of the 3 devices"):
        check_run(small_recipe, tile_folders[0] / "no run", devices=3)  # before tiles are made
    with pytest.raises(DataError, match="cannot be shared by 500 devices"):
        validation_loader(small_recipe, tile_folders, 500)


def test_a_normalisation_comes_back_as_it_was() -> None:
    """Shared and then no longer, a network is of the same kinds of layers, its weights the same."""
    network = small_network()
    weight = network[1].weight
    back = ShareNormalisation().revert(ShareNormalisation().apply(network))
    assert type(back[1]) is torch.nn.BatchNorm2d
    assert back[1].weight is weight


def judged(sources: Sequence[str], first: int, step: int) -> dict[str, torch.Tensor]:
    """Return the scores of every `step`-th of so many tiles, of which tile n is n pixels right."""
    metric = TileDice({"annotated": 0.6, "drawn": 0.4})
    target = torch.zeros(len(sources), 3, 4, 16, dtype=torch.bool)
    target[:, 0, 0, :8] = True
    predicted = torch.stack([tile.roll(8 - n, 2) for n, tile in enumerate(target)])
    batch = (predicted, target, torch.ones_like(target))
    metric.update(*(part[first::step] for part in batch), sources[first::step])
    return metric.compute()


def judge_share(number: int, folder: str) -> None:
    """Judge every second tile in a process of its own, and leave the scores."""
    meeting = Path(folder, "meeting").as_uri()
    distributed.init_process_group("gloo", meeting, rank=number, world_size=PROCESSES)
    torch.save(judged(TILE_SOURCES, number, PROCESSES), Path(folder, f"{number}.pt"))
    distributed.destroy_process_group()


def test_shares_of_the_validation_tiles_have_the_scores_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one process sees all of a laboratory's tiles, every process has the score of all."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.start_processes(judge_share, (str(tmp_path),), PROCESSES, start_method="spawn")
    whole = judged(TILE_SOURCES, 0, 1)
    own, drawn = (1 + 3 + 5) / 3 / 8, (0 + 2 + 4 + 6) / 4 / 8
    assert whole["dice"] == pytest.approx(0.6 * own + 0.4 * drawn)
    for number in range(PROCESSES):
        found = torch.load(tmp_path / f"{number}.pt")
        assert set(found) == set(whole)
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, msg=name)


@contextmanager
def addresses_listened_on() -> Iterator[set[str]]:
    """Collect the addresses on which processes that this one starts wait for others."""
    found: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    ports = process.net_connections("inet")
                    found.update(port.laddr.ip for port in ports if port.status == "LISTEN")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def first_weights(recipe: Recipe, folders: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the weights that a run begins with: those that its seed draws."""
    lightning.seed_everything(recipe.run.seed, verbose=False)
    return new_module(recipe, *channel_statistics(folders), "").state_dict()


def kept_weights(out: Path, state: str) -> dict[str, torch.Tensor]:
    """Return what a run's last checkpoint holds as `state`."""
    kept: dict[str, torch.Tensor] = torch.load(out / LAST, weights_only=True)[state]
    return kept


def is_learnt(name: str) -> bool:
    """Return whether a state's tensor of that name is learnt, not counted or given."""
    return name.endswith((".weight", ".bias"))


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return how far apart all weights of two states of a network are, by Euclid."""
    squares = [(one[name] - other[name]).square().sum() for name in one if is_learnt(name)]
    return math.sqrt(sum(map(float, squares)))


@pytest.mark.parametrize(
    ("steps", "tile_px"), [(4, 32), pytest.param(8, 64, marks=pytest.mark.slow)]
)
def test_two_processes_end_where_one_does(
    steps: int, tile_px: int, small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
) -> None:
    """Losses and weights of a run of two processes are those of one, to rounding of 32 bits.

    How far apart their weights end is measured against how far the run moved them. Rounding counts:
    it decides which way a rectifier falls, and the first steps of AdamW are nearly as long for a
    small gradient, so that weights turn. In plain loops of six seeds, whose gradients agree to 12
    digits in 64 bits, it was 0.04 % after 4 steps on tiles of 32 px and up to 4 % after 8 steps on
    64 px. Where each process has its own loss it is 10 to 15 %, where each has its own statistics
    or gradients about all. The centre-line loss is left out, as rounding draws the skeletons that a
    network sees that has learnt nothing; its shares are compared above, in 64 bits.

    Nobody on the network can listen in.
    """
    run = dataclasses.replace(
        small_recipe.run, learning_rate=RATE, steps=steps, steps_per_epoch=steps // 2
    )
    data = dataclasses.replace(small_recipe.data, tile_px=tile_px)
    loss = dataclasses.replace(small_recipe.loss, centre_line=0.0)
    recipe = dataclasses.replace(small_recipe, run=run, data=data, loss=loss)
    first = first_weights(recipe, tile_folders)
    train(recipe, tile_folders, tmp_path / "one")
    with addresses_listened_on() as addresses:
        train(recipe, tile_folders, tmp_path / "two", devices=PROCESSES)
    one, two = logged_losses(tmp_path / "one"), logged_losses(tmp_path / "two")
    assert two == pytest.approx(one, rel=2e-4)
    scores = last_scores(tmp_path / "one")
    assert last_scores(tmp_path / "two") == pytest.approx(scores, rel=0.01)
    for state in ("current_model_state", "state_dict"):  # after the last step, and the average
        theirs, mine = (kept_weights(tmp_path / out, state) for out in ("one", "two"))
        moved = distance(theirs, first)
        print(f"{state}: moved by {moved:.1e}, apart by {distance(mine, theirs) / moved:.1e} of it")
        assert distance(mine, theirs) < APART * moved
        # As far as so many steps go, which shows that `first` is where the run began.
        count = sum(value.numel() for name, value in first.items() if is_learnt(name))
        assert 0.1 * RATE < moved / math.sqrt(count) < steps * RATE
    assert addresses
    assert all(ip_address(address).is_loopback for address in addresses)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_as_in_one(
    small_recipe: Recipe, tile_folders: list[Path], tmp_path: Path
) -> None:
    """An error of one of several processes is the very error, with its message and field."""
    with pytest.raises(RecipeError, match="make it a multiple of the 3 devices"):
        train(small_recipe, tile_folders, tmp_path, devices=3)
