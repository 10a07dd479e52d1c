"""What the network predicts, and how annotations become its training targets.

One alphabet: K target channels in the order of `CHANNELS`, H, W pixels of the model's grid.
A new stain is one more entry here and one line in an annotation mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from model.errors import MarkerError

VESSEL = "vessel"
"""CD31+ endothelium and the lumen it encloses."""

VEGF_CELL = "vegf_cell"
"""The body of a VEGF-positive cell."""

VEGF_CELL_CENTRE = "vegf_cell_centre"
"""Depth inside a cell, 0 at its outline and 1 at its centre: seeds that part touching cells."""

CHANNELS = (VESSEL, VEGF_CELL, VEGF_CELL_CENTRE)
"""The network's output channels, each a sigmoid, in their order."""

ANNOTATED_TARGETS = (VESSEL, VEGF_CELL)
"""What a person annotates; further channels derive from these."""

TARGET_OF_MARKER = {"CD31": VESSEL, "VEGF": VEGF_CELL}
MARKERS = tuple(TARGET_OF_MARKER)


def parse_markers(text: str) -> tuple[str, ...]:
    """Parse ``"CD31"``, ``"VEGF"`` or ``"CD31+VEGF"`` into marker names.

    Raises
    ------
    MarkerError
        If a marker is unknown, missing or given twice.
    """
    names = tuple(part.strip() for part in text.split("+"))
    unknown = [name for name in names if name not in TARGET_OF_MARKER]
    if unknown or len(set(names)) < len(names):
        raise MarkerError(
            f"marker {text!r} is not known; give one of {', '.join(MARKERS)}, or CD31+VEGF",
            field="marker",
        )
    return tuple(name for name in MARKERS if name in names)


def target_arrays(
    labels: Mapping[str, npt.NDArray[Any]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Turn label images into training targets.

    Parameters
    ----------
    labels
        Target name to label image (H, W): 0 is background, each cell has a number of its own,
        a vessel is any other number. Targets that nobody annotated are simply not there.

    Returns
    -------
    targets
        float32 (K, H, W) in 0..1, zero where a target was not annotated.
    annotated
        bool (K,): which channels may be learnt from and scored.
    """
    if not labels:
        raise ValueError("no label image was given; annotate at least one target of a tile")
    height, width = next(iter(labels.values())).shape
    targets = np.zeros((len(CHANNELS), height, width), np.float32)
    annotated = np.zeros(len(CHANNELS), np.bool_)
    for name in ANNOTATED_TARGETS:
        if name in labels:
            channel = CHANNELS.index(name)
            targets[channel] = labels[name] > 0
            annotated[channel] = True
    if VEGF_CELL in labels:
        channel = CHANNELS.index(VEGF_CELL_CENTRE)
        targets[channel] = centre_distance(labels[VEGF_CELL])
        annotated[channel] = True
    return targets, annotated


def centre_distance(labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return each cell's distance to its own outline over the greatest one in that cell, (H, W).

    A cell is measured within its own bounding box, so that two touching cells have two peaks.
    """
    depth = np.zeros(labels.shape, np.float32)
    rows, columns = np.nonzero(labels)
    if rows.size == 0:
        return depth
    numbers = labels[rows, columns]
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        y0, x0 = rows[members].min(), columns[members].min()
        y1, x1 = rows[members].max() + 1, columns[members].max() + 1
        box = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
        box[rows[members] - y0 + 1, columns[members] - x0 + 1] = 1
        distance = cv2.distanceTransform(box, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        inside = distance[rows[members] - y0 + 1, columns[members] - x0 + 1]
        # OpenCV 5 rounds a root by how its memory happens to lie; its square is a whole number.
        inside = np.sqrt(np.rint(inside**2))
        depth[rows[members], columns[members]] = inside / inside.max()
    return depth
