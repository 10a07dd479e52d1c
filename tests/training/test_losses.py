"""Promises about losses: closed forms, and silence where nothing was annotated."""

from __future__ import annotations

import math

import pytest
import torch

from model.targets import CHANNELS, VESSEL
from model.unet import UNet, UNetConfig
from training.losses import (
    SegmentationLoss,
    centre_line_loss,
    masked_bce,
    soft_dice_loss,
    soft_skeleton,
)
from training.recipe import LossConfig


def bar(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., rows, columns] = 1
    return mask


def test_cross_entropy_of_a_coin_toss_is_log_two():
    """Logit 0 costs ln 2 on every annotated pixel, and nothing elsewhere."""
    logits = torch.zeros(2, 3, 4, 4)
    logits[1] = 50  # badly wrong, but not annotated
    weight = torch.zeros(2, 3, 4, 4)
    weight[0] = 1
    assert masked_bce(logits, torch.zeros(2, 3, 4, 4), weight) == pytest.approx(math.log(2))


def test_dice_of_half_an_overlap():
    """Two bars of 8 px that share 4 px: 1 − (2·4 + 1) / (16 + 1), with the smoothing pixel."""
    one, other = bar(8, 8, slice(2, 3), slice(0, 8)), bar(8, 8, slice(2, 4), slice(0, 4))
    loss = soft_dice_loss(one, other, torch.ones_like(one))
    assert loss == pytest.approx(1 - 9 / 17)


def test_a_perfect_mask_costs_nothing():
    """Dice and centre-line loss of a mask with itself are 0."""
    mask = bar(16, 32, slice(5, 11), slice(2, 30))
    weight = torch.ones_like(mask)
    assert soft_dice_loss(mask, mask, weight) == pytest.approx(0)
    assert centre_line_loss(mask, mask, weight, 5) == pytest.approx(0)


def test_the_soft_skeleton_of_a_bar_is_its_middle_row():
    """A bar three pixels high is thinned to the one row in its middle."""
    skeleton = soft_skeleton(bar(9, 20, slice(3, 6), slice(0, 20)), 3)
    assert skeleton[0, 0, 4].eq(1).all()
    assert skeleton.sum() == 20


def test_a_gap_costs_more_centre_line_than_area():
    """Cutting a thin vessel costs the centre-line loss more than thinning it by as many pixels."""
    true = bar(16, 64, slice(6, 9), slice(0, 64))
    cut = true.clone()
    cut[..., 20:40] = 0
    thinned = bar(16, 64, slice(7, 8), slice(0, 64))
    weight = torch.ones_like(true)
    assert centre_line_loss(cut, true, weight, 4) > centre_line_loss(thinned, true, weight, 4) + 0.1


@pytest.mark.parametrize("centre_line", [0.0, 0.5])
def test_pixels_that_nobody_annotated_do_not_move_the_network(centre_line: float):
    """Gradients vanish on channels and areas without annotation, in every loss."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    weight = torch.zeros(2, 3, 16, 16)
    weight[0, 0, :, :8] = 1
    loss = SegmentationLoss(LossConfig(centre_line=centre_line, centre_line_iterations=2))
    loss(logits, (torch.rand(2, 3, 16, 16) > 0.5).float(), weight)["loss"].backward()
    assert logits.grad is not None
    assert logits.grad[weight == 0].abs().max() == 0
    assert logits.grad[weight == 1].abs().max() > 0


def test_a_batch_without_any_annotation_is_no_catastrophe():
    """A loss over nothing is finite and has a gradient."""
    logits = torch.zeros(1, 3, 16, 16, requires_grad=True)
    terms = SegmentationLoss(LossConfig())(
        logits, torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    )
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])


def test_the_sum_is_the_sum_of_its_terms():
    """What is logged adds up to what is minimised."""
    torch.manual_seed(0)
    terms = SegmentationLoss(LossConfig())(
        torch.randn(1, 3, 16, 16), torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    )
    total = terms.pop("loss")
    assert total == pytest.approx(float(sum(terms.values())), rel=1e-5)


def test_what_is_drawn_where_nobody_annotated_changes_no_bit() -> None:
    """Other targets beyond the annotated area, and in a channel that was not, change nothing.

    Neither the loss nor the gradient of any weight of a whole network: vessels of half a tile.
    """
    torch.manual_seed(0)
    network = UNet(UNetConfig(base=4, depth=2)).eval()
    image = torch.rand(2, 3, 32, 32)
    weight = torch.zeros(2, 3, 32, 32)
    weight[:, CHANNELS.index(VESSEL), :, :16] = 1
    target = (torch.rand(2, 3, 32, 32) > 0.7).float()
    other = torch.where(weight > 0, target, 1 - target)
    loss = SegmentationLoss(LossConfig(centre_line=0.5, centre_line_iterations=2))
    found = []
    for drawn in (target, other):
        network.zero_grad()
        terms = loss(network(image), drawn, weight)
        terms["loss"].backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append([terms["loss"].detach(), *gradients])
    assert any(bool(gradient.any()) for gradient in found[0][1:])
    assert all(torch.equal(mine, others) for mine, others in zip(*found, strict=True))
