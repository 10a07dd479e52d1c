"""A wrong command line is told as wrong input is: in one plain line, with exit code 2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup


class PlainGroup(TyperGroup):
    """The root of a command line, whose usage errors are one line on standard error."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the options that stand before the verb."""
        with _one_line():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Read the verb's own options and run it."""
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        if error.format_message():  # a verb that was to show its help has done so already
            typer.echo(f"error: {usage_line(error)}", err=True)
        raise typer.Exit(2) from error


def usage_line(error: typer.TyperException) -> str:
    """Return a usage error as ``field: what; mend``.

    Without the field where it is about none, or about an option that the error itself names.
    """
    param = getattr(error, "param", None)
    field = param.name.rstrip("_") if param else ""
    what = " ".join((error.message or error.format_message()).split()).rstrip(".")
    near = getattr(error, "possibilities", None)
    ctx = getattr(error, "ctx", None)
    path = f"{ctx.command_path} " if ctx else ""
    mend = f"did you mean {' or '.join(sorted(near))}?" if near else f"see {path}--help"
    if what.endswith("unable to parse string as a number"):
        mend = "write it with a decimal point, as in 0.5"  # many write 0,5
    return named(field, f"{what[:1].lower()}{what[1:]}; {mend}")


def named(field: str, message: str) -> str:
    """Return an error's message with the field at fault before it, unless it begins with it."""
    begins = re.match(rf"(--)?{field.replace('_', '[_-]')}\s", message, re.IGNORECASE)
    return f"{field}: {message}" if field and not begins else message
