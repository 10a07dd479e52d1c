"""Angiometry's command line: one verb per capability; heavy imports stay inside the verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

app = typer.Typer(
    name="angiometry",
    help="Measure CD31+ blood vessels and VEGF-positive cells on brain sections.",
    no_args_is_help=True,
    add_completion=False,
)
data_app = typer.Typer(
    help="Tiles from annotated images, checks, synthetic sections.", no_args_is_help=True
)
app.add_typer(data_app, name="data")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn bad input into one line on standard error and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        field = getattr(error, "field", None)
        typer.echo(f"error: {f'{field}: ' if field else ''}{error}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show (stage, done, total) as bars on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Manifest of annotated images; may be repeated.")
    ] = None,
    vessmap: Annotated[
        Path | None, typer.Option(help="VessMAP: its folder or archive.", exists=True)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")] = Path("runs"),
    tiles: Annotated[
        Path | None, typer.Option(help="Folder that keeps cut tiles; OUT/tiles by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
) -> None:
    """Train a network as a recipe says."""
    from training.recipe import read_recipe
    from training.run import train as run
    from training.sources import prepare_tiles

    with _plain_errors(), _progress_bar() as progress:
        plan = read_recipe(recipe)
        folders = prepare_tiles(
            plan, tiles or out / "tiles", manifests=data or (), vessmap=vessmap, progress=progress
        )
    with _plain_errors():
        best = run(plan, folders, out / plan.name, resume=resume)
    typer.echo(f"best checkpoint: {best}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a training run.")],
    tiles: Annotated[
        list[Path], typer.Option(help="Folder of tiles whose validation part scores the bundle.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write, a file ending in .onnx.")],
) -> None:
    """Write a checkpoint as a bundle: calibrated, scored, and proven to repeat it."""
    from training.publish import publish
    from training.run import load_checkpoint

    with _plain_errors(), _progress_bar() as progress:
        bundle, parity = publish(load_checkpoint(checkpoint), tiles, out, progress=progress)
    typer.echo(f"{bundle.path}: sha256 {bundle.sha256}, differs by at most {parity:.1e}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a bundle's file.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Manifest of annotated images; may be repeated.")
    ] = None,
    tiles: Annotated[
        list[Path] | None, typer.Option(help="Folder of tiles already cut; may be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    json_: Annotated[Path | None, typer.Option("--json", help="Write all scores here.")] = None,
) -> None:
    """Score a bundle on held-out tiles, source by source."""
    from model.bundle import find_bundle, load_bundle
    from model.predictor import Predictor
    from training.evaluate import evaluate as score
    from training.evaluate import parse_split, print_scores
    from training.sources import cut_tiles

    with _plain_errors(), _progress_bar() as progress:
        bundle = load_bundle(find_bundle(model))
        with cut_tiles(data or (), bundle.metadata.mpp_um, progress) as cut:
            scores = score(
                Predictor(bundle).predict,
                [*(tiles or ()), *cut],
                bundle.metadata.thresholds,
                split=parse_split(split),
                progress=progress,
            )
    if json_:
        json_.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print_scores(scores)


@data_app.command()
def synth(
    out: Annotated[Path, typer.Option(help="New folder for the data set.")],
    count: Annotated[int, typer.Option(help="How many sections.")] = 12,
    seed: Annotated[int, typer.Option(help="Section k is made from SEED + k.")] = 0,
    size_px: Annotated[int, typer.Option(help="Width and height of a section.")] = 512,
    mpp: Annotated[float, typer.Option(help="Pixel size in µm.")] = 0.5,
    modality: Annotated[str, typer.Option(help="brightfield, fluorescence or both.")] = "both",
    marker: Annotated[
        list[str] | None, typer.Option(help="CD31, VEGF or CD31+VEGF; may be repeated, in turn.")
    ] = None,
    empty_fraction: Annotated[
        float, typer.Option(help="Share of sections without anything stained.")
    ] = 0.1,
) -> None:
    """Write synthetic brain sections with exactly known truth, and their manifest."""
    from datasets.synth_write import parse_modalities, write_synthetic

    with _plain_errors(), _progress_bar() as progress:
        manifest = write_synthetic(
            out,
            count,
            seed,
            size_px=size_px,
            mpp_um=mpp,
            markers=marker or ("CD31", "VEGF"),
            modalities=parse_modalities(modality),
            empty_fraction=empty_fraction,
            progress=progress,
        )
    typer.echo(f"{len(manifest.rows)} sections: {out / 'manifest.csv'}")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; 127.0.0.1 if unset.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 8000 if unset.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines in, though nothing asks who.")
    ] = False,
) -> None:
    """Serve the HTTP interface and the page; settings come from ANGIOMETRY_… variables."""
    from service.run import serve as run
    from service.settings import load_settings

    with _plain_errors():
        run(load_settings(host=host, port=port), insecure=insecure)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
