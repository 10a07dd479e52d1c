"""The network on one page: a U-Net from marker channels to one logit per target channel.

Letters: N batch, C input channels, K target channels, H, W pixels (multiples of 2^depth).
Batch normalisation, not group normalisation: quantising to eight bits folds it away.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import ResNet

from model.targets import CHANNELS

Encoder = Literal["plain", "resnet18", "resnet34"]
_RESNET_WIDTHS = (64, 64, 128, 256, 512)  # both ResNets: the stem, then their four stages
_RESNETS = {
    "resnet18": (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
    "resnet34": (models.resnet34, models.ResNet34_Weights.IMAGENET1K_V1),
}
# 3×3 convolutions by level; the 7×7 stem works on the full scale and reaches as far as three.
_CONVOLUTIONS = {"resnet18": (5, 0, 4, 4, 4, 4), "resnet34": (5, 0, 6, 8, 12, 6)}


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Shape of the network; saved with its weights.

    `base` is the width of the finest level and doubles at each of the `depth` halvings; a ResNet
    encoder brings its own widths and five halvings.
    """

    encoder: Encoder = "plain"
    base: int = 24
    depth: int = 4
    in_channels: int = 3
    out_channels: int = len(CHANNELS)
    channel_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    channel_std: tuple[float, ...] = (1.0, 1.0, 1.0)
    foreground_prior: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        if self.base < 1 or self.depth < 1:
            raise ValueError(f"base {self.base} and depth {self.depth} must be 1 or more")
        if self.encoder != "plain" and self.depth != len(_RESNET_WIDTHS):
            raise ValueError(f"encoder {self.encoder} halves five times: set depth = 5")
        if not len(self.channel_mean) == len(self.channel_std) == self.in_channels:
            raise ValueError("channel_mean and channel_std need one value for each input channel")


def double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return two 3×3 convolutions, each normalised and rectified; H and W stay."""
    layers: list[nn.Module] = []
    for width in (channels_in, channels_out):
        layers += [
            nn.Conv2d(width, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class PlainEncoder(nn.Module):
    """Double convolutions with 2×2 maxima between: (N, C, H, W) to depth + 1 scales.

    Scale k has `widths[k]` = base · 2^k channels of H / 2^k × W / 2^k pixels; H and W are multiples
    of 2^depth.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.widths = [config.base * 2**level for level in range(config.depth + 1)]
        inputs = [config.in_channels, *self.widths]
        self.levels = nn.ModuleList(
            double_conv(inputs[level], width) for level, width in enumerate(self.widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of every scale, finest first."""
        features = [self.levels[0](x)]
        for level in list(self.levels)[1:]:
            features.append(level(nn.functional.max_pool2d(features[-1], 2)))
        return features


class ResNetEncoder(nn.Module):
    """A torchvision ResNet's stem and stages, with a double convolution at the full scale.

    (N, C, H, W) to six scales, as `PlainEncoder` of depth 5, with `widths` channels; H and W are
    multiples of 32.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.widths = [config.base, *_RESNET_WIDTHS]
        self.full = double_conv(config.in_channels, config.base)
        self.stem, self.stages = _stem_and_stages(_RESNETS[config.encoder][0](weights=None))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of every scale, finest first."""
        features = [self.full(x), self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


def _stem_and_stages(net: ResNet) -> tuple[nn.Sequential, nn.ModuleList]:
    stem = nn.Sequential(net.conv1, net.bn1, net.relu)
    first = nn.Sequential(net.maxpool, net.layer1)
    return stem, nn.ModuleList([first, net.layer2, net.layer3, net.layer4])


class UNet(nn.Module):
    """The network: (N, C, H, W) marker channels in 0..1 to (N, K, H, W) logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.channel_mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(config.channel_std).view(1, -1, 1, 1))
        self.encoder = PlainEncoder(config) if config.encoder == "plain" else ResNetEncoder(config)
        widths = self.encoder.widths
        self.decoder = nn.ModuleList(
            double_conv(widths[level] + widths[level - 1], widths[level - 1])
            for level in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv2d(widths[0], config.out_channels, 1)
        # Few pixels are foreground: starting at their share spares the first hundred steps.
        prior = config.foreground_prior
        nn.init.constant_(cast(Tensor, self.head.bias), math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's own height and width."""
        features = self.encoder((x - self.mean) / self.std)
        x = features.pop()
        for block in self.decoder:
            # By scale factor, not by size: the exported graph then has no shape arithmetic.
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, features.pop()], dim=1))
        return cast(Tensor, self.head(x))


def start_from_imagenet(network: UNet) -> None:
    """Give a ResNet encoder torchvision's ImageNet weights; a plain encoder stays as it is.

    Only for weights that are to be trained from the start: torchvision fetches what it has not
    fetched before. Where they are out of reach, a warning says so and the random ones stay.
    """
    encoder, name = network.encoder, network.config.encoder
    if not isinstance(encoder, ResNetEncoder):
        return
    build, weights = _RESNETS[name]
    try:
        stem, stages = _stem_and_stages(build(weights=weights))
    except OSError as error:  # urllib's errors derive from it
        warnings.warn(
            f"the ImageNet weights of {name} are out of reach ({error}); starting from random ones",
            stacklevel=2,
        )
        return
    encoder.stem.load_state_dict(stem.state_dict())
    encoder.stages.load_state_dict(stages.state_dict())


def receptive_radius_px(config: UNetConfig) -> int:
    """Return how far, in pixels, an input can lie from an output that it changes; an upper bound.

    A 3×3 convolution reaches one pixel of its level, that is 2^level pixels of the image; a halving
    and the doubling that undoes it each reach one pixel less than their factor.
    """
    convolutions = _CONVOLUTIONS.get(config.encoder, (2,) * (config.depth + 1))
    encoder = sum(count << level for level, count in enumerate(convolutions))
    decoder = sum(2 << level for level in range(config.depth))
    sampling = 2 * ((1 << config.depth) - 1)
    return encoder + decoder + sampling
