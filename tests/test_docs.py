"""The documents name everything that there is."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from analysis.record import Cells, Vessels
from docs import (
    card_notes,
    choices,
    contrast,
    empty_sections,
    learning_curve,
    open_lumens,
    real_cells,
    real_fields,
    strange_sections,
    turns,
    unseen_sections,
)
from docs.empty_sections import MOTTLES, mottled
from docs.real_cells import Marked, dark_blobs, matched, offsets, within
from model.bundle import find_bundle, load_bundle
from service.form import AnalysisForm
from service.settings import PREFIX, Settings
from service.store import FILES
from tests.live_server import ROOT
from training.recipe import Recipe

WORDS = ("images", "target", "density")  # columns of the card's tables that hold no figure
_NUMBER = r"−?\d[\d,]*(?:\.\d+)?(?:e−\d+)?(?: %)?"
_RANGE = f"{_NUMBER} to {_NUMBER}"
FIGURE = re.compile(rf"–|{_RANGE}|{_NUMBER}(?: \((?:{_RANGE}|\d+)\))?")


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


def readme_entry(title: str) -> str:
    """Return what README says under an entry of what to know, in one line."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## What to know before you trust a number\n")[1].split("\n## ")[0]
    (entry,) = (part for part in section.split("\n- **")[1:] if part.startswith(f"{title}.**"))
    return " ".join(entry.split())


def holds(text: str, figure: str) -> bool:
    """Return whether a figure stands in a text, and not as a piece of a longer one."""
    return re.search(rf"(?<![\d.,−]){re.escape(figure)}(?![\d.,]*\d)", text) is not None


def test_a_figure_is_found_whole() -> None:
    """1 % is not in 11 % or 6.1 %, and 2 of 56 neither in 32 of 56 nor in 2 of 560."""
    for figure, other in (("1 %", "11 %"), ("1 %", "6.1 %"), ("2 of 56", "32 of 56")):
        assert not holds(f"it is {other} there", figure)
        assert holds(f"it is {figure}, there {other}", figure)
    assert not holds("2 of 560", "2 of 56")
    assert holds("of 2 of 56.", "2 of 56")


@pytest.mark.parametrize(
    ("module", "title"),
    [(empty_sections, "Sections without vessels"), (open_lumens, "Open lumens")],
)
def test_readme_says_what_the_shipped_model_outlines_where_no_vessel_is(
    module: ModuleType, title: str
) -> None:
    """The entry has the figures of the bundle that ships (else: run the module of `docs`)."""
    figures = json.loads(module.FIGURES.read_text(encoding="utf-8"))
    assert figures["bundle_sha256"] == load_bundle(find_bundle(None)).sha256
    entry = readme_entry(title)
    told = module.told(figures)
    assert {name: figure for name, figure in told.items() if not holds(entry, figure)} == {}


def test_mottled_fields_are_as_bright_as_they_say() -> None:
    """A glow of 40 with clouds about it, the same each time that it is drawn."""
    for kind in MOTTLES:
        pixels = mottled(kind, 0)
        assert pixels.mean() == pytest.approx(40, abs=5)
        assert pixels.std() > 4
        assert (pixels == mottled(kind, 0)).all()


