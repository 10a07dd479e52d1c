"""The manifest says what is wrong, where, and what to do, for all rows at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import ManifestError
from datasets.manifest import Manifest
from datasets.rows import COLUMNS, file_sha256

GOOD = {
    "image": "a.png",
    "animal": "m1",
    "section": "s1",
    "group": "control",
    "markers": "CD31",
    "modality": "brightfield",
    "mpp_um": "0.5",
    "annotation": "a_mask.png",
    "targets": "vessel",
    "split": "train",
    "licence": "CC0",
    "sha256": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two small images and a mask."""
    for name, grey in (("a.png", 200), ("b.png", 100), ("a_mask.png", 0)):
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(tmp_path / name)
    (tmp_path / "a.geojson").write_text("[]")
    return tmp_path


def write(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    lines = [",".join(columns)]
    lines += [",".join({**GOOD, **row}.get(column, "") for column in columns) for row in rows]
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_good_row_is_read(folder: Path) -> None:
    """Every cell of a good row arrives as what it means."""
    row = Manifest.read(write(folder, {})).rows[0]
    assert (row.image, row.animal, row.section, row.group) == ("a.png", "m1", "s1", "control")
    assert row.markers == ("CD31",)
    assert (row.modality, row.mpp_um, row.split) == ("brightfield", 0.5, "train")
    assert row.annotation == {"vessel": "a_mask.png"}
    assert row.targets == ("vessel",)


def test_semicolons_and_decimal_commas_are_read(folder: Path) -> None:
    """Spreadsheets of many countries write them; a cell that holds one is in quotes."""
    cells = GOOD | {
        "mpp_um": "0,5",
        "targets": "vessel+vegf_cell",
        "markers": "CD31+VEGF",
        "annotation": '"vessel=a_mask.png;vegf_cell=b.png"',
    }
    path = folder / "manifest.csv"
    path.write_text(f"{';'.join(COLUMNS)}\n{';'.join(cells[name] for name in COLUMNS)}\n")
    row = Manifest.read(path).rows[0]
    assert row.mpp_um == 0.5
    assert row.annotation == {"vessel": "a_mask.png", "vegf_cell": "b.png"}


def test_an_empty_file_is_one_problem(tmp_path: Path) -> None:
    """Whoever begins with nothing hears the header, not of twelve missing columns."""
    (tmp_path / "manifest.csv").write_text("")
    with pytest.raises(ManifestError, match="it is empty; begin with the header image,animal,"):
        Manifest.read(tmp_path / "manifest.csv")


def test_tabs_are_read_and_a_bare_semicolon_is_pointed_out(folder: Path) -> None:
    """What separates is what makes known columns; a cell that holds it has to be in quotes."""
    path = folder / "manifest.csv"
    path.write_text("\t".join(COLUMNS) + "\n" + "\t".join(GOOD[name] for name in COLUMNS))
    assert Manifest.read(path).rows[0].animal == "m1"
    cells = GOOD | {"annotation": "vessel=a_mask.png;vegf_cell=b.png"}
    path.write_text(f"{';'.join(COLUMNS)}\n{';'.join(cells[name] for name in COLUMNS)}\n")
    with pytest.raises(ManifestError, match="holds a comma or a semicolon into quotes") as caught:
        Manifest.read(path)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ({"image": "none.png"}, "row 2, image", "no file 'none.png'; mend the path"),
        ({"image": ""}, "row 2, image", "empty; give the path"),
        ({"animal": ""}, "row 2, animal", "name the animal"),
        ({"markers": "CD34"}, "row 2, markers", "give one of CD31, VEGF"),
        ({"markers": ""}, "row 2, markers", "give one of CD31, VEGF"),
        ({"modality": "darkfield"}, "row 2, modality", "write one of auto, brightfield"),
        ({"mpp_um": "0"}, "row 2, mpp_um", "write µm per pixel"),
        ({"mpp_um": "-0.5"}, "row 2, mpp_um", "write µm per pixel"),
        ({"mpp_um": "nan"}, "row 2, mpp_um", "write µm per pixel"),
        ({"mpp_um": "half"}, "row 2, mpp_um", "write µm per pixel"),
        ({"targets": "tube"}, "row 2, targets", "write one of vessel, vegf_cell"),
        (
            {"targets": "vessel+vegf_cell", "annotation": "a.geojson"},
            "row 2, targets",
            "add that marker or remove",
        ),
        ({"annotation": ""}, "row 2, annotation", "target 'vessel' has none"),
        ({"annotation": "none.png"}, "row 2, annotation", "no file 'none.png'"),
        ({"targets": ""}, "row 2, targets", "say what it outlines"),
        ({"split": "valid"}, "row 2, split", "write one of train, val, test"),
        ({"sha256": "abc"}, "row 2, sha256", "not 64 hexadecimal digits"),
        ({"sha256": "0" * 64}, "row 2, sha256", "not the file that was recorded"),
    ],
)
def test_each_fault_names_its_row_and_column(
    folder: Path, change: dict[str, str], where: str, message: str
) -> None:
    """A wrong cell is reported once, by row and column, with what to do."""
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.read(write(folder, change))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(where)


def test_channels_are_an_optional_column(folder: Path) -> None:
    """The column may be there; what it says must be readable, and comes back when written."""
    columns = (*COLUMNS, "channels")
    good = Manifest.read(write(folder, {"channels": '"CD31=1,nuclei=0"'}, columns=columns))
    assert good.rows[0].channels == "CD31=1,nuclei=0"
    assert Manifest.read(good.write(folder / "copy.csv")).rows == good.rows
    with pytest.raises(ManifestError, match="row 2, channels: "):
        Manifest.read(write(folder, {"channels": "CD31=red"}, columns=columns))


