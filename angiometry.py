"""Angiometry's command line: one verb per capability; heavy imports stay inside the verbs."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="angiometry",
    help="Measure CD31+ blood vessels and VEGF-positive cells on brain sections.",
    no_args_is_help=True,
    add_completion=False,
)
data_app = typer.Typer(help="Tiles from annotated images, checks, synthetic sections.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
