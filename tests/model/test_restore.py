"""Promises about going on from a bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from model.bundle import BundleMetadata, find_bundle, load_bundle
from model.errors import BundleError
from model.export import PARITY_TOLERANCE, Calibrated, export_bundle, measure_parity
from model.restore import restore_network
from model.unet import Encoder, UNet, UNetConfig


def _trained_a_little(config: UNetConfig) -> UNet:
    """Return a network whose normalisations have seen something, as a trained one's have."""
    torch.manual_seed(2)
    network = UNet(config)
    for _ in range(3):
        network(torch.rand(2, 3, 64, 64))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, std=0.2)
    return network.eval()


@pytest.mark.parametrize(("encoder", "depth"), [("plain", 2), ("resnet18", 5)])
def test_a_restored_network_answers_as_the_bundle_does(
    encoder: Encoder, depth: int, metadata: BundleMetadata, tmp_path: Path
):
    """Folded normalisations come back as shifts: no probability moves by more than 1e-4."""
    config = UNetConfig(encoder, 4, depth, channel_mean=(0.1, 0.2, 0.0))
    shape = {"encoder": encoder, "base": 4, "depth": depth}
    described = dataclasses.replace(metadata, recipe={"network": shape})
    bundle, _ = export_bundle(_trained_a_little(config), described, tmp_path / "b.onnx")
    restored = restore_network(bundle)
    assert restored.config == config
    calibrated = Calibrated(restored, dict(metadata.temperature))
    assert measure_parity(calibrated, bundle) <= PARITY_TOLERANCE


def test_the_shipped_bundle_can_be_trained_on():
    """The bundle that is shipped is restored, with every weight."""
    assert restore_network(load_bundle(find_bundle())).config.encoder == "plain"


def test_a_foreign_graph_is_refused(oracle_bundle: Path):
    """A bundle that does not say what network it holds cannot be trained on."""
    with pytest.raises(BundleError, match=r"recipe\.network"):
        restore_network(load_bundle(oracle_bundle))


def test_a_bundle_that_claims_another_shape_is_refused(
    network: UNet, metadata: BundleMetadata, tmp_path: Path
):
    """Weights that do not fit the shape that the recipe names are one clear error."""
    shape = {"encoder": "plain", "base": 4, "depth": 3}
    described = dataclasses.replace(metadata, recipe={"network": shape})
    bundle, _ = export_bundle(network, described, tmp_path / "b.onnx")
    with pytest.raises(BundleError, match="export it anew"):
        restore_network(bundle)
