"""The documents name everything that there is."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from analysis.record import Cells, Vessels
from service.form import AnalysisForm
from service.settings import PREFIX, Settings
from service.store import FILES
from tests.live_server import ROOT
from training.recipe import Recipe


def names_of(kind: typing.Any) -> list[str]:
    """Return the fields of a dataclass and of the dataclasses in it."""
    hints = typing.get_type_hints(kind)
    nested = [
        name for hint in hints.values() if dataclasses.is_dataclass(hint) for name in names_of(hint)
    ]
    return [*hints, *nested]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (
            "measurements.md",
            [f.name for kind in (Vessels, Cells) for f in dataclasses.fields(kind)],
        ),
        ("settings.md", [PREFIX + name.upper() for name in Settings.model_fields]),
        ("http.md", [*AnalysisForm.model_fields, *FILES]),
        ("training.md", names_of(Recipe)),
    ],
)
def test_every_name_has_its_place_in_the_documents(page: str, names: list[str]) -> None:
    """Each measurement, setting, form field, file and recipe key is explained where one looks."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []
