"""What `angiometry evaluate` does, from its arguments to its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from analysis.batch import check_outputs
from datasets.annotations import parse_classes
from datasets.build import tiles_sha256
from datasets.manifest import Manifest
from datasets.rows import Split
from datasets.splits import assign_splits
from datasets.vessmap import read_images
from model.bundle import CARD_NAME, find_bundle, load_bundle
from training.card import write_card
from training.errors import DataError
from training.evaluate import Evaluation, Progress, evaluate, parse_split
from training.judging import Judged
from training.page import write_json, write_page
from training.sources import cut_tiles
from training.stream import no_tiles


@dataclasses.dataclass(frozen=True)
class EvaluateRequest:
    """The arguments of the verb; outputs that are None are not written.

    `classes` maps further names of classes (``"Name=target"``); those that the bundle's recipe maps
    are known. With `tta`, predictions are the mean of eight flips and turns. `notes` is Markdown
    that the card takes in.

    Raises
    ------
    DataError
        If the split is unknown, or is the training one though a card is asked for; or if there are
        notes without a card.
    """

    model: str
    data: Sequence[Path] = ()
    tiles: Sequence[Path] = ()
    split: str = "val"
    json: Path | None = None
    html: Path | None = None
    card: Path | None = None
    classes: Sequence[str] = ()
    tta: bool = False
    notes: Path | None = None

    def __post_init__(self) -> None:
        if parse_split(self.split) == "train" and self.card:
            raise DataError(
                "a model card tells of images that training never saw; give --split val or test",
                field="card",
            )
        if self.notes and not self.card:
            raise DataError("notes go into a model card; give --card FOLDER", field="notes")

    @property
    def page(self) -> Path | None:
        """Return where the page goes: beside the JSON unless told otherwise."""
        return self.html or (self.json.with_suffix(".html") if self.json else None)

    def places(self) -> list[tuple[str, Path]]:
        """Return the outputs by their flags."""
        card = self.card / CARD_NAME if self.card else None
        files = (("json", self.json), ("html", self.page), ("card", card))
        return [(flag, path) for flag, path in files if path]


def run_evaluation(request: EvaluateRequest, progress: Progress | None = None) -> Evaluation:
    """Judge a bundle and write what was asked for.

    Raises
    ------
    TrainingError, DatasetsError, BundleError, AnalysisError
        If the bundle, the data or an output cannot be used.
    """
    path = find_bundle(request.model)
    manifests = [read_images(source) for source in request.data]
    read = [path, *request.data, *([request.notes] if request.notes else [])]
    read += [file for manifest in manifests for file in manifest.files()]
    check_outputs(read, request.places())
    notes = _read_notes(request.notes) if request.notes else ""
    split = parse_split(request.split)
    if not request.tiles and not any(_holds(manifest, split) for manifest in manifests):
        raise no_tiles(split)  # before they are cut
    bundle = load_bundle(path)
    known = bundle.metadata.recipe.get("data", {}).get("classes", {})
    classes = parse_classes(request.classes, known)
    with cut_tiles(manifests, bundle.metadata.mpp_um, classes, progress) as cut:
        evaluation = evaluate(
            Judged.of(bundle, tta=request.tta),
            [*request.tiles, *cut],
            split=split,
            progress=progress,
        )
    if request.json:
        write_json(evaluation, request.json)
    if request.page:
        write_page(evaluation, request.page, progress)
    if request.card:
        validated = bundle.metadata.training_data_sha256
        alike = request.split == "val" and not request.data
        own = alike and tiles_sha256(request.tiles) == validated
        write_card(bundle, request.card, evaluation, own=own, notes=notes)
    return evaluation


def _holds(manifest: Manifest, split: Split) -> bool:
    """Return whether any annotated image will be in a split."""
    rows = assign_splits(manifest).rows
    return any(row.targets and row.split == split for row in rows)


def _read_notes(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path} cannot be read as text: {reason}", field="notes") from error
