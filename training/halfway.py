"""The mean of a run's weights and of those that it started from.

Going on with new data forgets some of the old; weights halfway keep most of both, where the run
started from what it is averaged with (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022, arXiv 2109.01903). Weights that never met have nothing in common: their mean is noise.
"""

from __future__ import annotations

import torch

from training.errors import CheckpointError
from training.module import SegmentationModule, Start


def meet_halfway(module: SegmentationModule, start: Start) -> None:
    """Set the weights of `module` to the mean of its own and those of `start`, in place.

    Raises
    ------
    CheckpointError
        If the run did not start from these weights.
    """
    if module.started_from != start.name:
        own = module.started_from or "random weights"
        raise CheckpointError(
            f"the run started from {own}, not from {start.name}; average it with those", "mean_with"
        )
    other = start.network.state_dict()
    with torch.no_grad():
        for name, value in module.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(other[name].to(value), 0.5)
    module.halfway = True
    module.inherited = dict(start.inherited)
