"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.live_server"]

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of development images, or skip: a user's checkout has none."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"development images are absent: {_SHARED_DATA}")
    return _SHARED_DATA
