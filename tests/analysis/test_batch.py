"""Many images: one that fails stops nothing, and a run that was cut off goes on."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from analysis.batch import Ledger, Outcome, json_text, output_names, plan, run
from analysis.engine import (
    NAME_OF_OUTPUT,
    PROGRESS_NAME,
    MeasureJob,
    cached_predictor,
    measure_file,
)
from analysis.errors import AnalysisError, MarkerImageError, RegionsError, SettingsError
from analysis.record import to_dict
from analysis.settings import MeasureSettings

FRAME = MeasureSettings(tissue="frame")


@pytest.fixture
def template(oracle_bundle: Path, tmp_path: Path) -> MeasureJob:
    """Return the job that the images of a test share."""
    work = tmp_path / "work"
    return MeasureJob(Path(), work, oracle_bundle, FRAME, mpp_um=0.5, keep_probabilities=False)


@pytest.fixture
def images(draw: Any, tmp_path: Path) -> list[Path]:
    """Return three images, the second of which is no image."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    draw.fluorescence([draw.bars(120, 120)], paths[0])
    paths[1].write_text("this is text")
    draw.fluorescence([draw.bars(160, 160)], paths[2])
    return paths


def test_one_failure_stops_nothing(images: list[Path], template: MeasureJob) -> None:
    """The image that cannot be read is listed with its field; the others have records."""
    outcomes = run(plan(images, template, {}))
    assert [outcome.source for outcome in outcomes] == images
    assert [outcome.record is None for outcome in outcomes] == [False, True, False]
    assert outcomes[1].field == "image"
    assert "b.png" in outcomes[1].error


def test_processes_measure_the_same(images: list[Path], template: MeasureJob) -> None:
    """Two workers give the numbers of one, in the order of the images."""
    alone = run(plan(images, template, {}))
    together = run(plan(images, template, {}), workers=2)
    for one, other in zip(alone, together, strict=True):
        assert (one.record or {}).get("regions") == (other.record or {}).get("regions")
        assert (one.error, one.field) == (other.error, other.field)


def test_nothing_left_to_do_is_done(template: MeasureJob) -> None:
    """A run of which everything is resumed needs no process."""
    assert run([], workers=2) == []


def test_a_single_image_may_use_several_processes(images: list[Path], template: MeasureJob) -> None:
    """Vessel blocks measured in other processes give the same record."""
    (one,) = run(plan(images[:1], template, {}))
    (other,) = run(plan(images[:1], template, {}), workers=2)
    assert one.record is not None
    assert other.record is not None
    assert one.record["regions"] == other.record["regions"]


