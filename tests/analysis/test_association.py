"""Cells against vessels: distances by hand, the expectation exact, the p-value uniform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from analysis.association import associate
from analysis.distances import DistanceSummary
from analysis.vessels import VesselSettings, fold_vessels
from tests.phantoms import Bools, random_network

PIXEL = VesselSettings(mpp_um=1.0)


def stripes() -> Bools:
    """Return vessels 10 px wide, 90 px of tissue between: 45 px is the farthest from a wall."""
    mask = np.zeros((600, 1010), np.bool_)
    mask[:, np.arange(1010) % 100 < 10] = True
    return mask


def summary(mask: Bools) -> DistanceSummary:
    return DistanceSummary(fold_vessels(mask, None, PIXEL).distances, mask.shape, 1.0)


def uniform(rng: np.random.Generator, mask: Bools, count: int) -> npt.NDArray[np.float64]:
    """Return places outside vessels."""
    y, x = np.nonzero(~mask)
    chosen = rng.integers(0, len(y), count)
    return np.stack([y[chosen], x[chosen]], axis=1).astype(float)


def test_distances_are_those_to_the_nearest_vessel_pixel() -> None:
    """0 inside, the way to the wall outside, also far from any vessel."""
    mask = np.zeros((900, 900), np.bool_)
    mask[:, :10] = True
    places = np.array([[5.0, 5.0], [100.0, 10.0], [400.2, 59.0], [800.0, 850.0]])
    assert summary(mask).at(mask, places)[:3].tolist() == [0, 1, 50]
    assert summary(mask).at(mask, places)[3] == pytest.approx(841, rel=0.02)


def test_the_expectation_is_the_share_of_tissue() -> None:
    """Within 10 px of a wall lie 20 of 90 px between stripes."""
    assert summary(stripes()).share_within(0, 10) == pytest.approx(20 / 90, rel=0.01)


@pytest.mark.parametrize("mpp_um", [0.5, 0.65, 1.0])
def test_cells_everywhere_are_exactly_as_many_as_expected(mpp_um: float) -> None:
    """With a cell on every pixel outside vessels, observed over expected is 1 at every limit."""
    mask = random_network(4, side=400)
    settings = VesselSettings(mpp_um=mpp_um)
    distances = DistanceSummary(fold_vessels(mask, None, settings).distances, mask.shape, mpp_um)
    places = np.stack(np.nonzero(~mask), axis=1).astype(float)
    found, _ = associate(distances.at(mask, places), distances, 0, seed=0)
    assert found is not None
    for limit, ratio in found.observed_to_expected.items():
        assert ratio == pytest.approx(1, abs=1e-9), limit


def test_cells_at_the_walls_are_nearer_than_chance() -> None:
    """All of them within 5 µm, 9 times as many as uniform placement gives."""
    mask = stripes()
    x = np.repeat([113.0, 296.0, 614.0], 40)
    places = np.stack([np.linspace(5, 590, 120), x], axis=1)
    found, reasons = associate(summary(mask).at(mask, places), summary(mask), 0, seed=0)
    assert found is not None
    assert not reasons
    assert found.fraction_within_um == {"5": 1.0, "10": 1.0, "20": 1.0}
    assert found.observed_to_expected["5"] == pytest.approx(9, rel=0.01)  # 10 of 90 px
    assert found.p_value["5"] == 1 / 200
    assert found.cell_to_vessel_distance_um.mean == pytest.approx((4 + 4 + 5) / 3)


def test_p_values_of_uniform_cells_are_uniform() -> None:
    """Of 300 sections with cells anywhere, about 5 in 100 have p ≤ 0.05; the ratio is 1."""
    mask, rng = stripes(), np.random.default_rng(1)
    distances = summary(mask)
    ratios, ranks = [], []
    for number in range(300):
        places = uniform(rng, mask, 150)
        found, _ = associate(distances.at(mask, places), distances, 0, seed=number)
        assert found is not None
        ratios.append(found.observed_to_expected["20"])
        ranks.append(found.p_value["20"])
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)
    assert 0.02 <= np.mean(np.array(ranks) <= 0.05) <= 0.09


def test_the_same_seed_gives_the_same_p_value() -> None:
    """The draws are no other when the measurement is repeated."""
    mask = stripes()
    places = uniform(np.random.default_rng(2), mask, 40)
    one, two = (
        associate(summary(mask).at(mask, places), summary(mask), 0, seed=7) for _ in range(2)
    )
    assert one == two


def test_without_cells_or_vessels_there_is_a_reason() -> None:
    """Null, and why."""
    mask, none = stripes(), np.zeros((600, 1010), np.bool_)
    assert associate(np.zeros(0), summary(mask), 0, 0)[1] == {
        "association": "no VEGF-positive cell was found"
    }
    far = summary(none).at(none, np.array([[5.0, 5.0]]))
    assert "no vessel" in associate(far, summary(none), 0, 0)[1]["association"]


def test_cells_inside_vessels_count_as_near_but_not_against_chance() -> None:
    """Uniform placement is outside vessels, so only cells there are compared with it."""
    mask = stripes()
    places = np.array([[10.0, 5.0], [10.0, 50.0]])
    found, _ = associate(summary(mask).at(mask, places), summary(mask), 0, seed=0)
    assert found is not None
    assert found.fraction_within_um["5"] == 0.5
    assert found.observed_to_expected["5"] == 0.0
