"""Pictures of what is seen on the section itself: tissue, winding, stain, cells beside vessels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image
from scipy import ndimage

from analysis.association import associate
from analysis.distances import DistanceSummary
from analysis.skeleton import chain_length, end_pixels, skeleton_of
from analysis.vessels import fold_vessels
from datasets.synth import make_section
from datasets.synth_brightfield import render_brightfield
from datasets.synth_params import SectionParams
from docs.pictures import MPP_UM, OKABE, SETTINGS, canvas, save, vessels
from imaging.open import open_image
from imaging.stains import StainVectors, optical_density, separate
from imaging.tissue import find_tissue


def tissue() -> None:
    """Draw the border of the tissue found on a section with glass around it."""
    side, mpp_um = 1024, 2.0
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = (
        np.hypot(x, 0.8 * y)
        + 0.03 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 40) * 100
    )
    stained = render_brightfield(make_section(7, SectionParams(size_px=side, mpp_um=1.0)))
    glass = 250 + rng.normal(0, 0.7, (side, side, 1))
    rgb = np.where((radius < 0.36)[..., None], np.minimum(stained, 236), glass)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.png"
        Image.fromarray(rgb.astype(np.uint8)).save(path)
        with open_image(path, mpp_um) as image:
            found = find_tissue(image)
            omega = found.read(0, 0, side, side, mpp_um)
    figure, axes = plt.subplots(figsize=(3.6, 3.6), dpi=120)
    axes.imshow(rgb.astype(np.uint8))
    axes.contour(omega, [0.5], colors=[OKABE[2]], linewidths=2)
    area_mm2 = np.count_nonzero(omega) * mpp_um**2 * 1e-6
    axes.set_title(f"Ω: {area_mm2:.2f} of {(side * mpp_um / 1000) ** 2:.2f} mm²", size=8)
    axes.set_axis_off()
    save(figure, "tissue")


def tortuosity() -> None:
    """Draw each path between junctions or ends, and its chord."""
    mask = np.ascontiguousarray(vessels(seed=21, tortuosity=1.0)[:360, :360])
    skeleton = skeleton_of(mask, SETTINGS.max_radius_px)
    chains, graph = skeleton.chains, skeleton.graph
    figure, axes = canvas(mask)
    for number, ends in enumerate(end_pixels(chains)):
        pixel = chains.pixel[chains.offset[number] : chains.offset[number + 1]]
        chord = np.hypot(*(np.diff(v[ends])[0] for v in (graph.y, graph.x)))
        if chains.ring[number] or chord < 30:
            continue
        ratio = max(1.0, float(chain_length(skeleton)[number]) / 1000 / chord)
        colour = OKABE[5] if ratio > 1.1 else OKABE[4]
        axes.plot(graph.x[pixel], graph.y[pixel], color=colour, lw=1.6)
        axes.plot(graph.x[ends], graph.y[ends], ":", color="black", lw=0.9)
        middle = pixel[len(pixel) // 2]
        axes.annotate(f"{ratio:.2f}", (graph.x[middle], graph.y[middle]), size=6, color=colour)
    axes.set_title("path over chord", size=8)
    save(figure, "tortuosity")


def stain() -> None:
    """Show a section, and the optical density of its DAB alone."""
    params = SectionParams(size_px=256, markers=("VEGF",), positive_cell_density_per_mm2=700.0)
    rgb = render_brightfield(make_section(11, params))
    dab = separate(optical_density(rgb), StainVectors.default())[..., 0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.7), dpi=120)
    left.imshow(rgb)
    shown = right.imshow(dab, cmap="magma", vmin=0, vmax=float(np.percentile(dab, 99.5)))
    figure.colorbar(shown, ax=right, label="OD of DAB", fraction=0.046)
    for axes in (left, right):
        axes.set_axis_off()
    save(figure, "stain")


def association() -> None:
    """Cells near to vessels and far from them, and how many near ones chance would give."""
    mask = np.ascontiguousarray(vessels(seed=16)[:400, :400])
    rng = np.random.default_rng(2)
    free = np.argwhere(~mask)
    distance = ndimage.distance_transform_edt(~mask)[~mask] * MPP_UM
    weight = np.where(distance < 10, 3.0, 1.0)
    places = free[rng.choice(len(free), 70, replace=False, p=weight / weight.sum())].astype(float)
    summary = DistanceSummary(fold_vessels(mask, None, SETTINGS).distances, mask.shape, MPP_UM)
    to_vessel = summary.at(mask, places)
    found, _ = associate(to_vessel, summary, 0, seed=0)
    assert found is not None
    near = summary.within(to_vessel, 10)
    figure, axes = canvas(mask)
    for which, colour in ((near, OKABE[5]), (~near, OKABE[4])):
        axes.plot(places[which, 1], places[which, 0], "o", color=colour, ms=4)
    share, ratio = found.fraction_within_um["10"], found.observed_to_expected["10"]
    assert ratio is not None
    axes.set_title(f"{share:.0%} within 10 µm, {ratio:.2f} times as many as by chance", size=8)
    save(figure, "association")


DRAWN = (tissue, tortuosity, stain, association)


if __name__ == "__main__":
    for draw in DRAWN:
        draw()
