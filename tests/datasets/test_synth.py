"""Synthetic sections: truth that is exact, pixels that follow from the seed alone."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import shapely

from datasets.synth import make_section
from datasets.synth_brightfield import brightfield_stains, render_brightfield
from datasets.synth_camera import photograph
from datasets.synth_fluorescence import fluorescence_channels, render_fluorescence
from datasets.synth_params import SectionParams
from datasets.synth_rerender import rerender_as_hdab
from datasets.synth_scene import holes
from datasets.synth_shapes import Outline, Tube, outline_labels, tube_field
from datasets.synth_style import BrightfieldStyle, FluorescenceStyle
from imaging.stains import optical_density, separate

_BOTH = SectionParams(
    size_px=192, markers=("CD31", "VEGF"), positive_cell_density_per_mm2=900, tortuosity=0.6
)


def _hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


@pytest.mark.parametrize("seed", [0, 7])
def test_same_seed_gives_the_same_pixels(seed: int) -> None:
    """A seed decides every pixel of truth and of both renderings."""
    once, again = make_section(seed, _BOTH), make_section(seed, _BOTH)
    for make in (
        lambda section: section.vessel_mask(),
        lambda section: section.cell_labels(),
        lambda section: render_brightfield(section, "CD31"),
        lambda section: render_brightfield(section, "VEGF"),
        render_fluorescence,
    ):
        assert _hash(make(once)) == _hash(make(again))
    other = make_section(seed + 1, _BOTH)
    assert _hash(other.vessel_mask()) != _hash(once.vessel_mask())


def test_another_rendering_leaves_the_truth_where_it_is() -> None:
    """The look has a seed of its own, which changes pixels and never the truth."""
    section = make_section(3, _BOTH)
    before = section.vessel_mask(), section.cell_labels()
    first, second = (render_brightfield(section, "VEGF", seed=seed) for seed in (1, 2))
    assert _hash(first) != _hash(second)
    assert np.array_equal(section.vessel_mask(), before[0])
    assert np.array_equal(section.cell_labels(), before[1])


def test_markers_do_not_change_the_geometry() -> None:
    """The same seed stained for another marker shows the same section."""
    cd31 = make_section(5, dataclasses.replace(_BOTH, markers=("CD31",)))
    vegf = make_section(5, dataclasses.replace(_BOTH, markers=("VEGF",)))
    assert np.array_equal(cd31.vessel_mask(), vegf.vessel_mask())
    assert set(cd31.labels()) == {"vessel"}
    assert set(vegf.labels()) == {"vegf_cell"}


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4])
def test_straight_tube_covers_the_area_of_a_capsule(angle: float) -> None:
    """A straight tube of radius r and length L covers 2·r·L + π·r² within 1 %."""
    radius, length, mpp = 4.0, 60.0, 0.25
    along = np.linspace(0, length, 25)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    tube = Tube(np.array([15.1, 15.3]) + along, np.full(25, radius))
    mask = tube_field([tube], (400, 400), mpp).signed_um <= 0
    expected = 2 * radius * length + np.pi * radius**2
    assert mask.sum() * mpp**2 == pytest.approx(expected, rel=0.01)
    assert tube.polygon().area == pytest.approx(expected, rel=0.005)
    assert tube.length_within_um(100.0) == pytest.approx(length)


def test_pixel_belongs_to_a_shape_when_its_centre_lies_inside() -> None:
    """A square from 1.4 to 3.6 px covers the pixels whose centres are 1.5, 2.5 and 3.5."""
    corners = np.full(4, 1.1 * np.sqrt(2))
    # Polar samples at 0°, 90° … make a diamond: its rows hold 1, 3, 1 centres about (2.5, 2.5).
    labels = outline_labels([Outline((2.5, 2.5), corners)], (5, 5), 1.0)
    assert (labels > 0).astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("seed", range(4))
def test_raster_agrees_with_the_vectors(seed: int) -> None:
    """Area fraction and cell areas of the raster are those of the vectors within 1 %."""
    section = make_section(seed, _BOTH)
    truth = section.truth()
    assert section.vessel_mask(0.25).mean() == pytest.approx(
        truth["vessel_area_fraction"], rel=0.01
    )
    labels = section.cell_labels(0.25)
    areas = np.bincount(labels.ravel(), minlength=len(section.cells) + 1)[1:] * 0.25**2
    assert areas.sum() == pytest.approx(sum(truth["positive_cell_area_um2"]), rel=0.01)
    assert truth["positive_cell_count"] == len(np.unique(labels)) - 1


def test_positive_cells_are_at_most_those_asked_and_never_overlap() -> None:
    """A crowded section holds no more cells than asked, each with a body of its own."""
    params = dataclasses.replace(_BOTH, positive_cell_density_per_mm2=3000, cluster_fraction=0.9)
    section = make_section(11, params)
    assert 0 < len(section.cells) <= 3000 * params.area_mm2 + 1
    bodies = [cell.body.polygon() for cell in section.cells]
    for i, body in enumerate(bodies):
        for other in bodies[:i]:
            assert body.intersection(other).area < 1e-6
    for cell in section.cells:
        assert cell.body.polygon().buffer(1e-6).contains(cell.nucleus.polygon())


@pytest.mark.parametrize("seed", range(6))
def test_sections_without_targets_have_empty_truth(seed: int) -> None:
    """What was left out is nowhere in the truth, while nuclei stay."""
    section = make_section(seed, _BOTH.without_vessels().without_cells())
    assert not section.vessel_mask().any()
    assert not section.cell_labels().any()
    truth = section.truth()
    assert truth["centre_line_length_um"] == 0
    assert truth["vessel_area_fraction"] == 0
    assert truth["positive_cell_count"] == 0
    assert len(section.nuclei) > 0


def test_length_density_is_about_what_was_asked() -> None:
    """Over twelve sections the centre-line length is the expectation within a quarter."""
    params = SectionParams(
        size_px=512, vessel_length_density_mm_per_mm2=25, large_vessel_density_per_mm2=0
    )
    lengths = [make_section(seed, params).truth()["centre_line_length_um"] for seed in range(12)]
    assert np.mean(lengths) * 1e-3 / params.area_mm2 == pytest.approx(25, rel=0.25)


@pytest.mark.parametrize("marker", ["CD31", "VEGF"])
def test_separation_returns_the_dab_that_was_rendered(marker: str) -> None:
    """Without blur, noise and JPEG the DAB density comes back within 1 %."""
    section = make_section(2, _BOTH)
    style = dataclasses.replace(
        BrightfieldStyle.clean(), dab_od=0.5, background_rgb=(245, 240, 250)
    )
    stain, extra = brightfield_stains(section, marker, style, np.random.default_rng(0))
    pixels = photograph(np.random.default_rng(0), stain, style, extra)
    found = separate(optical_density(pixels, style.background_rgb), style.vectors)
    strong = (stain[..., 0] > 0.2) & (stain[..., 0] < 1.0) & (stain[..., 1] < 0.5)
    assert strong.sum() > 200
    found_dab, true_dab = found[..., 0][strong], stain[..., 0][strong]
    assert np.median(np.abs(found_dab / true_dab - 1)) < 0.01
    assert found_dab.sum() == pytest.approx(true_dab.sum(), rel=0.01)


def test_cd31_lies_in_the_walls_and_vegf_in_the_cells() -> None:
    """DAB follows the marker: vessels for CD31, positive cells for VEGF."""
    section = make_section(4, _BOTH)
    clean = BrightfieldStyle.clean()
    stained = {
        marker: brightfield_stains(section, marker, clean, np.random.default_rng(1))[0][..., 0]
        for marker in ("CD31", "VEGF")
    }
    vessels, cells = section.vessel_mask(), section.cell_labels() > 0
    assert stained["CD31"][vessels].mean() > 10 * stained["CD31"][~vessels].mean()
    assert stained["VEGF"][cells].mean() > 10 * stained["VEGF"][vessels].mean()


def test_a_nuclear_stain_fills_nuclei_and_nothing_around_them() -> None:
    """With every positive cell nuclear, the outline is the nucleus: stain inside, none outside."""
    params = dataclasses.replace(
        _BOTH, size_px=384, markers=("VEGF",), nuclear_fraction=1.0, cluster_fraction=0.0
    )
    section = make_section(4, params)
    assert len(section.cells) > 20
    assert all(cell.nuclear and cell.body is cell.nucleus for cell in section.cells)
    assert all(1.9 < cell.body.mean_radius_um < 7.0 for cell in section.cells)
    stain, _ = brightfield_stains(
        section, "VEGF", BrightfieldStyle.clean(), np.random.default_rng(1)
    )
    inside = section.cell_labels() > 0
    assert np.median(stain[inside, 0]) > 0.2
    assert np.percentile(stain[~inside, 0], 90) == 0
    cytoplasmic = make_section(4, dataclasses.replace(params, nuclear_fraction=0.0))
    assert not any(cell.nuclear for cell in cytoplasmic.cells)
    assert np.array_equal(cytoplasmic.vessel_mask(), section.vessel_mask())


def test_no_positive_cell_drowns_in_haze_or_grain() -> None:
    """The weakest cell has the stain that a clean section asks for, and more of it in a poor one.

    A share of the stain's density cannot be above the section's own.
    """
    clean = BrightfieldStyle.clean()
    assert clean.weakest_cell * clean.dab_od >= 0.06
    grainy = dataclasses.replace(clean, noise_sd=4.0)
    hazy = dataclasses.replace(clean, dab_haze_od=0.2)
    assert grainy.weakest_cell * grainy.dab_od == pytest.approx(0.108)
    assert hazy.weakest_cell > clean.weakest_cell
    assert dataclasses.replace(hazy, dab_od=0.1).weakest_cell == 1.0


def test_a_third_of_fluorescence_is_evenly_lit_and_clouds_are_often_narrow() -> None:
    """A small field under corrected light has no texture, no vignette, and perhaps clouds.

    Clouds as narrow as capillaries are what is taken for vessels where there are none.
    """
    rng = np.random.default_rng(5)
    styles = [FluorescenceStyle.draw(rng) for _ in range(600)]
    even = [s for s in styles if max(s.texture, s.uneven_background, s.vignetting) < 0.041]
    assert 0.28 < len(even) / len(styles) < 0.42
    narrow = np.mean([3 <= s.mottle_px <= 12 for s in styles])
    assert 0.5 < narrow < 0.75
    skewed = np.mean([s.mottle_skew > 0 for s in styles])
    assert 0.53 < skewed < 0.67


def test_wide_profiles_are_those_of_arterioles() -> None:
    """Where only wide cross-sections are asked for, none is as narrow as a capillary."""
    params = SectionParams(
        vessel_length_density_mm_per_mm2=0.0,
        large_vessel_density_per_mm2=0.0,
        profile_density_per_mm2=300.0,
        wide_fraction=1.0,
    )
    wide = [2 * profile.mean_radius_um for profile in make_section(4, params).profiles]
    assert len(wide) > 5
    assert min(wide) >= 9.0  # 10 less the wobble of the outline
    capillaries = make_section(4, dataclasses.replace(params, wide_fraction=0.0)).profiles
    assert max(2 * profile.mean_radius_um for profile in capillaries) < 16.0


def test_wide_profiles_find_room_between_tubes() -> None:
    """Cross-sections lie clear of all tubes and of each other, and some are cut by the frame."""
    params = SectionParams(profile_density_per_mm2=150.0, wide_fraction=1.0)
    cut = 0
    for seed in range(4):
        section = make_section(seed, params)
        rings = [profile.polygon() for profile in section.profiles]
        assert len(rings) > 2
        for number, ring in enumerate(rings):
            assert not any(ring.intersects(other) for other in rings[:number])
            assert not any(
                ring.intersects(tube.polygon())
                for tube in section.tubes
                if tube.reaches(params.size_um)
            )
        frame = shapely.box(0, 0, params.size_um, params.size_um)
        assert all(ring.intersects(frame) for ring in rings)
        cut += sum(not ring.within(frame) for ring in rings)
    assert cut > 0


def test_holes_are_empty_of_tissue_and_leave_what_is_outlined() -> None:
    """Missing tissue has no nuclei, and neither vessels nor cells are missing with it."""
    section = make_section(6, _BOTH)
    torn = holes(np.random.default_rng(1), section, 20)
    assert torn.max() > 0.9
    assert not torn[section.vessel_mask() | (section.cell_labels() > 0)].any()
    assert not holes(np.random.default_rng(1), section, 0).any()

    bare = BrightfieldStyle(hematoxylin_haze_od=0.0, dab_haze_od=0.0, hole_count=20)
    blue = brightfield_stains(section, "VEGF", bare, np.random.default_rng(2))[0][..., 1]
    (haze_rng,) = np.random.default_rng(2).spawn(5)[3].spawn(1)
    missing = holes(haze_rng, section, 20) == 1
    assert missing.sum() > 100
    assert blue[missing].max() == 0
    assert blue.max() > 0.2

    haze = dict.fromkeys(("noise_sd", "blur_px", "sharpening"), 0.0)
    style = BrightfieldStyle(jpeg_quality=None, **haze)
    before, after = (
        render_brightfield(section, "VEGF", dataclasses.replace(style, hole_count=n)).astype(int)
        for n in (0, 20)
    )
    cells = section.cell_labels() > 0
    assert (after - before)[~cells].mean() > 1
    assert np.array_equal(after[cells], before[cells])


def test_holes_are_dark_in_every_channel() -> None:
    """One hole is missing from nuclei and markers alike."""
    section = make_section(6, _BOTH)
    style = FluorescenceStyle(texture=0.0, speck_count=0, electrons=1e9, read_noise=0.0)
    before, after = (
        render_fluorescence(section, style=dataclasses.replace(style, hole_count=n)).astype(int)
        for n in (0, 20)
    )
    darker = (before - after) > 3
    assert darker.any(axis=(0, 1)).all()
    assert (darker[..., 1] == darker[..., 2]).mean() > 0.97  # but for rounding at the rims


@pytest.mark.parametrize("seed", range(8))
def test_drawn_looks_are_finite_pictures(seed: int) -> None:
    """Any drawn section and look gives pixels of the right type, neither NaN nor blank."""
    rng = np.random.default_rng(seed)
    section = make_section(seed, SectionParams.draw(rng, size_px=128, markers=("CD31", "VEGF")))
    for marker in ("CD31", "VEGF"):
        stain, extra = brightfield_stains(section, marker, BrightfieldStyle.draw(rng), rng)
        assert np.isfinite(stain).all()
        assert np.isfinite(extra).all()
        assert stain.min() >= 0
        picture = render_brightfield(section, marker)
        assert picture.dtype == np.uint8
        assert picture.shape == (128, 128, 3)
        assert picture.std() > 1
    light = render_fluorescence(section)
    assert light.shape == (128, 128, 3)
    assert fluorescence_channels(("CD31", "VEGF")) == {"nuclei": 0, "CD31": 1, "VEGF": 2}
    assert light.std() > 0


@pytest.mark.parametrize(("full_scale", "dtype"), [(255, np.uint8), (65535, np.uint16)])
def test_fluorescence_has_the_depth_asked(full_scale: int, dtype: type) -> None:
    """The camera's full scale decides 8 or 16 bits."""
    style = FluorescenceStyle(full_scale=full_scale)
    light = render_fluorescence(make_section(1, _BOTH), ("CD31",), style)
    assert light.dtype == dtype
    assert light.shape[-1] == 2


