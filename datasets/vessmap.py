"""Reader for VessMAP, vessels of the mouse cortex.

What         crops of fluorescence micrographs of mouse cortex with outlined blood vessels
How many     100 crops of 256 × 256 px, uint8 TIFF, drawn from a larger set of whole fields so
             that they span contrast, noise, vessel density and intensity variation
Resolution   not recorded; vessels are 8–12 px across, so 0.5 µm/px is assumed
Annotation   vessel masks (0/255 PNG) by annotator 1, for a part also by annotator 2
Licence      believed CC BY 4.0 (record 10045265 at Zenodo); the files state none
Citation     Viana da Silva et al., PLOS ONE 20(5):e0322048, 2025,
             doi 10.1371/journal.pone.0322048

Layouts read: ``images/`` beside ``labels/``; the archive as it unpacks, ``images/`` beside
``annotator1/labels/``; either of them one folder deeper; and the archive `VessMAP.zip` itself,
which is unpacked beside it.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from datasets.errors import LayoutError
from datasets.manifest import Manifest
from datasets.rows import VESSMAP_GROUP, Row, file_sha256
from datasets.splits import draw
from model.targets import VESSEL

MPP_UM = 0.5
LICENCE = "CC-BY-4.0"
_IMAGE_SUFFIXES = (".tiff", ".tif", ".png")
_LABEL_SUFFIXES = (".png", ".tiff", ".tif")
_LABEL_FOLDERS = ("{annotator}/labels", "labels/{annotator}", "labels")
_UNPACKED_LIMIT_BYTES = 1 << 30


def vessmap_manifest(
    folder: str | Path,
    *,
    val_fraction: float = 0.2,
    fold: int = 0,
    seed: int = 0,
    annotator: str = "annotator1",
) -> Manifest:
    """Describe a folder of VessMAP as a manifest.

    A crop's number is the only identity that the set records, so each crop counts as an animal of
    its own; two crops of one mouse may thus fall into different splits, which cannot be seen from
    the files. Crops are ordered by a hash of their number and of `seed`, not by file order or
    platform; part number `fold` of that order validates.

    Parameters
    ----------
    folder
        A folder in one of the layouts above, or the zip archive.
    val_fraction
        Part of the crops that only validates, 0..1.
    fold
        Which part, from 0: with a fifth, the folds 0 to 4 validate each crop once.
    annotator
        Whose labels are used where the folder has those of several.

    Raises
    ------
    LayoutError
        If there are no images or no labels in it, an image lacks its label, or there is no such
        fold.
    """
    if not 0 <= val_fraction <= 1:
        raise LayoutError(f"val_fraction {val_fraction} is not in 0..1", field="val_fraction")
    folds = max(1, round(1 / val_fraction)) if val_fraction else 1
    if not 0 <= fold < folds:
        raise LayoutError(
            f"fold {fold} is not in 0..{folds - 1}; {val_fraction:g} of the crops validate in each",
            field="fold",
        )
    folder = Path(folder)
    if zipfile.is_zipfile(folder):
        folder = _unpack(folder)
    root = _root(folder)
    labels = _label_folder(root, annotator)
    images = {path.stem: path for path in _files(root / "images", _IMAGE_SUFFIXES)}
    label_of = {path.stem: path for path in _files(labels, _LABEL_SUFFIXES)}
    lacking = sorted(set(images) - set(label_of))
    if not images or lacking:
        listed = ", ".join(lacking[:5]) or "all, because there is no image"
        raise LayoutError(f"{root} lacks labels of {listed}; unpack the archive again")
    by_draw = sorted(images, key=lambda number: draw(seed, number))
    first, last = (round(val_fraction * len(images) * part) for part in (fold, fold + 1))
    held_out = set(by_draw[first:last])
    rows = tuple(
        Row(
            image=images[number].relative_to(root).as_posix(),
            animal=f"vessmap-{number}",
            section=number,
            group=VESSMAP_GROUP,
            markers=("CD31",),
            modality="fluorescence",
            mpp_um=MPP_UM,
            annotation={VESSEL: label_of[number].relative_to(root).as_posix()},
            targets=(VESSEL,),
            split="val" if number in held_out else "train",
            licence=LICENCE,
            sha256=file_sha256(images[number]),
        )
        for number in sorted(images, key=lambda number: (len(number), number))
    )
    return Manifest(root, rows, "VessMAP")


def read_images(source: str | Path) -> Manifest:
    """Read a manifest, or describe VessMAP if `source` is a folder or a zip archive.

    Raises
    ------
    ManifestError, LayoutError
        If it is neither.
    """
    source = Path(source)
    if source.is_dir() or source.suffix.lower() == ".zip":
        return vessmap_manifest(source)
    return Manifest.read(source)


def _root(folder: Path) -> Path:
    candidates = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    for candidate in candidates:
        if (candidate / "images").is_dir():
            return candidate
    raise LayoutError(
        f"{folder} has no folder images/; give the folder that VessMAP unpacked to, or name the "
        "manifest of your own images, a .csv file"
    )


def _label_folder(root: Path, annotator: str) -> Path:
    for pattern in _LABEL_FOLDERS:
        labels = root / pattern.format(annotator=annotator)
        if labels.is_dir() and _files(labels, _LABEL_SUFFIXES):
            return labels
    raise LayoutError(
        f"{root} has neither labels/ nor {annotator}/labels/, which VessMAP has: unpack its "
        "archive again; or name the manifest of your own images, a .csv file"
    )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes]


def _unpack(archive: Path) -> Path:
    target = archive.with_suffix("")
    if target.is_dir() and any(target.iterdir()):
        return target
    # Only what is complete gets the folder's name: an interrupted unpacking is simply repeated.
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(archive) as bundle:
        if sum(entry.file_size for entry in bundle.infolist()) > _UNPACKED_LIMIT_BYTES:
            raise LayoutError(f"{archive.name} unpacks to over 1 GiB; it is not VessMAP")
        bundle.extractall(partial)
    return partial.replace(target)
