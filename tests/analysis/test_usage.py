"""Usage errors of any command line are told in one line: field, what, mend."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from analysis.usage import PlainGroup, named

app = typer.Typer(cls=PlainGroup)


@app.callback()
def _root() -> None:
    """Have verbs."""


@app.command()
def weigh(json_: Annotated[int, typer.Option("--json", min=3)] = 3, grams: float = 1.0) -> None:
    """Print a number."""
    typer.echo(json_ * round(grams))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["weigh", "--json", "2"], "json: input should be greater than or equal to 3; see it "),
        (
            ["weigh", "--grams", "0,5"],
            "grams: input should be a valid number, unable to parse "
            "string as a number; write it with a decimal point, as in 0.5",
        ),
        (["weigh", "--jso", "2"], "no such option: --jso; did you mean --json?"),
        (["--nope"], "no such option: --nope; see it --help"),
        (["weigh", "--json"], "option '--json' requires an argument; see --help"),
    ],
)
def test_usage_errors_are_one_line(words: list[str], line: str) -> None:
    """Exit code 2, nothing on standard output, and no box around the line."""
    result = CliRunner().invoke(app, words, prog_name="it")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {line}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "message", "line"),
    [
        ("gap_um", "gap_um is 50; give 0 to 20 µm", "gap_um is 50; give 0 to 20 µm"),
        ("gap_um", "--gap-um is 50; give less", "--gap-um is 50; give less"),
        ("modality", "Modality 'x' is unknown", "Modality 'x' is unknown"),
        ("mask", "mask.tif is grey; save it anew", "mask: mask.tif is grey; save it anew"),
        ("mpp_um", "Pixels are not square", "mpp_um: Pixels are not square"),
        ("", "the disk is full", "the disk is full"),
    ],
)
def test_an_error_names_its_field_once(field: str, message: str, line: str) -> None:
    """Before the message, or as its first word; a file's name is no field's."""
    assert named(field, message) == line


def test_right_command_lines_run() -> None:
    """Nothing else changes."""
    result = CliRunner().invoke(app, ["weigh", "--json", "7"])
    assert (result.exit_code, result.stdout) == (0, "7\n")
