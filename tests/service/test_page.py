"""The page, in a real browser: an image in, outlines and numbers out."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely.geometry
import tifffile
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from tests.live_server import Server, encoded, fluorescence, section

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    """Return the page as it opens, failing the test on any script error."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1280, "height": 900})
        made.on("pageerror", lambda error: faults.append(str(error)))
        made.goto(server.url)
        expect(made.locator("#status")).to_have_text("Ready")
        yield made
        browser.close()
    assert faults == []


def choose(page: Page, name: str, content: bytes) -> None:
    page.set_input_files("#image", {"name": name, "mimeType": "image/png", "buffer": content})


def test_an_image_becomes_outlines_and_numbers(page: Page, server: Server) -> None:
    """A section is chosen and measured; the page shows what the record holds."""
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "0,5")  # a decimal comma, as many keyboards write it
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("section.png", timeout=30_000)
    shown = page.locator(".facts").inner_text()
    analysis = page.url.rpartition("#")[2]
    with server.client() as client:
        record = client.get(f"/v1/analyses/{analysis}").json()["record"]
    vessels = record["regions"][0]["vessels"]
    assert f"{vessels['length_density_mm_per_mm2']:.2f}" in shown
    picture = page.locator(".viewer img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 0
    links = page.locator("a.download").evaluate_all("all => all.map(a => a.download)")
    assert {"section.measurements.csv", "section.mask.ome.tif"} <= set(links)


def test_a_phone_shows_the_page_without_sideways_scrolling(page: Page, server: Server) -> None:
    """At 390 px the page is no wider than the screen; wide tables scroll inside their card."""
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "0.5")
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("section.png", timeout=30_000)
    page.evaluate("document.querySelectorAll('#result details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    spilled = """all => all.filter(table => {
        const card = table.closest('.card').getBoundingClientRect();
        return getComputedStyle(table.closest('.card')).overflowX !== 'auto'
            && table.getBoundingClientRect().right > card.right;
    }).length"""
    assert page.locator("#result table").evaluate_all(spilled) == 0


def leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield the dotted path and value of every number of a part of the record."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(f"{path}.{key}", inner)
    elif value is not None:
        yield path, value


def test_every_number_of_a_region_is_shown(page: Page, server: Server) -> None:
    """Each measurement that the record holds stands in a row of its path, lists included."""
    stream = io.BytesIO()
    planes = np.stack([fluorescence(), fluorescence().T])
    tifffile.imwrite(stream, planes, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
    choose(page, "two.ome.tif", stream.getvalue())
    page.fill("#mpp_um", "0.5")
    page.check("input[name=marker][value='CD31+VEGF']")
    page.evaluate("document.getElementById('more').open = true")
    page.fill("#channels", "CD31=0,VEGF=1")
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("two.ome.tif", timeout=30_000)
    with server.client() as client:
        answer = client.get(f"/v1/analyses/{page.url.rpartition('#')[2]}").json()
    region = answer["record"]["regions"][0]
    page.evaluate("document.querySelectorAll('#result details').forEach(each => each.open = true)")
    rows = page.locator("#result th[title]").evaluate_all(
        "all => all.map(head => [head.title, head.closest('tr').innerText])"
    )
    shown = dict(rows)
    parts = ("vessels", "cells", "association")
    held = [pair for part in parts for pair in leaves(part, region[part])]
    held = [pair for pair in held if ".box_um." not in pair[0]]
    assert len(held) > 40
    assert {path for path, _ in held} <= set(shown)
    lacunarity = region["vessels"]["lacunarity"]
    for index, (side, value) in enumerate(
        zip(lacunarity["box_um"], lacunarity["value"], strict=True)
    ):
        row = shown[f"vessels.lacunarity.value.{index}"]
        assert f"{side:g} µm" in row
        assert (f"{value:.3f}" if value is not None else "Not available: ") in row
    quality = answer["record"]["quality"]
    assert f"{quality['focus']['value']} µm" in shown["quality.focus.value"]
    assert f"at most {quality['focus']['limit']:g} µm" in shown["quality.focus.value"]
    for name in ("unevenness", "vignetting"):
        assert f"quality.background_od.{name}" in shown


def outlined(boxes: dict[str, tuple[int, int, int, int]], midline: list[list[int]]) -> bytes:
    """Return boxes (left, top, right, bottom) and a midline as a file of regions."""
    shapes = {name: shapely.geometry.mapping(shapely.box(*box)) for name, box in boxes.items()}
    shapes["midline"] = {"type": "LineString", "coordinates": midline}
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": geometry}
        for name, geometry in shapes.items()
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def test_regions_are_compared_and_other_programs_stand_beside(page: Page) -> None:
    """A core with a midline gives ratios to its mirror image; parity is a table of its own."""
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "0.5")
    page.evaluate("document.getElementById('more').open = true")
    drawn = outlined({"infarct_core": (150, 60, 220, 180)}, [[128, 0], [128, 256]])
    page.set_input_files(
        "#regions",
        {"name": "r.geojson", "mimeType": "application/geo+json", "buffer": drawn},
    )
    page.fill("#band_um", "10")
    page.check("input[name=parity]")
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("section.png", timeout=30_000)
    compared = page.locator("section.card", has_text="Regions compared")
    expect(compared).to_contain_text("infarct_core to contralateral_core")
    expect(compared).to_contain_text("peri_infarct to contralateral_peri_infarct")
    others = page.locator("section.card", has_text="What other programs would report")
    for words in ("AngioTool", "REAVER", "Q-VAT", "vessel_length_density_mm_per_mm2"):
        expect(others).to_contain_text(words)
    expect(page.locator("td.interval small").first).to_contain_text("threshold")


def test_a_ratio_of_nothing_has_no_logarithm(page: Page) -> None:
    """Where the region holds no vessels the ratio is 0; its logarithm has a reason, no number."""
    rows, columns = np.mgrid[:256, :256]
    spots = np.hypot(rows % 40 - 20, columns % 40 - 20) < 8
    grey = np.random.default_rng(3).integers(40, 43, spots.shape)
    grey[spots & (columns < 120) & (rows < 240)] = 220
    choose(page, "half.png", encoded(Image.fromarray(grey.astype(np.uint8))))
    page.fill("#mpp_um", "0.5")
    page.evaluate("document.getElementById('more').open = true")
    page.set_input_files(
        "#regions",
        {
            "name": "r.geojson",
            "mimeType": "application/geo+json",
            "buffer": outlined({"infarct_core": (136, 0, 256, 256)}, [[128, 0], [128, 256]]),
        },
    )
    page.fill("#band_um", "1")
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("half.png", timeout=30_000)
    row = page.locator("tr", has_text="infarct_core to contralateral_core").first
    expect(row.locator("td.number")).to_have_text(["0.000"])
    expect(row.locator("td.why")).to_contain_text("Not available: nothing was counted in")


def test_each_number_of_the_light_is_judged_by_its_own_limit(page: Page) -> None:
    """Uneven light fails where its unevenness stands, not at a background within its limit."""
    check = {
        "value": 0.106, "limit": 0.25, "unit": "OD", "pass": False,
        "unevenness": 0.15, "unevenness_limit": 0.1, "unevenness_unit": "OD",
        "vignetting": None, "vignetting_limit": 0.2, "vignetting_reason": "too small",
    }  # fmt: skip
    shown = page.evaluate(
        """(check) => import("/static/quality.js").then(({ quality }) => {
          const held = { background_od: check, verdict: "caution", reasons: [] };
          const [made] = quality({ quality: held });
          return [...made.querySelectorAll("tbody tr")].map((row) => row.lastChild.textContent);
        })""",
        check,
    )
    assert shown == ["passes", "fails", "too small"]


def test_what_is_no_number_is_never_shown_as_one(page: Page) -> None:
    """null, nothing and NaN are a dash with every unit; numbers are as ever."""
    shown = page.evaluate(
        """import("/static/measurements.js").then(({ format }) =>
          [null, undefined, NaN].flatMap((value) => [format(value, 3), format(value, 2, 100)])
            .concat([format(0, 3), format(0.125, 1, 100)]))"""
    )
    assert shown == ["–"] * 6 + ["0.000", "12.5"]


def test_the_whole_picture_fits(page: Page) -> None:
    """At first sight the picture shows down to its scale bar, whatever its shape."""
    choose(page, "tall.png", encoded(section(512).crop((0, 0, 200, 512))))
    page.fill("#mpp_um", "0.5")
    page.click("#submit")
    expect(page.locator(".viewer img")).to_be_visible(timeout=30_000)
    page.wait_for_function("document.querySelector('.viewer img').complete")
    hidden = page.locator(".viewer").evaluate("box => box.scrollHeight - box.clientHeight")
    assert hidden <= 1


def test_a_refused_image_is_explained_where_it_can_be_mended(page: Page) -> None:
    """The message stands at its field, and no earlier result beside it."""
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "0.5")
    page.click("#submit")
    expect(page.locator("#result h2")).to_be_visible(timeout=30_000)
    choose(page, "notes.png", b"this is text")
    page.click("#submit")
    expect(page.locator("#image-error")).to_contain_text("notes.png", timeout=30_000)
    expect(page.locator("#result")).to_be_hidden()
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "")
    page.click("#submit")
    expect(page.locator("#mpp_um-error")).to_contain_text("pixel", timeout=30_000)


def test_sizes_and_a_tissue_mask_are_given_in_more_settings(page: Page, server: Server) -> None:
    """What the form offers beside the image arrives in the record; a missing mask is asked for."""
    image = section()
    half = Image.new("L", image.size)
    half.paste(255, (0, 0, image.width, image.height // 2))
    choose(page, "section.png", encoded(image))
    page.fill("#mpp_um", "0.5")
    page.evaluate("document.getElementById('more').open = true")
    page.select_option("#tissue", "mask")
    page.click("#submit")
    expect(page.locator("#tissue-error")).to_contain_text("mask")
    page.set_input_files(
        "#tissue-mask", {"name": "half.png", "mimeType": "image/png", "buffer": encoded(half)}
    )
    page.fill("#gap_um", "99")
    page.click("#submit")
    expect(page.locator("#gap_um-error")).to_contain_text("20", timeout=30_000)
    for name, value in (("gap_um", "3"), ("min_profile_area_um2", "40,5")):
        page.fill(f"#{name}", value)
    page.click("#submit")
    expect(page.locator("#result h2")).to_have_text("section.png", timeout=30_000)
    with server.client() as client:
        record = client.get(f"/v1/analyses/{page.url.rpartition('#')[2]}").json()["record"]
    assert record["settings"]["gap_um"] == 3.0
    assert record["settings"]["min_profile_area_um2"] == 40.5
    whole = image.width * image.height * 0.25e-6
    assert record["regions"][0]["area_mm2"] == pytest.approx(whole / 2)


def test_nothing_is_loaded_from_elsewhere(page: Page, server: Server) -> None:
    """Scripts, styles and pictures come from the service itself."""
    seen = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert seen
    assert all(name.startswith(server.url) for name in seen)


def test_the_original_lies_where_its_outlines_lay(page: Page) -> None:
    """Switching between outlines and original, zoomed in, moves and resizes nothing."""
    choose(page, "section.png", encoded(section()))
    page.fill("#mpp_um", "0.5")
    page.click("#submit")
    expect(page.locator(".viewer img")).to_be_visible(timeout=30_000)
    page.wait_for_function("document.querySelector('.viewer img').naturalWidth > 0")
    page.get_by_role("button", name="Zoom in").click()
    # A small section is drawn four times its size, to 1024 px, in a picture with a legend.
    outlined = page.locator(".viewer img").evaluate(
        "image => image.getBoundingClientRect().width * 1024 / image.naturalWidth"
    )
    page.get_by_role("button", name="Show the original").click()
    page.wait_for_function("document.querySelector('.viewer img').naturalWidth === 256")
    original = page.locator(".viewer img").evaluate("image => image.getBoundingClientRect().width")
    assert original == pytest.approx(outlined, abs=2)
