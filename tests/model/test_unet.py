"""Promises about the network's shape."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from model.unet import UNet, UNetConfig, receptive_radius_px, start_from_imagenet


@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_size_of_the_input(depth: int):
    """Every multiple of 2^depth comes back in its own size, one channel for each target."""
    network = UNet(UNetConfig(base=2, depth=depth)).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 24, 40)).shape == (2, 3, 24, 40)


def test_an_untrained_network_expects_the_prior():
    """Before training the mean probability is near the share of foreground that is configured."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(base=8, depth=2, foreground_prior=0.1)).eval()
    with torch.no_grad():
        assert torch.sigmoid(network(torch.rand(1, 3, 32, 32))).mean() == pytest.approx(
            0.1, abs=0.05
        )


def test_the_network_normalises_its_input_itself():
    """Doubling the input and the statistics that the config holds changes nothing."""
    torch.manual_seed(0)
    plain = UNet(UNetConfig(base=2, depth=1)).eval()
    scaled = UNet(UNetConfig(base=2, depth=1, channel_std=(2.0, 2.0, 2.0))).eval()
    weights = plain.state_dict() | {"std": scaled.std}
    scaled.load_state_dict(weights)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(scaled(2 * image), plain(image))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_pixel_reaches_further_than_the_receptive_radius(depth: int):
    """An output depends on no input beyond the radius that decides the halo."""
    torch.manual_seed(0)
    config = UNetConfig(base=4, depth=depth)
    network = UNet(config).eval()
    for weight in network.parameters():  # no rectifier may cut a path
        weight.data.abs_()
    radius = receptive_radius_px(config)
    side = 2 * (radius + 8) // 2**depth * 2**depth + 2**depth
    image = torch.rand(1, 3, side, side, requires_grad=True)
    network(image)[0, :, side // 2, side // 2].sum().backward()
    assert image.grad is not None
    rows, columns = image.grad[0].abs().sum(0).nonzero(as_tuple=True)
    reach = max((rows - side // 2).abs().max(), (columns - side // 2).abs().max())
    assert 0 < reach <= radius


def test_a_resnet_encoder_warns_when_its_weights_are_out_of_reach(monkeypatch: pytest.MonkeyPatch):
    """Without a network the encoder starts from random weights and says so."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(
        "torchvision._internally_replaced_utils.load_state_dict_from_url", unreachable
    )
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    network = UNet(UNetConfig(encoder="resnet18", base=4, depth=5)).eval()
    with pytest.warns(UserWarning, match="random"):
        start_from_imagenet(network)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_a_resnet_encoder_takes_over_published_weights(monkeypatch: pytest.MonkeyPatch):
    """What torchvision would fetch replaces the random weights of stem and stages alone."""
    torch.manual_seed(1)
    published = models.resnet18(weights=None)
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url",
        lambda *_, **__: published.state_dict(),
    )
    network = UNet(UNetConfig(encoder="resnet18", base=4, depth=5))
    before = network.decoder[0][0].weight.clone()
    start_from_imagenet(network)
    torch.testing.assert_close(network.encoder.stem[0].weight, published.conv1.weight)
    deepest = network.encoder.stages[3][1].conv2.weight
    torch.testing.assert_close(deepest, published.layer4[1].conv2.weight)
    torch.testing.assert_close(network.decoder[0][0].weight, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": 0}, "base"),
        ({"depth": 0}, "depth"),
        ({"encoder": "resnet18", "depth": 4}, "depth = 5"),
        ({"channel_mean": (0.0,)}, "channel_mean"),
    ],
)
def test_impossible_shapes_are_refused(values: dict[str, object], message: str):
    """A shape that cannot be built is refused when it is configured."""
    with pytest.raises(ValueError, match=message):
        UNetConfig(**values)  # type: ignore[arg-type]
