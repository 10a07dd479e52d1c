"""How well the shipped bundle finds the nearest real cells that anybody has marked.

    python -m docs.real_cells FOLDER

reads `FOLDER/ki67_dab` (Ki-67, DAB and hematoxylin, human breast: images, points and the annotated
part of each) and `FOLDER/neurons_if` (traced neurons of macaque brain, red and green over
autofluorescence: images and boxes), none of which was ever trained on. A cell is found where a
marked point lies within 6 px of its centre, each point once; points were set by eye, many of them
beside the middle of a nucleus, so that 12 px are told, too. The figures go to
docs/real-cells.json, the picture to docs/images/measure-real-cells.png. A quarter of an hour on two
cores.

Beside it stands what a filter without any learning finds on the Ki-67 fields: dark blobs, of the
width and from the threshold that give the best F1 on these same fields.

The points of one Ki-67 field lie beside their nuclei, all to the same side: they are moved back.
The files state no pixel size. Neurons are read as 1.3 µm/px, which makes them 15 µm wide; nuclei of
the Ki-67 fields as 0.5 and as 0.7 µm/px.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.color import rgb2hed
from skimage.feature import peak_local_max

from datasets.rows import Modality
from docs.pictures import OKABE, save
from imaging.markers import fit_scaling, marker_channels
from imaging.open import open_image, parse_channels
from imaging.tissue import find_tissue
from model.bundle import find_bundle, load_bundle
from training.judging import Judged, find_cells

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "real-cells.json"
REACH_PX, FAR_PX = 6.0, 12.0
BLOBS = "Ki-67, dark blobs, no network"
KI67_UM_PX = (0.5, 0.7)
NEURONS_UM_PX = 1.3
BLOB_PX = (4.0, 5.0, 6.0, 7.0, 8.0)
BLOB_LEAST = (0.002, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015)
# By which the mean brown at the points is darkest; of other fields it is 0 to 2 px.
MOVED_PX = {"7983-03": (-6.0, 0.0)}

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Marked:
    """One image with the marked cells' centres (n, 2) as x and y in its pixels, and where it is."""

    path: Path
    modality: Modality
    mpp_um: float
    channels: str
    points: Points
    annotated: npt.NDArray[np.bool_] | None = None


def ki67(folder: Path, mpp_um: float) -> Iterator[Marked]:
    """Yield the fields of Ki-67 with their positive nuclei."""
    for path in sorted((folder / "images").glob("*.jpg")):
        with (folder / "points" / f"{path.stem}.csv").open(encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["class"] == "positive"]
        points = np.array([(float(row["x"]), float(row["y"])) for row in rows]).reshape(-1, 2)
        points += MOVED_PX.get(path.stem, (0.0, 0.0))
        with Image.open(folder / "roi" / f"{path.stem}.png") as image:
            annotated = np.asarray(image.convert("L")) > 127
        yield Marked(path, "brightfield", mpp_um, "", points, annotated)


def neurons(folder: Path) -> Iterator[Marked]:
    """Yield the tiles of traced neurons, once for each tracer that is marked on it."""
    centres = defaultdict(list)
    with (folder / "boxes.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            left, top, right, bottom = (float(row[k]) for k in ("xmin", "ymin", "xmax", "ymax"))
            centres[row["image"], row["label"]].append(((left + right) / 2, (top + bottom) / 2))
    for (name, label), points in sorted(centres.items()):
        channels = f"VEGF={('red', 'green').index(label)}"
        path = folder / "images" / name
        yield Marked(path, "fluorescence", NEURONS_UM_PX, channels, np.array(points))


def found_cells(network: Judged, marked: Marked) -> Points:
    """Return the centres (n, 2) of the cells that are found, as x and y in the image's pixels."""
    channels = parse_channels(marked.channels) if marked.channels else None
    with open_image(
        marked.path, marked.mpp_um, modality=marked.modality, channels=channels
    ) as image:
        scaling = fit_scaling(image, "VEGF", find_tissue(image, "auto"))
        pixels = image.read_region(0, 0, *image.size_at(network.mpp_um), network.mpp_um)
        step = image.scale_at(network.mpp_um)
    shown = np.rint(np.moveaxis(marker_channels(pixels, scaling), 0, -1) * 255).astype(np.uint8)
    labels = find_cells(network, shown)
    middle = ndimage.center_of_mass(labels > 0, labels, np.arange(1, labels.max() + 1))
    return (np.array(middle).reshape(-1, 2)[:, ::-1] + 0.5) * step


def dark_blobs(marked: Marked, width_px: float, least: float) -> Points:
    """Return the middles (n, 2) of brown blobs, as x and y: peaks of a Laplacian of Gaussian."""
    with Image.open(marked.path) as image:
        brown = rgb2hed(np.asarray(image.convert("RGB")))[..., 2]
    response = -(width_px**2) * ndimage.gaussian_laplace(brown, width_px)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        response, min_distance=int(width_px), threshold_abs=least, exclude_border=False
    )
    return np.asarray(peaks[:, ::-1], np.float64)


