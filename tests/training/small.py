"""A recipe small enough to train in seconds, and what its runs logged."""

from __future__ import annotations

import csv
from pathlib import Path

from training.recipe import AugmentConfig

RECIPE_TOML = """
name = "small"
version = "0.0.1"
[data]
tile_px = 64
[data.synthetic]
brightfield_vessel = 6
fluorescence_cells = 6
size_px = 128
empty_fraction = 0.0
val_fraction = 0.5
[network]
base = 4
depth = 2
[loss]
centre_line_iterations = 2
[run]
steps = 12
steps_per_epoch = 4
batch_size = 4
ema_from_step = 2
precision = "32-true"
loader_workers = 0
"""

OFF = AugmentConfig(
    turns=False, affine=0, elastic=0, gamma=0, gain=0, blur=0, noise=0, drop_counterstain=0
)
"""Tiles come back as they were."""


def logged_losses(out: Path) -> dict[int, float]:
    """Return the training losses of a run, resumed or not, by step."""
    rows: dict[int, float] = {}
    for path in sorted(out.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("train/loss"):
                rows[int(row["step"])] = float(row["train/loss"])
    return rows


def last_scores(out: Path) -> dict[str, float]:
    """Return the scores of a run's last validation, by their names in the log."""
    rows = csv.DictReader((out / "logs/version_0/metrics.csv").read_text().splitlines())
    scored = [row for row in rows if row.get("val/dice")]
    return {name: float(value) for name, value in scored[-1].items() if "val/" in name and value}
