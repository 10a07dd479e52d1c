"""Export a trained network as a bundle, after proving that both give the same probabilities."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from model.bundle import INPUT_NAME, OUTPUT_NAME, Bundle, BundleMetadata, write_bundle
from model.errors import ExportError
from model.predictor import Predictor, pad_to_multiple, self_test_pattern
from model.targets import CHANNELS
from model.unet import UNet, receptive_radius_px

PARITY_TOLERANCE = 1e-4
# One square, one wide, one that has to be padded.
PARITY_SIZES = ((64, 64), (96, 160), (101, 67))
_OPSET = 20
_RECORDED_LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")


class Calibrated(nn.Module):
    """A network whose logits are divided by a temperature for each target, then squashed."""

    temperature: Tensor

    def __init__(self, network: UNet, temperature: dict[str, float]) -> None:
        super().__init__()
        self.network = network
        values = torch.tensor([temperature.get(name, 1.0) for name in CHANNELS])
        self.register_buffer("temperature", values.view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities (N, K, H, W) of marker channels (N, C, H, W)."""
        return torch.sigmoid(self.network(x) / self.temperature)


def export_bundle(network: UNet, metadata: BundleMetadata, path: Path) -> tuple[Bundle, float]:
    """Write `network` to `path` as a bundle.

    The metadata's geometry, self-test and library versions are filled in here.

    Returns
    -------
    The bundle, and the greatest difference of a probability between it and the network.

    Raises
    ------
    ExportError
        If that difference exceeds `PARITY_TOLERANCE` anywhere; nothing is left at `path` then.
    """
    calibrated = Calibrated(network.cpu().float(), dict(metadata.temperature)).eval()
    stride = 2**network.config.depth
    halo_px = -(-receptive_radius_px(network.config) // stride) * stride
    with torch.no_grad():
        answer = calibrated(torch.from_numpy(self_test_pattern()[None]))
    metadata = dataclasses.replace(
        metadata,
        depth=network.config.depth,
        halo_px=halo_px,
        channel_mean=network.config.channel_mean,
        channel_std=network.config.channel_std,
        self_test=tuple(round(float(value), 6) for value in answer.mean(dim=(0, 2, 3))),
        library_versions={name: version(name) for name in _RECORDED_LIBRARIES}
        | {"python": platform.python_version()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trial = write_bundle(_to_onnx(calibrated, stride), metadata, Path(folder) / path.name)
        parity = measure_parity(calibrated, trial)
        if not parity <= PARITY_TOLERANCE:
            raise ExportError(
                f"the exported network differs from the checkpoint by {parity:.2g} "
                f"(allowed: {PARITY_TOLERANCE:g}); nothing was written. Export on another machine, "
                "or with the versions of torch and onnx that constraints.txt names"
            )
        trial.path.replace(path)
    return dataclasses.replace(trial, path=path), parity


def measure_parity(calibrated: Calibrated, bundle: Bundle) -> float:
    """Return the greatest difference of a probability over `PARITY_SIZES`."""
    predictor = Predictor(bundle)
    stride = 2**bundle.metadata.depth
    generator = np.random.default_rng(0)
    worst = 0.0
    for height, width in PARITY_SIZES:
        channels = generator.random((3, height, width), dtype=np.float32)
        padded = torch.from_numpy(pad_to_multiple(channels, stride)[None])
        with torch.no_grad():
            expected = calibrated(padded)[0, :, :height, :width].numpy()
        worst = max(worst, float(np.abs(predictor.probabilities(channels) - expected).max()))
    return worst


def _to_onnx(calibrated: Calibrated, stride: int) -> onnx.ModelProto:
    example = torch.rand(2, calibrated.network.config.in_channels, 4 * stride, 6 * stride)
    rows, columns = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)
    shapes = {0: torch.export.Dim("batch"), 2: stride * rows, 3: stride * columns}
    program = torch.onnx.export(
        calibrated,
        (example,),
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=(shapes,),
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise ExportError("torch.onnx.export returned no program")
    network = program.model_proto
    # The exporter notes source files and their paths beside every node; none of it is needed.
    for node in network.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*network.graph.value_info, *network.graph.input, *network.graph.output):
        del value.metadata_props[:]
    for tensor in network.graph.initializer:
        del tensor.metadata_props[:]
    del network.graph.metadata_props[:]
    return network
