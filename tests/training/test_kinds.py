"""Promises about the names of sources, and what is said of how real they are."""

from __future__ import annotations

from training.kinds import (
    KINDS,
    animal_mark,
    full_name,
    kind_of,
    known_animals,
    short_name,
    sources_of,
    trained_on,
)
from training.recipe import SOURCES, recipe_from_dict


def test_every_source_is_of_one_kind():
    """Real, half real and synthetic images are told apart by their source, none left out."""
    assert {kind: sources_of(kind, SOURCES) for kind in KINDS} == {
        "real": ["annotated", "vessmap"],
        "half_real": ["rerendered", "annotated_rerendered"],
        "synthetic": [source for source in SOURCES if source.startswith("synthetic")],
    }


def test_an_animal_is_known_by_its_mark_alone():
    """Capitals, spaces, hyphens and how an accent is composed make no other animal."""
    marks = [animal_mark("Rätte 1")]
    assert "tte" not in marks[0]
    same = [" RA\u0308TTE  1", "Rätte-1", "rätte1"]
    assert known_animals(marks, ["rat 1", "rätte 11", *same]) == same


def test_renderings_of_own_images_are_not_those_of_vessmap():
    """Own renderings have a name and a share of their own, and nobody says that all were learnt."""
    source = "annotated_rerendered"
    assert kind_of(source) == kind_of("rerendered") == "half_real"
    assert full_name(source).startswith("your own images rendered as H-DAB (real outlines")
    assert short_name(source) == "your own images rendered as H-DAB"
    assert short_name("rerendered") == "VessMAP crops rendered as H-DAB"
    data = {"shares": {"vessmap": 0.4, "rerendered": 0.2, source: 0.3}, "vessmap_val_fraction": 0.0}
    recipe = recipe_from_dict({"name": "a", "version": "1", "data": data})
    assert recipe.data.shares[source] == 0.3
    assert trained_on({"data": data}) == ("vessmap", "rerendered")
