"""The pictures of failures show what the figures call the worst."""

from __future__ import annotations

import numpy as np
import pytest

from docs import failures, open_lumens


def test_the_section_whose_wide_vessels_lack_most_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three sections whose vessels are all filled but those of one, that one."""
    monkeypatch.setattr(open_lumens, "SECTIONS", 3)
    counts = [
        len(open_lumens.whole_lumens(open_lumens.lumens_of(section)))
        for section in (
            open_lumens.section_with_lumens(number, np.random.default_rng((43, number)))
            for number in range(3)
        )
    ]
    assert min(counts) > 0
    for worst in range(3):
        shares = [
            0.2 if number == worst else 1.0 for number in range(3) for _ in range(counts[number])
        ]
        assert failures._worst_section(shares) == worst
    with pytest.raises(ValueError, match="measure them anew"):
        failures._worst_section([*shares, 1.0])


def test_lumens_of_which_little_is_seen_are_left_out() -> None:
    """Each mask is one number of the labels; those under 300 px are left out."""
    labels = np.zeros((60, 60), np.int32)
    labels[2:22, 2:22] = 1
    labels[:, 55:] = 2
    labels[30:35, 30:35] = 3
    masks = open_lumens.whole_lumens(labels)
    assert [int(mask.sum()) for mask in masks] == [400, 300]
