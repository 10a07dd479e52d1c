"""Promises about bad input to `train` and `export`: one line on standard error, exit code 2."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner, Result

from angiometry import app
from datasets.rows import COLUMNS
from model.bundle import METADATA_KEY, find_bundle
from model.errors import StorageError
from model.files import write_whole
from tests.training.small import RECIPE_TOML
from training.kinds import animal_mark
from training.start import read_start

SIDE = 64
LABORATORY = RECIPE_TOML.replace("brightfield_vessel = 6", "").replace("fluorescence_cells = 6", "")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe that trains on what a manifest names and nothing else."""
    path = tmp_path / "small.toml"
    path.write_text(LABORATORY)
    return path


def laboratory(folder: Path, masks: dict[str, np.ndarray], **changed: str) -> Path:
    """Write an image and its mask for each animal, the last one to validate, and the manifest."""
    rows = []
    for number, (animal, mask) in enumerate(masks.items()):
        grey = np.random.default_rng(number).integers(40, 90, (SIDE, SIDE)).astype(np.uint8)
        grey[20:30] = 220
        Image.fromarray(grey).save(folder / f"{animal}.png")
        Image.fromarray(mask).save(folder / f"{animal}-mask.png")
        row = dict.fromkeys(COLUMNS, "") | {
            "image": f"{animal}.png",
            "animal": animal,
            "markers": "CD31",
            "modality": "fluorescence",
            "mpp_um": "0.5",
            "annotation": f"{animal}-mask.png",
            "targets": "vessel",
            "split": "val" if number == len(masks) - 1 else "train",
        }
        rows.append(row | changed)
    path = folder / "manifest.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def bar() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:30] = 255
    return mask


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def train(recipe: Path, *words: object) -> Result:
    out = recipe.parent / "runs"
    return call("train", recipe, "--out", out, "--workers", 1, *words)


def assert_one_line(result: Result, *parts: str) -> None:
    """Assert that the command ended with one line of error that holds all parts."""
    assert result.exit_code == 2, result.output
    said = result.stderr.strip().splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("error: ")
    for part in parts:
        assert part in said[0]


def test_a_mask_of_another_size(recipe: Path, tmp_path: Path) -> None:
    """A mask that does not fit its image is named with both sizes and the mend."""
    manifest = laboratory(tmp_path, {"a": bar()[:, :50].copy(), "b": bar()})
    assert_one_line(
        train(recipe, "--data", manifest),
        "a-mask.png is 50 × 64 px but its image is 64 × 64 px",
        "export the labels at full resolution",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "data: no annotated training tile shows any vessel; outline some"),
        (255, "data: every annotated pixel of the annotated training tiles is vessel"),
    ],
)
def test_masks_of_one_class(recipe: Path, tmp_path: Path, value: int, message: str) -> None:
    """Training tiles that teach one answer for every pixel are refused before the first step."""
    mask = np.full((SIDE, SIDE), value, np.uint8)
    manifest = laboratory(tmp_path, {"a": mask, "b": bar()})
    assert_one_line(train(recipe, "--data", manifest), message)


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_one_class_beside_drawn_sections(tmp_path: Path, value: int) -> None:
    """Drawn sections, which show both, do not hide that a laboratory's own masks are all alike."""
    recipe = tmp_path / "beside.toml"
    recipe.write_text(RECIPE_TOML)
    manifest = laboratory(tmp_path, {"a": np.full((SIDE, SIDE), value, np.uint8), "b": bar()})
    assert_one_line(train(recipe, "--data", manifest), "annotated training tile", "vessel")


def test_a_manifest_that_only_judges(recipe: Path, tmp_path: Path) -> None:
    """Animals that are only judged may stand in a manifest of their own; who judges is told."""
    (tmp_path / "more").mkdir()
    first = laboratory(tmp_path, {"a": bar(), "b": bar()})
    second = laboratory(tmp_path / "more", {"c": bar()})
    done = train(recipe, "--data", first, "--data", second)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "your animals: train a; val b, c"
    assert "note: data.shares" not in done.stderr


