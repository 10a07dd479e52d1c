"""The doctor knows what the service would refuse to start with."""

from __future__ import annotations

import os

import pytest
from typer.testing import CliRunner

from analysis.doctor import Finding
from angiometry import app
from service.doctor import examine_settings
from service.settings import PREFIX


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_tells_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults, or the names of the variables given."""
    assert examine_settings() == Finding("service settings", "defaults")
    monkeypatch.setenv("ANGIOMETRY_PORT", "9000")
    assert examine_settings() == Finding("service settings", "ANGIOMETRY_PORT")


def test_the_doctor_names_a_misspelt_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`angiometry doctor` shows what `serve` would refuse, with the nearest known name."""
    monkeypatch.setenv("ANGIOMETRY_SYNC_LIMIT", "5")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "did you mean ANGIOMETRY_SYNC_LIMIT_PX?" in result.stdout
