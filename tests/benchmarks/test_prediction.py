"""Speed of the bundle beside the machine's own; the seconds of a machine are nobody else's."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from model.bundle import INPUT_NAME, Bundle, find_bundle, load_bundle
from model.unet import UNet, UNetConfig
from tests.benchmarks.machine import median_s, peak_gflops

pytestmark = pytest.mark.benchmark
SIDE_PX, COUNTED_PX = 512, 128


def test_the_bundle_beside_the_peak() -> None:
    """Megapixels each second of the shipped bundle in 32 bits, and the share of what is possible.

    On as many threads as products of matrices take: the processor's cores.
    """
    bundle = load_bundle(find_bundle())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(bundle.path, options, providers=["CPUExecutionProvider"])
    channels = np.random.default_rng(0).random((1, 3, SIDE_PX, SIDE_PX), dtype=np.float32)
    px_per_s = SIDE_PX**2 / median_s(lambda: session.run(None, {INPUT_NAME: channels}))
    reached = operations_per_px(bundle) * px_per_s / 1e9
    peak, whose = peak_gflops()
    print(f"\nbundle: {px_per_s / 1e6:.2f} Mpx/s on {torch.get_num_threads()} threads")
    print(
        f"that is {reached:.1f} GFLOP/s, the best product of matrices {peak:.1f} ({whose}): "
        f"{reached / peak:.2f}"
    )
    assert np.isfinite(reached / peak)
    assert reached > 0


def operations_per_px(bundle: Bundle) -> float:
    """Return the multiplications and additions of a bundle's convolutions for each pixel."""
    network = UNet(UNetConfig(**bundle.metadata.recipe["network"])).eval()
    counted: list[float] = []

    def count(layer: torch.nn.Module, _: object, answer: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        counted.append(2 * layer.weight[0].numel() * answer.numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, COUNTED_PX, COUNTED_PX))
    return sum(counted) / COUNTED_PX**2
