"""Draw where the shipped bundle fails: the worst of what the other scripts of this folder measured.

    python -m docs.failures

takes the worst section without vessels of each kind, the worst mottled field, and in each kind the
section with the most wide vessels that are hardly outlined, as docs/empty-sections.json and
docs/open-lumens.json have them, and writes docs/images/measure-failures.png.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

from docs import empty_sections, open_lumens
from docs.open_lumens import lumens_of, section_with_lumens
from docs.outliner import Outliner, look
from docs.pictures import save
from model.bundle import find_bundle, load_bundle
from training.charts import ANNOTATED, PREDICTED

Bools = npt.NDArray[np.bool_]
Scene = tuple[str, npt.NDArray[Any], int, Bools | None]


def scenes() -> Iterator[Scene]:
    """Yield a title, pixels, the camera's full scale, and what was drawn, None if nothing."""
    figures = json.loads(empty_sections.FIGURES.read_text(encoding="utf-8"))
    for modality, areas in figures["sections"].items():
        worst = int(np.argmax(areas))
        title = f"no vessel, {modality}: {100 * areas[worst]:.1f} %"
        yield (title, *empty_sections.empty_section(modality, worst), None)
    kind, areas = max(figures["mottled"].items(), key=lambda item: max(item[1]))
    worst = int(np.argmax(areas))
    pixels = empty_sections.mottled(kind, worst)
    yield f"no vessel, {kind}: {100 * areas[worst]:.1f} %", pixels, 255, None
    shares = json.loads(open_lumens.FIGURES.read_text(encoding="utf-8"))["filled"]
    for modality, filled in shares.items():
        number = _worst_section(filled)
        rng = np.random.default_rng((43, number))
        section = section_with_lumens(number, rng)
        wide = lumens_of(section) > 0
        yield (f"wide vessels, {modality}", *look(section, modality, rng), wide)


def _worst_section(filled: list[float]) -> int:
    """Return the section whose wide vessels lack most, from all sections' shares in their order."""
    rest, lacking = list(filled), []
    for number in range(open_lumens.SECTIONS):
        section = section_with_lumens(number, np.random.default_rng((43, number)))
        mine = [rest.pop(0) for _ in open_lumens.whole_lumens(lumens_of(section))]
        lacking.append(sum(1 - share for share in mine))
    if rest:
        raise ValueError(f"{open_lumens.FIGURES} is of other sections; measure them anew")
    return int(np.argmax(lacking))


def draw() -> None:
    """Draw all scenes on one sheet."""
    bundle = load_bundle(find_bundle(None))
    for module in (empty_sections, open_lumens):
        figures = json.loads(module.FIGURES.read_text(encoding="utf-8"))
        if figures["bundle_sha256"] != bundle.sha256:
            raise ValueError(f"{module.FIGURES} is of another bundle: run {module.__name__} first")
    outliner = Outliner(bundle)
    shown = list(scenes())
    figure, panels = plt.subplots(1, len(shown), figsize=(12, 2.9), layout="constrained")
    for axes, (title, pixels, full_scale, drawn) in zip(panels, shown, strict=True):
        if pixels.ndim == 3:
            axes.imshow(pixels, interpolation="nearest")
        else:
            high = np.percentile(pixels, 99.8)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=high, interpolation="nearest")
        found = outliner(pixels, full_scale)
        for mask, colour, style in ((drawn, ANNOTATED, "solid"), (found, PREDICTED, "dashed")):
            if mask is not None and mask.any():
                axes.contour(mask, levels=[0.5], colors=colour, linestyles=style, linewidths=1)
        axes.set_title(title, fontsize=7)
        axes.set_axis_off()
    save(figure, "failures")


if __name__ == "__main__":
    draw()
