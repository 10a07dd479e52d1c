"""Ω: the frame minus glass, and the whole frame where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imaging.markers import fit_scaling, marker_channels
from imaging.open import open_image
from imaging.tissue import find_tissue

SIZE = 1000  # 0.25 mm² at 0.5 µm


def disc(radius: float) -> np.ndarray:
    yy, xx = np.mgrid[:SIZE, :SIZE]
    return np.hypot(yy - SIZE / 2, xx - SIZE / 2) < radius


def vessels(seed: int = 0) -> np.ndarray:
    """Return bars of 8 px in a lattice of 80 px (40 µm), 0 to 1."""
    yy, xx = np.mgrid[:SIZE, :SIZE]
    return ((yy + seed) % 80 < 8) | ((xx + seed) % 80 < 8)


def brightfield(tissue: np.ndarray, glass_level: float = 240.0) -> np.ndarray:
    """Return an H-DAB section whose pale background has OD 0.03 and some texture."""
    random = np.random.default_rng(7)
    texture = random.normal(0.0, 1.0, (SIZE // 10, SIZE // 10))
    texture = np.asarray(Image.fromarray(texture.astype(np.float32)).resize((SIZE, SIZE)))
    od = tissue * (0.045 + 0.02 * texture + 0.4 * vessels())
    rgb = glass_level * 10.0 ** -(od[..., None] * (0.6, 0.8, 1.0))
    return np.clip(np.rint(rgb + random.normal(0, 1.2, rgb.shape)), 0, 255).astype(np.uint8)


def fluorescence(tissue: np.ndarray, offset: float = 100.0) -> np.ndarray:
    """Return a 16-bit section: camera offset, read noise, shot noise, autofluorescence."""
    random = np.random.default_rng(8)
    light = random.poisson(tissue * (60.0 + 400.0 * vessels()))
    return np.clip(light + offset + random.normal(0, 6, tissue.shape), 0, 65535).astype(np.uint16)


def omega(path, mode="auto"):
    with open_image(path, 0.5) as image:
        tissue = find_tissue(image, mode)
        return tissue, tissue.read(0, 0, image.width_px, image.height_px)


@pytest.mark.parametrize("render", [brightfield, fluorescence])
def test_glass_around_a_section_is_found(write_tiff, render) -> None:
    """A section on glass is found within 10 µm of its edge, pale tissue included."""
    tissue, mask = omega(write_tiff(render(disc(380))))
    assert tissue.source == "glass"
    assert mask[disc(375)].mean() > 0.995
    assert mask[~disc(400)].mean() < 0.01
    assert abs(tissue.fraction - disc(380).mean()) < 0.04


@pytest.mark.parametrize("render", [brightfield, fluorescence])
def test_a_field_without_glass_is_all_tissue(write_tiff, render) -> None:
    """Without glass Ω is the whole frame, between the vessels too."""
    tissue, mask = omega(write_tiff(render(np.ones((SIZE, SIZE), dtype=bool))))
    assert tissue.source == "field"
    assert tissue.fraction == 1.0
    assert mask.all()


@pytest.mark.parametrize("render", [brightfield, fluorescence])
def test_holes_are_tissue(write_tiff, render) -> None:
    """An empty space that does not reach the border, as a ventricle, stays in Ω."""
    _, mask = omega(write_tiff(render(disc(400) & ~disc(150))))
    assert mask[disc(140)].all()


def test_glass_smaller_than_its_minimum_is_tissue(write_tiff) -> None:
    """A corner of 0.03 mm² is not glass; one of 0.09 mm² is."""
    for side, source in ((340, "field"), (600, "glass")):
        tissue = np.ones((SIZE, SIZE), dtype=bool)
        tissue[:side, :side] = False
        assert omega(write_tiff(brightfield(tissue)))[0].source == source


def test_the_glass_gives_the_background(write_tiff) -> None:
    """I0 is the glass's own colour, and without glass 255 with a flag."""
    with open_image(write_tiff(brightfield(disc(380), 231.0)), 0.5) as image:
        tissue = find_tissue(image)
        scaling = fit_scaling(image, "CD31", tissue)
        assert scaling.background_source == "glass"
        np.testing.assert_allclose(scaling.background_rgb, 231, atol=1)
        plain = fit_scaling(image, "CD31", find_tissue(image, "frame"))
        assert (plain.background_rgb, plain.background_source) == ((255.0,) * 3, "default")


