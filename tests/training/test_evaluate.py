"""Promises about `angiometry evaluate`: what it finds, keeps apart, refuses and shows."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from analysis.morphometry import measure_mask
from angiometry import app
from datasets.tiles import TileDataset
from model.bundle import DIGEST_KEY, METADATA_KEY, find_bundle, load_bundle
from tests.training import drawn
from tests.training.drawn import (
    MPP_UM,
    knowing,
    shrunken,
    vessel_mask,
    write_images,
    write_tiles,
)
from training.card import write_card
from training.densities import vessel_amounts
from training.errors import DataError
from training.evaluate import Evaluation, evaluate
from training.fields import images_of
from training.judging import Judged, judge_image
from training.page import write_page
from training.summary import WORST_LISTED
from training.wording import TRAINED_ON

SEVEN = list("abcdefg")
VESSEL, CELLS = "vessmap", "synthetic_brightfield_cells"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return tiles of vessels of seven animals, and of cells of two."""
    folder = tmp_path_factory.mktemp("tiles")
    return [
        write_tiles(folder, "vessel", SEVEN, VESSEL),
        write_tiles(folder, "vegf_cell", list("xyxyx"), CELLS),
    ]


@pytest.fixture(scope="module")
def perfect(folders: list[Path]) -> Evaluation:
    """Return the evaluation of a network that sees exactly what was drawn."""
    return evaluate(knowing(), folders)


@pytest.fixture(scope="module")
def faulty(folders: list[Path]) -> Evaluation:
    """Return the evaluation of one that loses the upper two rows of whatever it sees."""
    return evaluate(shrunken(knowing()), folders)


def summary(evaluation: Evaluation, source: str = VESSEL) -> dict[str, Any]:
    (found,) = evaluation.scores["sources"][source].values()
    return dict(found)