def test_all_faults_are_reported_at_once(folder: Path) -> None:
    """Three faults in two rows give three lines in one error."""
    rows = ({"animal": "", "mpp_um": "x"}, {"image": "b.png", "split": "?"})
    with pytest.raises(ManifestError) as caught:
        Manifest.read(write(folder, *rows))
    starts = [problem.partition(":")[0] for problem in caught.value.problems]
    assert starts == ["row 2, animal", "row 2, mpp_um", "row 3, split"]
    assert str(caught.value).count("\n") == 3


def test_image_given_twice_is_an_error(folder: Path) -> None:
    """The second row of an image is an error that names both rows."""
    with pytest.raises(ManifestError, match=r"row 3, image: .*also in row 2"):
        Manifest.read(write(folder, {}, {"image": "./a.png"}))


def test_missing_and_unknown_columns_are_named(folder: Path) -> None:
    """A header without `animal` and `group` and with `mouse` is faulted for all three."""
    columns = (*(name for name in COLUMNS if name not in ("animal", "group")), "mouse")
    with pytest.raises(ManifestError, match="'mouse' is unknown") as caught:
        Manifest.read(write(folder, {}, columns=columns))
    assert caught.value.problems[:2] == (
        "column 'animal' is missing; add it",
        "column 'group' is missing; add it; its cells may be empty",
    )


@pytest.mark.parametrize("text", ["", "image;animal\n", ",".join(COLUMNS) + "\n"])
def test_empty_manifests_are_refused(folder: Path, text: str) -> None:
    """A manifest without columns or without rows is an error, not an empty data set."""
    path = folder / "manifest.csv"
    path.write_text(text)
    with pytest.raises(ManifestError):
        Manifest.read(path)


def test_absent_or_binary_manifests_are_refused(folder: Path) -> None:
    """A path without a file, and a file that is not text, are refused."""
    with pytest.raises(ManifestError, match="no manifest"):
        Manifest.read(folder / "none.csv")
    with pytest.raises(ManifestError, match="UTF-8"):
        Manifest.read(folder / "a.png")


def test_several_annotations_in_one_cell(folder: Path) -> None:
    """`target=path;target=path` gives each target its file; one path serves all targets."""
    both = {"markers": "CD31+VEGF", "targets": "vessel+vegf_cell"}
    path = write(folder, {**both, "annotation": "vessel=a_mask.png;vegf_cell=a.geojson"})
    assert Manifest.read(path).rows[0].annotation == {
        "vessel": "a_mask.png",
        "vegf_cell": "a.geojson",
    }
    path = write(folder, {**both, "annotation": "a.geojson"})
    assert set(Manifest.read(path).rows[0].annotation.values()) == {"a.geojson"}


def test_one_label_image_cannot_serve_two_targets(folder: Path) -> None:
    """A label image has no classes, so it is refused as the annotation of two targets."""
    both = {"markers": "CD31+VEGF", "targets": "vessel+vegf_cell"}
    with pytest.raises(ManifestError, match=r"row 2, annotation: .*a file of its own"):
        Manifest.read(write(folder, {**both, "annotation": "a_mask.png"}))


def test_hash_is_compared_unless_told_otherwise(folder: Path) -> None:
    """A right hash passes, a wrong one passes only where hashes are not verified."""
    right = file_sha256(folder / "a.png")
    assert Manifest.read(write(folder, {"sha256": right.upper()})).rows[0].sha256 == right
    path = write(folder, {"sha256": "0" * 64})
    assert len(Manifest.read(path, verify_hashes=False).rows) == 1


def test_written_manifest_reads_back(folder: Path) -> None:
    """Reading what was written, here or in another folder, gives the same images."""
    manifest = Manifest.read(write(folder, {}, {"image": "b.png", "annotation": "", "targets": ""}))
    assert Manifest.read(manifest.write(folder / "copy.csv")).rows == manifest.rows
    (folder / "sub").mkdir()
    moved = Manifest.read(manifest.write(folder / "sub" / "moved.csv"))
    for row, original in zip(moved.rows, manifest.rows, strict=True):
        assert moved.path(row.image).samefile(manifest.path(original.image))
    assert manifest.write(folder / "copy.csv").read_bytes().count(b"\r") == 0


def test_content_hash_follows_files_and_cells(folder: Path) -> None:
    """The hash is the same wherever the files lie, and another once a mask or a cell changes."""
    manifest = Manifest.read(write(folder, {}))
    before = manifest.content_hash()
    (folder / "sub").mkdir()
    assert manifest.moved(folder / "sub").content_hash() == before
    assert Manifest.read(write(folder, {"mpp_um": "0.4"})).content_hash() != before
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "a_mask.png")
    assert manifest.content_hash() != before


def test_excel_byte_order_mark_and_blank_lines_are_accepted(folder: Path) -> None:
    """A file as spreadsheets save it, with a byte order mark and empty rows, is read."""
    path = write(folder, {})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"," * 11 + b"\n")
    assert len(Manifest.read(path).rows) == 1


def test_error_survives_a_worker_process(folder: Path) -> None:
    """A manifest error is the same after pickling."""
    error = ManifestError.of("m.csv", ["row 2, image: gone"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.field, again.problems) == (
        str(error),
        "manifest",
        ("row 2, image: gone",),
    )
