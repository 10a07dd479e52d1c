"""The bundles that this service can run, each read once while its file stays the same."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.bundle import Bundle, find_bundle, list_bundles, load_bundle, read_card
from model.errors import BundleError
from service.errors import NotReadyError


class ModelRegistry:
    """Bundles by name: those shipped, and the default, which may lie anywhere."""

    def __init__(self, default: str | None) -> None:
        self._default = default

    def path_of(self, name: str | None = None) -> Path:
        """Return the file of a bundle, the default if unnamed; requests never name paths.

        Raises
        ------
        BundleError
            If there is none of this name.
        """
        if name is None:
            return find_bundle(self._default)
        paths = self._paths()
        if name not in paths:
            known = ", ".join(paths) or "none"
            raise BundleError(f"there is no model {name!r}; known here are: {known}")
        return paths[name]

    def names(self) -> list[str]:
        """Return the names that a request can give."""
        return list(self._paths())

    def summaries(self) -> list[dict[str, Any]]:
        """Describe every bundle shortly."""
        return [self._summary(name, path) for name, path in self._paths().items()]

    def detail(self, name: str) -> dict[str, Any]:
        """Describe one bundle wholly, with its card."""
        path = self.path_of(name)
        bundle = _load(path)
        return self._summary(name, path) | {
            "metadata": dataclasses.asdict(bundle.metadata),
            "card": read_card(bundle),
        }

    def _paths(self) -> dict[str, Path]:
        default = find_bundle(self._default)
        return {default.stem: default} | {
            path.stem: path for path in list_bundles() if path.stem != default.stem
        }

    def _summary(self, name: str, path: Path) -> dict[str, Any]:
        bundle = _load(path)
        metadata = bundle.metadata
        return {
            "name": name,
            "version": metadata.version,
            "description": metadata.description,
            "sha256": bundle.sha256,
            "is_default": path == find_bundle(self._default),
            "targets": list(metadata.targets),
            "mpp_um": metadata.mpp_um,
            "thresholds": dict(metadata.thresholds),
            "validation_scores": dict(metadata.validation_scores),
        }


def _load(path: Path) -> Bundle:
    """Read a bundle; one that is damaged is the service's fault, not the request's."""
    try:
        status = path.stat()
        return _load_unchanged(path, status.st_mtime_ns, status.st_size)
    except (BundleError, OSError) as error:
        raise NotReadyError(str(error)) from error


@lru_cache(maxsize=16)
def _load_unchanged(path: Path, mtime_ns: int, size_bytes: int) -> Bundle:
    """Read a bundle once as long as its file keeps its time and size."""
    return load_bundle(path)