def test_a_perfect_network_agrees_in_everything(perfect: Evaluation):
    """Dice, F1 and ICC are 1, differences 0, and certain probabilities are right."""
    vessels, cells = summary(perfect), summary(perfect, CELLS)
    assert vessels["dice"]["worst"] == vessels["by_animal"]["cl_dice"]["worst"] == 1
    assert vessels["dice"]["ci95"] == [1, 1]
    assert {name: cells["cells"][name]["value"] for name in ("f1", "aji", "count_error")} == {
        "f1": 1,
        "aji": 1,
        "count_error": 0,
    }
    area = vessels["agreement"]["area_fraction"]
    assert area["bias"]["value"] == 0
    assert area["limits_of_agreement"] == [0, 0]
    assert area["icc_a1"]["value"] == pytest.approx(1)
    assert vessels["calibration"]["calibrated"]["ece"]["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("width", [56, 80, 96, 131])
def test_cells_are_counted_once_whatever_the_size(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the last tile overlaps the one before, no cell counts twice or takes another's number.

    A cell on a border counts in both tiles, for the annotation and for the network alike.
    """
    monkeypatch.setattr(drawn, "WIDTH", width)
    tiles = write_tiles(tmp_path, "vegf_cell", list("ab"), CELLS)
    for number, image in enumerate(images_of([TileDataset(tiles, "val")])):
        (score,) = judge_image(knowing(), image)
        cells = [(2 + 18 * at, min(16 + 18 * at, width)) for at in range(2 + number)]
        strips = itertools.pairwise([*range(0, width, drawn.TILE_PX), width])
        parts = [min(e, b) - max(s, a) for a, b in strips for s, e in cells]
        counted = sum(14 * part * MPP_UM**2 >= 25 for part in parts)  # of 14 rows, in µm²
        found = score.counts.cells
        assert (found.matched, found.annotated, found.predicted) == (counted,) * 3
        assert found.intersection_px == found.union_px


def test_a_fault_is_found_where_it_was_made(faulty: Evaluation):
    """Two of 64 rows lost: every image's area fraction is 2/64 too small, whatever its width."""
    area = summary(faulty)["agreement"]["area_fraction"]
    assert area["bias"]["value"] == pytest.approx(-2 / 64)
    assert area["limits_of_agreement"] == pytest.approx([-2 / 64, -2 / 64])
    assert area["bias"]["ci95"] == pytest.approx([-2 / 64, -2 / 64])
    errors = [2 / (8 + n % 7) for n in range(7)]
    assert area["mean_absolute_relative_error"]["value"] == pytest.approx(np.mean(errors))
    dice = [2 * (6 + n) / (14 + 2 * n) for n in range(7)]
    assert summary(faulty)["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert summary(faulty)["worst"][0]["dice"] == pytest.approx(min(dice))
    assert len(summary(faulty)["worst"]) == WORST_LISTED


def test_images_without_a_score_are_left_out_of_it(tmp_path: Path):
    """Images that hold no vessel have no Dice; what was outlined on them is told apart."""
    folder = write_tiles(tmp_path, "vessel", ["a", "b"], VESSEL)
    for path in (folder / "vessel").glob("vessel0*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size).save(path)
    found = summary(evaluated := evaluate(knowing(), [folder]))
    write_page(evaluated, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "all 2 together 100.0 % more than annotated, " in page
    assert "the one that has any 0.0 % off" in page
    assert "1 image of 1 animal that hold the target; too few for an interval of Dice" in page
    assert "its scores on “val” are too good" in page
    assert (found["images"], found["dice"]["images"], found["dice"]["mean"]) == (1, 1, 1)
    assert found["without_target"] == {"images": 1, "mean": 8 / 64, "worst": 8 / 64}
    assert found["agreement"]["area_fraction"]["images"] == 2
    assert found["agreement"]["area_fraction"]["relative_images"] == 1
    assert (found["by_animal"]["dice"]["animals"], found["by_animal"]["dice"]["mean"]) == (1, 1)


def test_intervals_say_what_was_drawn(faulty: Evaluation):
    """Seven animals are drawn as animals; of two animals, images are drawn, and it says so."""
    assert summary(faulty)["resampled"] == "animals"
    assert summary(faulty, CELLS)["resampled"] == "images"
    low, high = summary(faulty)["dice"]["ci95"]
    assert low < summary(faulty)["dice"]["mean"] < high
    assert summary(faulty, CELLS)["by_animal"]["f1"]["ci95"] is None  # two animals are too few


def test_real_and_synthetic_are_kept_apart(faulty: Evaluation):
    """Every row and summary belongs to one source, and the JSON tells of what kind it is."""
    assert faulty.scores["kinds"] == {VESSEL: "real", CELLS: "synthetic"}
    assert {row["source"] for row in faulty.scores["images"]} == {VESSEL, CELLS}
    animals = [(row["source"], row["animal"]) for row in faulty.scores["animals"]]
    assert sorted(animals) == [(CELLS, "x"), (CELLS, "y"), *((VESSEL, name) for name in SEVEN)]
    assert [row["images"] for row in faulty.scores["animals"]][-2:] == [3, 2]


def test_densities_are_those_of_the_engine(tmp_path: Path):
    """A mask compared here measures what `angiometry morphometry` says of it."""
    mask = vessel_mask(3)
    mask[:, 40:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    vessels = measure_mask(tmp_path / "mask.png", MPP_UM).regions[0].vessels
    assert vessels is not None
    found = vessel_amounts(mask > 0, np.ones(mask.shape, bool), MPP_UM).densities("vessel")
    assert len(found) == 3
    for name, value in found.items():
        assert value == pytest.approx(getattr(vessels, name))


def test_tiles_are_judged_as_one_image(folders: list[Path], perfect: Evaluation):
    """Cut into tiles with a halo or seen whole, an image has the same scores."""
    network = dataclasses.replace(knowing(), tile_px=32, halo_px=16)
    assert evaluate(network, folders).scores["images"] == perfect.scores["images"]


def test_the_wait_is_shown(folders: list[Path]):
    """Progress ends where it said that it would."""
    seen: dict[str, tuple[int, int]] = {}
    evaluate(knowing(), folders[:1], progress=lambda stage, *count: seen.update({stage: count}))
    assert seen == {"evaluate": (28, 28), "intervals": (1, 1)}


def test_the_page_needs_nothing_else(faulty: Evaluation, tmp_path: Path):
    """Pictures lie in the page and are told in words; kinds have parts of their own."""
    write_page(faulty, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    images = re.findall(r"<img [^>]*>", text)
    assert len(images) == 2 * 3 + len(faulty.worst)
    assert all('src="data:image/png;base64,' in image for image in images)
    assert all(len(re.findall(r'alt="[^"]{20,}"', image)) == 1 for image in images)
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "<script" not in text
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Real images", "Synthetic sections"]
    assert "Bland–Altman" in text
    assert len(faulty.worst) <= 12


def tables_of(page: Path) -> dict[str, list[list[str]]]:
    """Return the cells of the page's folded tables, row by row, by their captions."""
    found = {}
    for text in re.findall(r"<table>(.*?)</table>", page.read_text("utf-8"), re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
        if caption := re.search(r"<caption>(.*?)</caption>", text):
            found[caption[1]] = cells
            assert text.count("<th ") == text.count("<th scope=")
    return found


def test_the_page_has_every_animal_and_image(faulty: Evaluation, tmp_path: Path):
    """Folded away lie a row for each animal with the means below, and one for each image."""
    write_page(faulty, tmp_path / "page.html")
    found = tables_of(tmp_path / "page.html")
    name = "VessMAP crops: vessels"
    dice = [2 * (6 + n) / (14 + 2 * n) for n in range(7)]
    head, *animals, means = found[f"{name}: animals"]
    assert head == ["Animal", "images", "Dice", "centre-line Dice"]
    assert [row[:3] for row in animals] == [
        [animal, "1", f"{value:.3f}"] for animal, value in zip(SEVEN, dice, strict=True)
    ]
    low, high = summary(faulty)["by_animal"]["dice"]["ci95"]
    assert means[1] == f"{np.mean(dice):.3f} ({low:.3f} to {high:.3f})"
    head, sides, *images = found[f"{name}: images"]
    assert head[3:] == ["Area fraction", "Length density (mm/mm²)", "Branchpoint density (1/mm²)"]
    assert sides == ["annotated", "predicted"] * 3
    assert [row[0].split("-")[0] for row in images] == [f"vessel{n}" for n in range(7)]
    assert images[0][1:5] == ["a", f"{dice[0]:.3f}", "0.125", "0.0938"]
    cells = found["synthetic brightfield: VEGF-positive cells: animals"]
    assert cells[0][2:] == ["Dice", "F1", "AJI", "count error"]
    assert cells[-1][-1] == "0.0 %"  # each lost its top, none was lost
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count('role="region" aria-label=') == text.count('class="table long" tabindex="0"')
    assert "<details open" not in text


def test_what_has_no_target_has_no_score_on_the_page(tmp_path: Path):
    """An animal without vessels has no Dice, though a pixel was outlined, and no part in a mean."""
    folder = write_tiles(tmp_path, "vessel", ["a", "b"], VESSEL)
    for path in (folder / "vessel").glob("vessel0*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size).save(path)
    write_page(evaluate(knowing(), [folder]), tmp_path / "page.html")
    animals, images = tables_of(tmp_path / "page.html").values()
    assert animals[1:] == [
        ["a", "1", "–", "–"],
        ["b", "1", "1.000", "1.000"],
        ["Mean over animals (95 % interval)", "1.000", "1.000"],
    ]
    assert [row[1:5] for row in images[2:]] == [
        ["a", "–", "0.00", "0.125"],
        ["b", "1.000", "0.141", "0.141"],
    ]


def test_images_that_were_learnt_from_are_no_proof(faulty: Evaluation, tmp_path: Path):
    """Where training held nothing of a source back, the page says so beside its scores."""
    model = faulty.scores["model"] | {"trained_on": [VESSEL]}
    learnt = dataclasses.replace(faulty, scores={**faulty.scores, "model": model})
    write_page(learnt, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count(TRAINED_ON) == 1


def test_names_from_files_are_not_markup(folders: list[Path], faulty: Evaluation, tmp_path: Path):
    """An animal named like markup is text on the page."""
    worst = tuple(dataclasses.replace(score, image="<b>x</b>") for score in faulty.worst)
    named = {
        rows: [{**row, "animal": "<b>x</b>"} for row in faulty.scores[rows]]
        for rows in ("animals", "images")
    }
    write_page(Evaluation({**faulty.scores, **named}, worst), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text


def test_the_card_takes_it_all(faulty: Evaluation, tmp_path: Path):
    """Agreement, ICC and ECE stand in the card by kind; pictures lie beside it, old ones go."""
    stale = tmp_path / "MODEL_CARD-half-real-worst.png"
    stale.write_bytes(b"of an earlier card")
    write_card(load_bundle(find_bundle()), tmp_path, faulty)
    text = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    real, half_real, synthetic = re.split(
        r"### (?:Real out|Synthetic)", text.split("### Real i")[1]
    )
    assert "| Area fraction |" in real
    assert "−0.0312" in real
    assert TRAINED_ON in real  # as the shipped recipe says of VessMAP
    assert TRAINED_ON not in synthetic
    assert "ICC(A,1)" in real
    assert "ECE" in real
    assert "None." in half_real
    assert "synthetic brightfield cells | vegf_cell" in synthetic
    assert not stale.exists()
    shown = re.findall(r"!\[[^\]]{20,}\]\((.*?)\)", text)
    assert len(shown) == 6
    assert {path.name for path in tmp_path.glob("*.png")} == set(shown)
    for name in shown:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"


def test_a_card_in_any_folder_leads_nowhere_else(faulty: Evaluation, tmp_path: Path):
    """Whatever a card has to say, its only links are the pictures that lie beside it."""
    for number, sources in enumerate(([VESSEL, CELLS], [CELLS])):
        kept = {source: faulty.scores["sources"][source] for source in sources}
        part = dataclasses.replace(faulty, scores={**faulty.scores, "sources": kept})
        folder = tmp_path / str(number)
        card = write_card(load_bundle(find_bundle()), folder, part).read_text(encoding="utf-8")
        assert ("docs/model-choices.md" in card) == (VESSEL not in sources)
        links = re.findall(r"\]\((.*?)\)", card)
        assert links
        assert all((folder / link).is_file() for link in links)


def test_the_bundle_takes_along_a_summary(faulty: Evaluation):
    """What travels with a bundle has every figure, but neither images nor curves."""
    kept = json.dumps(faulty.summary)
    assert "icc_a1" in kept
    assert "ece" in kept
    assert "bins" not in kept
    assert '"image"' not in kept


def test_tiles_of_another_grid_are_refused(folders: list[Path]):
    """Tiles that were cut for another µm/px are named, with the way to cut them."""
    network = dataclasses.replace(knowing(), mpp_um=1.0)
    with pytest.raises(DataError, match=r"have 0\.5 µm/px, the model 1; build them with --mpp 1"):
        evaluate(network, folders)


def test_tiles_without_annotation_are_refused(tmp_path: Path):
    """Where no pixel of any target was annotated there is nothing to judge, and it says so."""
    folder = write_tiles(tmp_path, "vessel", ["a"], VESSEL)
    (folder / "annotated").mkdir()
    for path in (folder / "vessel").glob("*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size).save(folder / "annotated" / path.name)
    with pytest.raises(DataError, match="no pixel of split 'val' is annotated for any target"):
        evaluate(knowing(), [folder])


def command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a manifest of three annotated images."""
    folder = tmp_path_factory.mktemp("images")
    return write_images(folder, "vessel", list("abc")).write(folder / "manifest.csv")


def test_the_command_writes_figures_page_and_card(manifest: Path, tmp_path: Path):
    """`--json` writes the figures and their page beside them, `--card` the card."""
    out = tmp_path / "new" / "scores.json"
    done = command("angiometry", "--data", manifest, "--json", out, "--card", tmp_path / "card")
    assert done.exit_code == 0, done.output
    assert f"wrote {out}\nwrote {out.with_suffix('.html')}\n" in done.stderr
    scores = json.loads(out.read_text())
    assert {
        "model",
        "split",
        "thresholds",
        "intervals",
        "kinds",
        "sources",
        "animals",
        "images",
    } <= (set(scores))
    assert scores["model"]["sha256"] == load_bundle(find_bundle()).sha256
    assert out.with_suffix(".html").is_file()
    assert (tmp_path / "card" / "MODEL_CARD.md").is_file()
    elsewhere = tmp_path / "page.html"
    assert command("angiometry", "--data", manifest, "--html", elsewhere).exit_code == 0
    assert elsewhere.is_file()


def test_flips_and_turns_are_judged_as_they_measure(manifest: Path, tmp_path: Path):
    """`--tta` judges the mean of eight predictions, and figures, page and card say so."""
    scores = {}
    for flag in ("--tta", "--no-tta"):
        out = tmp_path / flag / "scores.json"
        done = command("angiometry", flag, "--data", manifest, "--json", out, "--card", out.parent)
        assert done.exit_code == 0, done.output
        scores[flag] = json.loads(out.read_text())
        assert scores[flag]["tta"] == (flag == "--tta")
        page = out.with_suffix(".html").read_text()
        assert ("mean of eight flips and turns" in page) == (flag == "--tta")
        word = "with" if flag == "--tta" else "without"
        assert f"images, {word} test-time" in (out.parent / "MODEL_CARD.md").read_text()
    assert scores["--tta"]["sources"] != scores["--no-tta"]["sources"]
    network = Judged.of(load_bundle(find_bundle()), tta=True)
    channels = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    flipped = network.predict(np.ascontiguousarray(channels[:, :, ::-1]))[:, :, ::-1]
    np.testing.assert_allclose(network.predict(channels), flipped, atol=1e-5)


def test_notes_go_into_the_card(manifest: Path, tmp_path: Path):
    """What else was measured stands before the limits; without a card it is refused."""
    notes = tmp_path / "notes.md"
    notes.write_text("## On our slides\n\nCounted by hand: 41 µm apart.\n", encoding="utf-8")
    given = ("angiometry", "--data", manifest, "--notes", notes)
    assert command(*given, "--card", tmp_path / "card").exit_code == 0
    text = (tmp_path / "card" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert text.index("41 µm apart.") < text.index("## Known limits")
    alone = command(*given)
    assert alone.exit_code == 2
    assert "notes go into a model card; give --card FOLDER" in alone.stderr
    notes.write_bytes(b"\xff\xfe")
    unread = command(*given, "--card", tmp_path / "card")
    assert unread.exit_code == 2
    assert "cannot be read as text: it is not UTF-8" in unread.stderr


@pytest.mark.parametrize(
    ("header_only", "arguments", "expected"),
    [
        (True, ["--data", "MANIFEST"], "it has no rows; add one row for each image"),
        (False, ["--data", "MANIFEST", "--split", "test"], "no tile is in split 'test'"),
        (False, ["--data", "MANIFEST", "--split", "none"], "is not one of train, val, test"),
        (False, ["--data", "MANIFEST", "--json", "MANIFEST"], "is read by this command"),
        (False, ["--data", "MANIFEST", "--html", "IMAGE"], "is read by this command"),
        (False, ["--data", "MANIFEST", "--split", "train", "--card", "."], "never saw"),
        (False, [], "give --data MANIFEST or --tiles FOLDER"),
    ],
)
def test_wrong_arguments_are_one_line(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    header_only: bool,
    arguments: list[str],
    expected: str,
):
    """What cannot be evaluated is one line with what to do, exit code 2, before tiles are cut."""
    monkeypatch.setattr("training.command.cut_tiles", None)
    given = manifest
    if header_only:
        given = tmp_path / "empty.csv"
        given.write_text(manifest.read_text().splitlines()[0] + "\n")
    files = {"MANIFEST": str(given), "IMAGE": str(manifest.with_name("vessel0.png"))}
    done = command("angiometry", *(files.get(word, word) for word in arguments))
    assert done.exit_code == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_mask_that_does_not_fit_its_image_is_refused(manifest: Path, tmp_path: Path):
    """A label image of another size than its image is named before anything is judged."""
    copied = write_images(tmp_path, "vessel", ["a"])
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(tmp_path / "vessel0_labels.png")
    done = command("angiometry", "--data", copied.write(tmp_path / "manifest.csv"))
    assert done.exit_code == 2
    assert "vessel0.png" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_bundle_of_other_targets_is_refused(manifest: Path, tmp_path: Path):
    """A bundle that predicts something else says what, what this version runs, and the mend."""
    network = onnx.load(find_bundle())
    table = {entry.key: entry.value for entry in network.metadata_props}
    described = json.loads(table[METADATA_KEY]) | {"targets": ["tumour"]}
    onnx.helper.set_model_props(
        network, {METADATA_KEY: json.dumps(described), DIGEST_KEY: "0" * 64}
    )
    content = network.SerializeToString()
    digest = hashlib.sha256(content).hexdigest()
    path = tmp_path / "other.onnx"
    path.write_bytes(content.replace(b"0" * 64, digest.encode()))
    done = command(path, "--data", manifest)
    assert done.exit_code == 2
    assert "tumour" in done.stderr
    assert "use a bundle that this version exported" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