def test_several_images_write_into_folders(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """Each output is a folder of files named after the images; nothing else is left behind."""
    outputs = {"csv": tmp_path / "csv", "mask": tmp_path / "mask", "json": tmp_path / "a.json"}
    run(plan(images, template, outputs))  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == ["a.csv", "c.csv"]
    assert sorted(path.name for path in (tmp_path / "mask").iterdir()) == ["a.png", "c.png"]
    assert list(template.workdir.iterdir()) == []


def test_outputs_that_clash_are_refused(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """A file where a folder is needed, a folder for a file, and equal names are errors."""
    with pytest.raises(AnalysisError, match="need a folder") as caught:
        plan(images, template, {"csv": images[0]})
    assert caught.value.field == "csv"
    for count, there in ((2, images[0]), (1, tmp_path)):
        with pytest.raises(AnalysisError, match=r"^--objects /.* is a f") as caught:
            plan(images[:count], template, {"objects_csv": there})
        assert caught.value.field == "objects"
    with pytest.raises(AnalysisError, match="is a folder"):
        plan(images[:1], template, {"csv": tmp_path})
    with pytest.raises(AnalysisError, match=r"a\.png is no folder that you may write to"):
        plan(images[:1], template, {"csv": images[0] / "x" / "table.csv"})
    with pytest.raises(AnalysisError, match="are named x"):
        output_names([Path("1/x.png"), Path("2/x.png")])
    assert output_names([Path("x.png"), Path("x.tif"), Path("y.tif")]) == ["x.png", "x.tif", "y"]


def resumed(jobs: list[MeasureJob], path: Path) -> list[bool]:
    """Return which jobs an earlier run has done."""
    ledger = Ledger(path, resume=True)
    return [ledger.earlier(job) is not None for job in jobs]


def test_a_finished_run_is_resumed(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """Same image, settings and bundle are done; what failed, or changed, is not."""
    out = tmp_path / "all.json"
    jobs = plan(images, template, {})
    outcomes = run(jobs)
    Ledger(out, resume=False).close(outcomes, single=False)
    assert resumed(jobs, out) == [True, False, True]
    assert len(json.loads(out.read_text())) == 2
    other = MeasureSettings(tissue="frame", thresholds={"vessel": 0.6})
    changed = plan(images, MeasureJob(Path(), tmp_path, template.bundle, other, 0.5), {})
    assert resumed(changed, out) == [False, False, False]
    coarser = plan(images, MeasureJob(Path(), tmp_path, template.bundle, FRAME, 0.6), {})
    assert resumed(coarser, out) == [False, False, False]
    images[0].write_bytes(images[2].read_bytes())
    assert resumed(jobs, out) == [False, False, True]


def test_a_request_of_the_size_that_the_file_states_is_resumed(
    template: MeasureJob, tmp_path: Path
) -> None:
    """The record says that the file stated its pixel size; asking for the same changes nothing."""
    source, out = tmp_path / "stated.ome.tif", tmp_path / "all.json"
    stated = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    pixels = np.full((64, 64, 3), 200, np.uint8)
    tifffile.imwrite(source, pixels, ome=True, photometric="rgb", metadata=stated)
    jobs = plan([source], template, {})
    assert jobs[0].mpp_um == 0.5
    Ledger(out, resume=False).close(run(jobs), single=True)
    assert json.loads(out.read_text())["image"]["mpp_source"] == "file"
    assert resumed(jobs, out) == [True]


def test_a_run_that_was_cut_off_is_resumed(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """Records survive in the journal, even if its last line was being written."""
    out = tmp_path / "all.json"
    jobs = plan(images, template, {})
    ledger = Ledger(out, resume=False)
    for outcome in run(jobs[:1]):
        ledger.add(outcome)
    with ledger.journal.open("a") as stream:
        stream.write('{"image": {"na')
    assert resumed(jobs, out) == [True, False, False]
    Ledger(out, resume=True).close([], single=False)
    assert not ledger.journal.exists()


def test_records_of_other_images_stay(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """Who measures tomorrow's image with --resume keeps the records of yesterday's."""
    out = tmp_path / "all.json"
    first, last = images[0], images[2]
    Ledger(out, resume=False).close(run(plan([first], template, {})), single=True)
    yesterday = json.loads(out.read_text())
    whole = Ledger(out, resume=True).close(run(plan([last], template, {})), single=True)
    kept = json.loads(out.read_text())
    assert [outcome.record for outcome in whole] == kept  # of which the run's table is made
    assert [record["image"]["name"] for record in kept] == [first.name, last.name]
    assert kept[0] == yesterday


@pytest.mark.parametrize("content", ["not json", '{"a": 1}', '[{"image": "x"}]', "3"])
def test_a_file_that_holds_no_records_is_not_resumed(tmp_path: Path, content: str) -> None:
    """A file that is not of such a run is never taken for one, which would replace it."""
    out = tmp_path / "records.json"
    out.write_text(content)
    with pytest.raises(AnalysisError, match="nothing can be resumed from it"):
        Ledger(out, resume=True)
    assert out.read_text() == content


def test_missing_outputs_are_made_again(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """A record alone is not done where a table was asked for and is gone."""
    out = tmp_path / "all.json"
    outputs: dict[Any, Path] = {"csv": tmp_path / "csv"}
    jobs = plan(images, template, outputs)
    Ledger(out, resume=False).close(run(jobs), single=False)
    assert resumed(jobs, out) == [True, False, True]
    (tmp_path / "csv" / "a.csv").unlink()
    assert resumed(jobs, out) == [False, False, True]


@pytest.mark.parametrize(
    ("kind", "place"),
    [("mask", "a.png"), ("json", "a.png"), ("mask", "sub/../a.png"), ("overlay", "twice.png")],
)
def test_no_output_replaces_an_image_or_another_output(
    images: list[Path], template: MeasureJob, tmp_path: Path, kind: Any, place: str
) -> None:
    """Outputs that would overwrite the section, or each other, are refused before anything runs."""
    (tmp_path / "sub").mkdir()
    outputs = {kind: tmp_path / place, "mask" if kind != "mask" else "csv": tmp_path / "twice.png"}
    with pytest.raises(AnalysisError, match=r"name another file"):
        plan(images[:1], template, outputs)


def test_a_folder_of_images_is_no_folder_for_their_masks(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """Masks named as the images they come from do not go where the images lie."""
    with pytest.raises(AnalysisError, match="is read by this command"):
        plan(images, template, {"mask": tmp_path})


def test_the_second_mask_replaces_nothing_either(
    images: list[Path], template: MeasureJob, tmp_path: Path
) -> None:
    """With two markers a mask of the cells lies beside that of the vessels, and may clash too."""
    both = dataclasses.replace(template.settings, markers=("CD31", "VEGF"))
    job = dataclasses.replace(template, settings=both)
    section = images[0].rename(tmp_path / "mask_vegf_cell.png")
    with pytest.raises(AnalysisError, match="is read by this command"):
        plan([section], job, {"mask": tmp_path / "mask.png"})


def test_a_mask_is_png_or_tiff(images: list[Path], template: MeasureJob, tmp_path: Path) -> None:
    """A name that promises another format is refused."""
    with pytest.raises(AnalysisError, match=r"\.png, \.tif, \.tiff"):
        plan(images[:1], template, {"mask": tmp_path / "mask.jpg"})


def test_json_is_an_object_for_one_and_an_array_for_several() -> None:
    """The shape depends on how many images were asked for, not on how many succeeded."""
    good, bad = Outcome(Path("a"), record={"x": 1}), Outcome(Path("b"), error="no")
    assert json.loads(json_text([good], single=True) or "") == {"x": 1}
    assert json.loads(json_text([good, bad], single=False) or "") == [{"x": 1}]
    assert json.loads(json_text([bad, bad], single=False) or "") == []
    assert json_text([bad], single=True) is None


def test_a_job_leaves_every_file(images: list[Path], template: MeasureJob, tmp_path: Path) -> None:
    """Without outputs named, the folder holds them all, the progress and the probabilities."""
    job = MeasureJob(images[0], tmp_path / "job", template.bundle, FRAME, 0.5, name="slide 7.png")
    record = measure_file(pickle.loads(pickle.dumps(job)))
    names = {path.name for path in job.workdir.iterdir()}
    assert names == {*NAME_OF_OUTPUT.values(), PROGRESS_NAME, "probabilities.npy"}
    assert record.image.name == "slide 7.png"
    assert json.loads((job.workdir / "record.json").read_text("utf-8")) == to_dict(record)
    progress = json.loads((job.workdir / PROGRESS_NAME).read_text())
    assert progress["stage"] == "export"
    assert progress["done"] == progress["total"] == len(NAME_OF_OUTPUT)
    stored = np.load(job.workdir / "probabilities.npy")
    assert stored.dtype == np.uint8
    assert stored.shape == (1, 120, 120)


def test_the_network_is_loaded_once_for_each_content(
    tmp_path: Path, write_oracle: Callable[..., Path]
) -> None:
    """The same file gives the same predictor, a changed file another one."""
    path = write_oracle(tmp_path / "model.onnx")
    first = cached_predictor(path)
    assert cached_predictor(path) is first
    write_oracle(path, tile_px=128)
    assert cached_predictor(path).bundle.metadata.tile_px == 128
    with pytest.raises(SettingsError) as caught:
        cached_predictor(tmp_path / "none.onnx")
    assert caught.value.field == "model"


@pytest.mark.parametrize("kind", [AnalysisError, SettingsError, MarkerImageError, RegionsError])
def test_errors_cross_processes(kind: type[AnalysisError]) -> None:
    """Message and field survive pickling."""
    error = pickle.loads(pickle.dumps(kind("what to do", "marker")))
    assert (type(error), str(error), error.field) == (kind, "what to do", "marker")
