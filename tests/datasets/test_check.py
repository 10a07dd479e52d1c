"""A check finds what would spoil a training, and says in which image."""

from __future__ import annotations

import dataclasses
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from datasets.annotations import LabelImage
from datasets.check import CheckReport, check_manifest
from datasets.check_table import print_report
from datasets.contact_sheet import COLOURS, write_contact_sheet
from datasets.duplicates import duplicates, fingerprint
from datasets.errors import BuildError
from datasets.label_check import implausibilities, measure_labels
from datasets.manifest import Manifest
from datasets.rows import Row, file_sha256
from datasets.splits import assign_splits
from datasets.vessmap import vessmap_manifest

SIDE = 96


def picture(seed: int) -> np.ndarray:
    """Return a fluorescence-like picture (H, W) of smooth blobs, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 200, (12, 12)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def bar() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[40:52, 8:88] = 255
    return mask


def row(folder: Path, name: str, pixels: np.ndarray, mask: np.ndarray | None) -> Row:
    """Write a picture, with a vessel where `mask` is, and return its row."""
    if mask is not None and mask.shape == pixels.shape and mask.mean() < 100:
        pixels = np.where(mask > 0, pixels // 8 + 220, pixels)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    if mask is not None:
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    return Row(
        image=f"{name}.png",
        animal=name,
        group="control",
        modality="fluorescence",
        mpp_um=0.5,
        annotation={} if mask is None else {"vessel": f"{name}_mask.png"},
        targets=() if mask is None else ("vessel",),
        split="train",
        licence="CC0",
        sha256=file_sha256(folder / f"{name}.png"),
    )


def with_val(folder: Path, *rows: Row) -> Manifest:
    val = dataclasses.replace(row(folder, "val", picture(99), bar()), split="val")
    return Manifest(folder, (*rows, val))


def said(report: CheckReport) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.topic, finding.image) for finding in report.findings]


def test_clean_manifest_has_no_findings(tmp_path: Path) -> None:
    """Two different, annotated, licensed images of two animals give nothing to say."""
    report = check_manifest(with_val(tmp_path, row(tmp_path, "a", picture(1), bar())))
    assert report.findings == ()
    assert (report.images, report.animals) == (2, 2)


def test_balance_counts_area_and_objects(tmp_path: Path) -> None:
    """A bar of 12 × 80 px at 0.5 µm is 240 µm² of 2304, one object in one image."""
    report = check_manifest(with_val(tmp_path, row(tmp_path, "a", picture(1), bar())))
    train, val = report.balance
    assert (train.split, val.split) == ("train", "val")
    assert (train.images, train.animals, train.objects) == (1, 1, 1)
    assert train.annotated_mm2 == pytest.approx(2304e-6)
    assert train.positive_mm2 == pytest.approx(240e-6)


def test_animal_in_two_splits_is_an_error(tmp_path: Path) -> None:
    """A leaking animal is named with its splits."""
    first = row(tmp_path, "a", picture(1), bar())
    second = dataclasses.replace(row(tmp_path, "b", picture(2), bar()), animal="a", split="test")
    report = check_manifest(with_val(tmp_path, first, second))
    assert said(report) == [("error", "leakage", "")]
    assert "'a' is in train and test" in report.errors[0].message


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("exact", [True, False])
def test_same_picture_twice(tmp_path: Path, split: str, exact: bool) -> None:
    """A picture again, even turned and dimmed, is an error across splits, else a warning."""
    original = picture(1)
    again = original if exact else np.rot90(original * 0.9).astype(np.uint8)
    first = row(tmp_path, "a", original, bar())
    outlined = bar() if exact else np.rot90(bar())
    second = dataclasses.replace(row(tmp_path, "b", again, outlined), split=split)
    report = check_manifest(with_val(tmp_path, first, second))
    severity = "error" if split == "val" else "warning"
    assert said(report) == [(severity, "duplicate", "b.png")]
    expected = "the same file as a.png" if exact else "nearly the same picture as a.png"
    assert expected in report.findings[0].message


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((SIDE, SIDE), np.uint8), "no vessel is outlined"),
        (255 - bar(), "is the mask inverted"),
        (np.eye(SIDE, dtype=np.uint8) * 255, "centre-lines"),
    ],
)
def test_implausible_outlines_are_warned_of(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    """Empty, inverted and hair-thin masks are pointed out."""
    report = check_manifest(with_val(tmp_path, row(tmp_path, "a", picture(1), mask)))
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert any(message in finding.message for finding in report.findings)


def test_wrong_pixel_size_shows_in_the_radius() -> None:
    """A bar 48 px wide is a vessel at 0.5 µm/px and far too wide at 5 µm/px."""
    mask = np.zeros((200, 200), np.uint8)
    mask[76:124] = 255
    right = measure_labels(LabelImage(mask), "vessel", (200, 200), 0.5)
    assert right.max_radius_um == pytest.approx(12.0, abs=0.5)
    assert implausibilities(right) == []
    wrong = measure_labels(LabelImage(mask), "vessel", (200, 200), 5.0)
    assert "is mpp_um right?" in implausibilities(wrong)[0]


def test_a_forgotten_region_is_pointed_out() -> None:
    """Three vessels in a corner of a large image: the rest would be learnt as holding none."""
    mask = np.zeros((1000, 1000), np.uint8)
    mask[10:30, 10:100] = mask[50:70, 10:100] = mask[90:110, 10:110] = 255
    found = measure_labels(LabelImage(mask), "vessel", (1000, 1000), 0.5)
    assert found.spread == pytest.approx(100 * 100 / 1000**2)
    (doubt,) = implausibilities(found)
    assert doubt.startswith("all outlines lie in 1.0% of the annotated area")
    tile = measure_labels(LabelImage(mask[:256, :256].copy()), "vessel", (256, 256), 0.5)
    assert implausibilities(tile) == []  # small images are outlined whole
    mask[900:920, 900:990] = 255
    spread = measure_labels(LabelImage(mask), "vessel", (1000, 1000), 0.5)
    assert implausibilities(spread) == []


def test_cells_with_one_number_or_wrong_size_are_doubted() -> None:
    """Specks, giants, and cells that share a number are each named."""
    labels = np.zeros((400, 400), np.int32)
    labels[:3, :3], labels[100:300, 100:300], labels[350:370, 350:370] = 1, 2, 3
    doubts = " ".join(
        implausibilities(measure_labels(LabelImage(labels), "vegf_cell", (400, 400), 0.5))
    )
    assert "1 of 3 objects are under 20 µm²" in doubts
    assert "1 of 3 objects are over 2500 µm²" in doubts
    shared = (labels == 3).astype(np.int32)
    shared[10:30, 10:30] = 1
    doubts = " ".join(
        implausibilities(measure_labels(LabelImage(shared), "vegf_cell", (400, 400), 0.5))
    )
    assert "all cells have one number" in doubts


def test_mask_of_another_size_and_unreadable_image_are_errors(tmp_path: Path) -> None:
    """What cannot be built is an error of that image, and the other images are still checked."""
    small = row(tmp_path, "a", picture(1), np.zeros((8, 8), np.uint8))
    broken = row(tmp_path, "b", picture(2), bar())
    (tmp_path / "b.png").write_text("text")
    report = check_manifest(with_val(tmp_path, small, broken))
    assert said(report)[:2] == [("error", "annotation", "a.png"), ("error", "image", "b.png")]
    assert report.balance[-1].split == "val"


def test_what_is_missing_is_warned_of(tmp_path: Path) -> None:
    """No annotation, no hash, no licence, and a split without a target are warnings."""
    bare = dataclasses.replace(row(tmp_path, "a", picture(1), None), licence="", sha256="")
    report = check_manifest(Manifest(tmp_path, (bare, row(tmp_path, "b", picture(2), bar()))))
    assert said(report) == [
        ("warning", "annotation", "a.png"),
        ("warning", "balance", ""),
        ("warning", "provenance", ""),
        ("warning", "provenance", ""),
    ]
    assert "'val'" in report.findings[1].message


def test_what_most_rows_lack_is_told_once(tmp_path: Path) -> None:
    """A folder of 500 sections without hashes gives one line, not 500."""
    rows = [row(tmp_path, name, picture(number), bar()) for number, name in enumerate("abcde")]
    bare = [dataclasses.replace(entry, sha256="") for entry in rows]
    (told,) = check_manifest(with_val(tmp_path, *bare)).warnings
    assert told.message.startswith("5 images have no sha256 (a.png, b.png, c.png and 2 more); ")


def test_splits_left_open_are_drawn_and_told(tmp_path: Path) -> None:
    """Who will learn and who will judge is told as tiles will be cut; nothing is said to lack."""
    rows = [row(tmp_path, name, picture(number), bar()) for number, name in enumerate("abcd")]
    test = dataclasses.replace(rows[3], split="test")
    manifest = Manifest(
        tmp_path, (*(dataclasses.replace(entry, split=None) for entry in rows[:3]), test)
    )
    report = check_manifest(manifest, thumbnails=True)
    built = {entry.animal: entry.split for entry in assign_splits(manifest).rows}
    assert report.drawn == {animal: built[animal] for animal in "abc"}
    assert {line.split for line in report.balance} == set(built.values())
    assert report.findings == ()
    whose = [thumbnail.lines[1] for thumbnail in report.thumbnails]
    assert whose == [f"{animal}, {split}" for animal, split in built.items()]
    console = Console(width=200, record=True, quiet=False, file=StringIO())
    print_report(report, console)
    rows = [dataclasses.replace(entry, split=None) for entry in rows[:3]]
    half = dataclasses.replace(rows[0], split="train", image=rows[1].image)
    bare = dataclasses.replace(rows[2], targets=(), annotation={})
    again = check_manifest(Manifest(tmp_path, (rows[0], half, bare)))
    assert again.drawn == {}  # one row says where a is, and c gives no tiles
    (judges,) = [animal for animal in "abc" if built[animal] == "val"]
    said = console.export_text()
    assert f"; val {judges}" in said
    assert "No animal is in test" not in said  # d is
    print_report(check_manifest(Manifest(tmp_path, rows[:2])), console)
    assert "No animal is in test: mark one, better two" in console.export_text()


def test_a_group_that_is_not_judged_on_is_told(tmp_path: Path) -> None:
    """Where controls alone validate, nothing says how well treated animals' vessels are found."""
    rows = [row(tmp_path, name, picture(number), bar()) for number, name in enumerate("abc")]
    control, stroke, judge = rows
    stroke = dataclasses.replace(stroke, group="stroke")
    judge = dataclasses.replace(judge, split="val")
    (told,) = check_manifest(Manifest(tmp_path, (control, stroke, judge))).findings
    assert (told.severity, told.topic) == ("warning", "balance")
    assert told.message.startswith("no animal of group 'stroke' is in split 'val'")
    treated = dataclasses.replace(judge, group="stroke")
    messages = [f.message for f in check_manifest(Manifest(tmp_path, (control, treated))).findings]
    assert len(messages) == 2
    assert messages[0].startswith("no animal of group 'stroke' is in split 'train'")
    assert messages[1].startswith("no animal of group 'control' is in split 'val'")
    one_group = Manifest(tmp_path, (control, dataclasses.replace(judge)))
    assert check_manifest(one_group).findings == ()


