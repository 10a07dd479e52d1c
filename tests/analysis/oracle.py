"""A network whose answer is known beforehand: it sees a vessel, or a cell, where stain is strong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from model.bundle import INPUT_NAME, OUTPUT_NAME, Bundle, BundleMetadata, write_bundle
from model.predictor import self_test_pattern
from model.targets import CHANNELS

GAIN = 40.0
BODY, CENTRE = 0.5, 0.8
"""Marker channel from which a pixel is vessel or cell body, and cell centre."""


def write_oracle(path: Path, *, mpp_um: float = 0.5, tile_px: int = 256) -> Bundle:
    """Write a bundle of one 1×1 convolution on the marker channel, with true metadata."""
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[:, 0] = GAIN
    bias = -GAIN * np.array([BODY, BODY, CENTRE], np.float32)
    shape = [1, 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [INPUT_NAME, "weights", "bias"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], [OUTPUT_NAME]),
        ],
        "oracle",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape)],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(bias, "bias"),
        ],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    logits = GAIN * self_test_pattern()[0][None] + bias[:, None, None]
    answer = (1 / (1 + np.exp(-logits))).mean(axis=(1, 2))
    metadata = BundleMetadata(
        name="oracle",
        version="1",
        description="Sees stain above a fixed strength.",
        targets=CHANNELS,
        mpp_um=mpp_um,
        depth=2,
        tile_px=tile_px,
        halo_px=16,
        channel_mean=(0.0, 0.0, 0.0),
        channel_std=(1.0, 1.0, 1.0),
        thresholds={"vessel": 0.5, "vegf_cell": 0.5},
        temperature={"vessel": 1.0, "vegf_cell": 1.0, "vegf_cell_centre": 1.0},
        training_data_sha256="0" * 63 + "1",
        data_licence="none: nothing was trained",
        library_versions={"onnx": onnx.__version__},
        git_revision="none",
        created_at="2024-01-01T00:00:00+00:00",
        validation_scores={},
        self_test=tuple(answer.tolist()),
        recipe={},
    )
    return write_bundle(network, metadata, path)
