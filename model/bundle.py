"""A bundle: one ONNX file whose metadata carries all that turns pixels into a result.

The metadata is one JSON text in the file's own metadata table. Its neighbour, the content digest,
is the SHA-256 of every byte of the file with the digest's own 64 characters read as zeros: one
flipped bit anywhere in weights, graph or metadata is noticed, whatever wrote the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from model.errors import BundleError
from model.files import write_whole
from model.targets import CHANNELS

METADATA_KEY = "angiometry"
DIGEST_KEY = "angiometry_content_sha256"
INPUT_NAME = "marker_channels"
OUTPUT_NAME = "probabilities"
WEIGHTS_DIR = Path(__file__).parent / "weights"
DEFAULT_NAME = "angiometry"
CARD_NAME = "MODEL_CARD.md"
_NO_DIGEST = "0" * 64
_OPTIONAL = {"familiar"}


@dataclasses.dataclass(frozen=True)
class BundleMetadata:
    """What a bundle says of itself; none of it may be missing.

    Lengths in pixels are on the model's grid of `mpp_um` µm/px. `tile_px` is the side of the part
    of a tile that is kept, `halo_px` what is read around it: at least the receptive field, and a
    multiple of 2^`depth`, so that the result does not depend on the tile. `channel_mean` and
    `channel_std` describe the training tiles; the graph subtracts and divides by them itself. It
    likewise divides logits by `temperature`, so that its output is calibrated probability.
    `familiar` tells known kinds of image from strange ones, see `model.familiarity`; a bundle
    without it judges none.
    """

    name: str
    version: str
    description: str
    targets: tuple[str, ...]
    mpp_um: float
    depth: int
    tile_px: int
    halo_px: int
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    thresholds: Mapping[str, float]
    temperature: Mapping[str, float]
    training_data_sha256: str
    data_licence: str
    library_versions: Mapping[str, str]
    git_revision: str
    created_at: str
    validation_scores: Mapping[str, Any]
    self_test: tuple[float, ...]
    recipe: Mapping[str, Any]
    familiar: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that no network could be run with."""
        stride = 2**self.depth
        problems = []
        if self.targets != CHANNELS:
            problems.append(
                f"its targets are {', '.join(self.targets)}, this version runs "
                f"{', '.join(CHANNELS)}: use a bundle that this version exported"
            )
        if not (math.isfinite(self.mpp_um) and self.mpp_um > 0):
            problems.append(f"its mpp_um is {self.mpp_um}")
        if self.tile_px < stride or self.tile_px % stride or self.halo_px % stride:
            problems.append(
                f"its tile of {self.tile_px} px and halo of {self.halo_px} px "
                f"are no multiples of {stride}"
            )
        if any(not 0 < value < 1 for value in self.thresholds.values()):
            problems.append(f"its thresholds {dict(self.thresholds)} do not lie between 0 and 1")
        if any(value <= 0 for value in self.temperature.values()):
            problems.append(f"its temperatures {dict(self.temperature)} are not positive")
        if problems:
            raise BundleError("the bundle cannot be run: " + "; ".join(problems))


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle whose digest was checked; `sha256` is the hash of the whole file."""

    path: Path
    sha256: str
    metadata: BundleMetadata


def write_bundle(network: onnx.ModelProto, metadata: BundleMetadata, path: Path) -> Bundle:
    """Write `network` and `metadata` as one file with its digest, and read it back.

    The file appears whole or not at all.
    """
    del network.metadata_props[:]
    table = {METADATA_KEY: _to_text(metadata), DIGEST_KEY: _NO_DIGEST}
    onnx.helper.set_model_props(network, table)
    content = network.SerializeToString()
    if content.count(_NO_DIGEST.encode()) != 1:
        raise BundleError("the network holds a text that looks like an empty digest; rename it")
    digest = hashlib.sha256(content).hexdigest()
    write_whole(path, content.replace(_NO_DIGEST.encode(), digest.encode()))
    return load_bundle(path)


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle's metadata and check its digest; the network itself is not run.

    Raises
    ------
    BundleError
        If the file is no ONNX network, lacks any metadata, keeps weights in other files, or has
        changed since it was written.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"the bundle {path} cannot be read ({error.strerror})") from error
    try:
        network = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise BundleError(f"{path.name} is no ONNX file, or is damaged; copy it anew") from error
    table = {entry.key: entry.value for entry in network.metadata_props}
    for key in (METADATA_KEY, DIGEST_KEY):
        if key not in table:
            raise BundleError(
                f"{path.name} has no metadata {key!r}; write bundles with `angiometry export`"
            )
    _check_digest(content, table[DIGEST_KEY], path)
    if _has_external_data(network):
        raise BundleError(f"{path.name} keeps weights in another file; export it as one file")
    metadata = _from_text(table[METADATA_KEY], path)
    return Bundle(path, hashlib.sha256(content).hexdigest(), metadata)


def list_bundles(folder: Path = WEIGHTS_DIR) -> list[Path]:
    """Return the bundles that lie in `folder`, by name."""
    return sorted(folder.glob("*.onnx"))


def find_bundle(name: str | None = None) -> Path:
    """Return the file of a bundle, named or given by its path; the shipped one by default."""
    if name is None:
        name = DEFAULT_NAME
    shipped = WEIGHTS_DIR / f"{name}.onnx"
    # A name is looked up before a path, so that a stray file in the working folder is never run.
    if Path(name).name == name and shipped.is_file():
        return shipped
    if name.endswith(".onnx") and Path(name).is_file():
        return Path(name)
    if name.endswith(".ckpt"):
        raise BundleError(f"{name} is a checkpoint; `angiometry export` makes a bundle of it")
    if name.endswith(".onnx"):
        raise BundleError(f"there is no file {name}; give the path of a bundle, or a model's name")
    known = ", ".join(path.stem for path in list_bundles()) or "none"
    raise BundleError(
        f"there is no model {name!r}; shipped are: {known}; or name the bundle's .onnx file"
    )


def card_mark(sha256: str) -> str:
    """Return how a model card names the bundle that it is of.

    Cards name the bundle that training started from, too, so that a hash alone doesn't say whose
    card it is.
    """
    return f"SHA-256 `{sha256}` |"


def read_card(bundle: Bundle) -> str | None:
    """Return the model card that lies beside a bundle, as Markdown.

    None if there is none that can be read, or it is of another bundle of that folder.
    """
    try:
        text = bundle.path.with_name(CARD_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text if card_mark(bundle.sha256) in text else None


def _check_digest(content: bytes, digest: str, path: Path) -> None:
    written = digest.encode()
    whole = len(written) == len(_NO_DIGEST) and content.count(written) == 1
    zeroed = content.replace(written, _NO_DIGEST.encode()) if whole else b""
    if not whole or hashlib.sha256(zeroed).hexdigest() != digest:
        raise BundleError(f"{path.name} has changed since it was exported; copy or export it anew")


def _has_external_data(network: onnx.ModelProto) -> bool:
    return any(
        tensor.data_location == onnx.TensorProto.EXTERNAL
        for tensor in onnx.external_data_helper._get_all_tensors(network)
    )


def _to_text(metadata: BundleMetadata) -> str:
    return json.dumps(dataclasses.asdict(metadata), sort_keys=True, allow_nan=False)


def _from_text(text: str, path: Path) -> BundleMetadata:
    try:
        values = json.loads(text)
        fields = {field.name for field in dataclasses.fields(BundleMetadata)}
        if missing := fields - _OPTIONAL - set(values):
            raise BundleError(f"{path.name} lacks the metadata {', '.join(sorted(missing))}")
        known = {key: values[key] for key in fields & set(values)}
        lists = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
        return BundleMetadata(**known | lists)
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise BundleError(f"{path.name} has unreadable metadata: {error}") from error
