"""What can go wrong between an annotated image and a training tile.

DatasetsError(ValueError)
├── ManifestError      rows or columns of a manifest are wrong; lists every problem at once
├── AnnotationError    an annotation cannot be read, or does not fit its image
├── SplitError         splits cannot be assigned, or an animal is in two of them
├── LayoutError        a folder does not look like the data set it is said to be
└── BuildError         tiles cannot be cut or read back
"""

from __future__ import annotations

from collections.abc import Sequence


class DatasetsError(ValueError):
    """A wrong input to this package; `field` names it as the manifest and the CLI do."""

    def __init__(self, message: str, field: str = "manifest") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class ManifestError(DatasetsError):
    """A manifest is wrong; `problems` holds one sentence for each fault found."""

    def __init__(self, message: str, field: str = "manifest", problems: Sequence[str] = ()) -> None:
        super().__init__(message, field)
        self.args = (message, field, tuple(problems))
        self.problems = tuple(problems)

    @classmethod
    def of(cls, name: str, problems: Sequence[str]) -> ManifestError:
        """Join `problems` found in the manifest `name` into one error, a line for each."""
        if len(problems) == 1:
            return cls(f"{name}: {problems[0]}", "manifest", problems)
        count = f"{name} has {len(problems)} problems:"
        return cls("\n  ".join([count, *problems]), "manifest", problems)


class AnnotationError(DatasetsError):
    """An annotation cannot be read, or does not fit its image."""

    def __init__(self, message: str, field: str = "annotation") -> None:
        super().__init__(message, field)


class SplitError(DatasetsError):
    """Splits cannot be assigned, or an animal is in two of them."""

    def __init__(self, message: str, field: str = "split") -> None:
        super().__init__(message, field)


class LayoutError(DatasetsError):
    """A folder does not look like the data set it is said to be."""

    def __init__(self, message: str, field: str = "folder") -> None:
        super().__init__(message, field)


class BuildError(DatasetsError):
    """Tiles cannot be cut from an image, or cannot be read back."""
