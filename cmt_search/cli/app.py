"""The edge: commands in, exit codes out. 0 is success, 2 what a user can fix, 1 a bug."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from cmt_search.cli import (
    calibration,
    explore,
    exporting,
    family,
    launch,
    measure,
    new,
    profiling,
    rules,
    status,
    training,
)
from cmt_search.cli.console import quietly
from cmt_search.errors import CmtSearchError

_HELP = (
    "Find the rule by which a vision backbone should grow with compute, and derive the family. "
    "Launch: run, resume, status, runs. Inspect: report, inspect. Export: family, export."
)


_ANYWHERE = {"--debug": "debug", "--quiet": "quiet", "-q": "quiet"}  # before a command or after it
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and the bare result, and nothing else.")
]


def _tell_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"cmt-search {version('cmt-search')}\n")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
]


def build_app() -> typer.Typer:
    """The commands, each from the module that does its work."""
    app = typer.Typer(
        name="cmt-search",
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def options(debug: Debug = False, quiet: Quiet = False, version: Version = False) -> None:
        del debug, quiet, version  # `invoke` looks at them, wherever they stand

    for command in (
        launch.run,
        launch.resume,
        status.status,
        explore.report,
        explore.inspect,
        new.new,
        calibration.calibrate,
        measure.confirm,
        family.family,
        exporting.export,
        rules.rules,
        profiling.profile,
        training.train,
        launch.validate,
    ):
        app.command(no_args_is_help=True)(command)
    app.command()(status.runs)  # which shows what lies in ./runs
    return app


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; bugs are raised."""
    words, asked = _taken_out(arguments)
    try:
        with quietly("quiet" in asked):
            result = build_app()(words, standalone_mode=False)
    except CmtSearchError as error:
        if "debug" in asked:
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
    except typer.Abort:
        sys.stderr.write("stopped\n")
        return 1
    except Exception as error:
        # click's own errors (unknown option, missing argument) know how to show themselves
        if show := getattr(error, "show", None):
            show()
            return 2
        raise
    return result if isinstance(result, int) else 0


def _taken_out(arguments: Sequence[str]) -> tuple[list[str], set[str]]:
    """The words without the options that every command takes, and those of them that stand there.

    What follows `--` is no option.
    """
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    own = [word for word in words[:end] if word not in _ANYWHERE]
    return own + words[end:], {_ANYWHERE[word] for word in words[:end] if word in _ANYWHERE}


def main() -> None:
    """The `cmt-search` program."""
    try:
        code = invoke(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("stopped; `cmt-search resume` goes on where this ended\n")
        code = 1
    sys.exit(code)
