"""A check report as tables for people to read in a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datasets.check import CheckReport
from datasets.splits import told


def print_report(report: CheckReport, console: Console, written: Path | None = None) -> None:
    """Print class balance, then every finding, errors first, then one line that sums up.

    `written` is where the manifest was written with every animal's split, if it was.
    """
    balance = Table(title="Class balance", title_justify="left")
    for column in ("split", "group", "modality", "target"):
        balance.add_column(column, overflow="fold")
    for column in ("images", "animals", "annotated mm²", "positive", "objects"):
        balance.add_column(column, justify="right", overflow="fold")
    for line in report.balance:
        fraction = line.positive_mm2 / line.annotated_mm2 if line.annotated_mm2 else 0.0
        balance.add_row(
            *(escape(text) for text in (line.split, line.group, line.modality, line.target)),
            str(line.images),
            str(line.animals),
            f"{line.annotated_mm2:.3f}",
            f"{fraction:.1%}",
            str(line.objects),
        )
    if report.balance:
        console.print(balance)
    if report.drawn:
        drawn = escape(told(report.drawn))
        console.print(f"Animals whose split is left open will be: {drawn}", soft_wrap=True)
        if written is None and not report.errors:
            console.print(
                "Write it down with --with-splits NEW.csv: with more animals it is drawn anew."
            )
    if report.splits and "test" not in report.splits:
        console.print(
            "No animal is in test: mark one, better two, to judge new weights at the end."
        )
    if written is not None:
        console.print(f"{escape(str(written))}: the manifest with every split", soft_wrap=True)
    if report.findings:
        console.print(_findings(report))
    console.print(
        f"{_counted(report.images, 'image')} of {_counted(report.animals, 'animal')}: "
        f"{_counted(len(report.errors), 'error')}, {_counted(len(report.warnings), 'warning')}"
    )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _findings(report: CheckReport) -> Table:
    table = Table(title="Findings", title_justify="left", show_lines=False)
    for column in ("", "topic", "image", "what"):
        table.add_column(column, overflow="fold")
    for finding in report.findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        table.add_row(
            f"[{style}]{finding.severity}[/]",
            finding.topic,
            escape(finding.image),
            escape(finding.message),
        )
    return table
