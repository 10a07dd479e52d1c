"""The maker of the ablations trains, judges and shows what it found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.build import manifest_hash
from docs.ablation import FIGURES, JUDGES, Size, measure, table
from docs.ablation_images import as_rgb
from docs.choices import PAGE
from imaging.markers import brightfield_scaling, fluorescence_scaling

SMALL = Size(
    base=4, depth=2, tile_px=32, steps=2, batch_size=4, renderings=1, brightfield=3, fluorescence=3,
    section_px=64, judged_sections=2,
)  # fmt: skip


def test_each_network_is_judged_once_on_the_same_images(
    small_vessmap: Path, tmp_path: Path
) -> None:
    """Two networks of two steps get every score; what has been trained is not trained again."""
    figures = tmp_path / "figures.json"
    found = {}
    for names in (["reference"], ["reference", "rgb"]):
        found = measure(small_vessmap, tmp_path / "work", figures, SMALL, names, seeds=[1])
    assert [run["variant"] for run in found["runs"]] == ["reference", "rgb"]
    assert json.loads(figures.read_text(encoding="utf-8")) == found
    seen, plain = (run["scores"] for run in found["runs"])
    assert [of["images"] for of in seen.values()] == [of["images"] for of in plain.values()]
    assert seen["other_colour"] == seen["fluorescence"]
    hashes = {manifest_hash(path) for path in (tmp_path / "work").glob("judged-*/*fluorescence")}
    assert len(hashes) == 4  # with vessels and without, as marker channels and as RGB
    assert len(table(found).splitlines()) == 3 + len(JUDGES)


def test_plain_rgb_is_the_picture_that_people_export() -> None:
    """Brightfield stays as it is, grey is grey; of two channels one is green, the nuclei blue."""
    rgb = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert as_rgb(rgb, brightfield_scaling("CD31")) == pytest.approx(rgb.transpose(2, 0, 1) / 255)
    grey = rgb[..., :1]
    assert as_rgb(grey, fluorescence_scaling("CD31", grey)) == pytest.approx(
        np.stack([grey[..., 0] / 255] * 3)
    )
    two = fluorescence_scaling("CD31", rgb[..., :2], marker_channel=0, nuclei_channel=1)
    marker, nuclei, dark = rgb[..., 0] / 255, rgb[..., 1] / 255, np.zeros((2, 2))
    assert as_rgb(rgb[..., :2], two) == pytest.approx(np.stack([dark, marker, nuclei]))
    assert as_rgb(rgb[..., :2], two, 0) == pytest.approx(np.stack([marker, dark, nuclei]))


def test_the_page_shows_the_figures() -> None:
    """The table on the page is made from the file of figures."""
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert table(found) in PAGE.read_text(encoding="utf-8")