def within(points: Points, annotated: npt.NDArray[np.bool_] | None) -> Points:
    """Return the points that lie where the image was annotated."""
    if annotated is None:
        return points
    height, width = annotated.shape
    x, y = points.T.astype(int)
    inside: Points = points[annotated[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]]
    return inside


def matched(found: Points, marked: Points, reach_px: float = REACH_PX) -> int:
    """Return how many cells are found: pairs within reach, each cell and point once."""
    return len(offsets(found, marked, reach_px))


def offsets(found: Points, marked: Points, reach_px: float = FAR_PX) -> Points:
    """Return by how much the points of such pairs lie beside what is found, (pairs, 2)."""
    if not (len(found) and len(marked)):
        return np.empty((0, 2))
    apart = cdist(found, marked)
    rows, columns = linear_sum_assignment(np.where(apart <= reach_px, apart, 1e6))
    near = apart[rows, columns] <= reach_px
    return np.asarray(marked[columns[near]] - found[rows[near]])


def score(find: Callable[[Marked], Points], images: Iterator[Marked]) -> dict[str, Any]:
    """Return F1 over all cells, and how the counts of the images go together."""
    rows = []
    for marked in images:
        found = within(find(marked), marked.annotated)
        points = within(marked.points, marked.annotated)
        hits = [matched(found, points, reach) for reach in (REACH_PX, FAR_PX)]
        rows.append((*hits, len(found), len(points)))
    near, far, found_count, marked_count = np.array(rows).sum(axis=0)
    counts = np.array(rows)[:, 2:]
    return {
        "images": len(rows),
        "f1": round(float(2 * near / (found_count + marked_count)), 4),
        "precision": round(float(near / found_count), 4),
        "recall": round(float(near / marked_count), 4),
        "f1_far": round(float(2 * far / (found_count + marked_count)), 4),
        "precision_far": round(float(far / found_count), 4),
        "count_correlation": round(float(np.corrcoef(counts.T)[0, 1]), 4),
        "counts": counts.tolist(),
    }


def best_blobs(images: Sequence[Marked]) -> dict[str, Any]:
    """Return the scores of the filter that does best on these images, and what it is.

    ``scatter_px`` is the standard deviation of the points about its blobs, in x and in y, of pairs
    within 12 px.
    """
    tried = {
        (width, least): score(partial(dark_blobs, width_px=width, least=least), iter(images))
        for width in BLOB_PX
        for least in BLOB_LEAST
    }
    width, least = max(tried, key=lambda filter_: tried[filter_]["f1"])
    apart = np.concatenate(
        [
            offsets(
                within(dark_blobs(image, width, least), image.annotated),
                within(image.points, image.annotated),
            )
            for image in images
        ]
    )
    scatter = [round(float(value), 2) for value in apart.std(axis=0)]
    return tried[width, least] | {"width_px": width, "least": least, "scatter_px": scatter}


def measure(folder: Path) -> dict[str, Any]:
    """Return the scores of the shipped bundle on both sets."""
    bundle = load_bundle(find_bundle(None))
    find = partial(found_cells, Judged.of(bundle))
    sets: dict[str, Any] = {
        f"Ki-67, read as {mpp:g} µm/px": score(find, ki67(folder / "ki67_dab", mpp))
        for mpp in KI67_UM_PX
    }
    sets["neurons, each tracer on each tile"] = score(find, neurons(folder / "neurons_if"))
    sets[BLOBS] = best_blobs(list(ki67(folder / "ki67_dab", KI67_UM_PX[0])))
    return {"bundle_sha256": bundle.sha256, "sets": sets}


def table(figures: dict[str, Any]) -> list[str]:
    """Return the figures as the documents show them, line by line."""
    far = f"within {FAR_PX:g} px"
    heads = ("images", "number", "F1", "precision", "recall", f"F1 {far}", f"precision {far}",
             "correlation of counts")  # fmt: skip
    keys = ("f1", "precision", "recall", "f1_far", "precision_far", "count_correlation")
    rows = [heads, ["---"] * len(heads)]
    for name, found in figures["sets"].items():
        rows.append([name, str(found["images"]), *(f"{found[key]:.2f}" for key in keys)])
    return [f"| {' | '.join(row)} |" for row in rows]


def draw(figures: dict[str, Any]) -> None:
    """Draw the cells found in each image against those that people marked."""
    sets = {name: found for name, found in figures["sets"].items() if name != BLOBS}
    figure, axes = plt.subplots(1, len(sets), figsize=(7.2, 2.7), dpi=120, layout="constrained")
    for axis, (name, found) in zip(axes, sets.items(), strict=True):
        got, wanted = np.array(found["counts"]).T
        most = 1.05 * max(got.max(), wanted.max())
        axis.plot([0, most], [0, most], color="0.6", lw=0.8)
        axis.plot(wanted, got, ".", color=OKABE[4], alpha=0.6)
        axis.set_title(f"{name}\nF1 {found['f1']:.2f}", size=8)
        axis.set(xlabel="cells marked", ylabel="cells found", xlim=(0, most), ylim=(0, most))
    save(figure, "real-cells")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m docs.real_cells FOLDER")
    measured = measure(Path(sys.argv[1]))
    print("\n".join(table(measured)))
    FIGURES.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    draw(measured)
