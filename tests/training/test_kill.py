"""Promises to whoever's run is killed, at any moment, through the command line itself."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.training.small import RECIPE_TOML, logged_losses
from training.run import LAST
from training.start import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
STEPS_PER_EPOCH = 4
CHILDREN = "/proc/{0}/task/{0}/children"
# Python ignores the signal of a file grown too large; with the system's own answer it kills.
DIES_WHERE_A_FILE_GROWS_TOO_LARGE = (
    "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); import angiometry; "
    "angiometry.main()"
)


class Yard:
    """A recipe, its tiles, and a way to start `angiometry train` on them in a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = folder / "small.toml"
        self.recipe.write_text(RECIPE_TOML)
        self.loading = folder / "loading.toml"  # tiles from a process of their own, as is usual
        self.loading.write_text(RECIPE_TOML.replace("loader_workers = 0", "loader_workers = 1"))

    def start(
        self,
        out: str,
        *flags: str,
        program: Sequence[str] = ("angiometry.py",),
        recipe: Path | None = None,
    ) -> subprocess.Popen[str]:
        words = ["train", str(recipe or self.recipe), "--out", str(self.folder / out), *flags]
        words += ["--tiles", str(self.folder / "tiles"), "--workers", "1"]
        return subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,  # the progress of its epochs
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, out: str) -> Path:
        return self.folder / out / "small"


@pytest.fixture(scope="module")
def two(yard: Yard) -> None:
    """Leave a whole run of two processes, ``two``, in the yard."""
    process = yard.start("two", "--devices", "2")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """Return the yard with one whole run, ``whole``, that was left in peace."""
    made = Yard(tmp_path_factory.mktemp("kill"))
    process = made.start("whole")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return made


def read_until(process: subprocess.Popen[str], awaited: re.Pattern[str]) -> None:
    """Read what a process says of its progress until what is awaited comes."""
    assert process.stdout is not None
    said = ""
    while not awaited.search(said):
        letter = process.stdout.read(1)
        assert letter, f"it ended before it was to be killed:\n{said}"
        said += letter


def finish(yard: Yard, out: str, *flags: str, recipe: Path | None = None) -> None:
    process = yard.start(out, "--resume", *flags, recipe=recipe)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def assert_same(yard: Yard, out: str, left_in_peace: str = "whole") -> None:
    """Assert that a run ended with the weights and losses of the one left in peace, bit for bit."""
    mine, theirs = logged_losses(yard.run(out)), logged_losses(yard.run(left_in_peace))
    assert mine == theirs
    ours = load_checkpoint(yard.run(out) / LAST).state_dict()
    whole = load_checkpoint(yard.run(left_in_peace) / LAST).state_dict()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def steps_of(path: Path) -> int:
    return load_checkpoint(path).trained_steps


def test_killed_between_checkpoints_it_goes_on_as_if_nothing_had_been(yard: Yard) -> None:
    """Killed two steps after a checkpoint and resumed, losses and weights are the very same."""
    process = yard.start("killed", recipe=yard.loading)
    read_until(process, re.compile(rf"Epoch 1:[^\r\n]* 2/{STEPS_PER_EPOCH}"))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert steps_of(yard.run("killed") / LAST) == STEPS_PER_EPOCH
    finish(yard, "killed", recipe=yard.loading)
    assert_same(yard, "killed")


@pytest.mark.slow
@pytest.mark.skipif(not Path(CHILDREN.format(os.getpid())).exists(), reason="no list of children")
@pytest.mark.parametrize("victim", ["the command", "one of both"])
@pytest.mark.usefixtures("two")
def test_of_two_processes_any_may_be_killed(yard: Yard, victim: str) -> None:
    """The others end, too; resumed, losses and weights are those of two that were left in peace."""
    out = f"two without {victim}"
    process = yard.start(out, "--devices", "2")
    read_until(process, re.compile(rf"Epoch 1:[^\r\n]* 2/{STEPS_PER_EPOCH}"))
    workers = trainers_of(process.pid)
    assert len(workers) == 2
    os.kill(process.pid if victim == "the command" else workers[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)  # ends when the last that could write has ended
    if victim == "one of both":
        assert process.returncode == 2
        assert "error: devices: a process stopped: process 1 terminated with signal" in errors
        assert "Traceback" not in errors
    assert steps_of(yard.run(out) / LAST) == STEPS_PER_EPOCH
    finish(yard, out, "--devices", "2")
    assert_same(yard, out, "two")


def trainers_of(pid: int) -> list[int]:
    """Return the processes that a command trains in, in the order of their numbers."""
    children = Path(CHILDREN.format(pid)).read_text().split()
    return [
        int(child)
        for child in children
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
    ]


@pytest.mark.slow
def test_killed_while_it_writes_a_checkpoint_it_still_has_the_one_before(yard: Yard) -> None:
    """Killed by the kernel half-way through the second checkpoint, the first one is whole."""
    process = yard.start("halved", program=("-c", DIES_WHERE_A_FILE_GROWS_TOO_LARGE))
    half = shrink_files(process, yard.run("halved") / LAST)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGXFSZ
    partial = next(yard.run("halved").glob("*.partial"))
    assert partial.stat().st_size == half
    assert steps_of(yard.run("halved") / LAST) == STEPS_PER_EPOCH
    finish(yard, "halved")
    assert_same(yard, "halved")


@pytest.mark.slow
def test_without_room_for_a_checkpoint_it_says_so_and_keeps_the_last(yard: Yard) -> None:
    """A write that the kernel refuses is one line with path, size and mend, and exit code 2."""
    process = yard.start("full")
    shrink_files(process, yard.run("full") / LAST)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "Traceback" not in errors
    line = errors.strip().splitlines()[-1]
    assert line.startswith(f"error: out: {yard.run('full')}"), line
    assert "files may not be that large here; it takes 0." in line
    assert "MB are free; make room" in line
    assert not list(yard.run("full").glob("*.partial"))
    assert steps_of(yard.run("full") / LAST) == STEPS_PER_EPOCH
    finish(yard, "full")
    assert_same(yard, "full")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_without_room_for_a_bundle_it_says_so_and_keeps_the_last(yard: Yard) -> None:
    """An export that a full disk refuses is one line, exit code 2; the old bundle is untouched."""
    bundle = yard.folder / "mine.onnx"
    bundle.write_bytes(b"an earlier one")
    bundle.with_name("mine.onnx.partial").symlink_to("/dev/full")
    words = ["export", str(yard.run("whole") / "best.ckpt"), "--out", str(bundle)]
    for tiles in sorted((yard.folder / "tiles").glob("*/tiles.json")):
        words += ["--tiles", str(tiles.parent)]
    done = subprocess.run(
        [sys.executable, "angiometry.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(f"error: out: {bundle} cannot be written: no space is left; it takes 0.")
    assert "Traceback" not in done.stderr
    assert bundle.read_bytes() == b"an earlier one"
    assert not list(yard.folder.glob("mine.onnx.partial"))


def shrink_files(process: subprocess.Popen[str], checkpoint: Path) -> int:
    """Let a process write files of half a checkpoint at most once its first one is there."""
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    half = checkpoint.stat().st_size // 2
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (half, half))
    return half