def test_unscanned_fields_are_glass_and_not_the_background(write_tiff) -> None:
    """Pure white that a scanner fills in is glass, as is the real, greyer glass beside it."""
    pixels = brightfield(disc(300), 236.0)
    pixels[:, :120] = 255
    tissue, mask = omega(write_tiff(pixels))
    assert mask[disc(295)].mean() > 0.995
    assert mask[~disc(320)].mean() < 0.02
    np.testing.assert_allclose(tissue.background_rgb, 236, atol=1)


def test_black_is_glass_if_large_enough(write_png) -> None:
    """A black image is the camera's dark level: no tissue; a small one is a field."""
    assert omega(write_png(np.zeros((SIZE, SIZE), dtype=np.uint8)))[0].fraction == 0.0
    assert omega(write_png(np.zeros((100, 100), dtype=np.uint8)))[0].source == "field"


def test_white_rgb_is_empty_glass(write_png) -> None:
    """A white brightfield image shows no tissue; a single white pixel is a field."""
    assert omega(write_png(np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)))[0].fraction == 0.0
    assert omega(write_png(np.full((1, 1, 3), 255, dtype=np.uint8)))[0].source == "field"


@pytest.mark.parametrize("level", [20.0, 300.0])
def test_even_glow_and_uneven_light_are_fields(write_tiff, level) -> None:
    """An autofluorescent field without an edge is tissue, evenly lit or not."""
    random = np.random.default_rng(9)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    for light in (np.ones((SIZE, SIZE)), 1.0 - (yy + xx) / (4 * SIZE)):
        pixels = (random.poisson(level * light) + 100).astype(np.uint16)
        assert omega(write_tiff(pixels))[0].source == "field"


def test_a_section_without_vessels_stays_dim(write_tiff) -> None:
    """Beside glass, tissue without vessels is not stretched to look like one."""
    random = np.random.default_rng(10)
    pixels = random.poisson(disc(380) * 60.0) + 100 + random.normal(0, 6, (SIZE, SIZE))
    with open_image(write_tiff(pixels.astype(np.uint16)), 0.5) as image:
        tissue = find_tissue(image)
        scaling = fit_scaling(image, "CD31", tissue)
        marker = marker_channels(image.read_region(0, 0, SIZE, SIZE), scaling)[0]
    assert tissue.source == "glass"
    assert (marker > 0.8).mean() < 1e-3


@pytest.mark.parametrize("mpp_um", [None, 0.5, 0.8, 2.0, 3.1])
def test_reading_by_region_equals_the_whole(write_tiff, mpp_um) -> None:
    """Ω does not depend on how a grid is cut."""
    with open_image(write_tiff(fluorescence(disc(380))), 0.5) as image:
        tissue = find_tissue(image)
        width, height = image.size_at(mpp_um)
        whole = tissue.read(0, 0, width, height, mpp_um)
        x, y = width // 3, height // 2
        np.testing.assert_array_equal(
            tissue.read(x, y, width - x, height - y, mpp_um), whole[y:, x:]
        )
    assert whole.shape == (height, width)
    assert abs(whole.mean() - tissue.fraction) < 0.01


def test_real_fields_are_all_tissue(shared_data) -> None:
    """On every real field of vessels or IHC, at several assumed scales, Ω is the frame."""
    for path in sorted((shared_data / "cortex_fields").glob("*.tiff")):
        for mpp_um in (0.3, 0.5, 1.0):
            with open_image(path, mpp_um) as image:
                assert find_tissue(image).source == "field", (path.name, mpp_um)
    for path in sorted((shared_data / "vessmap" / "images").glob("*.tif*"))[::10]:
        with open_image(path, 1.0) as image:
            assert find_tissue(image).source == "field", path.name
    for path in sorted((shared_data / "ihc_fields").glob("*.[jp][pn]g")):
        with open_image(path, 0.5) as image:
            assert find_tissue(image).source == "field", path.name


def test_real_slides_lose_their_glass(shared_data) -> None:
    """About half of one real slide and a third of another are glass."""
    folder = shared_data / "slides"
    for name, mpp_um, low, high in (
        ("CMU-1-Small-Region.svs", None, 0.38, 0.50),
        ("TCGA-CR-7395-01A-01-TS1.svs", 0.5, 0.60, 0.72),
    ):
        with open_image(folder / name, mpp_um) as image:
            tissue = find_tissue(image)
        assert low < tissue.fraction < high
        assert 230 < min(tissue.background_rgb) < 250