def test_rerendering_stains_the_mask_and_follows_its_light() -> None:
    """A real mask comes out brown, more so where its fluorescence is brighter."""
    mask = np.zeros((96, 96), bool)
    mask[20:30], mask[60:70] = True, True
    light = np.full((96, 96), 20.0)
    light[20:30], light[60:70] = 200.0, 90.0
    style = dataclasses.replace(BrightfieldStyle.clean(), dab_od=0.6, hematoxylin_od=0.0)
    pixels = rerender_as_hdab(mask, light, 3, style=style)
    assert np.array_equal(pixels, rerender_as_hdab(mask, light, 3, style=style))
    dab = separate(optical_density(pixels), style.vectors)[..., 0]
    bright, dim, outside = dab[23:27].mean(), dab[63:67].mean(), dab[40:50].mean()
    assert bright > 1.2 * dim > 10 * outside


def test_rerendering_takes_empty_and_full_masks() -> None:
    """Masks without vessel, or without background, give pictures too."""
    light = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
    for mask in (np.zeros((48, 64), bool), np.ones((48, 64), bool)):
        assert rerender_as_hdab(mask, light, 1).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="one size"):
        rerender_as_hdab(np.zeros((4, 5), bool), light, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_px": 0},
        {"mpp_um": 0.0},
        {"mpp_um": float("nan")},
        {"markers": ()},
        {"markers": ("GFAP",)},
        {"cluster_fraction": 1.5},
        {"wide_fraction": 1.2},
        {"nucleus_density_per_mm2": -1.0},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, object]) -> None:
    """Parameters that no section can have never become one."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SectionParams(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", [BrightfieldStyle, FluorescenceStyle])
def test_fewer_holes_than_none_are_refused(style: type) -> None:
    """A look with less than no hole is an error that names the field."""
    with pytest.raises(ValueError, match="hole_count"):
        style(hole_count=-1)


def test_smallest_section_renders() -> None:
    """A section of one pixel has truth and both renderings."""
    section = make_section(0, SectionParams(size_px=1, markers=("CD31", "VEGF")))
    assert section.vessel_mask().shape == (1, 1)
    assert render_brightfield(section).shape == (1, 1, 3)
    assert render_fluorescence(section).shape == (1, 1, 3)
