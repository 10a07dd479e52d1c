"""No outbound connection, ever: neither a served request nor a training run opens one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil

from tests.live_server import ROOT, Start, encoded, section


@contextmanager
def watched(pid: int) -> Iterator[set[str]]:
    """Collect the remote addresses that a process and its children are connected to."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            try:
                root = psutil.Process(pid)
                for process in (root, *root.children(recursive=True)):
                    seen.update(c.raddr.ip for c in process.net_connections("inet") if c.raddr)
            except psutil.Error:
                pass
            time.sleep(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_a_served_request_stays_on_this_machine(start_server: Start) -> None:
    """From its start through a measured image the service talks to this machine alone."""
    with start_server() as running, watched(running.process.pid) as seen:
        form = {"marker": "CD31", "mpp_um": "0.5"}
        files = {"image": ("section.png", encoded(section()))}
        answer = httpx.post(f"{running.url}/v1/analyses", data=form, files=files, timeout=60)
        assert answer.status_code == 200
        time.sleep(0.5)
    assert seen  # the request itself was seen
    assert all(ip_address(address).is_loopback for address in seen)


# At an attempt to connect or to resolve a name, in Python, the process ends: an exception might be
# caught, or end the one thread that asked.
_GUARD = """
import sys, ipaddress, os
def refuse(event, details):
    asked = None
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        asked = None if details[0] in (None, "localhost", "127.0.0.1", "") else details[0]
    if event in ("socket.connect", "socket.sendto") and isinstance(details[1], tuple):
        asked = None if ipaddress.ip_address(details[1][0]).is_loopback else details[1][0]
    if asked:
        os.write(2, f"asks {asked}".encode())
        os._exit(3)
sys.addaudithook(refuse)
"""
_RUN = """
import tomllib
from pathlib import Path
from model.unet import UNet, UNetConfig
from tests.training.small import RECIPE_TOML
from training.recipe import recipe_from_dict
from training.run import train
from training.sources import prepare_tiles
import training.publish  # all that an export imports
UNet(UNetConfig(encoder="resnet18", base=4, depth=5))  # as a checkpoint of one is loaded
small = tomllib.loads(RECIPE_TOML)
small["run"] |= {"steps": 2, "steps_per_epoch": 2}
recipe, folder = recipe_from_dict(small), Path(sys.argv[1])
print("kept", train(recipe, prepare_tiles(recipe, folder / "tiles"), folder / "run").name)
"""


def run_guarded(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process that ends as soon as it asks anybody."""
    return subprocess.run(
        [sys.executable, "-c", _GUARD + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_run_asks_nobody(tmp_path: Path) -> None:
    """Drawing tiles, two steps on them, validation and checkpoints resolve no name."""
    done = run_guarded(_RUN, tmp_path)
    assert done.stdout.strip().endswith("kept best.ckpt"), done.stderr
    assert (tmp_path / "run" / "best.ckpt").is_file()


def test_whoever_asks_is_found_out() -> None:
    """A question in another thread, whose failure nobody would see, ends the guarded process."""
    ask = "import socket, threading\n"
    ask += "threading.Thread(target=socket.getaddrinfo, args=('example.org', 80)).start()\n"
    assert "asks example.org" in run_guarded(ask).stderr
