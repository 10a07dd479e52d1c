"""Promises about bundles: complete, unaltered, in one file."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from model.bundle import (
    CARD_NAME,
    DIGEST_KEY,
    METADATA_KEY,
    WEIGHTS_DIR,
    Bundle,
    BundleMetadata,
    card_mark,
    find_bundle,
    list_bundles,
    load_bundle,
    read_card,
    write_bundle,
)
from model.errors import BundleError


def test_a_bundle_reads_back_as_it_was_written(bundle: Bundle):
    """Metadata survive the file, and the bundle is named by the hash of its bytes."""
    again = load_bundle(bundle.path)
    assert again.metadata == bundle.metadata
    assert again.sha256 == hashlib.sha256(bundle.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_one_flipped_bit_is_noticed(bundle: Bundle, tmp_path: Path, share: float):
    """A bit that flips anywhere in the file makes it unusable."""
    content = bytearray(bundle.path.read_bytes())
    content[int(share * len(content))] ^= 1
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    with pytest.raises(BundleError, match=r"changed since|no ONNX file|no metadata"):
        load_bundle(damaged)


def test_a_flipped_bit_of_the_digest_itself_is_noticed(bundle: Bundle, tmp_path: Path):
    """The digest protects itself too."""
    content = bytearray(bundle.path.read_bytes())
    table = {entry.key: entry.value for entry in onnx.load(bundle.path).metadata_props}
    place = content.index(table[DIGEST_KEY].encode())
    content[place] = ord("0") if content[place] != ord("0") else ord("1")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(content)
    with pytest.raises(BundleError, match="changed since"):
        load_bundle(damaged)


def test_a_network_without_metadata_is_refused(bundle: Bundle, tmp_path: Path):
    """Any other ONNX file is refused, with the verb that writes bundles."""
    network = onnx.load(bundle.path)
    del network.metadata_props[:]
    onnx.save(network, tmp_path / "plain.onnx")
    with pytest.raises(BundleError, match=f"no metadata '{METADATA_KEY}'.*angiometry export"):
        load_bundle(tmp_path / "plain.onnx")


REQUIRED = [field.name for field in dataclasses.fields(BundleMetadata) if field.name != "familiar"]


@pytest.mark.parametrize("field", REQUIRED)
def test_each_piece_of_metadata_is_required(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
):
    """A bundle that lacks one key is refused, naming it, however well its digest fits."""
    whole = dataclasses.asdict(bundle.metadata)
    del whole[field]
    with monkeypatch.context() as patch:
        patch.setattr("model.bundle.dataclasses.asdict", lambda _: whole)
        with pytest.raises(BundleError, match=f"lacks the metadata {field}$"):
            write_bundle(onnx.load(bundle.path), bundle.metadata, tmp_path / "part.onnx")


def test_a_bundle_need_not_know_strange_sections(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Bundles of before, which hold no reference of their training tiles, are read all the same."""
    whole = dataclasses.asdict(bundle.metadata)
    del whole["familiar"]
    with monkeypatch.context() as patch:
        patch.setattr("model.bundle.dataclasses.asdict", lambda _: whole)
        written = write_bundle(onnx.load(bundle.path), bundle.metadata, tmp_path / "old.onnx")
    assert written.metadata.familiar == {}


def test_weights_in_another_file_are_refused(bundle: Bundle, tmp_path: Path):
    """A bundle is one file: weights beside it are refused even if the digest fits."""
    network = onnx.load(bundle.path)
    onnx.external_data_helper.convert_model_to_external_data(
        network, location="beside.bin", size_threshold=0
    )
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    with pytest.raises(BundleError, match="another file"):
        write_bundle(network, bundle.metadata, tmp_path / "external.onnx")


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x00" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    """Empty and foreign files are refused with one clear message."""
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError):
        load_bundle(path)


def test_a_missing_file_is_named(tmp_path: Path):
    """A path that does not exist is named in the error."""
    with pytest.raises(BundleError, match=r"absent\.onnx cannot be read"):
        load_bundle(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"mpp_um": 0.0},
        {"mpp_um": float("nan")},
        {"tile_px": 65},
        {"halo_px": 3},
        {"thresholds": {"vessel": 1.0}},
        {"temperature": {"vessel": 0.0}},
        {"targets": ("vessel",)},
    ],
)
def test_metadata_that_cannot_be_run_are_refused(bundle: Bundle, change: dict[str, object]):
    """Values that no network could be run with are refused."""
    with pytest.raises(BundleError, match="cannot be run"):
        dataclasses.replace(bundle.metadata, **change)  # type: ignore[arg-type]


def test_bundles_are_found_by_name_and_by_path(bundle: Bundle):
    """A path leads to its file, an unknown name lists the known ones."""
    assert find_bundle(str(bundle.path)) == bundle.path
    with pytest.raises(BundleError, match="no model 'nonesuch'"):
        find_bundle("nonesuch")
    with pytest.raises(BundleError):
        find_bundle("../weights/angiometry")


def test_the_shipped_bundle_is_whole_and_small():
    """What ships can be loaded, holds no path of a machine, and is under 32 MiB."""
    shipped = find_bundle()
    assert shipped in list_bundles()
    assert load_bundle(shipped).metadata.name == "angiometry"
    content = shipped.read_bytes()
    assert len(content) <= 32 * 2**20
    assert b"/home/" not in content and b"site-packages" not in content
    assert (WEIGHTS_DIR / CARD_NAME).is_file()


def test_a_card_is_of_the_bundle_whose_hash_it_names(bundle: Bundle, tmp_path: Path):
    """Beside a bundle there may be no card, or that of a bundle that was trained on from it."""
    here = dataclasses.replace(bundle, path=tmp_path / "small.onnx")
    assert read_card(here) is None
    card = tmp_path / CARD_NAME
    further = f"| file | `further.onnx`, {card_mark('0' * 64)}\n"
    card.write_text(further + f"| training | starting from small, SHA-256 {bundle.sha256} |\n")
    assert read_card(here) is None
    own = f"| file | `small.onnx`, 0.1 MiB, {card_mark(bundle.sha256)}\n"
    card.write_bytes(own.encode() + b"counted at 0.5 \xb5m")  # notes from a Latin-1 editor
    assert read_card(here) == own + "counted at 0.5 \N{REPLACEMENT CHARACTER}m"


def test_probabilities_stay_numbers_on_any_input(bundle: Bundle):
    """The shipped and the small bundle answer extreme input with probabilities."""
    from model.predictor import Predictor

    extreme = np.stack([np.full((20, 20), value, np.float32) for value in (0.0, 1.0, 0.5)])
    for each in (bundle, load_bundle(find_bundle())):
        answer = Predictor(each).probabilities(extreme)
        assert 0 <= answer.min() <= answer.max() <= 1
