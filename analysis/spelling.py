"""Any text as ASCII letters with marks: what is drawn with a font that holds ASCII only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Letter:
    """A stretch of ASCII, of one letter where there is anything to add to it.

    Attributes
    ----------
    base
        What is drawn with the font.
    marks
        What is added: combining characters, "through" for a line through it, "tail" for that of µ.
    raised
        Whether it is small and raised.
    dotless
        Whether the dot of an i or j is left out.
    """

    base: str
    marks: tuple[str, ...] = ()
    raised: bool = False
    dotless: bool = False


_RAISED = {"²": "2", "³": "3", "¹": "1", "⁰": "0", "⁻": "-", "⁺": "+", "°": "o", "ª": "a", "º": "o"}
_RAISED |= dict(zip("⁴⁵⁶⁷⁸⁹ⁿ", "456789n", strict=True))
_TAILED = "µμ"
_CROSSED = dict(zip("ØøĐÐđðĦħŁłŦŧ", "OoDDddHhLlTt", strict=True))
# Signs whose meaning another sign of ASCII carries, and letters that have a spelling.
_SPELLED = {
    "ß": "ss", "ẞ": "SS", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Þ": "Th", "þ": "th",
    "Ŋ": "Ng", "ŋ": "ng", "ĸ": "q", "ƒ": "f", "Ə": "E", "ə": "e", "×": "x", "÷": "/", "±": "+/-",
    "·": ".", "•": "*", "¡": "!", "¿": "?", "«": "<<", "»": ">>", "‹": "<", "›": ">", "¦": "|",
    "‘": "'", "’": "'", "‚": ",", "“": '"', "”": '"', "„": '"', "′": "'", "″": '"', "ʼ": "'",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "…": "...", "⁄": "/", "©": "(c)",
    "®": "(R)", "¢": "c", "£": "GBP", "¥": "JPY", "€": "EUR", "§": "section ", "¶": "par. ",
    "¬": "not ", "≤": "<=", "≥": ">=", "≈": "~", "→": "->", "←": "<-",
}  # fmt: skip
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)")


def letters(text: str, drawn_marks: Collection[str]) -> Iterator[Letter]:
    """Yield a line of text as stretches of ASCII and single letters with marks.

    Parameters
    ----------
    text
        Any text; line breaks are spaces and what can't be seen is left out.
    drawn_marks
        The combining characters that can be drawn; others are left out.
    """
    plain = ""
    for letter in _each(text, drawn_marks):
        if letter.marks or letter.raised or letter.dotless:
            if plain:
                yield Letter(plain)
                plain = ""
            yield letter
        else:
            plain += letter.base
    if plain:
        yield Letter(plain)


def _each(text: str, drawn_marks: Collection[str]) -> Iterator[Letter]:
    composed = unicodedata.normalize("NFC", text)
    # A letter and the marks that follow it, also those that no single character holds.
    for cluster in re.findall(r".[\u0300-\u036f]*", composed, re.DOTALL):
        yield from _cluster(cluster, drawn_marks)


def _cluster(cluster: str, drawn_marks: Collection[str]) -> Iterator[Letter]:
    first = cluster[0]
    if cluster.isascii():
        if cluster.isprintable() or cluster.isspace():
            yield Letter(cluster if cluster.isprintable() else " ")
        return
    if first in _RAISED:
        yield Letter(_RAISED[first], raised=True)
        return
    if first in "ıȷ":
        yield Letter("i" if first == "ı" else "j", dotless=True)
        return
    base, *rest = list(unicodedata.normalize("NFD", cluster))
    marks = tuple(mark for mark in rest if mark in drawn_marks)
    if base in _TAILED:
        yield Letter("u", ("tail", *marks))
    elif base in _CROSSED:
        yield Letter(_CROSSED[base], ("through", *marks))
    elif base.isascii() and base.isalpha():
        above = any(unicodedata.combining(mark) == 230 for mark in marks)
        yield Letter(base, marks, dotless=above and base in "ij")
    elif spelled := _spelled(base):
        yield Letter(spelled)


def _spelled(sign: str) -> str:
    """Return a sign in ASCII; a question mark if it has no spelling, nothing if it is not seen."""
    if sign in _SPELLED:
        return _SPELLED[sign]
    greek = _GREEK.match(unicodedata.name(sign, ""))
    if greek:
        return greek[2].lower() if greek[1] == "SMALL" else greek[2].capitalize()
    if sign.isascii():
        return sign
    if unicodedata.category(sign) in ("Cf", "Mn", "Me"):
        return ""
    if sign.isspace():
        return " "
    alike = unicodedata.normalize("NFKD", sign)
    known = "".join(_SPELLED.get(each, each) for each in alike if not unicodedata.combining(each))
    return known if alike != sign and known.isascii() and known.isprintable() else "?"
