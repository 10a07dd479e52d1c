"""Whether the service would start with the settings of this environment."""

from __future__ import annotations

import os

from analysis.doctor import Finding
from service.settings import PREFIX, SettingsError, load_settings


def examine_settings() -> Finding:
    """Return which variables are set, or the one that the service would refuse, and why."""
    try:
        load_settings()
    except SettingsError as error:
        return Finding("service settings", str(error), sound=False)
    given = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    return Finding("service settings", ", ".join(given) or "defaults")
