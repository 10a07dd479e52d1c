"""Run a bundle: marker channels in, probabilities as bytes out.

Letters: K target channels, H, W pixels of the model's grid.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

# ONNX Runtime reports use over the network on Linux since 1.29 unless told so before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from model.bundle import INPUT_NAME, OUTPUT_NAME, Bundle
from model.errors import BundleError

SELF_TEST_SIDE_PX = 64
# Other processors and providers round otherwise; a wrong weight or graph moves a mean further.
SELF_TEST_TOLERANCE = 0.02
_PREFERRED_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class Predictor:
    """A bundle with its ONNX session.

    Parameters
    ----------
    bundle
        A checked bundle.
    threads
        Processor threads for one prediction; all cores if None.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        available = ort.get_available_providers()
        providers = [name for name in _PREFERRED_PROVIDERS if name in available]
        try:
            self._session = ort.InferenceSession(str(bundle.path), options, providers=providers)
        except (
            Exception
        ) as error:  # ONNX Runtime raises types of its own that derive from nothing else
            raise BundleError(f"{bundle.path.name} cannot be run: {error}") from error
        self.provider: str = self._session.get_providers()[0]

    def predict(
        self, marker_channels: npt.NDArray[np.float32], *, tta: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Predict every target of one tile.

        Parameters
        ----------
        marker_channels
            float32 (3, H, W) in 0..1, any H and W from 1.
        tta
            Average over the eight flips and quarter turns: slower by eight.

        Returns
        -------
        uint8 (K, H, W)
            255 times the probability, rounded.
        """
        return to_bytes(self.probabilities(marker_channels, tta=tta))

    def probabilities(
        self, channels: npt.NDArray[np.float32], *, tta: bool = False
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities of one tile before rounding, float32 (K, H, W)."""
        if not tta:
            return self._run(channels)
        total = sum(_turned_back(self._run(_turned(channels, k)), k) for k in range(8))
        return np.asarray(total, np.float32) / np.float32(8)

    def _run(self, channels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        height, width = channels.shape[1:]
        padded = pad_to_multiple(channels, 2**self.bundle.metadata.depth)
        feed = {INPUT_NAME: np.ascontiguousarray(padded[None], np.float32)}
        (answer,) = self._session.run([OUTPUT_NAME], feed)
        return np.asarray(answer[0, :, :height, :width], np.float32)

    def self_test(self) -> bool:
        """Tell whether the network answers the fixed test pattern as it did when exported."""
        answer = self.probabilities(self_test_pattern()).mean(axis=(1, 2))
        return bool(np.allclose(answer, self.bundle.metadata.self_test, atol=SELF_TEST_TOLERANCE))


def to_bytes(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return probabilities as bytes, 255 times each, rounded."""
    return np.asarray(np.rint(probabilities * np.float32(255)), np.uint8)


def self_test_pattern() -> npt.NDArray[np.float32]:
    """Return the fixed pattern of waves that a bundle's self-test is made of, (3, 64, 64)."""
    side = np.arange(SELF_TEST_SIDE_PX, dtype=np.float32)
    y, x = np.meshgrid(side, side, indexing="ij")
    waves = [np.sin(x / 3.0) * np.cos(y / 5.0), np.sin((x + y) / 7.0), np.cos(x / 2.0 - y / 9.0)]
    return np.asarray((np.stack(waves) + 1.0) / 2.0, np.float32)


def pad_to_multiple(channels: npt.NDArray[np.float32], multiple: int) -> npt.NDArray[np.float32]:
    """Extend (C, H, W) at its right and bottom, by mirror images, to multiples of `multiple`."""
    height, width = channels.shape[1:]
    pad = ((0, 0), (0, -height % multiple), (0, -width % multiple))
    return np.pad(channels, pad, mode="symmetric") if any(p[1] for p in pad) else channels


def _turned(channels: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    flipped = channels[:, :, ::-1] if k >= 4 else channels
    return np.rot90(flipped, k % 4, axes=(1, 2))


def _turned_back(channels: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    turned = np.rot90(channels, -(k % 4), axes=(1, 2))
    return turned[:, :, ::-1] if k >= 4 else turned
