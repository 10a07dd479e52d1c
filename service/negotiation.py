"""Choose between the media types of an answer by a request's Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str | None, offers: Sequence[str]) -> str | None:
    """Return the offer that `accept` rates highest, the earlier of equals; None if none will do."""
    ranges = [_parse(part) for part in (accept or "*/*").split(",") if part.strip()]
    rated = [(_quality(offer, ranges), -index) for index, offer in enumerate(offers)]
    best, position = max(rated)
    return offers[-position] if best > 0 else None


def _parse(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return name, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return name, 0.0


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives to `offer`."""
    for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        matching = [quality for name, quality in ranges if name == pattern]
        if matching:
            return max(matching)
    return 0.0
