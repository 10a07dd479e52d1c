"""Fixtures that every room's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from onnx import TensorProto, helper
from PIL import Image

from datasets.synth import make_section
from datasets.synth_fluorescence import render_fluorescence
from datasets.synth_params import SectionParams
from model.bundle import INPUT_NAME, OUTPUT_NAME, BundleMetadata, write_bundle
from model.predictor import self_test_pattern
from model.targets import CHANNELS

pytest_plugins = ["tests.live_server"]

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of development images, or skip: a user's checkout has none."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"development images are absent: {_SHARED_DATA}")
    return _SHARED_DATA


@pytest.fixture
def small_vessmap(tmp_path: Path) -> Path:
    """Return a folder laid out as VessMAP, of five small drawn crops."""
    root = tmp_path / "VessMAP"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(5):
        rng = np.random.default_rng(number)
        section = make_section(number, SectionParams.draw(rng, size_px=64, markers=("CD31",)))
        tifffile.imwrite(root / "images" / f"{number}.tiff", render_fluorescence(section)[..., 0])
        outline = section.vessel_mask().astype(np.uint8) * 255
        Image.fromarray(outline).save(root / "labels" / f"{number}.png")
    return root


# A network whose answer is known beforehand: it sees a vessel, or a cell, where the marker channel
# is above 0.5, and the middle of a cell where it is above 0.8.
_ORACLE_GAIN = 40.0
_ORACLE_LEVELS = (0.5, 0.5, 0.8)


@pytest.fixture(scope="session")
def write_oracle() -> Callable[..., Path]:
    """Return a writer of bundles ``(path, *, mpp_um, tile_px)`` that threshold the marker channel.

    One 1×1 convolution and a sigmoid: a real ONNX session, written by the real bundle writer.
    """
    return _write_oracle


@pytest.fixture(scope="session")
def oracle_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle at 0.5 µm/px that thresholds the marker channel."""
    return _write_oracle(tmp_path_factory.mktemp("oracle") / "oracle.onnx")


def _write_oracle(path: Path, *, mpp_um: float = 0.5, tile_px: int = 256) -> Path:
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[:, 0] = _ORACLE_GAIN
    bias = -_ORACLE_GAIN * np.array(_ORACLE_LEVELS, np.float32)
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
    logits = _ORACLE_GAIN * self_test_pattern()[0][None] + bias[:, None, None]
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
        temperature=dict.fromkeys(CHANNELS, 1.0),
        training_data_sha256="0" * 63 + "1",
        data_licence="none: nothing was trained",
        library_versions={"onnx": onnx.__version__},
        git_revision="none",
        created_at="2024-01-01T00:00:00+00:00",
        validation_scores={},
        self_test=tuple(answer.tolist()),
        recipe={},
    )
    return write_bundle(network, metadata, path).path
