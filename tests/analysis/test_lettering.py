"""Names in any Latin spelling appear on pictures; others are spelled, or a question mark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from analysis.lettering import DRAWN_MARKS, draw_text, text_width
from analysis.spelling import letters

LATIN_1 = [chr(code) for code in range(0xC0, 0x100) if chr(code) not in "×÷"]
LATIN_A = [chr(code) for code in range(0x100, 0x180)]


def drawn(text: str, size_px: int = 40) -> NDArray[Any]:
    """Return the ink of a text, float (H, W), 40 px from the left and from the top."""
    canvas = Image.new("L", (80 + int(text_width(text, size_px)), 4 * size_px))
    draw_text(ImageDraw.Draw(canvas), (40, 40), text, size_px, 255)  # type: ignore[arg-type]
    return np.asarray(canvas, float) / 255


def spelled(text: str) -> str:
    """Return what is drawn with the font."""
    return "".join(letter.base for letter in letters(text, DRAWN_MARKS))


@pytest.mark.parametrize("letter", [*LATIN_1, *LATIN_A])
def test_latin_letters_are_told_from_one_another_and_never_lost(letter: str) -> None:
    """Every letter of Latin-1 and Latin Extended-A has ink of its own, and none is a "?"."""
    ink = drawn(letter)
    assert ink.any()
    assert "?" not in spelled(letter)
    plain = spelled(letter)
    if len(plain) == 1 and letter not in "ĸſ":  # which are spelled q and s
        assert not np.array_equal(ink, drawn(plain))


@pytest.mark.parametrize(
    ("letter", "base"), [("é", "e"), ("Å", "A"), ("ü", "u"), ("ñ", "n"), ("ő", "o"), ("ǔ", "u")]
)
def test_marks_lie_above_an_unchanged_letter(letter: str, base: str) -> None:
    """An accent adds ink above the letter's own and takes none away."""
    with_mark, without = drawn(letter), drawn(base)
    top = np.flatnonzero(without.any(axis=1))[0]
    assert np.array_equal(with_mark[top:], without[top:])
    assert with_mark[:top].any()
    assert text_width(letter, 40) == text_width(base, 40)


def test_marks_lie_below_and_dots_give_way() -> None:
    """A cedilla lies below the line; ı is an i without its dot, and í has one mark, not two."""
    base, cedilla = drawn("c"), drawn("ç")
    bottom = np.flatnonzero(base.any(axis=1))[-1]
    assert cedilla[bottom + 1 :].any()
    assert not base[bottom + 1 :].any()
    dotless, dotted, acute = (np.flatnonzero(drawn(text).any(axis=1))[0] for text in "ıií")
    assert dotted < dotless
    assert acute < dotless
    assert drawn("ı").sum() < drawn("i").sum()


def test_accents_are_the_same_however_they_are_written() -> None:
    """An "ö" of one character and one of two are one picture."""
    assert np.array_equal(drawn("H\u00f6hle"), drawn("Ho\u0308hle"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe", "Grosse"),
        ("β-plaque, Δ and ς", "beta-plaque, Delta and sigma"),
        ("“½” – 3 × 2…", '"1/2" - 3 x 2...'),
        ("a\u200bb\nc", "ab c"),
        ("脳 3", "? 3"),
        ("100 % ~ {x}", "100 % ~ {x}"),
    ],
)
def test_what_has_no_marks_is_spelled(text: str, shown: str) -> None:
    """ß is ss, Greek letters are their names, signs their ASCII, and the rest a question mark."""
    assert spelled(text) == shown


def test_a_casing_surrounds_the_ink_and_its_marks() -> None:
    """Each pixel of a cased text has the casing or the text about it, the accent's too."""
    canvas = Image.new("RGB", (120, 90), (0, 128, 0))
    draw_text(ImageDraw.Draw(canvas), (20, 20), "é", 40, (255, 255, 255), casing=(0, 0, 0))
    picture = np.asarray(canvas)
    white, section = picture[..., 0] > 250, (picture == (0, 128, 0)).all(axis=-1)
    rows, columns = np.nonzero(white)
    assert rows.size
    beside = np.zeros_like(white)
    beside[rows, columns - 1] = beside[rows, columns + 1] = True
    assert not (section & beside).any()


def test_a_mark_takes_no_room_in_the_line() -> None:
    """The width of a name is that of its letters, whatever marks they have."""
    assert text_width("Höhle", 20) == pytest.approx(text_width("Hohle", 20), abs=1.5)
    assert text_width("", 20) == 0
