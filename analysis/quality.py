"""Whether an image is fit to be measured: pixel statistics against limits, and a verdict.

The verdict stands beside the measurements and never alters one. Each limit lies beyond what sound
sections show; the comments say what was seen on drawn sections and on published fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from imaging.quality import PixelQuality

Entry = dict[str, Any]
