"""Scores that judge single cells: found, parted from neighbours, and counted.

Definitions, over the cells of one or of many images:

============  ====================================================================================
f1            2·TP / (predicted + annotated); TP are pairs whose intersection over union exceeds
              0.5, which no cell can have with two others
aji           aggregated Jaccard index (Kumar et al. 2017, doi 10.1109/TMI.2017.2677499): each
              annotated cell's intersection with the predicted one of the greatest intersection over
              union, over the sum of their unions and of all predicted cells that no one chose
count_error   (predicted − annotated) / annotated
============  ====================================================================================

A ratio of nothing is None. Letters: H, W pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from training.tally import Tally, ratio

INSTANCE_SCORE_NAMES = ("f1", "aji", "count_error")
_MATCH = 0.5


@dataclasses.dataclass(frozen=True)
class InstanceTally(Tally):
    """Counts of cells and of pixels from which every score follows; tallies add up."""

    matched: int = 0
    predicted: int = 0
    annotated: int = 0
    intersection_px: int = 0
    union_px: int = 0

    def scores(self) -> dict[str, float | None]:
        """Return every score by name."""
        return {name: ratio(*fraction) for name, fraction in self.fractions().items()}

    def fractions(self) -> dict[str, tuple[int, int]]:
        """Return numerator and denominator of every score; those of several tallies add up."""
        return {
            "f1": (2 * self.matched, self.predicted + self.annotated),
            "aji": (self.intersection_px, self.union_px),
            "count_error": (self.predicted - self.annotated, self.annotated),
        }


def tally_instances(predicted: npt.NDArray[Any], annotated: npt.NDArray[Any]) -> InstanceTally:
    """Compare the cells of one image.

    Parameters
    ----------
    predicted, annotated
        Integer label images (H, W); 0 is background, each cell has a number of its own.

    Raises
    ------
    ValueError
        If the images differ in size.
    """
    if predicted.shape != annotated.shape:
        raise ValueError(f"labels of {predicted.shape} and {annotated.shape} px cannot be compared")
    ours, theirs = (np.unique(labels, return_inverse=True) for labels in (predicted, annotated))
    shared = np.zeros((len(theirs[0]), len(ours[0])), np.int64)
    np.add.at(shared, (theirs[1].ravel(), ours[1].ravel()), 1)
    areas_of_theirs, areas_of_ours = shared.sum(axis=1), shared.sum(axis=0)
    is_cell = ours[0] != 0
    shared = shared[theirs[0] != 0][:, is_cell]
    annotated_px, predicted_px = areas_of_theirs[theirs[0] != 0], areas_of_ours[is_cell]
    if not annotated_px.size or not predicted_px.size:
        union = int(annotated_px.sum() + predicted_px.sum())
        return InstanceTally(0, predicted_px.size, annotated_px.size, 0, union)
    unions = annotated_px[:, None] + predicted_px - shared
    overlap = shared / unions
    best = overlap.argmax(axis=1)
    found = np.flatnonzero(overlap.max(axis=1) > 0)
    chosen = np.unique(best[found])
    # An annotated cell that nothing touches has its own area as its union.
    union = unions[found, best[found]].sum() + np.delete(annotated_px, found).sum()
    union += np.delete(predicted_px, chosen).sum()
    return InstanceTally(
        int(np.count_nonzero(overlap > _MATCH)),
        predicted_px.size,
        annotated_px.size,
        int(shared[found, best[found]].sum()),
        int(union),
    )
