"""Predict a section tile by tile into a store on disk.

Letters: K targets stored, H, W pixels of the model's grid.
"""

from __future__ import annotations

from pathlib import Path

from analysis.clock import Progress, silent
from analysis.masks import ProbabilityStore
from imaging.markers import MarkerScaling, marker_channels
from imaging.open import SectionImage
from imaging.tiles import Window, grid, grid_shape
from imaging.tissue import Tissue
from model.predictor import Predictor
from model.targets import CHANNELS, VEGF_CELL, VEGF_CELL_CENTRE, VESSEL

STORE_NAME = "probabilities.npy"
_CHANNELS_OF_MARKER = {"CD31": (VESSEL,), "VEGF": (VEGF_CELL, VEGF_CELL_CENTRE)}


def predict_section(
    image: SectionImage,
    predictor: Predictor,
    scalings: dict[str, MarkerScaling],
    tissue: Tissue,
    *,
    workdir: Path,
    tta: bool = False,
    progress: Progress | None = None,
) -> ProbabilityStore:
    """Predict every tile that holds tissue; glass keeps probability 0.

    One pass for each marker of `scalings`: the marker's stain fills the marker channel, and only
    its own targets are kept.

    Returns
    -------
    ProbabilityStore
        ``probabilities.npy`` in `workdir`, on the model's grid.
    """
    report = progress or silent
    metadata = predictor.bundle.metadata
    width, height = image.size_at(metadata.mpp_um)
    targets = tuple(name for marker in scalings for name in _CHANNELS_OF_MARKER[marker])
    store = ProbabilityStore.create(workdir / STORE_NAME, targets, height, width)
    columns, rows = grid_shape(width, height, metadata.tile_px)
    report("predict", 0, columns * rows)
    tiles = grid(width, height, metadata.tile_px, metadata.halo_px)
    for done, tile in enumerate(tiles, start=1):
        box = box_of(tile.outer)
        if tissue.read(*box, metadata.mpp_um).any():
            pixels = image.read_region(*box, metadata.mpp_um)
            for marker, scaling in scalings.items():
                answer = predictor.predict(marker_channels(pixels, scaling), tta=tta)
                for name in _CHANNELS_OF_MARKER[marker]:
                    kept = answer[CHANNELS.index(name)][tile.core_in_outer]
                    store.write(name, tile.core, kept)
        report("predict", done, columns * rows)
    return store


def box_of(window: Window) -> tuple[int, int, int, int]:
    """Return a window as (x, y, width, height)."""
    return window.x, window.y, window.width, window.height
