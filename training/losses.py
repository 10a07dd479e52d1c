"""Losses over target channels, masked by what was annotated.

Letters: N batch, K target channels, H, W pixels. A weight (N, K, H, W) is 1 where a pixel of a
channel was annotated and 0 elsewhere. Every ratio is one of sums over the batch; `total` adds these
up over the processes that share a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.targets import CHANNELS, VEGF_CELL_CENTRE, VESSEL
from training.processes import Total
from training.recipe import LossConfig

_SMOOTH = 1.0  # a pixel: keeps the ratio defined where a target is absent


def alone(value: Tensor) -> Tensor:
    """Return the sum over one process: `value`."""
    return value


class SegmentationLoss(nn.Module):
    """Binary cross-entropy + soft Dice + centre-line Dice, each over annotated channels only.

    The centre channel is a depth in 0..1, not a class: cross-entropy alone learns it. Dice sums
    over the batch, so that a tile without vessels counts through its false positives instead of
    contributing a ratio of nothing.

    Sources: soft Dice, Milletari et al. 2016 (doi 10.1109/3DV.2016.79); centre-line Dice, Shit et
    al. 2021 (doi 10.1109/CVPR46437.2021.01629).
    """

    is_class: Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        is_class = torch.tensor([name != VEGF_CELL_CENTRE for name in CHANNELS])
        self.register_buffer("is_class", is_class, persistent=False)

    def forward(
        self, logits: Tensor, target: Tensor, weight: Tensor, total: Total = alone
    ) -> dict[str, Tensor]:
        """Return each weighted loss by name, and their sum as ``loss``; all are (N, K, H, W)."""
        probabilities = torch.sigmoid(logits)
        terms = {
            "bce": self.config.bce * masked_bce(logits, target, weight, total),
            "dice": self.config.dice
            * soft_dice_loss(
                probabilities[:, self.is_class],
                target[:, self.is_class],
                weight[:, self.is_class],
                total,
            ),
        }
        if self.config.centre_line:
            vessel = CHANNELS.index(VESSEL)
            pick = slice(vessel, vessel + 1)
            terms["centre_line"] = self.config.centre_line * centre_line_loss(
                probabilities[:, pick],
                target[:, pick],
                weight[:, pick],
                self.config.centre_line_iterations,
                total,
            )
        return terms | {"loss": torch.stack(list(terms.values())).sum()}


def masked_bce(logits: Tensor, target: Tensor, weight: Tensor, total: Total = alone) -> Tensor:
    """Return the mean cross-entropy over annotated pixels; 0 if there are none."""
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return total((loss * weight).sum()) / total(weight.sum()).clamp(min=1)


def soft_dice_loss(
    probabilities: Tensor, target: Tensor, weight: Tensor, total: Total = alone
) -> Tensor:
    """Return 1 − soft Dice, averaged over the channels that are annotated anywhere in the batch."""
    dims = (0, 2, 3)
    both = total((probabilities * target * weight).sum(dims))
    either = total(((probabilities + target) * weight).sum(dims))
    present = (total(weight.sum(dims)) > 0).to(probabilities.dtype)
    dice = (2 * both + _SMOOTH) / (either + _SMOOTH)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def centre_line_loss(
    probabilities: Tensor,
    target: Tensor,
    weight: Tensor,
    iterations: int,
    total: Total = alone,
) -> Tensor:
    """Return 1 − centre-line Dice of annotated pixels over the batch; 0 where none is annotated."""
    if not bool(total(weight.sum()) > 0):
        return probabilities.sum() * 0.0
    predicted, true = probabilities * weight, target * weight
    predicted_line = soft_skeleton(predicted, iterations)
    true_line = soft_skeleton(true, iterations)
    hit, line = total((predicted_line * true).sum()), total(predicted_line.sum())
    met, true_sum = total((true_line * predicted).sum()), total(true_line.sum())
    precision = (hit + _SMOOTH) / (line + _SMOOTH)
    sensitivity = (met + _SMOOTH) / (true_sum + _SMOOTH)
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Return a differentiable centre-line of a soft mask (N, K, H, W): what openings remove.

    `iterations` is the greatest half-width in pixels that is thinned to a line.
    """
    skeleton = nn.functional.relu(mask - _opened(mask))
    for _ in range(iterations):
        mask = _eroded(mask)
        rest = nn.functional.relu(mask - _opened(mask))
        skeleton = skeleton + nn.functional.relu(rest - skeleton * rest)
    return skeleton


def _eroded(mask: Tensor) -> Tensor:
    rows = -nn.functional.max_pool2d(-mask, (3, 1), 1, (1, 0))
    columns = -nn.functional.max_pool2d(-mask, (1, 3), 1, (0, 1))
    return torch.minimum(rows, columns)


def _opened(mask: Tensor) -> Tensor:
    return nn.functional.max_pool2d(_eroded(mask), 3, 1, 1)
