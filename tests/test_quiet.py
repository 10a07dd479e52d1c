"""No outbound connection, ever: neither a served request nor a training step opens one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

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


# Every attempt to connect or to resolve a name, in Python, is refused by the interpreter itself.
_GUARD = """
import sys, ipaddress
def refuse(event, details):
    if event == "socket.getaddrinfo" and details[0] not in (None, "localhost", "127.0.0.1", ""):
        raise SystemExit(f"asks for {details[0]}")
    if event == "socket.connect" and isinstance(details[1], tuple):
        if not ipaddress.ip_address(details[1][0]).is_loopback:
            raise SystemExit(f"connects to {details[1][0]}")
sys.addaudithook(refuse)
"""
_STEP = """
import numpy as np, torch
from model.unet import UNet, UNetConfig
from training.augment import Augmentation
from training.losses import SegmentationLoss
from training.recipe import AugmentConfig, LossConfig
import training.run, training.publish  # all that a run and its export import
change = Augmentation(AugmentConfig())
change.reseed(1)
tile = change(image=np.zeros((64, 64, 3), np.uint8), masks=[np.ones((64, 64), np.uint8)])
UNet(UNetConfig(encoder="resnet18", base=4, depth=5))  # as a checkpoint of one is loaded
network = UNet(UNetConfig(base=4, depth=2))
image = torch.from_numpy(tile["image"]).permute(2, 0, 1)[None].float() / 255
target = torch.zeros(1, 3, 64, 64)
SegmentationLoss(LossConfig())(network(image), target, torch.ones_like(target))["loss"].backward()
print("done")
"""


def test_a_training_step_asks_nobody() -> None:
    """Importing the training packages, augmenting and stepping resolve no name."""
    done = subprocess.run(
        [sys.executable, "-c", _GUARD + _STEP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("done"), done.stderr
