"""What the shipped bundle outlines on whole real fields that nobody has outlined.

    python -m docs.real_fields FOLDER

measures the fields in `FOLDER/ihc_fields` (three other antigens in brown, without CD31: whatever is
outlined there is no CD31+ vessel) and in `FOLDER/cortex_fields` (mouse cortex, fluorescence, of the
images that VessMAP was cut from) with `angiometry measure`, and writes what it says of them to
docs/real-fields.json, and its outlines to docs/images/measure-real-fields.png. None is trained on.
A fourth field of the first folder, c-Fos in
mouse brain, is grey, so that there are no stains to part. Of the field whose copyright is known to
be free (FHL2) the picture shows the pixels, of all others what is outlined alone.
The files state no pixel size: fields of 20× are read as 0.5 µm/px, all other cortex as 1 µm/px,
brown ones as 0.5 µm/px. Five minutes on two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from PIL import Image

from docs.pictures import OKABE, save
from model.bundle import find_bundle, load_bundle

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "real-fields.json"
BROWN = {
    "skimage_ihc_FHL2_colon.png": "FHL2, colon",
    "meklon_Alex_Pan_06.jpg": "cytokeratin",
    "meklon_Native_Trop_02.jpg": "Trop-2",
}
FREE = "skimage_ihc_FHL2_colon.png"  # no known copyright restrictions
CORTEX = "mouse cortex, fluorescence"


def measured(
    images: Sequence[Path], mpp_um: float, modality: str, masks: Path
) -> list[dict[str, Any]]:
    """Return the record of each image; its mask goes into the folder `masks`."""
    command = [sys.executable, "-m", "angiometry", "measure", *map(str, images)]
    mask = masks if len(images) > 1 else masks / f"{images[0].stem}.png"  # a folder for several
    command += ["--mpp", str(mpp_um), "--modality", modality, "--json", "-", "--mask", str(mask)]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    records = json.loads(done.stdout)
    return records if isinstance(records, list) else [records]


def measure(folder: Path, masks: Path) -> dict[str, Any]:
    """Return a row for each field, and draw what is outlined on it."""
    brown, cortex = (sorted((folder / name).iterdir()) for name in ("ihc_fields", "cortex_fields"))
    fine = [path for path in cortex if "20x" in path.name.lower()]
    lots = [
        ([path for path in brown if path.name in BROWN], 0.5, "brightfield"),
        (fine, 0.5, "fluorescence"),
        ([path for path in cortex if path not in fine], 1.0, "fluorescence"),
    ]
    fields = [
        _row(BROWN.get(path.name, CORTEX), mpp_um, record)
        for images, mpp_um, modality in lots
        for path, record in zip(images, measured(images, mpp_um, modality, masks), strict=True)
    ]
    draw([path for images, *_ in lots for path in images], masks, fields)
    return {"bundle_sha256": load_bundle(find_bundle(None)).sha256, "fields": fields}


def table(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures as Markdown, all fields of a tissue and pixel size in one row."""
    lines = [
        "| fields | number | read as | area outlined | out of distribution | verdict of quality |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lots = dict.fromkeys((row["field"], row["mpp_um"]) for row in figures["fields"])
    for name, mpp_um in lots:
        rows = [row for row in figures["fields"] if (row["field"], row["mpp_um"]) == (name, mpp_um)]
        areas = _span([100 * row["area_fraction"] for row in rows], 0)
        strange = _span([row["out_of_distribution"] for row in rows], 1)
        verdicts = [row["verdict"] for row in rows]
        told = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
        lines.append(
            f"| {name} | {len(rows)} | {mpp_um:g} µm/px | {areas} % | {strange} | {told} |"
        )
    return lines


def draw(images: Sequence[Path], masks: Path, fields: Sequence[Mapping[str, Any]]) -> None:
    """Draw what is outlined: over the pixels that may be shown, else black on white."""
    columns = 7
    figure, grid = plt.subplots(
        -(-len(images) // columns), columns, figsize=(11, 3.6), layout="constrained"
    )
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, (path, field) in zip(grid.ravel(), zip(images, fields, strict=True), strict=False):
        with Image.open(masks / f"{path.stem}.png") as mask:
            if path.name == FREE:
                axes.imshow(plt.imread(path))
                axes.contour(np.asarray(mask) > 0, levels=[0.5], colors=OKABE[4], linewidths=0.6)
            else:
                mask.thumbnail((480, 480))
                axes.imshow(255 - np.asarray(mask), cmap="gray", vmin=0, vmax=255)
        axes.add_patch(
            Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, lw=0.5, clip_on=False)
        )
        area = 100 * field["area_fraction"]
        axes.set_title(f"{field['field'].split(', ')[0]}\n{area:.0f} %", fontsize=7)
    save(figure, "real-fields")


def _row(name: str, mpp_um: float, record: Mapping[str, Any]) -> dict[str, Any]:
    quality = record["quality"]
    return {
        "field": name,
        "mpp_um": mpp_um,
        "area_fraction": round(record["regions"][0]["vessels"]["area_fraction"], 4),
        "out_of_distribution": round(quality["out_of_distribution"]["value"], 2),
        "verdict": quality["verdict"],
    }


def _span(values: Sequence[float], digits: int) -> str:
    shown = [f"{value:.{digits}f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(shown))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m docs.real_fields FOLDER")
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(sys.argv[1]), Path(scratch))
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)))