def test_the_card_repeats_what_was_measured() -> None:
    """Each line of the notes stands in the shipped bundle's card, whose figures they are."""
    bundle = load_bundle(find_bundle(None))
    card = (bundle.path.parent / "MODEL_CARD.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in card_notes.notes().splitlines() if line not in card] == []
    for module in (
        contrast,
        open_lumens,
        real_cells,
        real_fields,
        strange_sections,
        turns,
        unseen_sections,
    ):
        figures = json.loads(module.FIGURES.read_text(encoding="utf-8"))
        assert figures["bundle_sha256"] == bundle.sha256


def cells_of(lines: list[str]) -> list[list[str]]:
    """Return the cells of a Markdown table, row by row."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_is_of_the_shipped_bundle_and_its_tables_are_whole() -> None:
    """It names version and SHA-256; of its score tables each row has a figure in each column.

    A figure is a number, with its interval or how many images it is of, or a range, or a dash.
    """
    bundle = load_bundle(find_bundle(None))
    card = (bundle.path.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {bundle.metadata.name} {bundle.metadata.version}\n")
    assert f"SHA-256 `{bundle.sha256}` |" in card
    scores = card.split("\n## Scores\n")[1].split("\n## ")[0]
    tables = [part.splitlines() for part in scores.split("\n\n") if part.startswith("| images |")]
    assert len(tables) >= 3  # scores, densities and calibration of at least one kind of images
    for head, _, *rows in map(cells_of, tables):
        assert rows
        for row in rows:
            figures = [value for name, value in zip(head, row, strict=True) if name not in WORDS]
            assert [value for value in figures if not FIGURE.fullmatch(value)] == [], row


def test_model_choices_have_the_tables_of_the_scripts() -> None:
    """Rows of figures are those that the scripts of this folder measured."""
    page = (ROOT / "docs" / "model-choices.md").read_text(encoding="utf-8")
    for module in (real_cells, real_fields, strange_sections):
        lines = module.table(json.loads(module.FIGURES.read_text(encoding="utf-8")))
        assert page.count("\n".join(lines)) == page.count(lines[0]) == 1


def test_the_training_page_has_the_learning_curve() -> None:
    """Its table is that of the file, and it says of which bundle."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    figures = json.loads(learning_curve.FIGURES.read_text(encoding="utf-8"))
    assert figures["bundle_sha256"] == load_bundle(find_bundle(None)).sha256
    assert "\n".join(learning_curve.table(figures)) in page
    assert f"the shipped bundle ({figures['bundle']})" in page


def test_strangeness_is_the_chance_of_being_told_apart() -> None:
    """3 of 4 pairs in order: 0.75; a tie counts half; spoiled sections keep shape and kind."""
    assert strange_sections.auroc([1, 3], [2, 4]) == 0.75
    assert strange_sections.auroc([1], [1]) == 0.5
    for pixels in (np.full((64, 64, 3), 200, np.uint8), np.full((64, 64, 2), 900, np.uint16)):
        for way, spoil in (strange_sections.WAYS | strange_sections.SLIGHT).items():
            if way != "H&E":
                changed = spoil(pixels, 0)
                assert (changed.shape, changed.dtype) == (pixels.shape, pixels.dtype), way


def test_real_cells_are_matched_once_within_reach() -> None:
    """Three cells, two of them near one point: one is a hit, and one lies a pixel too far off."""
    found = np.array([[10.0, 10.0], [12.0, 10.0], [50.0, 57.0]])
    marked = np.array([[11.0, 10.0], [50.0, 50.0]])
    assert matched(found, marked) == 1
    assert matched(found, marked, 7.0) == matched(found, marked + np.array([[0, 0], [0, 1]])) == 2
    annotated = np.zeros((60, 60), bool)
    annotated[:, :11] = True
    assert within(found, annotated).tolist() == [[10, 10]]


def test_dark_blobs_are_found_where_they_are(tmp_path: Path) -> None:
    """Two brown discs on white, one at the border: their middles, and how far points are off."""
    y, x = np.indices((60, 80))
    pixels = np.full((60, 80, 3), 240, np.uint8)
    for column, row in ((20, 30), (70, 2)):
        pixels[(x - column) ** 2 + (y - row) ** 2 <= 36] = (110, 70, 40)
    Image.fromarray(pixels).save(tmp_path / "discs.png")
    points = np.array([[22.0, 30.0], [70.0, 8.0]])
    image = Marked(tmp_path / "discs.png", "brightfield", 0.5, "", points)
    middles = dark_blobs(image, 4.0, 0.005)
    assert sorted(middles.tolist()) == [[20, 30], [70, pytest.approx(2, abs=1)]]
    assert offsets(middles[middles[:, 0] == 20], points).tolist() == [[2, 0]]
    assert offsets(middles[:0], points).shape == (0, 2)


def test_a_table_takes_the_place_of_the_one_with_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines about it and other tables stay; a head that is not there once is refused."""
    page = tmp_path / "page.md"
    page.write_text("above\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\nbetween\n\n| a | c |\n\nbelow\n")
    monkeypatch.setattr(choices, "PAGE", page)
    choices.put_table("| a | b |", "| a | b |\n| - | - |\n| 3 | 4 |\n| 5 | 6 |")
    assert choices.read_table("| a | b |") == "| a | b |\n| - | - |\n| 3 | 4 |\n| 5 | 6 |"
    assert page.read_text().endswith("| 5 | 6 |\n\nbetween\n\n| a | c |\n\nbelow\n")
    for head in ("| a |", "| d |"):
        with pytest.raises(ValueError, match="unpack"):
            choices.put_table(head, "")


def test_links_lead_somewhere() -> None:
    """Every relative link and picture of every page names a file of the project."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("model/weights/*.md")]
    assert len(pages) > 10
    links = [
        (page, link.split("#")[0])
        for page in pages
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not link.startswith(("http:", "https:", "mailto:", "#"))
    ]
    assert len(links) > 50
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