def test_report_is_plain_json(tmp_path: Path) -> None:
    """The report serialises as JSON with its counts."""
    bare = row(tmp_path, "a", picture(1), None)
    report = check_manifest(with_val(tmp_path, bare))
    again = json.loads(json.dumps(report.to_dict()))
    assert (again["images"], again["errors"], again["warnings"]) == (2, 0, 2)


def test_contact_sheet_shows_every_image_with_its_outline(tmp_path: Path) -> None:
    """The sheet has a picture for each image, with the outline in the colour of its legend."""
    manifest = with_val(tmp_path, row(tmp_path, "a", picture(1), bar()))
    report = check_manifest(manifest, thumbnails=True)
    assert [thumbnail.lines[0] for thumbnail in report.thumbnails] == ["a.png", "val.png"]
    rgb = report.thumbnails[0].rgb
    outline = (rgb == COLOURS["vessel"]).all(axis=-1)
    assert outline.sum() == 2 * 80 + 2 * 12 - 4
    path = write_contact_sheet(report.thumbnails, tmp_path / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.mode == "RGB"
        assert sheet.width > 2 * SIDE
    with pytest.raises(BuildError, match="no image"):
        write_contact_sheet((), tmp_path / "none.png")


def test_thumbnail_of_a_partly_annotated_image_shows_that_part(tmp_path: Path) -> None:
    """Where areas bound the annotation, the sheet shows them, with what is outlined in them."""
    whole = row(tmp_path, "a", picture(1), None)

    def outline(name: str, x: int, y: int, width: int, height: int) -> dict[str, object]:
        ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": name}},
        }

    features = [outline("Region*", 20, 30, 40, 24), outline("Vessel", 30, 40, 10, 8)]
    (tmp_path / "a.geojson").write_text(json.dumps(features))
    partly = dataclasses.replace(whole, targets=("vessel",), annotation={"vessel": "a.geojson"})
    report = check_manifest(Manifest(tmp_path, (partly,)), thumbnails=True)
    rgb = report.thumbnails[0].rgb
    assert rgb.shape == (24, 40, 3)
    assert (rgb == COLOURS["vessel"]).all(axis=-1).sum() == 2 * 10 + 2 * 8 - 4
    assert report.balance[0].annotated_mm2 == pytest.approx(40 * 24 * 0.25e-6)


