"""Scores that judge the network: how well a predicted mask repeats an annotated one.

A `MaskTally` counts one image's pixels; tallies of its tiles add up to the tally of the image, so
that scores are ratios of sums, never means over tiles. Definitions, with TP, FP, FN in pixels:

=========  ==================================================
dice       2·TP / (2·TP + FP + FN)
iou        TP / (TP + FP + FN)
precision  TP / (TP + FP)
recall     TP / (TP + FN)
cl_dice    harmonic mean of the part of the predicted skeleton inside the annotated mask and the
           part of the annotated skeleton inside the predicted mask (Shit et al. 2021)
=========  ==================================================

A ratio of nothing is None: two empty masks agree on nothing that could be counted.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.thinning import thin
from training.tally import Tally, ratio

SCORE_NAMES = ("dice", "iou", "cl_dice", "precision", "recall")


@dataclasses.dataclass(frozen=True)
class MaskTally(Tally):
    """Counts of pixels from which every score follows; tallies add up."""

    true_positive_px: int = 0
    false_positive_px: int = 0
    false_negative_px: int = 0
    predicted_skeleton_px: int = 0
    predicted_skeleton_inside_px: int = 0
    annotated_skeleton_px: int = 0
    annotated_skeleton_inside_px: int = 0

    @property
    def annotated_px(self) -> int:
        """Return the annotated area."""
        return self.true_positive_px + self.false_negative_px

    @property
    def predicted_px(self) -> int:
        """Return the predicted area."""
        return self.true_positive_px + self.false_positive_px

    def scores(self) -> dict[str, float | None]:
        """Return every score by name."""
        tp, fp, fn = self.true_positive_px, self.false_positive_px, self.false_negative_px
        line_precision = ratio(self.predicted_skeleton_inside_px, self.predicted_skeleton_px)
        line_recall = ratio(self.annotated_skeleton_inside_px, self.annotated_skeleton_px)
        cl_dice = None
        if line_precision is not None and line_recall is not None:
            cl_dice = ratio(2 * line_precision * line_recall, line_precision + line_recall) or 0.0
        return {
            "dice": ratio(2 * tp, 2 * tp + fp + fn),
            "iou": ratio(tp, tp + fp + fn),
            "cl_dice": cl_dice,
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
        }


def tally_masks(
    predicted: npt.NDArray[np.bool_], annotated: npt.NDArray[np.bool_], *, centre_line: bool = True
) -> MaskTally:
    """Count one image or tile.

    Parameters
    ----------
    predicted, annotated
        bool (H, W) masks of one target.
    centre_line
        Whether the target has a meaningful centre-line (vessels do, cells do not).

    Raises
    ------
    ValueError
        If the masks differ in size.
    """
    if predicted.shape != annotated.shape:
        raise ValueError(f"masks of {predicted.shape} and {annotated.shape} px cannot be compared")
    both = int(np.count_nonzero(predicted & annotated))
    skeletons: tuple[int, int, int, int] = (0, 0, 0, 0)
    if centre_line:
        predicted_line, annotated_line = thin(predicted), thin(annotated)
        skeletons = (
            int(np.count_nonzero(predicted_line)),
            int(np.count_nonzero(predicted_line & annotated)),
            int(np.count_nonzero(annotated_line)),
            int(np.count_nonzero(annotated_line & predicted)),
        )
    return MaskTally(
        both,
        int(np.count_nonzero(predicted)) - both,
        int(np.count_nonzero(annotated)) - both,
        *skeletons,
    )
