"""A bundle as a torch network again, so that training can go on where it ended.

Export folds each batch normalisation into the convolution before it. The restored network carries
the folded weights, and normalisations that change nothing: their mean is 0, their variance 1, and
their shift is the folded bias. Whoever trains it on keeps those statistics as they are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from model.bundle import Bundle
from model.errors import BundleError
from model.export import PARITY_TOLERANCE, Calibrated, measure_parity
from model.unet import UNet, UNetConfig

_PREFIX = "network."  # what `model.export.Calibrated` calls the network inside


def restore_network(bundle: Bundle) -> UNet:
    """Return the network of a bundle, its answers proven to be the bundle's own.

    Raises
    ------
    BundleError
        If the graph is not one that `model.export` writes.
    """
    shape = bundle.metadata.recipe.get("network")
    if not isinstance(shape, dict):
        raise BundleError(f"{bundle.path.name} does not say what network it holds: recipe.network")
    network = UNet(
        UNetConfig(
            **shape,
            channel_mean=bundle.metadata.channel_mean,
            channel_std=bundle.metadata.channel_std,
        )
    ).eval()
    weights = _folded(onnx.load(bundle.path))
    with torch.no_grad():
        for name, convolution, normalisation in _convolutions(network):
            if name not in weights or weights[name][0].shape != convolution.weight.shape:
                raise BundleError(
                    f"{bundle.path.name} has no weights that fit {name}; export it anew"
                )
            weight, bias = weights[name]
            convolution.weight.copy_(weight)
            if normalisation is None:
                cast(Tensor, convolution.bias).copy_(bias)
            else:
                _as_shift(normalisation, bias)
    difference = measure_parity(Calibrated(network, dict(bundle.metadata.temperature)), bundle)
    if not difference <= PARITY_TOLERANCE:
        raise BundleError(
            f"{bundle.path.name} cannot be trained on: restored, it differs by {difference:.2g}; "
            "go on from its checkpoint, or export that anew with this version"
        )
    return network


def _folded(graph: onnx.ModelProto) -> dict[str, tuple[Tensor, Tensor]]:
    """Return weight and bias of each convolution by the name of its module."""
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    found = {}
    for node in graph.graph.node:
        if node.op_type != "Conv":
            continue
        if not all(name in tensors for name in node.input[1:]):
            raise BundleError("a convolution computes its weights; export the bundle anew")
        weight, *rest = (
            torch.from_numpy(np.array(numpy_helper.to_array(tensors[name])))
            for name in node.input[1:]
        )
        bias = rest[0] if rest else torch.zeros(len(weight))  # a shift of nothing is left out
        module = node.input[1].removeprefix(_PREFIX).removesuffix(".weight")
        found[module] = (weight, bias)
    return found


def _convolutions(network: UNet) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]]:
    """Return each convolution with the normalisation that follows it, if one does."""
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    return [
        (name, module, following if isinstance(following, nn.BatchNorm2d) else None)
        for (name, module), (_, following) in pairwise([*layers, ("", None)])
        if isinstance(module, nn.Conv2d)
    ]


def _as_shift(normalisation: nn.BatchNorm2d, shift: Tensor) -> None:
    """Make a normalisation add `shift` to each channel and do nothing else."""
    cast(Tensor, normalisation.running_mean).zero_()
    cast(Tensor, normalisation.running_var).fill_(1 - normalisation.eps)
    normalisation.weight.fill_(1.0)
    normalisation.bias.copy_(shift)
