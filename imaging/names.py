"""Names of files as text that any file can hold."""

from __future__ import annotations

import re

_NO_TEXT = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """Return a text with a question mark (U+FFFD) for each byte of a name that is not UTF-8.

    Python keeps such bytes as halves of surrogate pairs, which no UTF-8 file can hold.
    """
    return _NO_TEXT.sub("\ufffd", text)
