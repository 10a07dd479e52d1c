"""Which Angiometry measured: version and git revision."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from functools import lru_cache
from pathlib import Path

from analysis.record import Software

_ROOT = Path(__file__).resolve().parents[1]
REVISION_VARIABLE = "ANGIOMETRY_GIT_REVISION"
"""Environment variable that a container image, which holds no repository, is built with."""


@lru_cache(maxsize=1)
def software() -> Software:
    """Return the version that runs, with the git revision where it can be known."""
    return Software(version=_version(), git_revision=_git_revision())


def _version() -> str:
    try:
        return importlib.metadata.version("angiometry")
    except importlib.metadata.PackageNotFoundError:
        return "0+not-installed"


def _git_revision() -> str | None:
    given = os.environ.get(REVISION_VARIABLE)
    if given:
        return given
    # Only the project's own repository: an environment may lie inside that of somebody else.
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
