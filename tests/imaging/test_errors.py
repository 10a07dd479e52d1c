"""Errors travel between processes and name the input at fault."""

from __future__ import annotations

import pickle

import pytest

from imaging import errors


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (errors.UnsupportedFormatError, "image"),
        (errors.UnreadableImageError, "image"),
        (errors.PixelSizeError, "mpp_um"),
        (errors.ChannelsError, "channels"),
        (errors.ModalityError, "modality"),
        (errors.TissueMaskError, "tissue"),
    ],
)
def test_errors_name_their_field_and_survive_pickling(kind, field) -> None:
    """An error raised in a worker arrives as itself."""
    error = pickle.loads(pickle.dumps(kind("what and how to mend it")))
    assert isinstance(error, ValueError)
    assert type(error) is kind
    assert (error.field, str(error)) == (field, "what and how to mend it")


def test_the_size_limit_survives_pickling() -> None:
    """Limit and value arrive too."""
    error = errors.ImageTooLargeError("too large", limit_px=4, value_px=9)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.limit_px, copy.value_px, copy.field) == (4, 9, "image")
