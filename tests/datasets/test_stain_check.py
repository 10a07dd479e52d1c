"""Outlines that hold no stain are those of another image, most likely."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.annotations import LabelImage
from datasets.check import check_manifest
from datasets.stain_check import stain_chance
from datasets.synth_write import SynthModality, write_synthetic
from imaging.open import open_image
from imaging.tissue import find_tissue

SIDE = 128


@pytest.mark.parametrize("modality", ["brightfield", "fluorescence"])
@pytest.mark.parametrize("marker", ["CD31", "VEGF"])
def test_outlines_of_another_section_are_doubted(
    tmp_path: Path, modality: SynthModality, marker: str
) -> None:
    """Of six drawn sections nearly all outlines hold stain; hardly any of another section's do."""
    drawn = write_synthetic(
        tmp_path, 6, 700, size_px=384, markers=[marker], modalities=[modality], empty_fraction=0.0
    )

    def doubted(shift: int) -> int:
        rows = tuple(
            dataclasses.replace(row, annotation=drawn.rows[(number + shift) % 6].annotation)
            for number, row in enumerate(drawn.rows)
        )
        findings = check_manifest(dataclasses.replace(drawn, rows=rows)).findings
        return sum(f"outlines is hardly more {marker} than" in found.message for found in findings)

    assert doubted(0) <= 1
    assert doubted(1) >= 4


def test_the_chance_is_that_of_pixels(tmp_path: Path) -> None:
    """Half of what is inside is brighter than all outside, half as dark as all: 0.75."""
    pixels = np.full((SIDE, SIDE), 20, np.uint8)
    pixels[:32, :32] = 220
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[:64, :32] = 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png", 1.0, modality="fluorescence") as image:
        tissue = find_tissue(image)

        def chance(outlined: np.ndarray) -> float | None:
            return stain_chance(image, "CD31", LabelImage(outlined), tissue)

        assert chance(labels) == pytest.approx(0.75)
        assert chance(np.zeros_like(labels)) is None
        assert chance(np.ones_like(labels)) is None
