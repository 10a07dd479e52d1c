from __future__ import annotations

import pytest

from service.negotiation import preferred

JSON, CSV = "application/json", "text/csv"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("text/csv;q=0.5, application/json", JSON),
        ("text/csv, application/json;q=0.9", CSV),
        ("application/json;q=0, */*", CSV),
        ("image/png", None),
        ("text/csv;q=nonsense", None),
        ("", JSON),
    ],
)
def test_accept_decides(accept: str | None, chosen: str | None) -> None:
    """The media type of highest quality wins, JSON where several are equal."""
    assert preferred(accept, (JSON, CSV)) == chosen
