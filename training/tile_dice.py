"""The score that decides which weights of a run are kept: Dice of validation tiles, by source.

Letters: N batch, S source, T target, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from model.targets import ANNOTATED_TARGETS, CHANNELS

DECIDES = "dice"
_SCORED = [CHANNELS.index(target) for target in ANNOTATED_TARGETS]


class TileDice(Metric):
    """Dice at probability 0.5 over all processes' tiles; sources count by weight, not by tiles.

    A tile counts for a target if it was annotated for it and holds it. A source's Dice is the mean
    of its targets' means over tiles; `dice`, which decides, is the mean of the sources' Dice by
    their weights. What has no such tile drops out of each mean.

    Parameters
    ----------
    weights
        How much each source counts; all alike where those that were seen have 0 together.
    """

    full_state_update = False
    total: Tensor
    tiles: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self._weights = dict(weights)
        shape = (len(weights), len(ANNOTATED_TARGETS))
        # One place for each source in every process, whichever tiles it sees: sums can be added.
        self.add_state("total", torch.zeros(shape), dist_reduce_fx="sum")
        self.add_state("tiles", torch.zeros(shape), dist_reduce_fx="sum")

    def update(
        self, predicted: Tensor, target: Tensor, annotated: Tensor, sources: Sequence[str]
    ) -> None:
        """Add a batch of all channels' masks and of what was annotated, all bool (N, K, H, W)."""
        annotated = annotated[:, _SCORED]
        predicted, target = predicted[:, _SCORED] & annotated, target[:, _SCORED] & annotated
        held = target.sum((2, 3))
        dice = 2 * (predicted & target).sum((2, 3)) / (predicted.sum((2, 3)) + held).clamp(min=1)
        for place, source in enumerate(self._weights):
            here = torch.tensor([s == source for s in sources], device=held.device)
            self.total[place] += dice[here].sum(0)  # 0 where the tile does not hold the target
            self.tiles[place] += (held[here] > 0).sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return `dice`, and `dice_NAME` of each target and source that had a tile; 0 without any.

        That of a target is the mean over all its tiles, whatever their source.
        """
        by_target = self.total.sum(0) / self.tiles.sum(0)
        by_source = (self.total / self.tiles).nanmean(1)
        names = (*ANNOTATED_TARGETS, *self._weights)
        found = dict(zip(names, torch.cat([by_target, by_source]), strict=True))
        scores = {f"dice_{name}": value for name, value in found.items() if not value.isnan()}
        return {DECIDES: self._mean(by_source)} | scores

    def _mean(self, by_source: Tensor) -> Tensor:
        weights = torch.tensor(list(self._weights.values())).to(by_source)
        seen = ~by_source.isnan()
        if not seen.any():
            return torch.zeros(()).to(by_source)
        weights = weights[seen] if weights[seen].any() else seen[seen].to(by_source)
        return (by_source[seen] * weights).sum() / weights.sum()
