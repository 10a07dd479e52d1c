"""The top of the page that `angiometry evaluate` writes, as the training page shows it.

    python -m docs.evaluation_page

judges the shipped bundle on a few drawn sections of two kinds and photographs the page with
Chromium (`apt-get install chromium`) into docs/images/evaluation.png. A minute on two cores.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

from docs.pictures import IMAGES
from docs.unseen_sections import Size, draw
from model.bundle import find_bundle, load_bundle
from training.evaluate import evaluate
from training.judging import Judged
from training.page import write_page

PICTURE = IMAGES / "evaluation.png"
KINDS = ("brightfield_cells", "fluorescence_vessel")
TOP = ViewportSize(width=1000, height=1510)


def photograph(page: Path, picture: Path) -> None:
    """Write the top of a page as a browser shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport=TOP)
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Draw, judge, and write the picture."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [
            folder for folder in draw(Path(scratch), Size(sections=20)) if folder.name in KINDS
        ]
        page = Path(scratch) / "angiometry.html"
        write_page(evaluate(Judged.of(load_bundle(find_bundle(None))), folders), page)
        photograph(page, PICTURE)


if __name__ == "__main__":
    main()
