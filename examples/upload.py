#!/usr/bin/env python3
"""Send section images to a running Angiometry service and write one table of their densities.

    python examples/upload.py sections/*.tif --marker CD31 --mpp 0.5 --csv densities.csv

Needs Python and httpx (`pip install httpx`), nothing else of this project.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import httpx

COLUMNS = {
    "vessel area fraction": ("vessels", "area_fraction"),
    "vessel profiles per mm2": ("vessels", "profile_density_per_mm2"),
    "vessel length mm per mm2": ("vessels", "length_density_mm_per_mm2"),
    "VEGF-positive cells per mm2": ("cells", "positive_density_per_mm2"),
}


def main() -> int:
    arguments = parse_arguments()
    rows = []
    failed = 0
    with httpx.Client(base_url=arguments.url, timeout=arguments.timeout) as client:
        for path in arguments.images:
            try:
                row = measure(client, path, form_of(arguments))
            except RuntimeError as error:
                print(f"{path.name}: {error}", file=sys.stderr)
                failed += 1
                continue
            rows.append(row)
            print_row(row)
    if arguments.csv and rows:
        write_table(arguments.csv, rows)
        print(f"wrote {arguments.csv}")
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, help="image files")
    parser.add_argument("--marker", required=True, choices=["CD31", "VEGF", "CD31+VEGF"])
    parser.add_argument("--mpp", type=float, help="µm/px, if the file does not state it")
    parser.add_argument("--modality", choices=["auto", "brightfield", "fluorescence"])
    parser.add_argument("--channels", help="such as CD31=1,VEGF=2,nuclei=0")
    parser.add_argument("--csv", type=Path, help="table to write, one row per image")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per image")
    return parser.parse_args()


def form_of(arguments: argparse.Namespace) -> dict[str, str]:
    fields = {
        "marker": arguments.marker,
        "mpp_um": arguments.mpp,
        "modality": arguments.modality,
        "channels": arguments.channels,
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def measure(client: httpx.Client, path: Path, form: dict[str, str]) -> dict[str, Any]:
    """Send one image; return its row of the table, or raise RuntimeError with the reason."""
    try:
        with path.open("rb") as stream:
            answer = client.post("/v1/analyses", data=form, files={"image": (path.name, stream)})
    except OSError as error:
        raise RuntimeError(f"cannot be read ({error.strerror})") from error
    except httpx.ConnectError as error:
        raise RuntimeError(f"no service answers at {client.base_url}; is it running?") from error
    except httpx.TransportError as error:
        raise RuntimeError(f"the connection failed ({error})") from error
    if answer.status_code != 200:
        raise RuntimeError(explain(answer))
    envelope = answer.json()
    tissue = envelope["record"]["regions"][0]
    values = {
        title: tissue[part][key] if tissue[part] else None for title, (part, key) in COLUMNS.items()
    }
    return {"image": path.name, "analysis": envelope["id"], "area mm2": tissue["area_mm2"]} | values


def explain(answer: httpx.Response) -> str:
    """Return what a problem+json answer says is wrong."""
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        problem = answer.json()
        return f"{problem['title']}: {problem['detail']}"
    return f"unexpected answer {answer.status_code}"


def print_row(row: dict[str, Any]) -> None:
    print(row["image"])
    for title in COLUMNS:
        value = row[title]
        if value is not None:
            print(f"  {title:<28} {value:.4g}")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
