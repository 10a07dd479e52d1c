"""Draw a picture for each measurement of docs/measurements.md, by the code that measures.

    python -m docs.pictures

writes docs/images/measure-*.png from one synthetic section of fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import shapely

from analysis.cells import CellSettings, label_cells
from analysis.distances import CELL_PX
from analysis.hotspot import field_radius_um, profiles_in_fields
from analysis.hotspot import hotspot as hotspot_of
from analysis.lacunarity import BOXES_UM, boxes_px
from analysis.objects import CELL_CLASS, COLOUR_OF_CLASS
from analysis.profiles import components, connect, find_runs
from analysis.quadrats import QUADRAT_UM
from analysis.region_masks import OutlineMask
from analysis.regions import plan_regions
from analysis.skeleton import distance_to_background, skeleton_of
from analysis.skeleton_picture import BRANCHPOINT, KINDS, draw_skeleton, trace_skeleton
from analysis.uncertainty import block_count, blocks
from analysis.vessels import VesselSettings, measure_vessels
from analysis.widths import free_pixels, normals, widths
from datasets.synth import make_section
from datasets.synth_params import SectionParams
from model.targets import target_arrays

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Rectangle

IMAGES = Path(__file__).parent / "images"
MPP_UM = 0.5
SETTINGS = VesselSettings(mpp_um=MPP_UM)
VESSEL_GREY, PAPER = 0.78, 1.0
FAR_SHOWN_UM = 50  # distances from here on have one colour
OKABE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")

Bools = npt.NDArray[np.bool_]


def vessels(seed: int = 12, size_px: int = 512, **changes: float) -> Bools:
    """Return the vessel mask of a synthetic section."""
    parts: dict[str, Any] = {
        "vessel_length_density_mm_per_mm2": 16.0, "network_fraction": 0.5,
        "profile_density_per_mm2": 250.0, "large_vessel_density_per_mm2": 10.0,
    }  # fmt: skip
    params = SectionParams(size_px=size_px, **(parts | changes))
    return make_section(seed, params).vessel_mask()


def canvas(mask: Bools, width: float = 4.0) -> tuple[Figure, Any]:
    """Return a figure that shows the mask in grey."""
    figure, axes = plt.subplots(figsize=(width, width * mask.shape[0] / mask.shape[1]), dpi=120)
    axes.imshow(np.where(mask, VESSEL_GREY, PAPER), cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure, axes


def save(figure: Figure, name: str) -> None:
    """Write a figure as measure-NAME.png; the same drawing gives the same bytes."""
    path = IMAGES / f"measure-{name}.png"
    figure.savefig(path, bbox_inches="tight", pad_inches=0.04, metadata={"Software": None})
    plt.close(figure)


def profiles() -> None:
    """Each profile counted in a colour of its own; those on the bottom or right border hatched."""
    mask = vessels()
    runs = find_runs(mask)
    count, owner = components(len(runs.row), *connect(runs, SETTINGS.reach_px))
    area = np.bincount(owner, runs.stop - runs.start, minlength=count)
    last = np.zeros((2, count), int)
    np.maximum.at(last[0], owner, runs.row)
    np.maximum.at(last[1], owner, runs.stop)
    cut = (last[0] == mask.shape[0] - 1) | (last[1] == mask.shape[1])
    colours = np.array([mpl.colors.to_rgb(OKABE[k % 7]) for k in range(count)])
    colours[cut | (area < SETTINGS.min_profile_px)] = 0.85
    picture = np.ones((*mask.shape, 3))
    for row, start, stop, k in zip(runs.row, runs.start, runs.stop, owner, strict=True):
        picture[row, start:stop] = colours[k]
    figure, axes = canvas(mask)
    axes.imshow(picture)
    bottom, right = mask.shape[0] - 1, mask.shape[1] - 1
    axes.plot([0, right, right], [bottom, bottom, 0], color=OKABE[5], lw=3)
    counted = measure_vessels(mask, None, SETTINGS).vessels.profile_count
    axes.set_title(f"{counted} profiles; grey: on the bottom or right border, or too small", size=8)
    save(figure, "profiles")


def skeleton() -> None:
    """Segments by kind, branchpoints as dots."""
    mask = np.ascontiguousarray(vessels()[:400, :400])
    mask[310:318, 60:320] = True
    picture = np.where(mask, 225, 255)[..., None].repeat(3, -1).astype(np.uint8)
    picture = np.repeat(np.repeat(picture, 4, axis=0), 4, axis=1)
    draw_skeleton(picture, trace_skeleton(mask, SETTINGS), 4.0)
    figure, axes = canvas(mask)
    axes.imshow(picture, extent=(-0.5, mask.shape[1] - 0.5, mask.shape[0] - 0.5, -0.5))
    kinds = (*KINDS, BRANCHPOINT)
    entries = [Patch(color=f"#{bytes(c).hex()}", label=n) for n, c in kinds]
    axes.legend(handles=entries, fontsize=6, loc="lower right", framealpha=0.9)
    save(figure, "skeleton")


def diameter() -> None:
    """Widths along normals, away from junctions and ends."""
    mask = np.ascontiguousarray(vessels()[60:400, 60:500])
    skeleton = skeleton_of(mask, SETTINGS.max_radius_px)
    ny, nx = normals(skeleton)
    taken = np.flatnonzero(free_pixels(skeleton))[::6]
    pixel = skeleton.chains.pixel[taken]
    y, x = skeleton.graph.y[pixel], skeleton.graph.x[pixel]
    width = widths(mask, y, x, ny[taken], nx[taken], skeleton.radius[pixel])
    figure, axes = canvas(mask)
    axes.plot(skeleton.graph.x, skeleton.graph.y, ".", color="black", ms=1)
    for half in (-0.5, 0.5):
        ends = x + half * width * nx[taken], y + half * width * ny[taken]
        axes.plot(np.stack([x, ends[0]]), np.stack([y, ends[1]]), color=OKABE[5], lw=0.8)
    axes.set_title(f"mean of these widths {width.mean() * MPP_UM:.1f} µm", size=8)
    save(figure, "diameter")


def distance() -> None:
    """How far tissue lies from the nearest vessel; hatched where the frame hides a nearer one."""
    mask = vessels(vessel_length_density_mm_per_mm2=8.0, profile_density_per_mm2=90.0)
    away = distance_to_background(~mask) * MPP_UM
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    edge = np.minimum(np.minimum(y + 1, height - y), np.minimum(x + 1, width - x)) * MPP_UM
    figure, axes = canvas(mask)
    shown = axes.imshow(np.where(mask, np.nan, away), cmap="viridis", vmin=0, vmax=FAR_SHOWN_UM)
    axes.contourf(edge < away, levels=[0.5, 1.5], colors="none", hatches=["////"])
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, label="µm")
    ticks = range(0, FAR_SHOWN_UM + 1, 10)
    bar.set_ticks(ticks, labels=[*map(str, ticks[:-1]), f"≥ {FAR_SHOWN_UM}"])
    save(figure, "distance")


def lacunarity() -> None:
    """Boxes glide over every position; Λ falls as boxes grow."""
    mask = vessels()
    found = measure_vessels(mask, None, SETTINGS).vessels.lacunarity
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0), dpi=120)
    left.imshow(np.where(mask, VESSEL_GREY, PAPER), cmap="gray", vmin=0, vmax=1)
    left.set_axis_off()
    for number, side in enumerate(boxes_px(MPP_UM)[2:]):
        left.add_patch(Rectangle((60 + 22 * number, 60), side, side, fill=False, ec=OKABE[number]))
    known = [(b, v) for b, v in zip(BOXES_UM, found.value, strict=True) if v is not None]
    right.loglog(*zip(*known, strict=True), "o-", color=OKABE[4])
    right.set_xlabel("box (µm)")
    right.set_ylabel("Λ")
    right.set_title(f"mean {found.mean:.2f}, slope {found.slope:.2f}", size=8)
    figure.tight_layout()
    save(figure, "lacunarity")


def hotspot() -> None:
    """Profiles of a wide section, the densest field of 0.74 mm² and one of the mean."""
    rng = np.random.default_rng(4)
    places = np.concatenate([rng.uniform(0, 3, (260, 2)), rng.normal((2.0, 1.1), 0.25, (90, 2))])
    y, x = np.rint(places[:, ::-1].T * 1000 / MPP_UM).astype(np.int64)
    side = round(3000 / MPP_UM)
    cells = np.ones((-(-side // CELL_PX),) * 2, np.float32)
    hottest, mean, _ = hotspot_of(y, x, cells, 9.0, MPP_UM)
    centres, counted = profiles_in_fields(y, x, cells, MPP_UM)
    middle_y, middle_x = centres[counted.argmax()] * MPP_UM / 1000
    figure, axes = plt.subplots(figsize=(4, 4), dpi=120)
    axes.plot(*places.T, ".", color="0.45", ms=3)
    axes.add_patch(
        Circle((middle_x, middle_y), field_radius_um() / 1000, fill=False, ec=OKABE[5], lw=2)
    )
    axes.set_xlim(0, 3)
    axes.set_ylim(0, 3)
    axes.set_aspect("equal")
    axes.set_xlabel("mm")
    axes.set_title(f"hotspot {hottest:.0f}, mean field {mean:.0f} per mm²", size=8)
    save(figure, "hotspot")


def regions() -> None:
    """Draw a core, its band, their mirror images across the midline, an exclusion."""
    size, mpp_um = (1200, 800), 5.0
    core = shapely.Point(820, 380).buffer(110).union(shapely.Point(900, 450).buffer(80))
    drawn = [
        ("infarct_core", core),
        ("midline", shapely.LineString([(590, 0), (612, 400), (598, 800)])),
        ("exclude", shapely.box(700, 600, 800, 690)),
    ]
    features = [
        {"properties": {"name": name}, "geometry": shapely.geometry.mapping(shape)}
        for name, shape in drawn
    ]
    plan = plan_regions(features, size, mpp_um, 500.0)
    labels = np.full((size[1], size[0]), np.nan)
    names = list(plan.shapes)
    for number, name in enumerate(names):
        labels[OutlineMask(plan.shapes[name], size[1], size[0])[:, :]] = number
    assert plan.exclusions is not None
    labels[OutlineMask(plan.exclusions, size[1], size[0])[:, :]] = np.nan
    figure, axes = plt.subplots(figsize=(5, 3.6), dpi=120)
    axes.imshow(labels, cmap=mpl.colors.ListedColormap(OKABE[: len(names)]), interpolation="none")
    axes.set_axis_off()
    entries = [Patch(color=OKABE[k], label=name) for k, name in enumerate(names)]
    axes.legend(handles=entries, fontsize=6, loc="lower center", bbox_to_anchor=(0.5, -0.2), ncol=3)
    save(figure, "regions")


def interval() -> None:
    """Draw the blocks that are left out in turn."""
    side = 24
    row, column = (v.reshape(-1) for v in np.mgrid[:side, :side])
    inside = np.hypot(row - 11.5, (column - 11.5) * 0.8) < 11
    row, column = row[inside], column[inside]
    area_mm2 = len(row) * (QUADRAT_UM / 1000) ** 2
    block = blocks(row, column, np.full(len(row), 1), block_count(area_mm2))
    shown = np.full((side, side), np.nan)
    shown[row, column] = block % 7
    figure, axes = plt.subplots(figsize=(3.4, 3.4), dpi=120)
    axes.imshow(shown, cmap=mpl.colors.ListedColormap(OKABE[:7]))
    axes.set_axis_off()
    axes.set_title(f"{area_mm2:.1f} mm² in {block_count(area_mm2)} blocks", size=8)
    save(figure, "interval")


def cells() -> None:
    """Touching cells parted, each with a number."""
    params = SectionParams(
        size_px=256, markers=("VEGF",), positive_cell_density_per_mm2=900.0, cluster_fraction=0.6
    )
    truth = make_section(5, params).cell_labels()
    targets, _ = target_arrays({"vegf_cell": truth})
    body, depth = (np.rint(255 * targets[k]).astype(np.uint8) for k in (1, 2))
    labels = label_cells(body, depth, CellSettings(MPP_UM, 128))
    figure, axes = canvas(labels > 0)
    for number in range(1, int(labels.max()) + 1):
        axes.contour(labels == number, [0.5], colors=[OKABE[number % 7]], linewidths=1.2)
    colour = np.array(COLOUR_OF_CLASS[CELL_CLASS]) / 255
    axes.set_title(f"{labels.max()} positive cells", size=8, backgroundcolor=colour)
    save(figure, "cells")


DRAWN: tuple[Callable[[], None], ...] = (
    profiles, skeleton, diameter, distance, lacunarity, hotspot, regions, interval, cells,
)  # fmt: skip


def main() -> None:
    """Draw every picture."""
    for draw in DRAWN:
        draw()


if __name__ == "__main__":
    main()