def test_unrelated_and_blank_pictures_are_no_duplicates() -> None:
    """Of thirty unrelated pictures and two blank ones, none is a near duplicate."""
    prints = [fingerprint(str(seed), picture(seed)) for seed in range(30)]
    prints += [fingerprint(f"blank{grey}", np.full((SIDE, SIDE), grey)) for grey in (0, 9)]
    assert duplicates(prints) == []


@pytest.mark.parametrize("turns", range(4))
def test_turned_flipped_and_halved_pictures_are_duplicates(turns: int) -> None:
    """A quarter turn, a mirror image and half the size do not hide a duplicate."""
    original = picture(5)
    changed = np.asarray(Image.fromarray(np.rot90(original[:, ::-1], turns)).resize((48, 48)))
    assert duplicates([fingerprint("a", original), None, fingerprint("b", changed)]) == [
        (0, 2, False)
    ]


def test_vessmap_is_clean(shared_data: Path) -> None:
    """The real crops hold no error: no leak, no duplicate, no mask of another size."""
    report = check_manifest(vessmap_manifest(shared_data / "vessmap"))
    assert report.errors == ()
    assert {finding.topic for finding in report.warnings} <= {"labels"}


def test_a_copy_is_an_error_though_splits_are_not_given_yet(tmp_path: Path) -> None:
    """Splits are then drawn as for tiles: a file of two animals that fall apart is found."""
    rows = [row(tmp_path, name, picture(number), bar()) for number, name in enumerate("abcdef")]
    copies = [
        dataclasses.replace(entry, image=f"copy_{entry.image}", animal=f"twin {entry.animal}")
        for entry in rows
    ]
    for entry in rows:
        (tmp_path / f"copy_{entry.image}").write_bytes((tmp_path / entry.image).read_bytes())
    undecided = tuple(dataclasses.replace(entry, split=None) for entry in (*rows, *copies))
    report = check_manifest(Manifest(tmp_path, undecided))
    across = [finding for finding in report.errors if finding.topic == "duplicate"]
    assert across
    assert all("must not share pictures" in finding.message for finding in across)


@pytest.mark.parametrize("other", ["rat 1", "rat-1", "Rat_1"])
def test_animals_that_are_written_in_two_ways_are_doubted(tmp_path: Path, other: str) -> None:
    """Rat 1 and rat-1 are most likely one animal, which would be learnt and scored."""
    first = dataclasses.replace(row(tmp_path, "a", picture(1), bar()), animal="Rat 1")
    second = dataclasses.replace(row(tmp_path, "b", picture(2), bar()), animal=other, split="val")
    report = check_manifest(Manifest(tmp_path, (first, second)))
    assert [f.message for f in report.warnings] == [
        f"animals Rat 1, {other} differ in capitals, spaces, hyphens or underscores alone; if they "
        "are one, write one name"
    ]
