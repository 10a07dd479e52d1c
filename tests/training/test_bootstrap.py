"""Promises about intervals: drawn by animal, as wide as others draw them, none from too little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from training.bootstrap import LEAST_ANIMALS, LEAST_UNITS, Resampling, share

VALUES = np.random.default_rng(3).gamma(2.0, size=25)


def mean_interval(values: np.ndarray, animals: list[str]) -> list[float]:
    interval = Resampling.of(animals).interval(share(values, np.ones(len(values))))
    assert interval is not None
    return interval


def test_an_interval_is_that_of_another_library():
    """Bounds of a mean's interval are those of SciPy's BCa bootstrap, up to the draws."""
    mine = mean_interval(VALUES, [str(n) for n in range(len(VALUES))])
    theirs = bootstrap((VALUES,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0))
    assert mine == pytest.approx(list(theirs.confidence_interval), abs=0.05)


def test_animals_are_drawn_where_there_are_six():
    """With six animals their images stay together; with five, images are drawn one by one."""
    six = [f"m{n % 6}" for n in range(24)]
    assert LEAST_ANIMALS == 6
    assert Resampling.of(six).unit == "animals"
    assert Resampling.of([f"m{n % 5}" for n in range(24)]).unit == "images"


def test_images_of_one_animal_that_are_alike_do_not_narrow_an_interval():
    """Four copies of every image say no more than one: the interval stays as it was."""
    values = VALUES[:8]
    copies = mean_interval(np.repeat(values, 4), [f"m{n // 4}" for n in range(32)])
    assert copies == pytest.approx(mean_interval(values, [f"m{n}" for n in range(8)]))


def test_the_interval_is_the_same_every_time():
    """Draws are seeded."""
    animals = [str(n) for n in range(len(VALUES))]
    assert mean_interval(VALUES, animals) == mean_interval(VALUES, animals)


def test_all_alike_gives_an_interval_of_no_width():
    """Scores that are all the same have nothing to spread."""
    assert mean_interval(np.full(7, 0.5), list("abcdefg")) == [0.5, 0.5]


def test_too_little_gives_no_interval():
    """Two images, or two that a score looks at, give none."""
    assert LEAST_UNITS == 3
    assert Resampling.of(["a", "b"]).interval(share(np.ones(2), np.ones(2))) is None
    looked_at = np.array([True, True, False, False])
    statistic = share(np.ones(4), looked_at)
    assert Resampling.of(list("abcd")).interval(statistic, looked_at) is None
