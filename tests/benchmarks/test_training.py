"""Speed of a training step in either precision, and of a whole run beside what could slow it.

Everything is timed in one run; the seconds of a machine are nobody else's, the ratios are.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from model.targets import CHANNELS
from model.unet import UNet, UNetConfig
from tests.benchmarks.machine import median_s, peak_gflops, product_gflops
from training.losses import SegmentationLoss
from training.module import SegmentationModule
from training.precision import best_precision, followed
from training.recipe import Recipe, SyntheticConfig, read_recipe
from training.run import train
from training.sources import prepare_tiles
from training.stream import training_loader

pytestmark = pytest.mark.benchmark
RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"
TILES, TILE_PX = 2, 128  # of the plain loop
HALF_SIDE = 1024  # of matrices of bfloat16, slow where a processor does not multiply it
STEPS = 20
WORKERS = (0, 1, 2)
UNCOUNTED = 4  # batches that are fetched while two workers start and fill their queues


def step(
    recipe: Recipe,
    tiles: int,
    tile_px: int,
    *,
    half: bool = False,
    channels_last: bool = True,
    device: str = "cpu",
) -> Callable[[], None]:
    """Return one optimiser step on the recipe's network, the same batch in memory every time."""
    torch.manual_seed(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shape = recipe.network
    network = UNet(UNetConfig(shape.encoder, shape.base, shape.depth))
    network.to(device, memory_format=layout)
    loss = SegmentationLoss(recipe.loss)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.run.learning_rate)
    image = torch.rand(tiles, 3, tile_px, tile_px, device=device).contiguous(memory_format=layout)
    target = (torch.rand(tiles, len(CHANNELS), tile_px, tile_px, device=device) > 0.9).float()

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = network(image)
        loss(logits.float(), target, torch.ones_like(target))["loss"].backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def test_a_step_in_either_precision_against_a_plain_loop() -> None:
    """Steps each second of both precisions and layouts; what `auto` takes should be the fastest."""
    recipe = read_recipe(RECIPES / "angiometry.toml")
    one, other = torch.randn(2, HALF_SIDE, HALF_SIDE).bfloat16()
    peak, whose = peak_gflops()
    half_peak = product_gflops(HALF_SIDE, lambda: one @ other)
    plain = median_s(step(recipe, TILES, TILE_PX, channels_last=False))
    print(f"\nprocessor: {torch.backends.cpu.get_cpu_capability()}, auto takes {best_precision()}")
    print(f"product of matrices, 32 bits: {peak:.1f} GFLOP/s ({whose})")
    print(f"product of matrices, bfloat16: {half_peak:.1f} GFLOP/s")
    print(f"32 bits, plain loop: {1 / plain:.2f} steps/s of {TILES} tiles of {TILE_PX} px")
    for name, half in (("32 bits", False), ("bfloat16", True)):
        taken = median_s(step(recipe, TILES, TILE_PX, half=half))
        print(f"{name}, channels last: {1 / taken:.2f} steps/s, ratio {plain / taken:.2f}")


def drawn_recipe(workers: int) -> Recipe:
    """Return the shipped recipe for one short epoch on twelve drawn sections, half of them held."""
    recipe = read_recipe(RECIPES / "angiometry-continued.toml")
    drawn = SyntheticConfig(
        brightfield_vessel=6, fluorescence_cells=6, size_px=512, val_fraction=0.5
    )
    run = dataclasses.replace(
        recipe.run, steps=STEPS, steps_per_epoch=STEPS, loader_workers=workers
    )
    data = dataclasses.replace(recipe.data, synthetic=drawn)
    return dataclasses.replace(recipe, data=data, run=run)


def loaded_per_s(recipe: Recipe, folders: Sequence[Path]) -> float:
    """Return how many tiles each second the recipe's loader reads and changes, nobody learning."""
    batches = iter(training_loader(recipe, folders))
    for _ in range(UNCOUNTED):
        next(batches)
    start = time.perf_counter()
    tiles = sum(len(batch["image"]) for batch in batches)
    return tiles / (time.perf_counter() - start)


def learnt_per_s(recipe: Recipe, device: str, *, plain: bool = False) -> float:
    """Return how many tiles each second steps on a batch in memory learn from, the first aside.

    In the precision of a run, or as a `plain` loop in 32 bits. As many steps as a run takes: single
    ones differ by a third.
    """
    run = step(
        recipe,
        recipe.run.batch_size,
        recipe.data.tile_px,
        half=not plain and followed(recipe).run.precision == "bf16-mixed",
        channels_last=not plain,
        device=device,
    )
    run()
    start = time.perf_counter()
    for _ in range(STEPS - 1):
        run()
    return recipe.run.batch_size * (STEPS - 1) / (time.perf_counter() - start)


def trained_per_s(
    recipe: Recipe, folders: Sequence[Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> float:
    """Return how many tiles each second a run learns from, its first step and validation aside."""
    ends: list[float] = []
    note = lambda *_: ends.append(time.perf_counter())  # noqa: E731
    monkeypatch.setattr(SegmentationModule, "on_train_batch_end", note)
    train(recipe, folders, out)
    assert len(ends) == STEPS
    return recipe.run.batch_size * (STEPS - 1) / (ends[-1] - ends[0])


def test_a_run_beside_its_loader_and_a_batch_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles each second of the loader, of steps on a batch in memory, and of a run with a worker.

    Where the loader's are more than the steps', the run waits for the network; its own over the
    steps' is what loading beside it, clipping, averaging and logging leave. On a graphics card, if
    there is one.
    """
    folders = prepare_tiles(drawn_recipe(0), tmp_path / "tiles")
    recipe = drawn_recipe(1)
    loaded = {count: loaded_per_s(drawn_recipe(count), folders) for count in WORKERS}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learnt = learnt_per_s(recipe, device)
    plain = learnt_per_s(recipe, device, plain=True)
    run = trained_per_s(recipe, folders, tmp_path / "run", monkeypatch)
    size, px = recipe.run.batch_size, recipe.data.tile_px
    print(f"\n{device}, tiles of {px} px, batches of {size}, {followed(recipe).run.precision}")
    print(f"plain loop in 32 bits on a batch in memory: {plain:.2f} tiles/s")
    print(f"steps as a run takes them: {learnt:.2f} tiles/s, ratio {learnt / plain:.2f}")
    for count, rate in loaded.items():
        print(f"loader, {count} workers: {rate:.2f} tiles/s, ratio {rate / learnt:.2f}")
    print(f"run, 1 worker: {run:.2f} tiles/s, ratio {run / learnt:.2f}")
    assert all(math.isfinite(rate) and rate > 0 for rate in (plain, learnt, run, *loaded.values()))
