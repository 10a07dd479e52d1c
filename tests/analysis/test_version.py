"""The record names the version that measured."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from analysis.version import REVISION_VARIABLE, software


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    software.cache_clear()
    yield
    software.cache_clear()


def test_version_is_the_installed_one() -> None:
    """The version is that of the package."""
    assert software().version == importlib.metadata.version("angiometry")


def test_a_container_names_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no repository lies beside the code, the environment names the revision."""
    monkeypatch.setenv(REVISION_VARIABLE, "abc123")
    assert software().git_revision == "abc123"


def test_without_a_repository_the_revision_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """A folder of another repository is not taken for the project's own."""
    monkeypatch.delenv(REVISION_VARIABLE, raising=False)
    monkeypatch.setattr("analysis.version._ROOT", tmp_path)
    assert software().git_revision is None