def test_shares_of_what_is_not_at_hand_are_told(recipe: Path, tmp_path: Path) -> None:
    """A source that the recipe names but nobody gave is named; one given no draws is not."""
    recipe.write_text(
        f"{LABORATORY}[data.shares]\nannotated = 0.5\nvessmap = 0.5\nrerendered = 0\n"
    )
    done = train(recipe, "--data", laboratory(tmp_path, {"a": bar(), "b": bar()}))
    assert done.exit_code == 0, done.output
    assert "note: data.shares: no training tile is of vessmap, whose part" in done.stderr


def test_another_recipe_is_refused_before_tiles_are_made(recipe: Path, tmp_path: Path) -> None:
    """Whoever resumes, or starts from a bundle, by a recipe that does not fit waits for nothing."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    assert_one_line(
        train(recipe, "--data", manifest, "--from", "angiometry"), "network.base is 4, but 16"
    )
    assert not (tmp_path / "runs" / "tiles").exists()
    assert train(recipe, "--data", manifest).exit_code == 0
    shutil.rmtree(tmp_path / "runs" / "tiles")
    recipe.write_text(LABORATORY.replace("base = 4", "base = 8"))
    assert_one_line(train(recipe, "--data", manifest, "--resume"), "network.base is 8, but 4")
    assert not (tmp_path / "runs" / "tiles").exists()


def test_a_bundle_is_named_as_one(recipe: Path, tmp_path: Path) -> None:
    """A file that no other verb would take for a bundle is not written, nor a checkpoint judged."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    trained = train(recipe, "--data", manifest)
    best = tmp_path / "runs" / "small" / "best.ckpt"
    tiles = trained.stdout.split("--tiles ")[1].strip()
    assert_one_line(
        call("export", best, "--tiles", tiles, "--out", tmp_path / "b"), "out: ", "in .onnx"
    )
    assert_one_line(call("evaluate", best, "--tiles", tiles), "checkpoint", "angiometry export")
    shipped = find_bundle()
    assert_one_line(
        call("export", shipped, "--tiles", tiles, "--out", tmp_path / "b.onnx"),
        "checkpoint: angiometry.onnx is a bundle already; give a run's .ckpt",
    )


def test_a_folder_of_folders_of_tiles_is_told(recipe: Path, tmp_path: Path) -> None:
    """Whoever names the folder above hears the names of those inside."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    assert train(recipe, "--data", manifest).exit_code == 0
    above = tmp_path / "runs" / "tiles"
    (inside,) = (path.name for path in above.iterdir() if path.is_dir())
    assert_one_line(
        call("evaluate", "angiometry", "--tiles", above), f"name each of them: {inside}"
    )


def test_pixels_that_are_no_numbers(recipe: Path, tmp_path: Path) -> None:
    """A float image, the only kind that could hold NaN, is refused, naming it."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    pixels = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    pixels[3, 4] = np.nan
    (tmp_path / "a.png").unlink()
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    manifest.write_text(manifest.read_text().replace("a.png", "a.tif"))
    assert_one_line(
        train(recipe, "--data", manifest), "a.tif has pixels of type float32", "8 or 16"
    )


def test_masks_that_are_no_numbers(recipe: Path, tmp_path: Path) -> None:
    """A float mask, the only kind that could hold NaN, is refused, naming it."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    mask = bar().astype(np.float32)
    mask[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "a-mask.tif", mask)
    manifest.write_text(manifest.read_text().replace("a-mask.png", "a-mask.tif"))
    assert_one_line(train(recipe, "--data", manifest), "a-mask.tif holds float32", "whole numbers")


def test_an_animal_in_two_splits(recipe: Path, tmp_path: Path) -> None:
    """An animal that is trained on and judged by is named."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()}, animal="mouse 7")
    assert_one_line(
        train(recipe, "--data", manifest),
        "split: animals are in more than one split: mouse 7 in train and val; give each animal one",
    )


