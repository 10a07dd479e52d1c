"""Speed of a training step in the recipe's precision, and of the bundle, beside the machine's own.

Everything is timed in turns in one run; the seconds of a machine are nobody else's, the ratios are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model.bundle import INPUT_NAME, find_bundle
from model.targets import CHANNELS
from model.unet import UNet, UNetConfig
from training.losses import SegmentationLoss
from training.precision import best_precision
from training.recipe import read_recipe

pytestmark = pytest.mark.benchmark
RECIPE = Path(__file__).resolve().parents[2] / "training" / "recipes" / "angiometry.toml"
TURNS = 3
TILES, TILE_PX = 2, 128
SIDE = 1024  # of the matrices
THREADS = 2


def median_s(run: Callable[[], object]) -> float:
    """Return the median of three turns, after one that is not counted."""
    run()
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak_gflops(kind: torch.dtype) -> float:
    """Return what the product of two matrices reaches, in 10⁹ operations for each second."""
    one, other = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    return 2 * SIDE**3 / median_s(lambda: one @ other) / 1e9


def step(half: bool, channels_last: bool) -> Callable[[], None]:
    """Return one optimiser step on the recipe's network, the same batch every time."""
    recipe = read_recipe(RECIPE)
    torch.manual_seed(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shape = recipe.network
    network = UNet(UNetConfig(shape.encoder, shape.base, shape.depth)).to(memory_format=layout)
    loss = SegmentationLoss(recipe.loss)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.run.learning_rate)
    image = torch.rand(TILES, 3, TILE_PX, TILE_PX).contiguous(memory_format=layout)
    target = (torch.rand(TILES, len(CHANNELS), TILE_PX, TILE_PX) > 0.9).float()

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(image)
        loss(logits.float(), target, torch.ones_like(target))["loss"].backward()
        optimizer.step()

    return run


def test_a_step_in_either_precision_against_a_plain_loop() -> None:
    """Steps each second of both precisions and layouts; what `auto` takes should be the fastest."""
    peaks = {kind: peak_gflops(kind) for kind in (torch.float32, torch.bfloat16)}
    plain = median_s(step(half=False, channels_last=False))
    print(f"\nprocessor: {torch.backends.cpu.get_cpu_capability()}, auto takes {best_precision()}")
    for kind, peak in peaks.items():
        print(f"product of matrices, {kind}: {peak:.1f} GFLOP/s")
    print(f"32 bits, plain loop: {1 / plain:.2f} steps/s of {TILES} tiles of {TILE_PX} px")
    for name, half in (("32 bits", False), ("bfloat16", True)):
        taken = median_s(step(half, channels_last=True))
        print(f"{name}, channels last: {1 / taken:.2f} steps/s, ratio {plain / taken:.2f}")


def test_the_bundle_beside_the_peak() -> None:
    """Megapixels each second of the shipped bundle in 32 bits, on two threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        find_bundle(), options, providers=["CPUExecutionProvider"]
    )
    side = 512
    channels = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    taken = median_s(lambda: session.run(None, {INPUT_NAME: channels}))
    torch.set_num_threads(THREADS)
    peak = peak_gflops(torch.float32)
    operations = operations_per_px() / 1e9
    reached = operations * side**2 / taken
    print(f"\nbundle: {side**2 / taken / 1e6:.2f} Mpx/s on {THREADS} threads")
    print(
        f"that is {reached:.1f} GFLOP/s, the product of matrices {peak:.1f}: {reached / peak:.2f}"
    )


def operations_per_px() -> float:
    """Return the multiplications and additions of the recipe's convolutions for each pixel."""
    shape = read_recipe(RECIPE).network
    network = UNet(UNetConfig(shape.encoder, shape.base, shape.depth)).eval()
    counted: list[float] = []

    def count(layer: torch.nn.Module, _: object, answer: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        counted.append(2 * layer.weight[0].numel() * answer.numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, TILE_PX, TILE_PX))
    return sum(counted) / TILE_PX**2
