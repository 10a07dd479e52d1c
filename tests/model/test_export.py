"""Promises about exporting a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.bundle import BundleMetadata
from model.errors import ExportError
from model.export import PARITY_TOLERANCE, Calibrated, export_bundle, measure_parity
from model.predictor import Predictor
from model.unet import UNet, receptive_radius_px


def test_the_bundle_repeats_the_network(network: UNet, metadata: BundleMetadata, tmp_path: Path):
    """On three sizes, one of them padded, no probability differs by more than 1e-4."""
    bundle, parity = export_bundle(network, metadata, tmp_path / "a.onnx")
    assert parity <= PARITY_TOLERANCE
    calibrated = Calibrated(network, dict(metadata.temperature)).eval()
    assert measure_parity(calibrated, bundle) == parity


def test_geometry_is_filled_in_from_the_network(
    network: UNet, metadata: BundleMetadata, tmp_path: Path
):
    """The halo covers the receptive field and is a multiple of 2^depth."""
    bundle, _ = export_bundle(network, metadata, tmp_path / "a.onnx")
    assert bundle.metadata.halo_px >= receptive_radius_px(network.config)
    assert bundle.metadata.halo_px % 2**bundle.metadata.depth == 0
    assert Predictor(bundle).self_test()


def test_a_network_that_is_not_repeated_is_not_written(
    network: UNet, metadata: BundleMetadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """If parity fails, the error tells by how much, and no file is left."""
    monkeypatch.setattr("model.export.measure_parity", lambda *_: 0.01)
    with pytest.raises(ExportError, match=r"differs from the checkpoint by 0\.01"):
        export_bundle(network, metadata, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_temperature_divides_logits(network: UNet):
    """A temperature of 2 halves the logit of its own target and no other."""
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        logits = network(image)
        calibrated = Calibrated(network, {"vessel": 2.0})(image)
    torch.testing.assert_close(
        torch.logit(calibrated[:, 0]), logits[:, 0] / 2, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(torch.logit(calibrated[:, 1]), logits[:, 1], atol=1e-4, rtol=1e-4)