def test_an_animal_in_two_splits_of_two_manifests(recipe: Path, tmp_path: Path) -> None:
    """An animal that one manifest trains on and another is judged by is named."""
    manifests = []
    for folder, animals in ((tmp_path / "cd31", "ab"), (tmp_path / "more", "cb")):
        folder.mkdir()
        manifests += ["--data", laboratory(folder, {animal: bar() for animal in animals})]
    later = manifests[-1]
    swapped = later.read_text().replace("b.png,b,", "b.png,a,")
    later.write_text(swapped)
    assert_one_line(
        train(recipe, *manifests),
        "data: animals are in more than one split over the manifests: a in train and val; write",
    )


def test_nothing_to_judge_by(recipe: Path, tmp_path: Path) -> None:
    """Validation tiles without any target would give every epoch the same score: refused."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": np.zeros_like(bar())})
    assert_one_line(train(recipe, "--data", manifest), "data: no validation tile shows any vessel")


def test_from_and_resume_exclude_each_other(recipe: Path) -> None:
    """A run that is resumed has weights; others are not silently ignored."""
    assert_one_line(train(recipe, "--resume", "--from", "angiometry"), "from: ", "leave one out")


def test_what_is_wrong_with_the_folder_shows_before_tiles_are_made(recipe: Path) -> None:
    """To resume where no run lies is refused at once."""
    assert_one_line(train(recipe, "--resume"), "out: ", "holds no last.ckpt to resume from")
    assert not (recipe.parent / "runs").exists()


def test_a_bundle_of_other_targets(recipe: Path, tmp_path: Path, oracle_bundle: Path) -> None:
    """A bundle that predicts something else cannot be trained on, though nobody altered it."""
    graph = onnx.load(oracle_bundle)
    for entry in graph.metadata_props:
        if entry.key == METADATA_KEY:
            text = entry.value.replace('"vegf_cell_centre"', '"nucleus"')
        else:
            digest = entry
    other = tmp_path / "other.onnx"
    onnx.helper.set_model_props(graph, {METADATA_KEY: text, digest.key: "0" * 64})
    content = graph.SerializeToString()
    seal = hashlib.sha256(content).hexdigest().encode()
    other.write_bytes(content.replace(b"0" * 64, seal))
    assert_one_line(train(recipe, "--from", other), "model: ", "nucleus", "vegf_cell_centre")


def test_a_checkpoint_that_lost_its_end(recipe: Path, tmp_path: Path) -> None:
    """It is named, as is what to do; the best weights, which lie beside it, stay as they are."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    assert train(recipe, "--data", manifest).exit_code == 0
    last, best = (tmp_path / "runs" / "small" / name for name in ("last.ckpt", "best.ckpt"))
    content, kept = last.read_bytes(), best.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    wanted = "last.ckpt is damaged or no checkpoint of a training run; use an earlier one"
    assert_one_line(train(recipe, "--data", manifest, "--resume"), "checkpoint: ", wanted)
    assert best.read_bytes() == kept
    tiles = sorted((tmp_path / "runs" / "tiles").glob("*/tiles.json"))
    flags = [word for path in tiles for word in ("--tiles", path.parent)]
    assert call("export", best, *flags, "--out", tmp_path / "mine.onnx").exit_code == 0


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_no_checkpoint_at_all(recipe: Path, tmp_path: Path, kept: int) -> None:
    """What only begins as a checkpoint does is named by --resume, --from and export alike."""
    laboratory(tmp_path, {"a": bar(), "b": bar()})
    manifest = tmp_path / "manifest.csv"
    torn = tmp_path / "runs" / "small" / "last.ckpt"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"PK\x03\x04" + bytes(kept))
    wanted = "last.ckpt is damaged or no checkpoint of a training run; use an earlier one"
    assert_one_line(train(recipe, "--data", manifest, "--resume"), "checkpoint: ", wanted)
    assert_one_line(call("export", torn, "--tiles", tmp_path, "--out", tmp_path / "b.onnx"), wanted)
    elsewhere = tmp_path / "runs" / "small" / "away"
    elsewhere.mkdir()
    torn = torn.rename(elsewhere / "last.ckpt")
    assert_one_line(train(recipe, "--data", manifest, "--from", torn), wanted)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_no_space_is_left_for_a_checkpoint(recipe: Path, tmp_path: Path) -> None:
    """A run that a full disk ends says so, with what it takes, and leaves no half of a file."""
    manifest = laboratory(tmp_path, {"a": bar(), "b": bar()})
    out = tmp_path / "runs" / "small"
    out.mkdir(parents=True)
    (out / "best.ckpt.partial").symlink_to("/dev/full")
    assert_one_line(
        train(recipe, "--data", manifest),
        f"out: {out / 'best.ckpt'} cannot be written: no space is left; it takes 0.",
        "MB are free; make room",
    )
    assert not list(out.glob("*.ckpt*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_no_space_is_left(tmp_path: Path) -> None:
    """Where the disk itself is full, the message says so and the old file is as it was."""
    path = tmp_path / "bundle.onnx"
    write_whole(path, b"old")
    path.with_name("bundle.onnx.partial").symlink_to("/dev/full")
    with pytest.raises(
        StorageError, match=r"bundle.onnx cannot be written: no space is left; it ta"
    ):
        write_whole(path, bytes(1 << 20))
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["bundle.onnx"]


def test_who_was_learnt_from_in_an_earlier_run_is_told(recipe: Path, tmp_path: Path) -> None:
    """A bundle knows its animals, not by name; training on from it, and judging it, says so."""
    manifest = laboratory(tmp_path, {"rat 1": bar(), "rat 2": bar()})
    tiles = train(recipe, "--data", manifest).stdout.split("--tiles ")[1].strip()
    bundle, best = tmp_path / "own.onnx", tmp_path / "runs" / "small" / "best.ckpt"
    assert call("export", best, "--tiles", tiles, "--out", bundle).exit_code == 0
    assert b"rat 1" not in bundle.read_bytes()
    told = "The model learnt from animals called Rat 1, in its last run or in one before it"

    (tmp_path / "next").mkdir()
    other = laboratory(tmp_path / "next", {"rat 3": bar(), "Rat 1": bar()})
    out = ("--out", tmp_path / "next" / "runs")
    on = train(recipe, "--data", other, "--from", bundle, *out)
    assert on.exit_code == 0
    assert told in on.stderr
    again = tmp_path / "again.onnx"
    tiles = on.stdout.split("--tiles ")[1].strip()
    best = tmp_path / "next" / "runs" / "small" / "best.ckpt"
    assert call("export", best, "--tiles", tiles, "--out", again).exit_code == 0

    # A checkpoint hands them on as well.
    marks = read_start(str(best)).inherited["animals"]
    assert marks == sorted(map(animal_mark, ("rat 1", "rat 3")))
    card = call("evaluate", bundle, "--data", other, "--card", tmp_path / "card")
    assert card.exit_code == 0
    assert told in (tmp_path / "card" / "MODEL_CARD.md").read_text()

    for model in (bundle, again):  # what a run before learnt from is handed on
        scores = tmp_path / "scores.json"
        judged = call("evaluate", model, "--data", other, "--json", scores)
        assert told in judged.stderr
        assert json.loads(scores.read_text())["model"]["learnt_animals"] == ["Rat 1"]
        assert told in scores.with_suffix(".html").read_text()
    assert "learnt from" not in call("evaluate", "angiometry", "--data", other).stderr
