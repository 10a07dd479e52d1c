"""Is this installation sound? Versions, providers, bundle, disk."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from analysis.version import software

_LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "scikit-image", "openslide-python")
_DISK_FLOOR_BYTES = 2 * 2**30
"""A section of 4 Gpx leaves about 1 GB of probabilities behind while it is measured."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, what was found, and whether it is as it should be."""

    subject: str
    found: str
    sound: bool = True


def examine() -> Iterator[Finding]:
    """Yield what is found, one subject after the other; nothing is changed."""
    version = software()
    revision = version.git_revision or "no repository"
    yield Finding("angiometry", f"{version.version} ({revision})")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    for name in _LIBRARIES:
        yield _library(name)
    yield from _openslide()
    yield from _model()
    yield _disk(Path(tempfile.gettempdir()))


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table."""
    made = Table("subject", "found", "state")
    for finding in findings:
        state = "[green]ok[/green]" if finding.sound else "[bold red]broken[/bold red]"
        made.add_row(finding.subject, finding.found, state)
    return made


def _library(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed; run pip install . again", sound=False)


def _openslide() -> Iterator[Finding]:
    try:
        import openslide
    except (ImportError, OSError) as error:
        yield Finding("openslide library", str(error), sound=False)
    else:
        yield Finding("openslide library", openslide.__library_version__)


def _model() -> Iterator[Finding]:
    """Check every shipped bundle's digest, and run its self-test."""
    from model.bundle import list_bundles, load_bundle
    from model.predictor import Predictor

    paths = list_bundles()
    if not paths:
        yield Finding("model", "no bundle is shipped; train one or give --model", sound=False)
    for path in paths:
        try:
            bundle = load_bundle(path)
            predictor = Predictor(bundle)
        except ValueError as error:
            yield Finding(f"model {path.stem}", str(error), sound=False)
            continue
        metadata = bundle.metadata
        yield Finding(
            f"model {metadata.name}", f"{metadata.version}, sha256 {bundle.sha256[:12]}…, digest ok"
        )
        passed = predictor.self_test()
        answer = "as exported" if passed else "other than when it was exported"
        yield Finding(f"model {metadata.name} self-test", f"answers {answer}", sound=passed)
        yield Finding(f"model {metadata.name} provider", predictor.provider)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _DISK_FLOOR_BYTES:
        return Finding("disk", f"{found}; free some, or set TMPDIR", sound=False)
    return Finding("disk", found)
