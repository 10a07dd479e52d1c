"""Angiometry's command line: one verb per capability; heavy imports stay inside the verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import LOST_PROCESS
from analysis.usage import PlainGroup, named
from model.files import is_no_room

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

# What `measure` and `morphometry` take alike.
_SectionThickness = Annotated[
    float | None, typer.Option(help="Recorded: length density grows with it.")
]
_Regions = Annotated[
    Path | None, typer.Option(help="Outlines from QuPath (GeoJSON), each measured by itself.")
]
_Band = Annotated[float | None, typer.Option(help="Width of the band about an infarct_core (500).")]
_Parity = Annotated[
    bool | None, typer.Option("--parity", help="Add what AngioTool, REAVER, Q-VAT would say.")
]
_Csv = Annotated[Path | None, typer.Option(help="Tidy table.")]
_Xlsx = Annotated[Path | None, typer.Option(help="Workbook.")]
_Settings = Annotated[Path | None, typer.Option(help="Repeat the settings of this earlier record.")]
_MinProfileArea = Annotated[
    float | None, typer.Option(help="Smallest vessel profile counted, µm² (20).")
]
_Gap = Annotated[
    float | None, typer.Option(help="Pieces of vessel closer than this are one profile (2).")
]
_MaxVesselRadius = Annotated[
    float | None, typer.Option(help="Wider vessels have an area, but no length (50).")
]

_TRAINING_MODULES = {"torch", "torchvision", "lightning", "albumentations", "torchmetrics"}

app = typer.Typer(
    name="angiometry",
    cls=PlainGroup,
    help="Measure CD31+ blood vessels and VEGF-positive cells on brain sections.",
    no_args_is_help=True,
    add_completion=False,
)
data_app = typer.Typer(
    help="Tiles from annotated images, checks, synthetic sections.", no_args_is_help=True
)
app.add_typer(data_app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        from analysis.version import software

        typer.echo(f"angiometry {software().version}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """Measure CD31+ blood vessels and VEGF-positive cells on brain sections."""


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn bad input into one line on standard error and exit code 2."""
    try:
        yield
    except BrokenExecutor as error:
        typer.echo(f"error: {LOST_PROCESS}", err=True)
        raise typer.Exit(2) from error
    except (ValueError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and is_no_room(error):
            lacking = error.filename or "what was to be written"
            message = f"there is no room for {lacking} ({error.strerror}); make room and run again"
        typer.echo(f"error: {named(getattr(error, 'field', ''), message)}", err=True)
        raise typer.Exit(2) from error
    except ModuleNotFoundError as error:
        if error.name not in _TRAINING_MODULES:
            raise
        typer.echo(
            f"error: {error.name} is not installed: training needs more than serving does; "
            "run `make install`, or install the extra with pip install '.[train]'",
            err=True,
        )
        raise typer.Exit(2) from error


def _wide_console() -> Console:
    """Return standard output as a console; in a pipe or log, wide enough for any table."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


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
            bars.update(
                tasks[stage], completed=done, total=total
            )  # a later source has its own total

        yield show


@contextmanager
def _processes(count: int) -> Iterator[Executor | None]:
    """Give as many processes for the length of a ``with`` block, 0 for the cores; None for one."""
    from loky import cpu_count

    count = count or cpu_count()
    if count == 1:
        yield None
        return
    # Spawned, not forked: a fork while the progress bar's thread draws can stand still for ever.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:
        yield executor


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Manifest of annotated images; may be repeated.")
    ] = None,
    vessmap: Annotated[
        Path | None, typer.Option(help="VessMAP: its folder or archive.", exists=True)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Go on from a bundle (name or file) or a checkpoint (.ckpt)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")] = Path("runs"),
    tiles: Annotated[
        Path | None, typer.Option(help="Folder that keeps cut tiles; OUT/tiles by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    workers: Annotated[
        int,
        typer.Option(help="Processes that make tiles; the processor's cores by default.", min=0),
    ] = 0,
    devices: Annotated[
        int, typer.Option(help="Graphics cards, or else processes, that share a batch.", min=1)
    ] = 1,
) -> None:
    """Train a network as a recipe says."""
    if start and resume:
        typer.echo(
            "error: from: --resume goes on with the run's own weights; leave one out", err=True
        )
        raise typer.Exit(2)
    with _plain_errors():
        from datasets.splits import told
        from training.kinds import known_animals
        from training.recipe import TILES, read_recipe
        from training.run import check_run
        from training.run import train as run
        from training.sources import prepare_tiles
        from training.start import read_start
        from training.stream import own_animals, sources_without_tiles
        from training.wording import learnt_from

    with _plain_errors(), _progress_bar() as progress, _processes(workers) as executor:
        plan = read_recipe(recipe)
        given = read_start(start) if start else None
        check_run(plan, out / plan.name, start=given, resume=resume, devices=devices)
        folders = prepare_tiles(
            plan,
            tiles or out / TILES,
            manifests=data or (),
            vessmap=vessmap,
            executor=executor,
            progress=progress,
        )
        drawn = own_animals(folders)
        lacking = sources_without_tiles(folders, plan.data.shares)
    if lacking:
        typer.echo(
            f"note: data.shares: no training tile is of {', '.join(lacking)}, whose part of the "
            "draws goes to the others",
            err=True,
        )
    if drawn:
        typer.echo(f"your animals: {told(drawn)}")
        judges = [animal for animal, split in drawn.items() if split != "train"]
        known = known_animals(given.inherited.get("animals", ()), judges) if given else []
        if known:
            typer.echo(f"warning: data: {learnt_from(known)}", err=True)
    with _plain_errors():
        best = run(plan, folders, out / plan.name, start=given, resume=resume, devices=devices)
    typer.echo(f"best checkpoint: {best}")
    typer.echo("tiles: " + " ".join(f"--tiles {folder}" for folder in folders))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a training run.")],
    tiles: Annotated[
        list[Path], typer.Option(help="Folder of tiles whose validation part scores the bundle.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write, a file ending in .onnx.")],
    mean_with: Annotated[
        str | None,
        typer.Option(help="Average the weights with these, which the run started from."),
    ] = None,
) -> None:
    """Write a checkpoint as a bundle: calibrated, scored, and proven to repeat it."""
    with _plain_errors():
        from model.bundle import CARD_NAME
        from training.halfway import meet_halfway
        from training.publish import check_bundle_name, publish
        from training.start import load_checkpoint, read_start

    with _plain_errors(), _progress_bar() as progress:
        check_bundle_name(out)
        module = load_checkpoint(checkpoint)
        if mean_with:
            meet_halfway(module, read_start(mean_with))
        bundle, parity = publish(module, tiles, out, progress=progress)
    typer.echo(f"card: {bundle.path.with_name(CARD_NAME)}")
    typer.echo(f"{bundle.path}: sha256 {bundle.sha256}")
    typer.echo(f"its probabilities are the checkpoint's to within {parity:.1e}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a bundle's file.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Manifest of annotated images; may be repeated.")
    ] = None,
    tiles: Annotated[
        list[Path] | None, typer.Option(help="Folder of tiles already cut; may be repeated.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="GeoJSON class as NAME=TARGET, as for data build; may be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="Write all figures here, and their page beside it."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the page for people here; beside --json, as .html, by default."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Write the model card and its pictures into this folder.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option(help="Markdown that the model card takes in.")
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta/--no-tta", help="Average eight flips and turns; slow.")
    ] = False,
) -> None:
    """Judge a bundle on held-out tiles, source by source: scores, agreement, calibration."""
    if not data and not tiles:
        typer.echo("error: data: give --data MANIFEST or --tiles FOLDER to score on", err=True)
        raise typer.Exit(2)
    with _plain_errors():
        from training.command import EvaluateRequest, run_evaluation
        from training.score_table import print_scores
        from training.wording import learnt_from

    with _plain_errors(), _progress_bar() as progress:
        request = EvaluateRequest(
            model=model,
            data=data or (),
            tiles=tiles or (),
            split=split,
            json=json_,
            html=html,
            card=card,
            classes=classes or (),
            tta=tta,
            notes=notes,
        )
        evaluation = run_evaluation(request, progress)
    print_scores(evaluation.scores, _wide_console())
    for _, path in request.places():
        typer.echo(f"wrote {path}", err=True)
    known = evaluation.scores["model"]["learnt_animals"]
    if known and split != "train":
        typer.echo(f"warning: data: {learnt_from(known)}", err=True)


@data_app.command("build")
def data_build(
    manifest: Annotated[
        Path, typer.Argument(help="Manifest (CSV) of annotated images, or VessMAP's folder or zip.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tiles; empty or absent.")],
    mpp: Annotated[float, typer.Option(help="µm per pixel of the tiles, the model's own.")] = 0.5,
    tile_px: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 256,
    stride_px: Annotated[
        int | None, typer.Option(help="From tile to tile; their side by default.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="GeoJSON class as NAME=vessel, =vegf_cell, =annotated_area, =unknown_area or "
            "=ignore; may be repeated."
        ),
    ] = None,
    hdab_renderings: Annotated[
        int, typer.Option(help="Times each fluorescence image with vessels is rendered as H-DAB.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Draws splits not given, and renderings.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that cut.", min=1)] = 1,
) -> None:
    """Cut training tiles from annotated images."""
    from datasets.annotations import parse_classes
    from datasets.build import build_tiles
    from datasets.vessmap import read_images

    with _plain_errors(), _progress_bar() as progress, _processes(workers) as executor:
        summary = build_tiles(
            read_images(manifest),
            out,
            mpp_um=mpp,
            tile_px=tile_px,
            stride_px=stride_px,
            classes=parse_classes(classes or ()),
            hdab_renderings=hdab_renderings,
            seed=seed,
            executor=executor,
            progress=progress,
        )
    splits = ", ".join(f"{count} {split}" for split, count in summary.tiles_by_split.items())
    typer.echo(f"{summary.folder}: {summary.tiles} tiles ({splits}), hash {summary.manifest_hash}")
    if summary.images_without_annotation:
        count = len(summary.images_without_annotation)
        typer.echo(f"left out: {count} images without annotation", err=True)


@data_app.command("check")
def data_check(
    manifest: Annotated[
        Path, typer.Argument(help="Manifest (CSV) of annotated images, or VessMAP's folder or zip.")
    ],
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Write all images, small and outlined, as this PNG.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="GeoJSON class as NAME=TARGET, as for build; may be repeated."),
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    with_splits: Annotated[
        Path | None, typer.Option(help="Write the manifest with every animal's split here.")
    ] = None,
) -> None:
    """Report leaks, duplicates, doubtful outlines and class balance; exit code 1 on errors."""
    from analysis.batch import check_outputs, check_suffixes
    from datasets.annotations import parse_classes
    from datasets.check import check_manifest
    from datasets.check_table import print_report
    from datasets.contact_sheet import write_contact_sheet
    from datasets.splits import assign_splits
    from datasets.vessmap import read_images
    from model.files import write_whole

    outputs = (("contact-sheet", contact_sheet), ("json", json_), ("with-splits", with_splits))
    with _plain_errors(), _progress_bar() as progress:
        images = read_images(manifest)
        places = [(flag, path) for flag, path in outputs if path]
        check_outputs([manifest, *images.files()], places)
        check_suffixes(places)
        report = check_manifest(
            images,
            classes=parse_classes(classes or ()),
            thumbnails=contact_sheet is not None,
            progress=progress,
        )
        if contact_sheet is not None and report.thumbnails:
            write_contact_sheet(report.thumbnails, contact_sheet)
        if json_ is not None:
            write_whole(json_, f"{json.dumps(report.to_dict(), indent=2)}\n".encode())
        written = None
        if with_splits is not None and not report.errors:
            written = assign_splits(images).write(with_splits)
    print_report(report, _wide_console(), written)
    if json_ is not None:
        typer.echo(f"wrote {json_}", err=True)
    if contact_sheet is not None:
        lacking = f"{contact_sheet} is not written: no image could be shown"
        typer.echo(f"wrote {contact_sheet}" if report.thumbnails else lacking, err=True)
    if report.errors:
        if with_splits is not None:
            typer.echo(f"{with_splits} is not written: mend the errors first", err=True)
        raise typer.Exit(1)


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


@app.command()
def measure(
    images: Annotated[list[Path], typer.Argument(help="Images of sections.", metavar="IMAGE...")],
    marker: Annotated[
        str | None, typer.Option(help="CD31 (the default), VEGF or CD31+VEGF.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Pixel size in µm; needed if the file has none.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="auto (the default), brightfield or fluorescence.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Fluorescence channels from 0: CD31=1,VEGF=2,nuclei=0.")
    ] = None,
    section_thickness_um: _SectionThickness = None,
    regions: _Regions = None,
    band_um: _Band = None,
    parity: _Parity = None,
    tissue: Annotated[
        str | None, typer.Option(help="auto (the default), frame, or a mask file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model, or a bundle's file.")] = None,
    threshold_vessel: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is vessel.")
    ] = None,
    threshold_vegf_cell: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is VEGF-positive cell.")
    ] = None,
    min_profile_area_um2: _MinProfileArea = None,
    gap_um: _Gap = None,
    max_vessel_radius_um: _MaxVesselRadius = None,
    min_cell_area_um2: Annotated[
        float | None, typer.Option(help="Smallest positive cell counted, µm² (25).")
    ] = None,
    tta: Annotated[
        bool | None, typer.Option("--tta/--no-tta", help="Average eight flips and turns; slow.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes for several images.")] = 1,
    json_: Annotated[
        Path | None, typer.Option("--json", help="The record, an array for several; - is stdout.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="One table of all images, a row for each region, CSV.")
    ] = None,
    csv: _Csv = None,
    xlsx: _Xlsx = None,
    mask: Annotated[
        Path | None, typer.Option(help="Mask 0/255 of the image's size, PNG or OME-TIFF.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Objects numbered as in their table, OME-TIFF.")
    ] = None,
    objects: Annotated[
        Path | None, typer.Option(help="Outlines for QuPath, GeoJSON, or a table, CSV.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Picture with outlines, PNG.")] = None,
    skeleton: Annotated[
        Path | None, typer.Option(help="Picture with the skeleton, segments by kind, PNG.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip what the --json file already holds.")
    ] = False,
    settings: _Settings = None,
) -> None:
    """Measure sections: the whole way from an image to its record, without a server.

    With several images, every output but --json and --table is a folder.
    """
    from rich.console import Console

    from analysis import command

    with _plain_errors(), _progress_bar() as progress:
        request = command.MeasureRequest(
            images=images,
            marker=marker,
            mpp_um=mpp,
            modality=modality,
            channels=channels,
            section_thickness_um=section_thickness_um,
            regions=regions,
            band_um=band_um,
            parity=parity,
            tissue=tissue,
            model=model,
            thresholds={"vessel": threshold_vessel, "vegf_cell": threshold_vegf_cell},
            sizes={
                "min_profile_area_um2": min_profile_area_um2,
                "gap_um": gap_um,
                "max_vessel_radius_um": max_vessel_radius_um,
                "min_cell_area_um2": min_cell_area_um2,
            },
            tta=tta,
            workers=workers,
            outputs=command.outputs(
                json=json_,
                table=table,
                csv=csv,
                xlsx=xlsx,
                mask=mask,
                labels=labels,
                objects=objects,
                overlay=overlay,
                skeleton=skeleton,
            ),
            resume=resume,
            settings=settings,
        )
        code = command.measure(request, progress, Console(stderr=True))
    raise typer.Exit(code)


@app.command()
def morphometry(
    mask: Annotated[
        Path, typer.Argument(help="Vessel mask, PNG or TIFF of 0 and any one other value.")
    ],
    mpp: Annotated[
        float | None, typer.Option(help="Pixel size in µm; needed if the file has none.")
    ] = None,
    section_thickness_um: _SectionThickness = None,
    tissue: Annotated[
        Path | None,
        typer.Option(help="frame (the default), or a mask of its size: 0 and one other value."),
    ] = None,
    regions: _Regions = None,
    band_um: _Band = None,
    parity: _Parity = None,
    min_profile_area_um2: _MinProfileArea = None,
    gap_um: _Gap = None,
    max_vessel_radius_um: _MaxVesselRadius = None,
    workers: Annotated[int, typer.Option(help="Processes for a large mask.", min=1)] = 1,
    json_: Annotated[Path | None, typer.Option("--json", help="The record; - is stdout.")] = None,
    csv: _Csv = None,
    xlsx: _Xlsx = None,
    settings: _Settings = None,
) -> None:
    """Measure a vessel mask as it is, on its own grid."""
    from analysis import command, mask_command

    with _plain_errors(), _progress_bar() as progress, _processes(workers) as executor:
        request = mask_command.MorphometryRequest(
            mask=mask,
            mpp_um=mpp,
            section_thickness_um=section_thickness_um,
            tissue=tissue,
            regions=regions,
            band_um=band_um,
            parity=parity,
            sizes={
                "min_profile_area_um2": min_profile_area_um2,
                "gap_um": gap_um,
                "max_vessel_radius_um": max_vessel_radius_um,
            },
            settings=settings,
            outputs=command.outputs(json=json_, csv=csv, xlsx=xlsx),
        )
        mask_command.morphometry(request, progress, executor)


@app.command()
def doctor() -> None:
    """Check the installation and the service's settings; exit code 1 if something is broken."""
    from analysis.doctor import examine, table
    from service.doctor import examine_settings

    findings = [*examine(), examine_settings()]
    _wide_console().print(table(findings))
    raise typer.Exit(0 if all(finding.sound for finding in findings) else 1)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
