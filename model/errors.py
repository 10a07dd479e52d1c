"""What can go wrong with a network or its bundle.

ModelError(ValueError)
├── MarkerError      a marker that no target belongs to
├── BundleError      a file that is no trustworthy bundle
└── ExportError      an export that does not repeat its checkpoint

StorageError(OSError)  a file that cannot be written whole
"""

from __future__ import annotations


class ModelError(ValueError):
    """A wrong input to this package; `field` names it as the API and the command line do."""

    def __init__(self, message: str, field: str = "model") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class MarkerError(ModelError):
    """A marker is unknown or given twice."""


class BundleError(ModelError):
    """A bundle lacks metadata, was altered, or cannot be run."""


class ExportError(ModelError):
    """An exported network does not repeat the checkpoint it came from."""


class StorageError(OSError):
    """A file cannot be written; what lay under its name before is untouched."""

    field = "out"
