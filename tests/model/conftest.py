"""A small network exported as a real bundle, once for all tests of the model."""

from __future__ import annotations

import pytest
import torch

from model.bundle import Bundle, BundleMetadata
from model.export import export_bundle
from model.targets import CHANNELS
from model.unet import UNet, UNetConfig

METADATA = BundleMetadata(
    name="small",
    version="0.0.1",
    description="two levels, untrained",
    targets=CHANNELS,
    mpp_um=0.5,
    depth=2,
    tile_px=64,
    halo_px=0,
    channel_mean=(),
    channel_std=(),
    thresholds={"vessel": 0.5, "vegf_cell": 0.5},
    temperature={"vessel": 1.5, "vegf_cell": 1.0, "vegf_cell_centre": 1.0},
    training_data_sha256="0" * 63 + "1",
    data_licence="none",
    library_versions={},
    git_revision="unknown",
    created_at="2026-01-01T00:00:00+00:00",
    validation_scores={},
    self_test=(),
    recipe={},
)


@pytest.fixture(scope="session")
def network() -> UNet:
    """Return an untrained network of two levels."""
    torch.manual_seed(1)
    return UNet(UNetConfig(base=4, depth=2)).eval()


@pytest.fixture(scope="session")
def metadata() -> BundleMetadata:
    """Return metadata for that network, its geometry still to be filled in."""
    return METADATA


@pytest.fixture(scope="session")
def bundle(
    network: UNet, metadata: BundleMetadata, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """Return the network as a bundle."""
    written, _ = export_bundle(network, metadata, tmp_path_factory.mktemp("bundle") / "small.onnx")
    return written
